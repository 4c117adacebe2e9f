// A content that comes in pieces. A small one is put whole; a larger one is cut into chunks, whose blocks wait in memory
// while they are few and go to packs of their own beyond that. Until `finish()` nobody else knows of any of it.

import Glibc
import StageHash
import StageSystem

/// A class, so that letting go of one that was not finished removes the packs it began.
final class StoreIngest: ContentIngest {
    private let store: Store
    private var hasher = DigestHasher()
    private var size: UInt64 = 0
    /// What is not cut yet.
    private let window = UnsafeMutableRawBufferPointer.allocate(byteCount: StoreIngest.windowSize, alignment: 64)
    private var filled = 0
    private var isLarge = false
    private var chunks: ChunkWriter

    private static let windowSize = 4 * Block.size

    init(store: Store) {
        self.store = store
        chunks = ChunkWriter(store: store)
    }

    deinit {
        window.deallocate()
        chunks.abandon()
    }

    func update(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        hasher.update(bytes)
        size += UInt64(bytes.count)
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, window.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: window[filled...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<count]))
            filled += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if filled == window.count { try cut(isLast: false) }
        }
    }

    /// Takes chunks from the window, as long as what follows cannot move their end.
    private func cut(isLast: Bool) throws(StoreError) {
        isLarge = true
        var pieces: [ChunkWriter.Piece] = []
        var start = 0
        while filled - start >= (isLast ? 1 : Chunking.largest) {
            let rest = UnsafeRawBufferPointer(rebasing: window[start..<filled])
            let first = UnsafeRawBufferPointer(rebasing: rest[..<min(rest.count, Chunking.largest)])
            if Block.isZero(first) {
                pieces.append(.zeros(first.count))
                start += first.count
            } else {
                let length = Chunking.cut(rest)
                pieces.append(.chunk(UnsafeRawBufferPointer(rebasing: rest[..<length])))
                start += length
            }
        }
        try chunks.append(pieces)
        let left = filled - start
        if start > 0, let base = window.baseAddress { memmove(base, base + start, left) }
        filled = left
    }

    func finish() throws(StoreError) -> (digest: Digest, size: UInt64) {
        let digest = hasher.finalize()
        if !isLarge && filled <= Block.size {
            try store.put(UnsafeRawBufferPointer(rebasing: window[..<filled]), named: digest)
            return (digest, size)
        }
        try cut(isLast: true)
        if try store.entry(of: digest) == nil { try chunks.publish(as: digest, size: size) }
        return (digest, size)
    }
}
