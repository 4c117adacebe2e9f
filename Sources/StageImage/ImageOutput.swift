// Where the files of an image go: a directory, or a tar archive in a file or on a descriptor. Both become visible whole.

import CLinux
import Glibc
import StageStore
import StageSystem

/// Where an archive goes.
public enum ArchiveDestination: Sendable {
    /// A file that appears, or is replaced, once the archive is complete.
    case file(String)
    /// A descriptor that somebody else owns: standard output, a pipe.
    case descriptor(CInt)
}

/// Takes the files of an image, in order.
protocol ImageOutput {
    func add(_ path: String, size: UInt64, _ content: (ByteSink) throws(ImageError) -> Void) throws(ImageError)
    /// Makes everything visible; call it once, last.
    func finish() throws(ImageError)
}

extension ImageOutput {
    func add(_ path: String, _ bytes: [UInt8]) throws(ImageError) {
        try add(path, size: UInt64(bytes.count)) { sink throws(ImageError) in try push(bytes, to: sink) }
    }
}

/// Runs `body` with a sink that leads to `destination`, and makes the result visible when it did not fail.
public func writing(
    to destination: ArchiveDestination, _ body: (@escaping ByteSink) throws(ImageError) -> Void
) throws(ImageError) {
    switch destination {
    case .descriptor(let fd):
        try body { piece throws(ImageError) in
            try calling { () throws(SystemError) in try writeAll(fd, piece, "the output") }
        }
    case .file(let path):
        let file = try AtomicFile(replacing: path)
        try body { piece throws(ImageError) in try file.write(piece) }
        try file.commit()
    }
}

/// The files as members of a tar archive: times 0, owner 0, directories first where they are needed.
final class ArchiveOutput: ImageOutput {
    private var writer: TarWriter
    private var directories: Set<String> = []

    init(_ sink: @escaping ByteSink) { writer = TarWriter(sink) }

    func add(_ path: String, size: UInt64, _ content: (ByteSink) throws(ImageError) -> Void) throws(ImageError) {
        for (index, character) in zip(path.indices, path) where character == "/" {
            let directory = String(path[...index])
            guard directories.insert(directory).inserted else { continue }
            try writer.begin(TarMember(path: Array(directory.utf8), kind: .directory, mode: 0o755))
        }
        try writer.begin(TarMember(path: Array(path.utf8), kind: .file, size: size, mode: 0o644))
        try content { piece throws(ImageError) in try self.writer.write(piece) }
    }

    func finish() throws(ImageError) { try writer.finish() }
}

/// The files in a new directory, which gets its name last.
final class DirectoryOutput: ImageOutput {
    private let destination: String
    private let temporary: String
    private var isFinished = false

    /// - Parameter destination: must not exist, or be an empty directory.
    init(_ destination: String) throws(ImageError) {
        var path = destination
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        var random = SystemRandomNumberGenerator()
        let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        let temporary = path[..<slash] + ".stagerun-" + String(random.next() as UInt64, radix: 36)
        self.destination = path
        self.temporary = String(temporary)
        let name = self.temporary
        try calling { () throws(SystemError) in try retrying("mkdir", name) { mkdir(name, 0o755) } }
    }

    deinit { if !isFinished { try? removeTree(temporary) } }

    func add(_ path: String, size: UInt64, _ content: (ByteSink) throws(ImageError) -> Void) throws(ImageError) {
        for (index, character) in zip(path.indices, path) where character == "/" {
            let directory = temporary + "/" + path[..<index]
            if mkdir(directory, 0o755) != 0, errno != EEXIST { throw .system(.last("mkdir", directory)) }
        }
        let full = temporary + "/" + path
        let fd = try calling { () throws(SystemError) in
            try OwnedFD.open(full, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o644)
        }
        let raw = fd.raw
        try content { piece throws(ImageError) in
            try calling { () throws(SystemError) in try writeAll(raw, piece, full) }
        }
    }

    func finish() throws(ImageError) {
        // A rename takes the place of an empty directory, and of nothing else.
        if rename(temporary, destination) != 0 {
            if errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR {
                throw .unsupported(
                    "\(destination) exists and is not an empty directory: remove it, or name another place")
            }
            throw .system(.last("rename", destination))
        }
        isFinished = true
    }
}
