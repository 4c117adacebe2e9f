// Reads what a command left in its upper directory, without judging it yet.

import CLinux
import Glibc
import StageStore
import StageSystem

/// A directory of an upper, as it lies on disk.
struct ScannedDirectory: Sendable {
    enum Entry: Sendable {
        case whiteout
        case directory(ScannedDirectory)
        case node(ScannedNode)
    }

    var attributes: Attributes
    /// Nothing of the lower directories shows through.
    var isOpaque: Bool
    var entries: [(name: FileName, entry: Entry)]
}

/// Anything else of an upper.
struct ScannedNode: Sendable {
    enum Content: Sendable {
        /// An index into `UpperScan.files`.
        case file(Int)
        case other(Node.Content)
    }

    var attributes: Attributes
    var content: Content
    /// The inode when it has several names, else 0.
    var sharedInode: UInt64
}

/// A walk through an upper directory.
struct UpperScan {
    struct File: Sendable {
        /// Relative to the upper, NUL-terminated.
        var path: [CChar]
    }

    /// Each regular file once, whatever number of names it has.
    private(set) var files: [File] = []
    private var indexByInode: [UInt64: Int] = [:]
    /// A directory that lies deeper than `TreePath.depthLimit`; what is in it was not looked at.
    private(set) var tooDeep: [CChar]?
    private var depth = 0
    /// What was opened up, and the modes that belong there.
    private var unlocked: [(path: [CChar], mode: mode_t)] = []
    let root: CInt
    let privileges: Privileges

    init(root: CInt, privileges: Privileges) {
        self.root = root
        self.privileges = privileges
    }

    mutating func scan() throws(SystemError) -> ScannedDirectory { try scan(root, path: []) }

    private mutating func scan(_ fd: CInt, path: [CChar]) throws(SystemError) -> ScannedDirectory {
        let info = try statDescriptor(fd)
        let (xattrs, isOpaque) = try attributes(fd, nil)
        var directory = ScannedDirectory(
            attributes: Attributes(info, xattrs, privileges), isOpaque: isOpaque, entries: [])
        if depth > TreePath.depthLimit { tooDeep = path }
        if tooDeep != nil { return directory }
        depth += 1
        defer { depth -= 1 }
        for found in try readEntries(fd) {
            var childPath = path
            if !path.isEmpty { childPath.append(0x2F) }
            childPath.append(contentsOf: found.name.bytes.map { CChar(bitPattern: $0) })
            if let entry = try scan(found.name, in: fd, path: childPath) {
                directory.entries.append((found.name, entry))
            }
        }
        return directory
    }

    private mutating func scan(
        _ name: FileName, in directory: CInt, path: [CChar]
    ) throws(SystemError) -> ScannedDirectory.Entry? {
        let info = try statEntry(directory, name)
        switch FileType(mode: info.mode) {
        case .directory:
            unlock(name, in: directory, info, needs: 0o700, path)
            let fd = OwnedFD(
                owning: try name.withCString { pointer throws(SystemError) in
                    try retrying("open", name.description) {
                        openat(directory, pointer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                    }
                })
            var scanned = try scan(fd.raw, path: path)
            scanned.attributes.mode = UInt16(info.mode & 0o7777)
            return .directory(scanned)
        case .characterDevice where info.rdev_major == 0 && info.rdev_minor == 0:
            return .whiteout
        case .socket, nil:
            // A socket without its server is nothing; the upper may serve as a workspace, so it goes from there too.
            name.withCString { _ = unlinkat(directory, $0, 0) }
            return nil
        case .file:
            unlock(name, in: directory, info, needs: 0o400, path)
            let node = try node(info, name, directory, content: .file(index(info, path)))
            return .node(node)
        case .symlink:
            return .node(try node(info, name, directory, content: .other(.symlink(try readLink(directory, name)))))
        case .fifo:
            return .node(try node(info, name, directory, content: .other(.fifo)))
        case .characterDevice:
            let content = Node.Content.characterDevice(major: info.rdev_major, minor: info.rdev_minor)
            return .node(try node(info, name, directory, content: .other(content)))
        case .blockDevice:
            let content = Node.Content.blockDevice(major: info.rdev_major, minor: info.rdev_minor)
            return .node(try node(info, name, directory, content: .other(content)))
        }
    }

    /// Without privileges, what the command made unreadable is unreadable for us too, though root of the sandbox could read
    /// it: it is opened up until `relock`.
    private mutating func unlock(
        _ name: FileName, in directory: CInt, _ info: clinux_stat, needs: UInt32, _ path: [CChar]
    ) {
        let mode = info.mode & 0o7777
        if privileges.isRoot || mode & needs == needs { return }
        // A refusal shows when the file is opened.
        if name.withCString({ fchmodat(directory, $0, mode_t(mode | needs), 0) }) == 0 {
            unlocked.append((path + [0], mode_t(mode)))
        }
    }

    /// Gives what was opened up for reading its own mode back, the innermost first.
    mutating func relock() {
        while let (path, mode) = unlocked.popLast() { fchmodat(root, path, mode, 0) }
    }

    private mutating func index(_ info: clinux_stat, _ path: [CChar]) -> Int {
        if info.nlink > 1, let known = indexByInode[info.ino] { return known }
        files.append(File(path: path + [0]))
        if info.nlink > 1 { indexByInode[info.ino] = files.count - 1 }
        return files.count - 1
    }

    private func node(
        _ info: clinux_stat, _ name: FileName, _ directory: CInt, content: ScannedNode.Content
    ) throws(SystemError) -> ScannedNode {
        let xattrs = try attributes(directory, name).kept
        return ScannedNode(
            attributes: Attributes(info, xattrs, privileges), content: content,
            sharedInode: info.nlink > 1 ? info.ino : 0)
    }

    /// What belongs to the file, and whether overlayfs marked it opaque.
    private func attributes(_ fd: CInt, _ name: FileName?) throws(SystemError) -> (kept: [XAttr], isOpaque: Bool) {
        var kept: [XAttr] = []
        var isOpaque = false
        for (key, value) in try readXattrs(fd, name) {
            if key == Array(privileges.opaqueAttribute.utf8) { isOpaque = value == [0x79] }
            if Self.belongsToFile(key) { kept.append(XAttr(name: key, value: value)) }
        }
        return (kept, isOpaque)
    }

    /// Labels of the host's security modules are not the file's own; capabilities are.
    private static func belongsToFile(_ name: [UInt8]) -> Bool {
        if isOverlayAttribute(name) { return false }
        if name.starts(with: Array("security.".utf8)) { return name == Array("security.capability".utf8) }
        return true
    }
}

extension Attributes {
    fileprivate init(_ info: clinux_stat, _ xattrs: [XAttr], _ privileges: Privileges) {
        let isSymlink = FileType(mode: info.mode) == .symlink
        self.init(
            mode: isSymlink ? 0o777 : UInt16(info.mode & 0o7777),
            // Without privileges there is one user in the sandbox, root, who is the caller outside.
            uid: privileges.isRoot ? info.uid : 0, gid: privileges.isRoot ? info.gid : 0, xattrs: xattrs,
            time: Timestamp(seconds: info.mtime_sec, nanoseconds: info.mtime_nsec))
    }
}
