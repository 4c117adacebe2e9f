// Cache mounts: directories below ROOT/caches that outlive builds, and who may use one at once.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization

/// The locks of the caches that one command uses. Given up with this.
final class CacheLocks: Sendable {
    private struct State {
        /// Lock files to be taken, and whether alone.
        var wanted: [String: Bool] = [:]
        var held: [String: SharedDescriptor] = [:]
        /// Caches that must not be removed.
        var uses: [SharedDescriptor] = []
    }

    private let state = Mutex(State())

    /// Notes that the command uses a cache. One that asks for it twice gets it once, alone if either asks for that.
    func want(_ path: String, alone: Bool) {
        state.withLock { state in
            if state.held[path] == nil { state.wanted[path] = alone || state.wanted[path] ?? false }
        }
    }

    /// Keeps a cache from being removed, from before it is looked for.
    func use(_ path: String, label: String) throws(StoreError) {
        let use = try system { () throws(SystemError) in SharedDescriptor(try CacheUse.hold(path, label: label)) }
        state.withLock { $0.uses.append(use) }
    }

    /// Takes a lock alone, now or not at all.
    func take(_ path: String) throws(StoreError) -> Bool {
        if state.withLock({ $0.held[path] != nil }) { return true }
        let lock = try system { () throws(SystemError) in
            SharedDescriptor(try OwnedFD.open(path, O_RDWR | O_CREAT, mode: 0o600))
        }
        while flock(lock.fd.raw, LOCK_EX | LOCK_NB) != 0 {
            if errno == EWOULDBLOCK { return false }
            if errno != EINTR { throw .system(.last("flock", path)) }
        }
        state.withLock { $0.held[path] = lock }
        return true
    }

    /// Waits for all that are wanted, in one order for all commands: who want the same two never wait for each other.
    func acquire() async throws(StoreError) {
        for (path, alone) in state.withLock({ $0.wanted }).sorted(by: { $0.key < $1.key }) {
            let lock = try system { () throws(SystemError) in
                SharedDescriptor(try OwnedFD.open(path, O_RDWR | O_CREAT, mode: 0o600))
            }
            // Waiting by turns keeps a cancelled build from hanging here.
            while flock(lock.fd.raw, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0 {
                if errno != EWOULDBLOCK && errno != EINTR { throw .system(.last("flock", path)) }
                if Task.isCancelled { return }
                try? await Task.sleep(for: .milliseconds(20))
            }
            state.withLock { $0.held[path] = lock }
        }
    }
}

extension MountMaker {
    /// ROOT/caches/<name>: named by the ID, the attributes and what it starts from, as BuildKit starts a new cache when
    /// those change. A private cache that is in use has brothers: <name>-1, <name>-2.
    func directory(
        of cache: RunMount.Cache, base: Entry?, _ locks: CacheLocks
    ) async throws(StoreError) -> String {
        let kind: String
        if let base {
            kind = "from \(base.identityForCache.hex)"
        } else {
            kind = "\(String(cache.mode, radix: 8)) \(cache.uid):\(cache.gid)"
        }
        let path = "\(workspaces.root)/caches/" + Digest.of(cache.id + "\0" + kind).hex
        try system { () throws(SystemError) in
            let parent = workspaces.root + "/caches"
            if mkdir(parent, 0o700) != 0 && errno != EEXIST { throw .last("mkdir", parent) }
        }
        let label = base == nil ? "\(cache.id) (\(kind))" : "\(cache.id) (from a tree)"
        guard cache.sharing == .private else {
            try locks.use(path, label: label)
            locks.want(path + ".lock", alone: cache.sharing == .locked)
            try await make(path, cache, base: base)
            return path
        }
        var number = 0
        while true {
            let place = number == 0 ? path : "\(path)-\(number)"
            try locks.use(place, label: label)
            if try locks.take(place + ".lock") {
                try await make(place, cache, base: base)
                return place
            }
            number += 1
        }
    }

    private func make(_ path: String, _ cache: RunMount.Cache, base: Entry?) async throws(StoreError) {
        if access(path, F_OK) == 0 { return }
        // Made aside and published whole: another command may want it at this moment.
        let run = try system { () throws(SystemError) in try RunDirectory(root: workspaces.root) }
        let fresh = workspaces.root + "/" + run.upper
        if case .directory(let tree)? = base { try await write(tree, into: fresh) }
        try system { () throws(SystemError) in
            if base == nil {
                if privileges.isRoot { try retrying("chown", fresh) { chown(fresh, cache.uid, cache.gid) } }
                try retrying("chmod", fresh) { chmod(fresh, mode_t(cache.mode & 0o7777)) }
            }
            _ = try publishDirectory(fresh, at: path)
        }
    }
}

extension Entry {
    fileprivate var identityForCache: Digest {
        switch self {
        case .directory(let tree): tree.identity
        case .node(let node): Digest.of(node.identityBytes())
        }
    }
}
