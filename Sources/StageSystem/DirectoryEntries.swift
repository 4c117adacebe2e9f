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

/// Removes the tree under `name` in `directory`, never following a symlink and never leaving it. What is gone already is no error.
public func removeTree(_ name: String, at directory: CInt = AT_FDCWD) throws(SystemError) {
    if unlinkat(directory, name, 0) == 0 || errno == ENOENT { return }
    guard errno == EISDIR || errno == EPERM || errno == ENOTEMPTY else { throw .last("unlink", name) }
    let fd: CInt
    do throws(SystemError) {
        fd = try OwnedFD.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: directory).take()
    } catch {
        if error.errno == ENOENT { return }
        guard error.errno == EACCES else { throw error }
        // A directory that its owner made unreadable: ours to remove all the same.
        fchmodat(directory, name, 0o700, 0)
        fd = try OwnedFD.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: directory).take()
    }
    let owned = OwnedFD(owning: fd)
    fchmod(owned.raw, 0o700)
    for entry in try readEntries(owned.raw, name) {
        let failed = entry.name.withCString { pointer in
            entry.type != UInt8(DT_DIR) && unlinkat(fd, pointer, 0) != 0 && errno != ENOENT
        }
        if entry.type == UInt8(DT_DIR) || failed {
            try removeEntry(entry.name, at: fd)
        }
    }
    _ = consume owned
    if unlinkat(directory, name, AT_REMOVEDIR) != 0, errno != ENOENT { throw .last("rmdir", name) }
}

private func removeEntry(_ name: FileName, at directory: CInt) throws(SystemError) {
    // Names that are not UTF-8 cannot travel as String: go through the descriptor.
    let fd = name.withCString { openat(directory, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    if fd < 0 {
        if errno == ENOENT { return }
        if errno == EACCES {
            _ = name.withCString { fchmodat(directory, $0, 0o700, 0) }
            return try removeEntryForced(name, at: directory)
        }
        let failed = name.withCString { unlinkat(directory, $0, 0) != 0 && errno != ENOENT }
        if failed { throw .last("unlink", name.description) }
        return
    }
    try removeContents(of: OwnedFD(owning: fd), name, at: directory)
}

private func removeEntryForced(_ name: FileName, at directory: CInt) throws(SystemError) {
    let fd = name.withCString { openat(directory, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    if fd < 0 { throw .last("open", name.description) }
    try removeContents(of: OwnedFD(owning: fd), name, at: directory)
}

private func removeContents(of owned: consuming OwnedFD, _ name: FileName, at directory: CInt) throws(SystemError) {
    let fd = owned.raw
    fchmod(fd, 0o700)
    for entry in try readEntries(fd, name.description) { try removeEntry(entry.name, at: fd) }
    _ = consume owned
    let failed = name.withCString { unlinkat(directory, $0, AT_REMOVEDIR) != 0 && errno != ENOENT }
    if failed { throw .last("rmdir", name.description) }
}
