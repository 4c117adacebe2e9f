// The digest of an archive while it is written. Beyond its beginning, a second thread hashes one piece while the next is made.

import StageHash
import StageSystem
import Synchronization

/// Owned by one writer.
final class ArchiveHasher {
    /// Only the thread that hashes touches it, until the owner has waited for that.
    private final class Work: Sendable {
        let hasher = Mutex(DigestHasher())
        /// Pieces, by turns: one is filled while the other is hashed. Their room serves for all of the archive.
        let even = Mutex<[UInt8]>([])
        let odd = Mutex<[UInt8]>([])

        func keep(_ bytes: UnsafeRawBufferPointer, isOdd: Bool) {
            func fill(_ piece: inout [UInt8]) {
                piece.removeAll(keepingCapacity: true)
                piece.append(contentsOf: bytes)
            }
            if isOdd { odd.withLock { fill(&$0) } } else { even.withLock { fill(&$0) } }
        }

        func hash(isOdd: Bool) {
            // An array is a reference: taking it out copies nothing, and it is back before it is filled again.
            let piece = isOdd ? odd.withLock { $0 } : even.withLock { $0 }
            hasher.withLock { $0.update(piece) }
        }
    }

    private let work = Work()
    private var companion: Companion?
    private var size = 0
    private var isOdd = false

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
        // What was in this place went to the thread before the last piece did, and that one had to wait for it.
        work.keep(bytes, isOdd: isOdd)
        companion?.start { [work, isOdd] in work.hash(isOdd: isOdd) }
        isOdd.toggle()
    }

    /// The digest of all that came.
    func finish() -> Digest {
        companion?.wait()
        return work.hasher.withLock { $0.finalize() }
    }
}
