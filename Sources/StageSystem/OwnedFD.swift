// A file descriptor with one owner, and the reads and writes that never come back short.

import CLinux
import Glibc

/// A file descriptor that closes when its owner lets go of it.
public struct OwnedFD: ~Copyable, Sendable {
    /// The descriptor; valid as long as this value lives. Do not close it.
    public let raw: CInt

    /// Takes ownership of `raw`.
    public init(owning raw: CInt) { self.raw = raw }

    deinit { close(raw) }

    /// Gives the descriptor away without closing it.
    public consuming func take() -> CInt {
        let value = raw
        discard self
        return value
    }

    /// Opens `path`, relative to `directory`, close-on-exec.
    public static func open(
        _ path: String, _ flags: CInt, mode: mode_t = 0o600, at directory: CInt = AT_FDCWD
    ) throws(SystemError) -> OwnedFD {
        let fd = try retrying("open", path) { openat(directory, path, flags | O_CLOEXEC, mode) }
        return OwnedFD(owning: fd)
    }

    /// A second descriptor of the same open file.
    public borrowing func duplicate() throws(SystemError) -> OwnedFD {
        let source = raw
        return OwnedFD(owning: try retrying("dup") { fcntl(source, F_DUPFD_CLOEXEC, 0) })
    }

    /// Both ends of a pipe, close-on-exec.
    public static func pipe() throws(SystemError) -> (read: CInt, write: CInt) {
        var ends: [CInt] = [0, 0]
        try retrying("pipe2") { clinux_pipe2(&ends, O_CLOEXEC) }
        return (ends[0], ends[1])
    }
}

/// Writes all of `bytes`.
public func writeAll(_ fd: CInt, _ bytes: UnsafeRawBufferPointer, _ subject: String = "") throws(SystemError) {
    var rest = bytes
    while let base = rest.baseAddress, !rest.isEmpty {
        let count = try retrying("write", subject) { write(fd, base, rest.count) }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }
}

/// Writes all of `bytes`.
public func writeAll(_ fd: CInt, _ bytes: [UInt8], _ subject: String = "") throws(SystemError) {
    let result: Result<Void, SystemError> = bytes.withUnsafeBytes { buffer in
        do throws(SystemError) { return .success(try writeAll(fd, buffer, subject)) } catch { return .failure(error) }
    }
    try result.get()
}

/// Writes all of `bytes` at `offset`.
public func writeAll(
    _ fd: CInt, _ bytes: UnsafeRawBufferPointer, at offset: Int64, _ subject: String = ""
) throws(SystemError) {
    var rest = bytes
    var position = offset
    while let base = rest.baseAddress, !rest.isEmpty {
        let count = try retrying("pwrite", subject) { pwrite(fd, base, rest.count, off_t(position)) }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        position += Int64(count)
    }
}

/// Reads until `buffer` is full or the file ends; returns the count read.
public func readFull(_ fd: CInt, _ buffer: UnsafeMutableRawBufferPointer, _ subject: String = "") throws(SystemError)
    -> Int
{
    var filled = 0
    while filled < buffer.count, let base = buffer.baseAddress {
        let count = try retrying("read", subject) { read(fd, base + filled, buffer.count - filled) }
        if count == 0 { break }
        filled += count
    }
    return filled
}

/// Reads at `offset` until `buffer` is full or the file ends; returns the count read.
public func readFull(
    _ fd: CInt, _ buffer: UnsafeMutableRawBufferPointer, at offset: Int64, _ subject: String = ""
) throws(SystemError) -> Int {
    var filled = 0
    while filled < buffer.count, let base = buffer.baseAddress {
        let count = try retrying("pread", subject) {
            pread(fd, base + filled, buffer.count - filled, off_t(offset) + off_t(filled))
        }
        if count == 0 { break }
        filled += count
    }
    return filled
}

/// The whole file behind a descriptor, from its present position, at most `limit` bytes (EFBIG beyond).
public func readToEnd(_ fd: CInt, limit: Int = .max, _ subject: String = "") throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
        let count = try retrying("read", subject) { read(fd, &chunk, chunk.count) }
        if count == 0 { return bytes }
        if bytes.count + count > limit { throw SystemError("read", subject, errno: EFBIG) }
        bytes.append(contentsOf: chunk[..<count])
    }
}

/// The whole file at `path`, at most `limit` bytes.
public func readFile(_ path: String, at directory: CInt = AT_FDCWD, limit: Int = .max) throws(SystemError) -> [UInt8] {
    let fd = try OwnedFD.open(path, O_RDONLY, at: directory)
    return try readToEnd(fd.raw, limit: limit, path)
}

/// Writes `bytes` to `path` so that a reader finds the old file or the new one, never a part: a temporary file beside
/// it, synced, renamed over it, the directory synced.
public func writeFile(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o644) throws(SystemError) {
    let temporary = "\(path).\(getpid()).\(UInt32.random(in: 0...UInt32.max)).new"
    do throws(SystemError) {
        let fd = try OwnedFD.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
        try writeAll(fd.raw, bytes, path)
        try retrying("fsync", path) { fsync(fd.raw) }
        try retrying("rename", path) { rename(temporary, path) }
    } catch {
        unlink(temporary)
        throw error
    }
    let parent = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let directory = try OwnedFD.open(parent, O_RDONLY | O_DIRECTORY)
    try retrying("fsync", parent) { fsync(directory.raw) }
}

/// Writes `bytes` to `path` so that a reader finds the old file or the new one; not synced.
public func replaceFile(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o644) throws(SystemError) {
    try replaceFile(path, mode: mode) { fd throws(SystemError) in try writeAll(fd, bytes, path) }
}

/// Puts what `write` writes to the descriptor that it is given at `path`, so that a reader finds the old file or the new one;
/// not synced. The temporary file beside it is locked while it is written, and named `<path>.<number>.new`: what a killed
/// process left is known by its free lock.
public func replaceFile(
    _ path: String, mode: mode_t = 0o644, _ write: (CInt) throws(SystemError) -> Void
) throws(SystemError) {
    while true {
        let temporary = "\(path).\(UInt64.random(in: 0...UInt64.max)).new"
        let fd = try OwnedFD.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
        do throws(SystemError) {
            // Somebody who clears up may have been faster than the lock.
            if flock(fd.raw, LOCK_EX | LOCK_NB) != 0 { continue }
            if try statDescriptor(fd.raw, temporary).nlink == 0 { continue }
            try write(fd.raw)
            try retrying("rename", path) { rename(temporary, path) }
            return
        } catch {
            unlink(temporary)
            throw error
        }
    }
}

/// Moves the directory at `fresh` to `path` unless something is there; false when something is. A plain rename(2) would put
/// it in the place of an empty directory, under those who have mounted that.
public func publishDirectory(_ fresh: String, at path: String) throws(SystemError) -> Bool {
    while clinux_renameat2(AT_FDCWD, fresh, AT_FDCWD, path, clinux_rename_noreplace) != 0 {
        switch errno {
        case EINTR: continue
        case EEXIST: return false
        default: throw .last("renameat2", path)
        }
    }
    return true
}

/// Removes what killed processes left of `replaceFile` in `directory`.
public func removeStaleReplacements(in directory: String) {
    guard let fd = try? OwnedFD.open(directory, O_RDONLY | O_DIRECTORY), let entries = try? readEntries(fd.raw) else {
        return
    }
    for entry in entries {
        let name = entry.name.description
        guard name.hasSuffix(".new"), let file = try? OwnedFD.open(name, O_RDWR | O_NOFOLLOW, at: fd.raw) else {
            continue
        }
        if flock(file.raw, LOCK_EX | LOCK_NB) == 0 { unlinkat(fd.raw, name, 0) }
    }
}
