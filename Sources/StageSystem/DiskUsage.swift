// What a directory takes on the disk, as `du` counts it.

import CLinux
import Glibc

/// Adds up the blocks of directory trees; a file with several names counts once, in whichever tree it is met first.
public struct DiskUsage: Sendable {
    private struct File: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    private struct Level {
        let file: File
        var pending: [FileName]
    }

    private var counted: Set<File> = []
    /// What `bytes(at:)` was asked for.
    private var measured: Set<File> = []

    public init() {}

    /// The bytes of `path` and all beneath it on the same filesystem, directories included. What vanishes meanwhile does
    /// not count; nothing there is 0. Holds one descriptor, whatever the depth.
    public mutating func bytes(at path: String) throws(SystemError) -> UInt64 {
        try bytes(at: path, isRest: false)
    }

    /// The same, without all that was measured before: together with that, it is what `bytes(at:)` alone would give.
    public mutating func rest(at path: String) throws(SystemError) -> UInt64 { try bytes(at: path, isRest: true) }

    private mutating func bytes(at path: String, isRest: Bool) throws(SystemError) -> UInt64 {
        let info: clinux_stat
        do throws(SystemError) { info = try statEntry(AT_FDCWD, FileName(path)) } catch {
            if error.errno == ENOENT || error.errno == ENOTDIR { return 0 }
            throw error
        }
        var total = count(info)
        if !isRest { measured.insert(File(device: info.dev, inode: info.ino)) }
        guard FileType(mode: info.mode) == .directory else { return total }
        var here = try OwnedFD.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        var levels = [
            Level(file: File(device: info.dev, inode: info.ino), pending: try enter(here.raw, info.dev, isRest, &total))
        ]
        while let top = levels.indices.last {
            guard let name = levels[top].pending.popLast() else {
                levels.removeLast()
                guard let parent = levels.last else { break }
                let up = try OwnedFD.open("..", O_RDONLY | O_DIRECTORY, at: here.raw)
                let found = try statDescriptor(up.raw, path)
                // Moved away in between: where it was is not known any more.
                if File(device: found.dev, inode: found.ino) != parent.file { return total }
                here = up
                continue
            }
            let opened = name.withCString { openat(here.raw, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
            if opened < 0 {
                if errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EACCES { continue }
                throw .last("open", name.description)
            }
            let next = OwnedFD(owning: opened)
            let found = try statDescriptor(next.raw, name.description)
            let pending = try enter(next.raw, info.dev, isRest, &total)
            levels.append(Level(file: File(device: found.dev, inode: found.ino), pending: pending))
            here = next
        }
        return total
    }

    /// Counts what is in a directory; gives its subdirectories.
    private mutating func enter(
        _ fd: CInt, _ device: UInt64, _ isRest: Bool, _ total: inout UInt64
    ) throws(SystemError) -> [FileName] {
        var directories: [FileName] = []
        let entries: [DirectoryEntry]
        do throws(SystemError) { entries = try readEntries(fd) } catch {
            // Removed since it was opened.
            if error.errno == ENOENT { return [] }
            throw error
        }
        for entry in entries {
            guard let info = try? statEntry(fd, entry.name), info.dev == device else { continue }
            if isRest && measured.contains(File(device: info.dev, inode: info.ino)) { continue }
            total += count(info)
            if FileType(mode: info.mode) == .directory { directories.append(entry.name) }
        }
        return directories
    }

    private mutating func count(_ info: clinux_stat) -> UInt64 {
        if info.nlink > 1 && FileType(mode: info.mode) != .directory {
            if !counted.insert(File(device: info.dev, inode: info.ino)).inserted { return 0 }
        }
        return info.blocks * 512
    }
}
