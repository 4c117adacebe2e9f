// Who uses a cache mount, and which may go: ROOT/caches/NAME has NAME.use beside it, which says whose it is and when it was
// last used, and is locked while a command uses the cache. NAME.lock, beside it too, says who may use it at once.

import Glibc
import StageSystem

/// What is known of the directories of cache mounts.
public enum CacheUse {
    /// Files beside a cache's directory, by suffix.
    public static let sidecars = [".use", ".lock"]

    /// Marks the cache at `path` as in use until the descriptor is closed.
    static func hold(_ path: String, label: String) throws(SystemError) -> OwnedFD {
        while true {
            // Exclusive only while the cache is moved away.
            guard let fd = try lock(path, LOCK_SH) else {
                usleep(1000)
                continue
            }
            let info = try statDescriptor(fd.raw, path)
            if info.size == 0 { try writeAll(fd.raw, Array(label.utf8), path) }
            futimens(fd.raw, nil)
            return fd
        }
    }

    /// Keeps the cache at `path` from being used until the descriptor is closed; nil while somebody uses it.
    fileprivate static func holdAlone(
        _ path: String, afterOpening: () throws(SystemError) -> Void
    ) throws(SystemError) -> OwnedFD? {
        try lock(path, LOCK_EX, afterOpening: afterOpening)
    }

    /// Locks the file beside the cache at `path`; nil while others stand against it.
    private static func lock(
        _ path: String, _ kind: CInt, afterOpening: () throws(SystemError) -> Void = {}
    ) throws(SystemError) -> OwnedFD? {
        while true {
            let fd = try OwnedFD.open(path + ".use", O_RDWR | O_CREAT, mode: 0o600)
            try afterOpening()
            if flock(fd.raw, kind | LOCK_NB) != 0 {
                if errno == EWOULDBLOCK { return nil }
                if errno != EINTR { throw .last("flock", path + ".use") }
                continue
            }
            // Whoever removed the cache since the open removed the file, too: its lock keeps nobody out.
            if try statDescriptor(fd.raw, path).nlink != 0 { return fd }
        }
    }

    /// The ID and owner of the cache at `path`, and the second it was last used in; nil when nothing tells.
    public static func use(of path: String) -> (label: String, time: Int64)? {
        guard let fd = try? OwnedFD.open(path + ".use", O_RDONLY), let info = try? statDescriptor(fd.raw, path),
            let text = try? readToEnd(fd.raw, limit: 64 << 10, path)
        else { return nil }
        return (String(decoding: text, as: UTF8.self), info.mtime_sec)
    }

    /// When the cache at `path` was last used, in nanoseconds since 1970; nil when nothing tells.
    public static func stamp(of path: String) -> Int64? {
        guard let info = try? statEntry(AT_FDCWD, FileName(path + ".use")) else { return nil }
        return info.mtime_sec &* 1_000_000_000 &+ Int64(info.mtime_nsec)
    }
}

/// Removes what commands left on disk and none uses now.
public struct RunnerStorage: Sendable {
    private let root: String

    /// - Parameter root: the state directory.
    public init(root: String) { self.root = root }

    /// Removes the cache mount at `path`, relative to the root; false when a command uses it.
    public func removeCache(_ path: String) throws(SystemError) -> Bool { try removeCache(path, afterOpening: {}) }

    /// - Parameter afterOpening: what happens between finding the lock and taking it; for tests.
    func removeCache(_ path: String, afterOpening: () throws(SystemError) -> Void) throws(SystemError) -> Bool {
        guard let use = try CacheUse.holdAlone("\(root)/\(path)", afterOpening: afterOpening) else { return false }
        defer { withExtendedLifetime(use) {} }
        try remove(path) { () throws(SystemError) in
            for suffix in CacheUse.sidecars.reversed() { unlink("\(root)/\(path)\(suffix)") }
        }
        return true
    }

    /// Removes a workspace; false when a command uses it.
    public func removeWorkspace(_ path: String) throws(SystemError) -> Bool {
        // An object of its own, so that what this process uses counts, too.
        let locks = try WorkspaceLocks(root: root)
        let run = try runDirectory()
        return try locks.whileUnused(path) { () throws(SystemError) in try move(path, to: run) }
    }

    /// Moves the directory away by a rename, so that nobody finds a part of it, then takes its time to remove it.
    private func remove(_ path: String, then: () throws(SystemError) -> Void) throws(SystemError) {
        let run = try runDirectory()
        try move(path, to: run)
        try then()
    }

    private func move(_ path: String, to run: RunDirectory) throws(SystemError) {
        if rename("\(root)/\(path)", run.path + "/upper/removed") != 0 && errno != ENOENT {
            throw .last("rename", path)
        }
    }

    private func runDirectory() throws(SystemError) -> RunDirectory {
        if mkdir(root + "/runs", 0o700) != 0 && errno != EEXIST { throw .last("mkdir", root + "/runs") }
        return try RunDirectory(root: root)
    }
}
