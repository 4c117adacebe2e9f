// Directories that were read or written lately. Only to be faster; how much memory they take is bounded by their entries.

import StageHash
import Synchronization

/// Generations, the youngest first. What is asked for moves to the youngest; with too much in all of them, the oldest goes. So a
/// tree that has room at all is there as a whole when it is gone through again.
final class DirectoryCache: Sendable {
    private struct Generation {
        var directories: [Digest: DirectoryObject] = [:]
        /// Directories and entries in it.
        var size = 0
    }

    /// Of all generations, in directories and entries. An entry takes about 200 bytes.
    private static let limit = 120_000
    /// A generation that has this much gets a younger one.
    private static let full = 20_000
    /// More than these are never kept: a look-up goes through all of them.
    private static let most = 8

    private let generations = Mutex([Generation()])

    subscript(object: Digest) -> DirectoryObject? {
        generations.withLock { generations in
            if let found = generations[0].directories[object] { return found }
            for place in generations.indices.dropFirst() {
                guard let found = generations[place].directories.removeValue(forKey: object) else { continue }
                generations[place].size -= Self.size(found)
                Self.add(found, object, &generations)
                return found
            }
            return nil
        }
    }

    func add(_ directory: DirectoryObject, _ object: Digest) {
        generations.withLock { Self.add(directory, object, &$0) }
    }

    func removeAll() { generations.withLock { $0 = [Generation()] } }

    private static func size(_ directory: DirectoryObject) -> Int { directory.items.count + 1 }

    private static func add(_ directory: DirectoryObject, _ object: Digest, _ generations: inout sending [Generation]) {
        let size = size(directory)
        // A directory that would push out all others is read again when it is needed again.
        if size > limit / 4 { return }
        if generations[0].size >= full {
            generations.removeAll { $0.size == 0 }
            if generations.count == most { generations.removeLast() }
            generations.insert(Generation(), at: 0)
        }
        if generations[0].directories.updateValue(directory, forKey: object) == nil { generations[0].size += size }
        while generations.count > 1, generations.reduce(0, { $0 + $1.size }) > limit { generations.removeLast() }
    }
}
