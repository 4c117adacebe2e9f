// Names a large content and its chunks, on a second thread once there is enough of it: hashing is most of the work. Who waits
// for the names makes some of them.

import StageHash
import StageSystem
import Synchronization

/// Owned by one ingest. What it is given stays valid until `names()` or `finish()`.
final class ContentNaming {
    /// The content is hashed by one thread. The chunks are taken from both ends: from the first on beside the content, which
    /// fills the processor's SHA unit, and from the last on by who waits.
    private final class Work {
        /// What only the thread that hashes touches; the owner reads it when that is done.
        var hasher = PartsHasher()
        var chunks: [UnsafeRawBufferPointer] = []
        /// The name of each chunk, by who took it.
        private(set) var names = UnsafeMutableBufferPointer<Digest>(start: nil, count: 0)
        /// The chunks that nobody has taken.
        private let free = Mutex(0..<0)

        deinit { names.deallocate() }

        func begin(_ chunks: [UnsafeRawBufferPointer]) {
            self.chunks = chunks
            names.deallocate()
            names = .allocate(capacity: chunks.count)
            names.initialize(repeating: .zero)
            free.withLock { $0 = chunks.indices }
        }

        /// Hashes `bytes`, with as many chunks beside them as nobody else takes.
        func feed(_ bytes: UnsafeRawBufferPointer) {
            var rest = bytes
            while let place = free.withLock({ $0.popFirst() }) {
                // Whole blocks of SHA-256 as long as there are any.
                let count = min(rest.count, chunks[place].count & ~63)
                let beside = UnsafeRawBufferPointer(rebasing: rest[..<count])
                names[place] = hasher.update(beside, parts: [chunks[place]])[0]
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
            _ = hasher.update(rest, parts: [])
        }

        /// Names the last two chunks that nobody has taken; false where there are no two.
        func nameLast() -> Bool {
            let first = free.withLock { free in
                if free.count < 2 { return Int?.none }
                free = free.lowerBound..<(free.upperBound - 2)
                return free.upperBound
            }
            guard let first else { return false }
            (names[first], names[first + 1]) = Digest.of(chunks[first], chunks[first + 1])
            return true
        }
    }

    private let work = Work()
    private var companion: Companion?

    deinit { companion?.close() }

    /// Begins to feed `bytes` and to name `chunks`. Beside the caller when `isBeside`.
    func start(_ bytes: UnsafeRawBufferPointer, chunks: [UnsafeRawBufferPointer], beside isBeside: Bool) {
        companion?.wait()
        work.begin(chunks)
        guard isBeside || companion != nil else { return work.feed(bytes) }
        // The owner touches nothing of it that is not its part, until it has waited.
        nonisolated(unsafe) let (work, bytes) = (work, bytes)
        let companion = self.companion ?? Companion()
        self.companion = companion
        companion.start { work.feed(bytes) }
    }

    /// The names of the chunks that were given last.
    func names() -> [Digest] {
        while work.nameLast() {}
        companion?.wait()
        return Array(work.names)
    }

    /// The name of all that was fed.
    func finish() -> Digest {
        companion?.wait()
        return work.hasher.finalize()
    }
}
