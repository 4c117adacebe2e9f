// Directories that were read or written lately. Only to be faster; how much memory they take is bounded by their entries.

import StageHash
import Synchronization

/// Two generations: when the young one is full it becomes the old one, and what of the old was not asked for meanwhile goes.
final class DirectoryCache: Sendable {
    private struct Generations {
        var young: [Digest: DirectoryObject] = [:]
        var old: [Digest: DirectoryObject] = [:]
        /// Directories and entries in the young generation.
        var size = 0
    }

    /// Of one generation. An entry takes about 200 bytes.
    private static let limit = 60_000

    private let state = Mutex(Generations())

    subscript(object: Digest) -> DirectoryObject? {
        state.withLock { state in
            if let found = state.young[object] { return found }
            guard let found = state.old[object] else { return nil }
            Self.add(found, object, &state)
            return found
        }
    }

    func add(_ directory: DirectoryObject, _ object: Digest) {
        state.withLock { Self.add(directory, object, &$0) }
    }

    func removeAll() { state.withLock { $0 = Generations() } }

    private static func add(_ directory: DirectoryObject, _ object: Digest, _ state: inout sending Generations) {
        let size = directory.items.count + 1
        // A directory that would push out all others is read again when it is needed again.
        if size > limit / 2 { return }
        if state.size + size > limit {
            state.old = state.young
            state.young = [:]
            state.size = 0
        }
        if state.young.updateValue(directory, forKey: object) == nil { state.size += size }
    }
}
