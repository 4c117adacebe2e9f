// The plain files of a check-out, many at once: they are most of the work, and two directories do not wait for each other.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem
import Synchronization

/// A file with one name.
struct PlainFile: Sendable {
    let name: FileName
    let digest: Digest
    let attributes: Attributes
}

/// How files get onto the disk.
struct CheckoutFiles: Sendable {
    let store: any ContentSource
    let setsOwners: Bool

    /// Files that are read from the store together.
    static let batch = 32

    /// Writes files into `directory`, in order.
    func write(_ files: [PlainFile], into directory: CInt, _ path: TreePath) throws(ImageError) {
        var begun = 0
        var current: SharedFile?
        func finishCurrent() throws(ImageError) {
            guard let file = current.take() else { return }
            try set(files[begun - 1].attributes, on: file.fd, path.appending(files[begun - 1].name))
        }
        func begin(upTo place: Int) throws(ImageError) {
            while begun <= place {
                try finishCurrent()
                current = try create(files[begun].name, in: directory, path)
                begun += 1
            }
        }
        try store.stream(files.map(\.digest)) { place, piece throws(ImageError) in
            try begin(upTo: place)
            guard let file = current else { return }
            do throws(SystemError) { try writeAll(file.fd, piece) } catch {
                throw .system(SystemError("write", path.appending(files[place].name).description, errno: error.errno))
            }
        }
        // Empty files have no pieces.
        try begin(upTo: files.count - 1)
        try finishCurrent()
    }

    private func create(_ name: FileName, in directory: CInt, _ path: TreePath) throws(ImageError) -> SharedFile {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        var fd = name.withCString { openat(directory, $0, flags, 0o600) }
        if fd < 0, errno == EEXIST {
            try makeRoom(name, in: directory, path.appending(name))
            fd = name.withCString { openat(directory, $0, flags, 0o600) }
        }
        guard fd >= 0 else { throw .system(.last("create", path.appending(name).description)) }
        return SharedFile(owning: fd)
    }

    /// Takes away what has the name, unless that is a directory.
    func makeRoom(_ name: FileName, in directory: CInt, _ path: TreePath) throws(ImageError) {
        if name.withCString({ unlinkat(directory, $0, 0) }) == 0 || errno == ENOENT { return }
        if errno == EISDIR || errno == EPERM {
            throw .unsupported("\(path) is a directory in the destination and a file in the image: remove it first")
        }
        throw .system(.last("unlink", path.description))
    }

    /// Owner, mode, attributes and times of an open file or directory, in the order in which none undoes another.
    func set(_ attributes: Attributes, on fd: CInt, _ path: @autoclosure () -> TreePath) throws(ImageError) {
        if setsOwners { try check(fchown(fd, attributes.uid, attributes.gid), "chown", path()) }
        for xattr in attributes.xattrs where setsOwners || xattr.name.starts(with: Array("user.".utf8)) {
            let result = FileName(bytes: xattr.name).withCString { name in
                xattr.value.withUnsafeBytes { clinux_setxattr(fd, nil, name, $0.baseAddress, $0.count) }
            }
            if result != 0, errno != ENOTSUP, errno != EPERM { throw .system(.last("setxattr", path().description)) }
        }
        try check(fchmod(fd, mode_t(attributes.mode)), "chmod", path())
        var times = Self.times(attributes)
        try check(futimens(fd, &times), "utimens", path())
    }

    static func times(_ attributes: Attributes) -> [timespec] {
        let time = timespec(tv_sec: Int(attributes.time.seconds), tv_nsec: Int(attributes.time.nanoseconds))
        return [time, time]
    }

    func check(_ result: CInt, _ operation: String, _ path: @autoclosure () -> TreePath) throws(ImageError) {
        if result != 0 { throw .system(.last(operation, path().description)) }
    }
}

/// A directory into which files are put. Its own attributes come when everything is in it, from whoever puts in the last:
/// its time would move, and its mode might keep the rest out.
final class FilledDirectory: Sendable {
    let file: SharedFile
    let path: TreePath
    let files: CheckoutFiles
    private let attributes: Attributes?
    /// The walk through it, and batches of files.
    private let parts = Atomic(1)

    /// - Parameter attributes: nil leaves them as they are.
    init(_ file: SharedFile, _ path: TreePath, _ attributes: Attributes?, _ files: CheckoutFiles) {
        self.file = file
        self.path = path
        self.attributes = attributes
        self.files = files
    }

    func beginPart() { parts.wrappingAdd(1, ordering: .relaxed) }

    func finishPart() throws(ImageError) {
        let rest = parts.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        if rest == 0, let attributes { try files.set(attributes, on: file.fd, path) }
    }
}

/// Threads that put files into directories while their owner walks on; the owner does what they have no time for, so that
/// nothing queues up and no directory is open for longer than it is filled.
final class CheckoutCrew: Sendable {
    private let companions: [Companion]
    private let failure = Mutex<ImageError?>(nil)

    /// Fewer files are not worth waking a thread.
    private static let fewest = 8

    init() {
        // Their threads come with their first work.
        companions = (0..<min(8, max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN))))).map { _ in Companion() }
    }

    /// Puts `files` into `directory`, now or soon, and takes them away from the list.
    ///
    /// - Throws: what an earlier one failed with.
    func put(_ files: inout [PlainFile], into directory: FilledDirectory) throws(ImageError) {
        if let failure = failure.withLock({ $0 }) { throw failure }
        if files.isEmpty { return }
        let batch = files
        files.removeAll(keepingCapacity: true)
        directory.beginPart()
        let work: @Sendable () -> Void = {
            do throws(ImageError) {
                try directory.files.write(batch, into: directory.file.fd, directory.path)
                try directory.finishPart()
            } catch {
                self.failure.withLock { $0 = $0 ?? error }
            }
        }
        if batch.count >= Self.fewest, companions.contains(where: { $0.startIfIdle(work) }) { return }
        work()
    }

    /// Runs `body`, and comes back when all that it put is done.
    func finishing(_ body: () throws(ImageError) -> Void) throws(ImageError) {
        defer { for companion in companions { companion.close() } }
        try body()
        for companion in companions { companion.wait() }
        if let failure = failure.withLock({ $0 }) { throw failure }
    }
}
