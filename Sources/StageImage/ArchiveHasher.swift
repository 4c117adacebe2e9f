// The digest of an archive while it is written. Beyond its beginning, a second thread hashes one piece while the next is made.

import StageHash
import StageSystem
import Synchronization

/// Owned by one writer.
final class ArchiveHasher {
    /// Only the thread that hashes touches it, until the owner has waited for that.
    private final class Work: Sendable {
        let hasher = Mutex(DigestHasher())
    }

    private let work = Work()
    private var companion: Companion?
    private var size = 0

    /// What is hashed before a thread is worth it.
    private static let alone = 1 << 20

    deinit { companion?.close() }

    /// Takes the next bytes, which are valid during the call only.
    func update(_ bytes: UnsafeRawBufferPointer) {
        size += bytes.count
        if companion == nil {
            if size <= Self.alone { return work.hasher.withLock { $0.update(bytes) } }
            companion = Companion()
        }
        let piece = Array(bytes)
        companion?.start { [work] in work.hasher.withLock { $0.update(piece) } }
    }

    /// The digest of all that came.
    func finish() -> Digest {
        companion?.wait()
        return work.hasher.withLock { $0.finalize() }
    }
}
