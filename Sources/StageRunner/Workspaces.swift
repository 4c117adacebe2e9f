// Checked-out trees on disk, as directories that overlayfs can stack. A cache of the store: each can go at any time
// when nobody runs.

import Glibc
import StageHash
import StageStore
import StageSystem
import Synchronization

/// ROOT/workspaces/<boot>/: `full-<tree>` holds a tree, `delta-<from>-<to>` what makes one tree out of another,
/// `stub…` the mount points that an image may lack.
///
/// Nothing in here was ever synced, so what an earlier boot left is not trusted and removed.
final class Workspaces: Sendable {
    /// More directories than this are not stacked; the kernel takes 500.
    static let stackLimit = 400

    let root: String
    private let store: any TreeStore
    private let privileges: Privileges
    private let workers: Int
    /// Where directories are filled: it blocks.
    private let pool: BlockingPool
    /// Relative to the root: `workspaces/<boot>`.
    private let directory: String
    private let locks: WorkspaceLocks
    /// What is being made, so that steps that start together do not make it twice; done ones stay as "is there".
    private let making = Mutex<[String: Task<StoreError?, Never>]>([:])

    init(
        root: String, store: any TreeStore, privileges: Privileges, workers: Int, pool: BlockingPool
    ) throws(SystemError) {
        self.root = root
        self.pool = pool
        self.store = store
        self.privileges = privileges
        self.workers = workers
        let boot = String(
            decoding: try readFile("/proc/sys/kernel/random/boot_id", limit: 64).prefix { $0 > 0x20 }, as: UTF8.self)
        directory = "workspaces/" + boot
        if mkdir(root, 0o755) != 0 && errno != EEXIST { throw .last("mkdir", root) }
        locks = try WorkspaceLocks(root: root)
        // Images hold set-id programs and devices: nobody else on this machine gets at them here.
        for path in ["/runs", "/workspaces", "/" + directory] {
            if mkdir(root + path, 0o700) != 0 && errno != EEXIST { throw .last("mkdir", root + path) }
        }
        try Self.removeOthers(root, keeping: boot)
    }

    private static func removeOthers(_ root: String, keeping boot: String) throws(SystemError) {
        let all = try OwnedFD.open(root + "/workspaces", O_RDONLY | O_DIRECTORY)
        for entry in try readEntries(all.raw, "workspaces") where entry.name != FileName(boot) {
            try removeTree(entry.name.description, at: all.raw)
        }
    }

    /// The directories that stacked give the last tree of `chain`, topmost first, relative to the root; made where
    /// missing.
    ///
    /// - Parameter hold: keeps them there.
    func stack(_ chain: [TreeRef], _ hold: WorkspaceHold) async throws(StoreError) -> [String] {
        guard let last = chain.last else { return [] }
        // The latest tree that is there as a whole is the ground to build on.
        let start = chain.lastIndex { exists(full($0)) } ?? 0
        if chain.count - start > Self.stackLimit { return [try await checkOut(last, hold)] }
        var lowers = [try await checkOut(chain[start], hold)]
        for (from, to) in zip(chain[start...], chain[(start + 1)...]) where from.identity != to.identity {
            lowers.append(try await checkOut(from: from, to: to, hold))
        }
        return lowers.reversed()
    }

    /// The bottom-most directory: the mount points, with `files` as empty files among them.
    func stub(
        files: [TreePath], directories: [TreePath] = [], _ hold: WorkspaceHold
    ) async throws(StoreError) -> String {
        let text = (files.map(\.description) + directories.map { $0.description + "/" }).joined(separator: "\0")
        return try await make("stub-" + Digest.of(text).short, hold) { [root] path throws(StoreError) in
            try system { () throws(SystemError) in
                for name in ["proc", "sys", "dev"] {
                    try Self.makeDirectory(root + "/" + path + "/" + name)
                }
                for file in files { try Self.touch(file, in: root + "/" + path) }
                for directory in directories { try Self.makeDirectories(directory, in: root + "/" + path) }
            }
        }
    }

    private static func touch(_ file: TreePath, in directory: String) throws(SystemError) {
        let here = try makeDirectories(file.parent, in: directory)
        let made = try OwnedFD.open(here + "/" + (file.last?.description ?? ""), O_WRONLY | O_CREAT, mode: 0o644)
        try retrying("chmod", here) { fchmod(made.raw, 0o644) }
    }

    @discardableResult
    private static func makeDirectories(_ path: TreePath, in directory: String) throws(SystemError) -> String {
        var here = directory
        for component in path.components {
            here += "/" + component.description
            try makeDirectory(here)
        }
        return here
    }

    /// Images show it, so the caller's umask must not.
    private static func makeDirectory(_ path: String) throws(SystemError) {
        if mkdir(path, 0o755) != 0 {
            if errno == EEXIST { return }
            throw .last("mkdir", path)
        }
        try retrying("chmod", path) { chmod(path, 0o755) }
    }

    /// Keeps the upper directory of a finished step as the delta that it is. No bytes are copied.
    func adopt(_ upper: String, from: TreeRef, to: TreeRef) {
        // The loser of a race leaves its upper to be removed with its run directory.
        _ = try? publishDirectory(root + "/" + upper, at: root + "/" + delta(from, to))
    }

    // MARK: Names

    private func full(_ tree: TreeRef) -> String { "\(directory)/full-\(tree.object.hex)" }

    /// By the object that it leads to, times included: what a later capture compares with must be what lies here.
    private func delta(_ from: TreeRef, _ to: TreeRef) -> String {
        "\(directory)/delta-\(Digest.of(from.identity.bytes + to.object.bytes).hex)"
    }

    private func exists(_ path: String) -> Bool { access(root + "/" + path, F_OK) == 0 }

    // MARK: Making

    /// A tree on disk for a bind, as an absolute path.
    func directory(of tree: TreeRef, _ hold: WorkspaceHold) async throws(StoreError) -> String {
        root + "/" + (try await checkOut(tree, hold))
    }

    /// The same, relative to the root.
    func relativeDirectory(of tree: TreeRef, _ hold: WorkspaceHold) async throws(StoreError) -> String {
        try await checkOut(tree, hold)
    }

    /// Keeps workspaces where they are while it lives.
    func hold() -> WorkspaceHold { WorkspaceHold(locks) }

    private func checkOut(_ tree: TreeRef, _ hold: WorkspaceHold) async throws(StoreError) -> String {
        let (store, root, privileges, workers) = (store, root, privileges, workers)
        return try await make(String(full(tree).dropFirst(directory.utf8.count + 1)), hold) { path throws(StoreError) in
            let plan = try CheckoutPlan(full: tree, from: store)
            try await Checkout(plan: plan, contents: store, privileges: privileges)
                .write(into: root + "/" + path, workers: workers)
        }
    }

    private func checkOut(from: TreeRef, to: TreeRef, _ hold: WorkspaceHold) async throws(StoreError) -> String {
        let (store, root, privileges, workers) = (store, root, privileges, workers)
        return try await make(String(delta(from, to).dropFirst(directory.utf8.count + 1)), hold) {
            path throws(StoreError) in
            let plan = try CheckoutPlan(from: from, to: to, source: store)
            try await Checkout(plan: plan, contents: store, privileges: privileges)
                .write(into: root + "/" + path, workers: workers)
        }
    }

    /// `directory/name`, filled by `fill` under a temporary name and published by a rename if it is not there yet.
    private func make(
        _ name: String, _ hold: WorkspaceHold,
        _ fill: @escaping @Sendable (String) async throws(StoreError) -> Void
    ) async throws(StoreError) -> String {
        let path = directory + "/" + name
        try await hold.add(path)
        if exists(path) { return path }
        let task = making.withLock { making in
            if let running = making[name] { return running }
            let task = Task(executorPreference: pool) { () async -> StoreError? in
                do throws(StoreError) {
                    try await self.publish(path, fill)
                    return nil
                } catch { return error }
            }
            making[name] = task
            return task
        }
        let failure = await task.value
        making.withLock { $0[name] = nil }
        if let failure { throw failure }
        return path
    }

    private func publish(
        _ path: String, _ fill: @Sendable (String) async throws(StoreError) -> Void
    ) async throws(StoreError) {
        // The temporary place is a run directory, so that it is found if this process dies.
        let run = try system { () throws(SystemError) in try RunDirectory(root: root) }
        try await fill(run.upper)
        _ = try system { () throws(SystemError) in
            try publishDirectory(root + "/" + run.upper, at: root + "/" + path)
        }
    }
}
