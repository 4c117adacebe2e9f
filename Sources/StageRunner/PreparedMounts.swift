// `RUN --mount` made ready on disk: what binds show is checked out, caches are made and locked, and each becomes actions.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem

/// The mounts of one command. Locks are given up with it.
struct PreparedMounts: Sendable {
    /// Absolute paths that the stub has to hold where the image lacks them.
    private(set) var targets: [(path: String, isDirectory: Bool)] = []
    private(set) var actions: [SandboxAction] = []
    private var lockPaths: Set<String> = []
    private var locks: [SharedDescriptor] = []

    init() {}

    init(
        _ request: ExecRequest, workspaces: Workspaces, store: any TreeStore, privileges: Privileges
    ) async throws(StoreError) {
        for (index, mount) in request.run.mounts.enumerated() {
            switch mount.kind {
            case .tmpfs(let size):
                let options = size.map { ["size=\($0)"] } ?? []
                add(mount.target, isDirectory: true)
                actions.append(.makeDirectory(target: mount.target))
                actions.append(.mount(type: "tmpfs", target: mount.target, options: options, [.noSetuid, .noDevices]))
            case .bind:
                guard let entry = request.mounted[index] else { continue }
                try await bind(entry, at: mount.target, workspaces, store)
            case .cache(let cache):
                let path = try directory(of: cache, workspaces.root, privileges)
                add(mount.target, isDirectory: true)
                let attributes: MountAttributes = cache.isReadOnly ? .readOnly : []
                actions.append(.bind(source: path, target: mount.target, attributes, .create))
            }
        }
        // One order for all: commands that want the same two never wait for each other.
        for path in lockPaths.sorted() { try await lock(path) }
        if let script = request.run.script {
            actions.append(.makeDirectory(target: TreePath(script.path).parent.description))
            actions.append(.write(target: script.path, bytes: Array(script.text.utf8), mode: 0o755))
        }
    }

    /// Below /dev and its like a mount of the sandbox's own covers the stub; targets there are made when they are missing.
    private mutating func add(_ target: String, isDirectory: Bool) { targets.append((target, isDirectory)) }

    private mutating func bind(
        _ entry: Entry, at target: String, _ workspaces: Workspaces, _ store: any TreeStore
    ) async throws(StoreError) {
        var source: String
        switch entry {
        case .directory(let tree):
            source = try await workspaces.directory(of: tree)
            add(target, isDirectory: true)
        case .node(var node):
            // Workspaces hold directories: the file gets one of its own.
            node.linkGroup = 0
            let name = FileName("file")
            let tree = try store.put(
                DirectoryObject(
                    attributes: Attributes(mode: 0o755), items: [.init(name: name, entry: .node(node))]))
            source = try await workspaces.directory(of: tree) + "/" + name.description
            add(target, isDirectory: false)
        }
        actions.append(.bind(source: source, target: target, .readOnly, .create))
    }

    /// ROOT/caches/<name>: named by the ID and the attributes, as BuildKit starts a new cache when those change.
    private mutating func directory(
        of cache: RunMount.Cache, _ root: String, _ privileges: Privileges
    ) throws(StoreError) -> String {
        let attributes = "\(String(cache.mode, radix: 8)) \(cache.uid):\(cache.gid)"
        let path = "\(root)/caches/" + Digest.of("\(cache.id)\0\(attributes)").hex
        try system { () throws(SystemError) in
            if mkdir(root + "/caches", 0o700) != 0 && errno != EEXIST { throw .last("mkdir", root + "/caches") }
            if mkdir(path, 0o700) == 0 {
                if privileges.isRoot { try retrying("chown", path) { chown(path, cache.uid, cache.gid) } }
                try retrying("chmod", path) { chmod(path, mode_t(cache.mode)) }
            } else if errno != EEXIST {
                throw .last("mkdir", path)
            }
        }
        if cache.sharing == .locked { lockPaths.insert(path + ".lock") }
        return path
    }

    private mutating func lock(_ path: String) async throws(StoreError) {
        let lock = try system { () throws(SystemError) in
            SharedDescriptor(try OwnedFD.open(path, O_RDWR | O_CREAT, mode: 0o600))
        }
        // Waiting by turns keeps a cancelled build from hanging here.
        while flock(lock.fd.raw, LOCK_EX | LOCK_NB) != 0 {
            if errno != EWOULDBLOCK && errno != EINTR { throw .system(.last("flock", path)) }
            if Task.isCancelled { return }
            try? await Task.sleep(for: .milliseconds(20))
        }
        locks.append(lock)
    }
}
