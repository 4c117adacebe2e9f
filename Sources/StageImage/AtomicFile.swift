// Output files appear whole or not at all: a temporary file beside the destination, renamed once it is complete. What is no
// regular file, /dev/null or a pipe, is written to as it stands: a rename would put a file in its place.

import CLinux
import Glibc
import StageSystem
import Synchronization

/// A file being written under a temporary name; without `commit()`, nothing of it stays.
final class AtomicFile {
    let fd: CInt
    private let destination: String
    /// Nil for a destination that is written to directly.
    private let temporary: String?
    private var isCommitted = false

    /// - Parameter destination: may exist; a file, or the one that a link leads to, is replaced by `commit()`.
    init(replacing destination: String) throws(ImageError) {
        let destination = Self.followed(destination)
        self.destination = destination
        var info = stat()
        if stat(destination, &info) == 0, info.st_mode & S_IFMT != S_IFREG {
            temporary = nil
            fd = try calling { () throws(SystemError) in
                try OwnedFD.open(destination, O_WRONLY | O_NOCTTY).take()
            }
            return
        }
        var random = SystemRandomNumberGenerator()
        let suffix = String(random.next() as UInt64, radix: 36)
        let slash = destination.lastIndex(of: "/").map { destination.index(after: $0) } ?? destination.startIndex
        let temporary = String(destination[..<slash] + ".stagerun-" + suffix)
        self.temporary = temporary
        do throws(SystemError) {
            fd = try OwnedFD.open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o666).take()
        } catch {
            // The person knows the file's own name.
            throw .system(SystemError("create", destination, errno: error.errno))
        }
    }

    deinit {
        close(fd)
        if let temporary, !isCommitted { unlink(temporary) }
    }

    /// Where a link at `path` leads to; `path` itself when it is none, or leads nowhere.
    private static func followed(_ path: String) -> String {
        var info = stat()
        guard lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFLNK, let resolved = realpath(path, nil) else {
            return path
        }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        try calling { () throws(SystemError) in try writeAll(fd, bytes, destination) }
    }

    /// Gives the file its name.
    func commit() throws(ImageError) {
        guard let temporary else { return }
        let destination = self.destination
        try calling { () throws(SystemError) in try retrying("rename", destination) { rename(temporary, destination) } }
        isCommitted = true
    }
}

/// A file without a name, for bytes whose digest has to be known before they can be placed. Nothing of it stays, however
/// the process ends. One task appends at a time.
public final class SpoolFile: Sendable {
    /// Readable at any offset; it stays this object's.
    public let fd: CInt
    private let count = Atomic<UInt64>(0)

    /// Bytes appended so far.
    var size: UInt64 { count.load(ordering: .acquiring) }

    /// - Parameter directory: on the filesystem where there is room for it.
    public init(in directory: String) throws(ImageError) {
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

    /// What is left of `descriptor`, which stays open.
    public convenience init(draining descriptor: CInt, name: String, in directory: String) throws(ImageError) {
        try self.init(in: directory)
        try DescriptorSource(descriptor, name: name).drain { piece throws(ImageError) in try append(piece) }
    }

    /// The file at `path`.
    public convenience init(copying path: String, in directory: String) throws(ImageError) {
        let file = SharedFile(owning: try calling { () throws(SystemError) in try OwnedFD.open(path, O_RDONLY).take() })
        try self.init(draining: file.fd, name: path, in: directory)
    }

    /// All of it, in memory.
    public func bytes(limit: Int) throws(ImageError) -> [UInt8] {
        guard size <= UInt64(limit) else { throw .tooLarge(limit: UInt64(limit)) }
        var bytes: [UInt8] = []
        try source().drain { piece throws(ImageError) in bytes.append(contentsOf: piece) }
        return bytes
    }

    public func append(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        try calling { () throws(SystemError) in try writeAll(fd, bytes, "a temporary file") }
        count.add(UInt64(bytes.count), ordering: .releasing)
    }

    /// All of it, from the start.
    func source() -> DescriptorSource { DescriptorSource(fd, offset: 0, size: size, name: "a temporary file") }
}
