// Names a large content and its chunks, on a second thread once there is enough of it: hashing is half of the work.

import StageHash
import StageSystem

/// Owned by one ingest. What it is given stays valid until `names()` or `finish()`.
final class ContentNaming {
    /// What only the thread that hashes touches; the owner reads it when that is done.
    private final class Work {
        var hasher = PartsHasher()
        var names: [Digest] = []
    }

    private let work = Work()
    private var companion: Companion?

    deinit { companion?.close() }

    /// Begins to feed `bytes` and to name `chunks`. Beside the caller when `isBeside`.
    func start(_ bytes: UnsafeRawBufferPointer, chunks: [UnsafeRawBufferPointer], beside isBeside: Bool) {
        guard isBeside || companion != nil else {
            work.names = work.hasher.update(bytes, parts: chunks)
            return
        }
        // The owner waits before it touches any of these again.
        nonisolated(unsafe) let (work, bytes, chunks) = (work, bytes, chunks)
        let companion = self.companion ?? Companion()
        self.companion = companion
        companion.start { work.names = work.hasher.update(bytes, parts: chunks) }
    }

    /// The names of the chunks that were given last.
    func names() -> [Digest] {
        companion?.wait()
        return work.names
    }

    /// The name of all that was fed.
    func finish() -> Digest {
        companion?.wait()
        return work.hasher.finalize()
    }
}
