// Output files appear whole or not at all: a temporary file beside the destination, renamed once it is complete.

import CLinux
import Glibc
import StageSystem

/// A file being written under a temporary name; without `commit()`, nothing of it stays.
final class AtomicFile {
    let fd: CInt
    private let destination: String
    private let temporary: String
    private var isCommitted = false

    /// - Parameter destination: may exist; it is replaced by `commit()`.
    init(replacing destination: String) throws(ImageError) {
        self.destination = destination
        var random = SystemRandomNumberGenerator()
        let suffix = String(random.next() as UInt64, radix: 36)
        let slash = destination.lastIndex(of: "/").map { destination.index(after: $0) } ?? destination.startIndex
        let temporary = destination[..<slash] + ".stagerun-" + suffix
        self.temporary = String(temporary)
        do throws(SystemError) {
            fd = try OwnedFD.open(String(temporary), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o666).take()
        } catch {
            // The person knows the file's own name.
            throw .system(SystemError("create", destination, errno: error.errno))
        }
    }

    deinit {
        close(fd)
        if !isCommitted { unlink(temporary) }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        try calling { () throws(SystemError) in try writeAll(fd, bytes, destination) }
    }

    /// Gives the file its name.
    func commit() throws(ImageError) {
        let (temporary, destination) = (self.temporary, self.destination)
        try calling { () throws(SystemError) in try retrying("rename", destination) { rename(temporary, destination) } }
        isCommitted = true
    }
}

/// A file without a name, for bytes whose digest has to be known before they can be placed.
final class SpoolFile {
    let fd: CInt
    private(set) var size: UInt64 = 0

    /// - Parameter directory: on the filesystem where there is room for it.
    init(in directory: String) throws(ImageError) {
        let flags = O_RDWR | O_CLOEXEC
        let nameless = open(directory, flags | clinux_o_tmpfile, 0o600)
        if nameless >= 0 || (errno != EOPNOTSUPP && errno != EISDIR) {
            if nameless < 0 { throw .system(.last("create a temporary file in", directory)) }
            fd = nameless
            return
        }
        // A filesystem without nameless files: NFS, some FUSE ones.
        var random = SystemRandomNumberGenerator()
        let path = directory + "/.stagerun-" + String(random.next() as UInt64, radix: 36)
        fd = try calling { () throws(SystemError) in
            try OwnedFD.open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600).take()
        }
        unlink(path)
    }

    deinit { close(fd) }

    func append(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        try calling { () throws(SystemError) in try writeAll(fd, bytes, "a temporary file") }
        size += UInt64(bytes.count)
    }

    /// All of it, from the start.
    func source() -> DescriptorSource { DescriptorSource(fd, offset: 0, size: size, name: "a temporary file") }
}
