// Who uses which workspace: a shared lock on one byte of ROOT/workspaces.lock for each, so that none is removed under a
// running command. Locks go with their process.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem
import Synchronization

/// The locks that one executor holds, counted: several commands may use one workspace.
final class WorkspaceLocks: Sendable {
    private let fd: OwnedFD
    private let path: String
    private let counts = Mutex<[Int64: Int]>([:])

    init(root: String) throws(SystemError) {
        path = root + "/workspaces.lock"
        fd = try OwnedFD.open(path, O_RDWR | O_CREAT, mode: 0o600)
    }

    /// The byte of a workspace, by its path. Two that share one only wait for each other.
    private static func byte(_ workspace: String) -> Int64 { Int64(Digest.of(workspace).leadingWord >> 2) }

    /// Takes a use; false while somebody is about to remove the workspace.
    fileprivate func take(_ workspace: String) throws(SystemError) -> Bool {
        let byte = Self.byte(workspace)
        return try counts.withLock { counts throws(SystemError) in
            if counts[byte] == nil, clinux_lock_range(fd.raw, 0, byte, 1) != 0 {
                if errno == EAGAIN || errno == EACCES { return false }
                throw .last("lock", path)
            }
            counts[byte, default: 0] += 1
            return true
        }
    }

    fileprivate func give(_ workspace: String) {
        let byte = Self.byte(workspace)
        counts.withLock { counts in
            let count = (counts[byte] ?? 1) - 1
            counts[byte] = count > 0 ? count : nil
            if count == 0 { _ = clinux_lock_range(fd.raw, 2, byte, 1) }
        }
    }

    /// Calls `body` while nobody uses the workspace; false, without calling, when somebody does. For an object of its own:
    /// what this one holds itself it does not see.
    func whileUnused(_ workspace: String, _ body: () throws(SystemError) -> Void) throws(SystemError) -> Bool {
        let byte = Self.byte(workspace)
        if clinux_lock_range(fd.raw, 1, byte, 1) != 0 {
            if errno == EAGAIN || errno == EACCES { return false }
            throw .last("lock", path)
        }
        defer { _ = clinux_lock_range(fd.raw, 2, byte, 1) }
        try body()
        return true
    }
}

/// Keeps the workspaces of one command where they are, from before they are looked for until this goes.
final class WorkspaceHold: Sendable {
    private let locks: WorkspaceLocks
    private let names = Mutex<[String]>([])

    init(_ locks: WorkspaceLocks) { self.locks = locks }

    deinit { for name in names.withLock({ $0 }) { locks.give(name) } }

    func add(_ workspace: String) async throws(StoreError) {
        // Whoever removes it holds it for the time of a rename.
        while !(try system { () throws(SystemError) in try locks.take(workspace) }) {
            try? await Task.sleep(for: .milliseconds(1))
        }
        names.withLock { $0.append(workspace) }
    }
}
