// The directory of one running sandbox: its upper, and the files bound into it. Locked while in use, gone afterwards.

import CLinux
import Glibc
import StageSystem
import Synchronization

/// ROOT/runs/<id>, with ROOT/runs/<id>.lock beside it, flock'ed by its owner.
///
/// Left behind by a killed process, it is known by its free lock, and removed when the next one starts.
public final class RunDirectory: Sendable {
    /// Relative to the root: `runs/<id>`.
    let name: String
    private let root: String
    private let lock: OwnedFD
    private let hold = Mutex<WorkspaceHold?>(nil)

    /// Absolute, when the root is.
    public var path: String { root + "/" + name }
    var upper: String { name + "/upper" }
    var work: String { name + "/work" }

    /// Makes one with empty `upper`, `work` and `root` directories.
    public init(root: String) throws(SystemError) {
        self.root = root
        let reserved = try Self.reserve(root)
        name = reserved.name
        lock = OwnedFD(owning: reserved.takeLock())
        for directory in ["", "/upper", "/work", "/root"] {
            if mkdir(root + "/" + name + directory, 0o755) != 0 { throw .last("mkdir", root + "/" + name + directory) }
        }
    }

    deinit {
        // What cannot be removed now keeps its lock file, by which it is found later.
        do throws(SystemError) { try removeTree(path) } catch { return }
        unlink(path + ".lock")
    }

    /// Keeps the workspaces that the sandbox is stacked from as long as this lives.
    func keep(_ hold: WorkspaceHold) { self.hold.withLock { $0 = hold } }

    private struct Reservation: ~Copyable {
        let name: String
        let lock: OwnedFD

        consuming func takeLock() -> CInt { lock.take() }
    }

    private static func reserve(_ root: String) throws(SystemError) -> Reservation {
        while true {
            let name = "runs/" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
            let lock = try OwnedFD.open(root + "/" + name + ".lock", O_RDWR | O_CREAT | O_EXCL)
            // Somebody who cleans up may hold the new file for a moment, or have removed it.
            if flock(lock.raw, LOCK_EX | LOCK_NB) != 0 { continue }
            if try statDescriptor(lock.raw, name).nlink == 0 { continue }
            return Reservation(name: name, lock: lock)
        }
    }

    /// Removes what processes that are gone left in ROOT/runs.
    static func removeStale(root: String) throws(SystemError) {
        let runs = try OwnedFD.open(root + "/runs", O_RDONLY | O_DIRECTORY)
        let names = try readEntries(runs.raw, "runs").map { $0.name.description }
        let suffix = ".lock"
        for name in names where name.hasSuffix(suffix) {
            guard let lock = try? OwnedFD.open(name, O_RDWR, at: runs.raw) else { continue }
            if flock(lock.raw, LOCK_EX | LOCK_NB) != 0 { continue }
            // Its owner was killed a moment ago perhaps, and its sandbox is not quite gone: then a later one removes it.
            do throws(SystemError) { try removeTree(String(name.dropLast(suffix.utf8.count)), at: runs.raw) } catch {
                continue
            }
            unlinkat(runs.raw, name, 0)
        }
        // The lock file comes first and goes last, so a directory without one is nobody's.
        for name in names where !name.hasSuffix(suffix) && faccessat(runs.raw, name + suffix, F_OK, 0) != 0 {
            try? removeTree(name, at: runs.raw)
        }
    }
}
