// Removes a tree of any depth with a bounded number of descriptors and a bounded stack: what lies too deep is first moved up.

import CLinux
import Glibc

/// Removes the tree under `name` in `directory`, never following a symlink and never leaving it. What is gone already is no
/// error. Nobody else may change the tree meanwhile.
public func removeTree(_ name: String, at directory: CInt = AT_FDCWD) throws(SystemError) {
    if unlinkat(directory, name, 0) == 0 || errno == ENOENT { return }
    guard errno == EISDIR || errno == EPERM || errno == ENOTEMPTY else { throw .last("unlink", name) }
    guard let top = try openDirectory(FileName(name), at: directory) else { return }
    var removal = TreeRemoval(top: top.raw)
    try removal.removeContents(of: top.raw, depth: 0)
    try removal.removeMoved()
    _ = consume top
    if unlinkat(directory, name, AT_REMOVEDIR) != 0, errno != ENOENT { throw .last("rmdir", name) }
}

/// A removal under way.
private struct TreeRemoval {
    /// Levels that are gone down by recursion. A directory below is moved to the top and removed from there.
    private static let reach = 64

    let top: CInt
    private var moved: [FileName] = []
    private var counter = 0

    init(top: CInt) { self.top = top }

    mutating func removeContents(of fd: CInt, depth: Int) throws(SystemError) {
        for entry in try readEntries(fd) {
            if entry.type != UInt8(DT_DIR), entry.name.withCString({ unlinkat(fd, $0, 0) }) == 0 || errno == ENOENT {
                continue
            }
            if depth >= Self.reach {
                // An empty one, or one that is gone, needs no detour.
                if entry.name.withCString({ unlinkat(fd, $0, AT_REMOVEDIR) }) == 0 || errno == ENOENT { continue }
                try moveUp(entry.name, from: fd)
            } else {
                try remove(entry.name, in: fd, depth: depth)
            }
        }
    }

    mutating func removeMoved() throws(SystemError) {
        while let name = moved.popLast() { try remove(name, in: top, depth: 0) }
    }

    private mutating func remove(_ name: FileName, in parent: CInt, depth: Int) throws(SystemError) {
        guard let fd = try openDirectory(name, at: parent) else { return }
        try removeContents(of: fd.raw, depth: depth + 1)
        _ = consume fd
        if name.withCString({ unlinkat(parent, $0, AT_REMOVEDIR) }) != 0, errno != ENOENT {
            throw .last("rmdir", name.description)
        }
    }

    private mutating func moveUp(_ name: FileName, from fd: CInt) throws(SystemError) {
        // A new parent is written into the directory itself, which its owner may have forbidden.
        _ = name.withCString { fchmodat(fd, $0, 0o700, 0) }
        while true {
            counter += 1
            let place = FileName(".removed-\(counter)")
            let result = name.withCString { from in place.withCString { to in renameat(fd, from, top, to) } }
            if result == 0 {
                moved.append(place)
                return
            }
            // The name is taken by something that is itself yet to be removed.
            guard errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR else {
                throw .last("rename", name.description)
            }
        }
    }
}

/// Opens a directory that is to be removed, made accessible; nil when it is gone.
private func openDirectory(_ name: FileName, at parent: CInt) throws(SystemError) -> OwnedFD? {
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    var fd = name.withCString { openat(parent, $0, flags) }
    if fd < 0, errno == EACCES {
        // A directory that its owner made unreadable: ours to remove all the same.
        _ = name.withCString { fchmodat(parent, $0, 0o700, 0) }
        fd = name.withCString { openat(parent, $0, flags) }
    }
    if fd < 0 {
        if errno == ENOENT { return nil }
        throw .last("open", name.description)
    }
    let owned = OwnedFD(owning: fd)
    fchmod(owned.raw, 0o700)
    return owned
}
