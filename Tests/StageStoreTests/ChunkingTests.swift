// Large contents: an edit costs its edit, zeros cost nothing, and the way the bytes come plays no part.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

@Suite struct ChunkingTests {
    let scratch: Scratch
    let store: Store

    init() throws {
        scratch = try Scratch()
        store = try Store(path: scratch.store)
    }

    private func growth(_ body: () throws -> Void) throws -> Int {
        let before = try scratch.packBytes()
        try body()
        try store.commit()
        return Int(try scratch.packBytes() - before)
    }

    @Test func anEditCostsItsEdit() throws {
        var random = SeededGenerator(seed: 1)
        let original = random.bytes(24 << 20)
        let whole = try growth { _ = try store.put(original) }
        #expect(whole > original.count && whole < original.count + original.count / 500)

        var inserted = original
        inserted.insert(contentsOf: random.bytes(100_000), at: 12 << 20)
        var removed = original
        removed.removeSubrange((5 << 20)..<((5 << 20) + 77_777))
        var changed = original
        for place in [1, 7 << 20, 23 << 20] { changed[place] ^= 1 }
        // At each place at most the chunks that it touches, of 256 KiB at most, and the list.
        for (edited, new, places) in [(inserted, 100_000, 1), (removed, 0, 1), (changed, 0, 3)] {
            let grown = try growth { _ = try store.put(edited) }
            #expect(grown < new + places * (2 * 256 << 10) + 20_000, "\(grown) bytes for \(places) places")
            #expect(try store.read(Digest.of(edited)) == edited)
        }
        #expect(try Store(path: scratch.store).read(Digest.of(original)) == original)
    }

    @Test func whatContentsShareIsKeptOnce() throws {
        var random = SeededGenerator(seed: 2)
        let shared = random.bytes(6 << 20)
        let contents = (0..<3).map { _ in random.bytes(300_000) + shared + random.bytes(300_000) }
        let first = try growth { _ = try store.put(contents[0]) }
        #expect(first > 6_800_000)
        // Twice before a commit: what waits is found too.
        let both = try growth { for content in contents { _ = try store.put(content) } }
        #expect(both < 2 * (600_000 + 4 * (256 << 10)))
        // A content that begins with a chunk of another is another content all the same.
        let part = Array(contents[0].prefix(5 << 20))
        _ = try store.put(part)
        #expect(try store.read(Digest.of(part)) == part)
    }

    @Test func repeatsInOneContentAreKeptOnce() throws {
        var random = SeededGenerator(seed: 3)
        let piece = random.bytes(2 << 20)
        let bytes = piece + piece + piece + piece
        let grown = try growth { _ = try store.put(bytes) }
        #expect(grown < 3 << 20)
        #expect(try store.read(Digest.of(bytes)) == bytes)
    }

    @Test func zerosBetweenDataCostNothing() throws {
        var random = SeededGenerator(seed: 4)
        let data = random.bytes(700_000)
        let bytes = data + [UInt8](repeating: 0, count: 40 << 20) + data + [UInt8](repeating: 0, count: 1 << 20) + [1]
        let grown = try growth { _ = try store.put(bytes) }
        #expect(grown < 700_000 + 6 * (256 << 10))
        #expect(try store.read(Digest.of(bytes)) == bytes)
    }

    /// A list that is longer than a block is in chunks itself.
    @Test func aListOfLists() throws {
        // 700 MiB of which little is stored: 1 MiB over and over, moved by a number so that cuts fall alike.
        var random = SeededGenerator(seed: 5)
        let piece = random.bytes(1 << 20)
        let ingest = try store.ingest()
        var hasher = DigestHasher()
        var fed = ingest
        for _ in 0..<700 {
            try piece.withUnsafeBytes {
                hasher.update($0)
                try fed.update($0)
            }
        }
        let result = try fed.finish()
        #expect(result.digest == hasher.finalize() && result.size == 700 << 20)
        try store.commit()
        #expect(try scratch.packBytes() < 4 << 20)
        var again = DigestHasher()
        try Store(path: scratch.store).withContent(result.digest) { again.update($0) }
        #expect(again.finalize() == result.digest)
    }

    /// A missing or changed chunk is an error that names it.
    @Test func whatAChunkLacksIsSaid() throws {
        var random = SeededGenerator(seed: 6)
        let bytes = random.bytes(1 << 20)
        let digest = try store.put(bytes)
        try store.commit()
        let pack = try #require(try scratch.packs().first)
        try scratch.set(pack, at: 500_000, to: bytes[500_000] ^ 0xFF)
        guard case .corrupt(let what)? = storeError({ _ = try store.read(digest) }) else {
            Issue.record("it was read")
            return
        }
        #expect(what.contains("sha256:") && what.contains("checksum"))
    }
}
