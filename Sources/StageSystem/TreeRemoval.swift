// Removes directory trees of any depth with a fixed number of descriptors, and never what is not in them.

import CLinux
import Glibc

/// Removes the tree under `name` in `directory`. What is gone already is no error.
///
/// A symlink is removed, never followed; a directory that another filesystem is mounted on is an error (`EXDEV`), and what
/// is in it stays. Directories without permissions are opened up first.
public func removeTree(_ name: String, at directory: CInt = AT_FDCWD) throws(SystemError) {
    try removeTree(FileName(name), at: directory)
}

/// Removes the tree under `name`, which need not be UTF-8, in `directory`. See `removeTree(_:at:)` for strings.
public func removeTree(_ name: FileName, at directory: CInt = AT_FDCWD) throws(SystemError) {
    if try unlinkFile(name, at: directory) { return }
    var removal = TreeRemoval()
    defer { removal.close() }
    guard try removal.enter(name, at: directory, resolve: 0) else { return }
    try removal.run()
    let failed = name.withCString { unlinkat(directory, $0, AT_REMOVEDIR) != 0 && errno != ENOENT }
    if failed { throw .last("rmdir", name.description) }
}

/// Removes what is no directory; false when it is one.
private func unlinkFile(_ name: FileName, at directory: CInt) throws(SystemError) -> Bool {
    let code = name.withCString { unlinkat(directory, $0, 0) == 0 ? 0 : errno }
    if code == 0 || code == ENOENT { return true }
    // EPERM is what POSIX says for a directory, and Linux for an immutable file.
    if code == EPERM, FileType(mode: try statEntry(directory, name).mode) != .directory {
        throw SystemError("unlink", name.description, errno: code)
    }
    guard code == EISDIR || code == EPERM else { throw SystemError("unlink", name.description, errno: code) }
    return false
}

/// The directories from the top to the one being emptied. Only the deepest hold a descriptor; the others are opened
/// again through `..` and have to be the same directory then.
private struct TreeRemoval {
    private struct Level {
        let name: FileName
        var fd: CInt
        let device: UInt64
        let inode: UInt64
        /// Subdirectories still to remove.
        var pending: [FileName]
    }

    private static let descriptors = 16
    private static let noCrossing: UInt64 = 0x01  // RESOLVE_NO_XDEV

    private var levels: [Level] = []

    mutating func close() {
        for level in levels where level.fd >= 0 { Glibc.close(level.fd) }
        levels = []
    }

    /// Empties the directory that was entered.
    mutating func run() throws(SystemError) {
        while let top = levels.indices.last {
            if let name = levels[top].pending.popLast() {
                _ = try enter(name, at: levels[top].fd, resolve: Self.noCrossing)
            } else {
                try leave()
            }
        }
    }

    /// Opens the directory `name`, removes its files and notes its subdirectories. False when it is gone.
    mutating func enter(_ name: FileName, at directory: CInt, resolve: UInt64) throws(SystemError) -> Bool {
        let opened: OwnedFD
        do throws(SystemError) { opened = try Self.open(name, at: directory, resolve: resolve) } catch {
            if error.errno == ENOENT { return false }
            // Somebody put a file or a symlink in its place.
            if error.errno == ENOTDIR || error.errno == ELOOP, try unlinkFile(name, at: directory) { return false }
            throw error
        }
        let info = try statDescriptor(opened.raw, name.description)
        if info.mode & 0o700 != 0o700 { fchmod(opened.raw, 0o700) }
        var pending: [FileName] = []
        for entry in try readEntries(opened.raw, name.description) {
            if entry.type == UInt8(DT_DIR) {
                pending.append(entry.name)
            } else if try !unlinkFile(entry.name, at: opened.raw) {
                pending.append(entry.name)
            }
        }
        levels.append(Level(name: name, fd: opened.take(), device: info.dev, inode: info.ino, pending: pending))
        let distant = levels.count - 1 - Self.descriptors
        if distant >= 0, levels[distant].fd >= 0 {
            Glibc.close(levels[distant].fd)
            levels[distant].fd = -1
        }
        return true
    }

    /// Removes the empty directory at the end from the one above it. The top one is its caller's.
    private mutating func leave() throws(SystemError) {
        guard let done = levels.popLast() else { return }
        let child = OwnedFD(owning: done.fd)
        guard let above = levels.indices.last else { return }
        if levels[above].fd < 0 {
            let parent = try OwnedFD.open("..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: child.raw)
            let info = try statDescriptor(parent.raw, levels[above].name.description)
            guard info.dev == levels[above].device, info.ino == levels[above].inode else {
                // Moved elsewhere while it was emptied: what is above it now is not ours.
                throw SystemError("rmdir", done.name.description, errno: ESTALE)
            }
            levels[above].fd = parent.take()
        }
        let fd = levels[above].fd
        let failed = done.name.withCString { unlinkat(fd, $0, AT_REMOVEDIR) != 0 && errno != ENOENT }
        if failed { throw .last("rmdir", done.name.description) }
    }

    private static func open(_ name: FileName, at directory: CInt, resolve: UInt64) throws(SystemError) -> OwnedFD {
        do throws(SystemError) { return try openOnce(name, at: directory, resolve: resolve) } catch {
            guard error.errno == EACCES else { throw error }
            // Its owner made it unreadable: ours to remove all the same.
            let failed = name.withCString { fchmodat(directory, $0, 0o700, AT_SYMLINK_NOFOLLOW) != 0 }
            if failed { throw error }
            return try openOnce(name, at: directory, resolve: resolve)
        }
    }

    private static func openOnce(_ name: FileName, at directory: CInt, resolve: UInt64) throws(SystemError) -> OwnedFD {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let fd = try name.withCString { pointer throws(SystemError) in
            try retrying("open", name.description) {
                let fd = clinux_openat2(directory, pointer, UInt64(flags), 0, resolve)
                // Kernels and sandboxes without openat2.
                return fd < 0 && (errno == ENOSYS || errno == EPERM) ? openat(directory, pointer, flags) : fd
            }
        }
        return OwnedFD(owning: fd)
    }
}
