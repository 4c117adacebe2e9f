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

        /// Adds to the piece that is filled; gives its size.
        func keep(_ bytes: UnsafeRawBufferPointer, isOdd: Bool) -> Int {
            func fill(_ piece: inout [UInt8]) -> Int {
                if piece.isEmpty { piece.reserveCapacity(ArchiveHasher.piece + bytes.count) }
                piece.append(contentsOf: bytes)
                return piece.count
            }
            return isOdd ? odd.withLock { fill(&$0) } : even.withLock { fill(&$0) }
        }

        func hash(isOdd: Bool) {
            func hash(_ piece: inout [UInt8]) {
                hasher.withLock { $0.update(piece) }
                piece.removeAll(keepingCapacity: true)
            }
            if isOdd { odd.withLock { hash(&$0) } } else { even.withLock { hash(&$0) } }
        }
    }

    private let work = Work()
    private var companion: Companion?
    private var size = 0
    private var isOdd = false

    /// What is hashed before a thread is worth it.
    private static let alone = 1 << 20
    /// What is handed to the thread at once: waking one that sleeps takes as long as hashing some ten KiB.
    private static let piece = 1 << 20

    deinit { companion?.close() }

    /// Takes the next bytes, which are valid during the call only.
    func update(_ bytes: UnsafeRawBufferPointer) {
        size += bytes.count
        if companion == nil {
            if size <= Self.alone { return work.hasher.withLock { $0.update(bytes) } }
            companion = Companion()
        }
        // What was in this place went to the thread before the last piece did, and that one had to wait for it.
        if work.keep(bytes, isOdd: isOdd) >= Self.piece { handOver() }
    }

    private func handOver() {
        companion?.start { [work, isOdd] in work.hash(isOdd: isOdd) }
        isOdd.toggle()
    }

    /// The digest of all that came.
    func finish() -> Digest {
        if companion != nil { handOver() }
        companion?.wait()
        return work.hasher.withLock { $0.finalize() }
    }
}
