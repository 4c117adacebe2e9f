// What a directory holds, read with getdents64 in large buffers.

import CLinux
import Glibc

/// One entry of a directory, as getdents64 reports it.
public struct DirectoryEntry: Sendable {
    public let name: FileName
    /// `DT_REG`, `DT_DIR`, ...; `DT_UNKNOWN` where the filesystem does not say.
    public let type: UInt8

    public init(name: FileName, type: UInt8) {
        self.name = name
        self.type = type
    }
}

/// All entries of the open directory `fd` but `.` and `..`, in the kernel's order.
public func readEntries(_ fd: CInt, _ subject: String = "") throws(SystemError) -> [DirectoryEntry] {
    var entries: [DirectoryEntry] = []
    let size = 128 * 1024
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
    defer { buffer.deallocate() }
    while true {
        let count = try retrying("getdents64", subject) { clinux_getdents64(fd, buffer.baseAddress, size) }
        if count == 0 { return entries }
        var offset = 0
        while offset < count {
            // struct linux_dirent64: ino 8, off 8, reclen 2, type 1, then the name and its NUL.
            let length = Int(buffer.loadUnaligned(fromByteOffset: offset + 16, as: UInt16.self))
            let type = buffer[offset + 18]
            let raw = UnsafeRawBufferPointer(rebasing: buffer[(offset + 19)..<(offset + length)])
            let end = raw.firstIndex(of: 0) ?? raw.count
            offset += length
            if end == 1, raw[0] == 0x2E { continue }
            if end == 2, raw[0] == 0x2E, raw[1] == 0x2E { continue }
            entries.append(DirectoryEntry(name: FileName(bytes: raw[..<end]), type: type))
        }
    }
}

/// The type bits of a mode (`S_IFMT`) as one of the cases that the kernel knows.
public enum FileType: UInt8, Sendable, Codable {
    case file = 1
    case directory = 2
    case symlink = 3
    case fifo = 4
    case characterDevice = 5
    case blockDevice = 6
    case socket = 7

    public init?(mode: UInt32) {
        switch mode & 0o170000 {
        case 0o100000: self = .file
        case 0o040000: self = .directory
        case 0o120000: self = .symlink
        case 0o010000: self = .fifo
        case 0o020000: self = .characterDevice
        case 0o060000: self = .blockDevice
        case 0o140000: self = .socket
        default: return nil
        }
    }
}

/// `statx` of `name` in `directory`, not following a symlink.
public func statEntry(_ directory: CInt, _ name: FileName) throws(SystemError) -> clinux_stat {
    var info = clinux_stat()
    try name.withCString { pointer throws(SystemError) in
        _ = try retrying("statx", name.description) { clinux_statx(directory, pointer, AT_SYMLINK_NOFOLLOW, &info) }
    }
    return info
}

/// `statx` of the open descriptor itself.
public func statDescriptor(_ fd: CInt, _ subject: String = "") throws(SystemError) -> clinux_stat {
    var info = clinux_stat()
    // AT_EMPTY_PATH
    try retrying("statx", subject) { clinux_statx(fd, "", 0x1000, &info) }
    return info
}

/// The target of the symlink `name` in `directory`, as bytes.
public func readLink(_ directory: CInt, _ name: FileName) throws(SystemError) -> [UInt8] {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = try name.withCString { pointer throws(SystemError) in
        try retrying("readlink", name.description) { readlinkat(directory, pointer, &buffer, buffer.count) }
    }
    return buffer[..<count].map { UInt8(bitPattern: $0) }
}

/// The extended attributes of `name` in `directory` (of the descriptor itself when `name` is nil), sorted by name.
/// A filesystem without them has none.
public func readXattrs(_ directory: CInt, _ name: FileName?) throws(SystemError) -> [(name: [UInt8], value: [UInt8])] {
    func withName<R>(_ body: (UnsafePointer<CChar>?) -> R) -> R {
        if let name { return name.withCString { body($0) } }
        return body(nil)
    }
    var capacity = 0
    while true {
        var list = [CChar](repeating: 0, count: capacity)
        let length = withName { clinux_listxattr(directory, $0, &list, capacity) }
        if length < 0 {
            if errno == ERANGE {
                capacity = capacity * 2 + 256
                continue
            }
            if errno == ENOTSUP || errno == ENODATA || errno == ENOSYS { return [] }
            throw .last("listxattr", name?.description ?? "")
        }
        if length == 0 { return [] }
        if capacity == 0 {
            capacity = length
            continue
        }
        var result: [(name: [UInt8], value: [UInt8])] = []
        for key in list[..<length].split(separator: 0) {
            let keyZ = Array(key) + [0]
            var size = withName { clinux_getxattr(directory, $0, keyZ, nil, 0) }
            if size < 0 {
                if errno == ENODATA || errno == EPERM { continue }
                throw .last("getxattr", name?.description ?? "")
            }
            var value = [UInt8](repeating: 0, count: size)
            size = withName { clinux_getxattr(directory, $0, keyZ, &value, value.count) }
            if size < 0 { throw .last("getxattr", name?.description ?? "") }
            result.append((key.map { UInt8(bitPattern: $0) }, Array(value[..<size])))
        }
        return result.sorted { precedes($0.name, $1.name) }
    }
}
