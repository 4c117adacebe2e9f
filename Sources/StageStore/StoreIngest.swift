// A content that comes in pieces: in memory while small, in a pack of its own beyond `Store.smallLimit`.

import StageHash
import StageSystem

/// A class, so that letting go of one that was not finished removes the pack it began.
final class StoreIngest: ContentIngest {
    private let store: Store
    private var hasher = DigestHasher()
    private var blocks: [UInt8] = []
    private var partial: [UInt8] = []
    private var size: UInt64 = 0
    private var writer: PackWriter?

    init(store: Store) { self.store = store }

    deinit {
        if let writer { store.dropLarge(writer) }
    }

    func update(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        hasher.update(bytes)
        size += UInt64(bytes.count)
        var rest = bytes
        if !partial.isEmpty {
            let count = min(rest.count, Block.size - partial.count)
            partial.append(contentsOf: rest[..<count])
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if partial.count < Block.size { return }
            partial.withUnsafeBytes { Block.append($0, to: &blocks) }
            partial.removeAll(keepingCapacity: true)
        }
        while rest.count >= Block.size {
            Block.append(UnsafeRawBufferPointer(rebasing: rest[..<Block.size]), to: &blocks)
            rest = UnsafeRawBufferPointer(rebasing: rest[Block.size...])
            if blocks.count >= Store.smallLimit { try spill() }
        }
        partial.append(contentsOf: rest)
        if blocks.count >= Store.smallLimit { try spill() }
    }

    private func spill() throws(StoreError) {
        var writer: PackWriter
        if let current = self.writer.take() { writer = current } else { writer = try store.createLargePack() }
        defer { self.writer = writer }
        _ = try store.appendBytes(blocks, raw: 0, to: &writer)
        blocks.removeAll(keepingCapacity: true)
    }

    func finish() throws(StoreError) -> (digest: Digest, size: UInt64) {
        let digest = hasher.finalize()
        if !partial.isEmpty { partial.withUnsafeBytes { Block.append($0, to: &blocks) } }
        partial = []
        if writer == nil {
            if try store.locate(digest) == nil { try store.keep(digest, blocks: blocks, raw: size) }
            return (digest, size)
        }
        if !blocks.isEmpty { try spill() }
        guard var writer else { return (digest, size) }
        try writer.flush()
        self.writer = writer
        if try store.keepLarge(digest, writer, raw: size) { self.writer = nil }
        try store.commitManyPacks()
        return (digest, size)
    }
}
