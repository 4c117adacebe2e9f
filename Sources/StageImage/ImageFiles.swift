// The files of an image archive by name: a directory, or a tar archive that can be read at any place.

import CLinux
import Glibc
import StageSystem

/// Finds files by the names that image documents have for them. Names are hostile: none leads outside.
protocol ImageFiles {
    /// How messages call it.
    var name: String { get }

    /// The file and its size; nil when there is none of that name.
    func open(_ path: String) throws(ImageError) -> (source: any ByteSource, size: UInt64)?
}

extension ImageFiles {
    /// A document's bytes; `.missingPart` when it is not there.
    func document(_ path: String) throws(ImageError) -> [UInt8] {
        guard let bytes = try documentIfPresent(path) else { throw .missingPart(name: path, archive: name) }
        return bytes
    }

    func documentIfPresent(_ path: String) throws(ImageError) -> [UInt8]? {
        try open(path)?.source.readAll(limit: JSONDocument.limit)
    }
}

/// A directory.
final class DirectoryFiles: ImageFiles {
    let name: String
    private let fd: CInt

    init(_ path: String) throws(ImageError) {
        name = path
        fd = try calling { () throws(SystemError) in
            try OwnedFD.open(path, O_RDONLY | O_DIRECTORY).take()
        }
    }

    deinit { close(fd) }

    func open(_ path: String) throws(ImageError) -> (source: any ByteSource, size: UInt64)? {
        let flags = UInt64(O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        let resolve = UInt64(CLINUX_RESOLVE_BENEATH | CLINUX_RESOLVE_NO_MAGICLINKS)
        let file = clinux_openat2(fd, path, flags, 0, resolve)
        if file < 0 {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw .system(.last("open", name + "/" + path))
        }
        let source = FileSource(owning: file, name: path)
        let info = try calling { () throws(SystemError) in try statDescriptor(file, path) }
        guard FileType(mode: info.mode) == .file else {
            throw .unsupported("\(path) in \(name) is not a regular file")
        }
        return (source, info.size)
    }
}

/// A file that closes when its reader lets go.
final class FileSource: ByteSource {
    private let fd: CInt
    private let inner: DescriptorSource

    init(owning fd: CInt, name: String) {
        self.fd = fd
        inner = DescriptorSource(fd, name: name)
    }

    deinit { close(fd) }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int { try inner.read(into: buffer) }
}

/// A tar archive in a file. Its members are found once, by their headers.
final class TarFiles: ImageFiles {
    let name: String
    private let fd: CInt
    /// What keeps the descriptor open.
    private let owner: AnyObject
    private var members: [String: (offset: UInt64, size: UInt64)] = [:]
    private var links: [String: String] = [:]

    /// - Parameter owner: kept as long as this is, since closing it closes `fd`.
    init(_ fd: CInt, size: UInt64, owner: AnyObject, name: String) throws(ImageError) {
        self.name = name
        self.fd = fd
        self.owner = owner
        let reader = TarReader(DescriptorSource(fd, offset: 0, size: size, name: name))
        while let member = try reader.next() {
            guard let path = Self.cleaned(member.path) else { continue }
            members[path] = nil
            links[path] = nil
            switch member.kind {
            case .file: members[path] = (reader.offset, member.size)
            case .hardLink: links[path] = Self.cleaned(member.linkTarget)
            case .symlink:
                // Old `docker save` has a layer once, and links to it: relative to where the link is.
                let directory = path.lastIndex(of: "/").map { path[..<$0] } ?? ""
                links[path] = Self.cleaned(Array(directory.utf8) + [0x2F] + member.linkTarget)
            default: break
            }
        }
    }

    func open(_ path: String) -> (source: any ByteSource, size: UInt64)? {
        guard var key = Self.cleaned(Array(path.utf8)) else { return nil }
        for _ in 0..<16 {
            if let member = members[key] {
                return (
                    OwnedRange(owner, DescriptorSource(fd, offset: member.offset, size: member.size, name: name)),
                    member.size
                )
            }
            guard let next = links[key] else { return nil }
            key = next
        }
        return nil
    }

    var paths: some Sequence<String> { members.keys }

    private static func cleaned(_ bytes: [UInt8]) -> String? {
        var parts: [ArraySlice<UInt8>] = []
        for part in bytes.split(separator: 0x2F) where part != [0x2E] {
            if part == [0x2E, 0x2E] {
                guard parts.popLast() != nil else { return nil }
            } else {
                parts.append(part)
            }
        }
        return String(decoding: Array(parts.joined(separator: [0x2F])), as: UTF8.self)
    }
}

/// A range of a file that keeps the file open.
private final class OwnedRange: ByteSource {
    private let owner: AnyObject
    private let inner: DescriptorSource

    init(_ owner: AnyObject, _ inner: DescriptorSource) {
        self.owner = owner
        self.inner = inner
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int { try inner.read(into: buffer) }
}

/// An open file with an owner that several can share.
final class SharedFile: Sendable {
    let fd: CInt

    init(owning fd: CInt) { self.fd = fd }

    deinit { close(fd) }
}
