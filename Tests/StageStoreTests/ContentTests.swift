// Contents in the store on disk: what goes in comes out, is kept once, and costs what it should.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

@Suite struct ContentTests {
    let scratch: Scratch
    let store: Store

    init() throws {
        scratch = try Scratch()
        store = try Store(path: scratch.store)
    }

    static let block = 256 * 1024
    static let sizes = [
        0, 1, 63, 64, 4096, 16384, 16385, block - 1, block, block + 1, 3 * block - 1, 3 * block, 4 << 20, (4 << 20) + 1,
        9_000_000,
    ]

    @Test(arguments: sizes) func everySizeReadsBack(size: Int) throws {
        var random = SeededGenerator(seed: UInt64(size))
        let samples = [
            random.bytes(size), random.text(size), [UInt8](repeating: 0, count: size),
            // Zeros in the middle, and a last byte that is not.
            random.bytes(size / 3) + [UInt8](repeating: 0, count: size - size / 3 - min(1, size - size / 3))
                + random.bytes(min(1, size - size / 3)),
        ]
        var digests: [Digest] = []
        for sample in samples {
            let digest = try store.put(sample)
            #expect(digest == Digest.of(sample))
            #expect(try store.read(digest) == sample)
            #expect(try store.size(of: digest) == UInt64(size))
            digests.append(digest)
        }
        try store.commit()
        let again = try Store(path: scratch.store)
        for (digest, sample) in zip(digests, samples) { #expect(try again.read(digest) == sample) }
        #expect(try again.sizes(of: digests + [.zero]) == digests.map { _ in UInt64(size) } + [nil])
    }

    @Test func whatIsMissingIsSaid() throws {
        let name = Digest.of("nobody kept this")
        #expect(try store.size(of: name) == nil)
        #expect(storeError { _ = try store.read(name) } == .missing(name))
    }

    @Test func piecesAreValidOnceAndInOrder() throws {
        var random = SeededGenerator(seed: 9)
        let bytes = random.text(5 * Self.block + 77)
        let digest = try store.put(bytes)
        var seen: [UInt8] = []
        try store.withContent(digest) {
            #expect($0.count > 0 && $0.count <= Self.block)
            seen += Array($0)
        }
        #expect(seen == bytes)
    }

    @Test func theSameIsKeptOnce() throws {
        var random = SeededGenerator(seed: 1)
        let small = random.bytes(50_000)
        let large = random.bytes(5 << 20)
        for bytes in [small, large] { _ = try store.put(bytes) }
        try store.commit()
        let before = try scratch.packBytes()
        #expect(before > 5 << 20)
        for bytes in [small, large, small, large] { _ = try store.put(bytes) }
        #expect(!store.needsCommit)
        try store.commit()
        let other = try Store(path: scratch.store)
        for bytes in [small, large] { _ = try other.put(bytes) }
        try other.commit()
        #expect(try scratch.packBytes() == before)
        #expect(try scratch.packs().count == 2)
    }

    @Test func zerosAndTextTakeLittle() throws {
        var random = SeededGenerator(seed: 2)
        _ = try store.put([UInt8](repeating: 0, count: 64 << 20))
        try store.commit()
        // One part of a list in a block.
        #expect(try scratch.packBytes() == 36 + 16)
        _ = try store.put(random.text(3 << 20))
        try store.commit()
        #expect(try scratch.packBytes() < 1 << 20)
        let before = try scratch.packBytes()
        _ = try store.put(random.bytes(3 << 20))
        try store.commit()
        let taken = Int(try scratch.packBytes() - before) - (3 << 20)
        #expect(taken > 0 && taken < 6000, "\(taken) bytes for headers and the list")
    }

    @Test func piecesEqualTheWhole() throws {
        var random = SeededGenerator(seed: 3)
        for size in Self.sizes {
            let bytes = random.next() % 2 == 0 ? random.bytes(size) : random.text(size)
            let other = try Store(path: scratch.path + "/streamed-\(size)")
            var ingest = try other.ingest()
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = min(rest.count, Int(random.next() % 400_000))
                try rest.prefix(count).withUnsafeBytes { try ingest.update($0) }
                rest = rest.dropFirst(count)
            }
            let result = try ingest.finish()
            #expect(result == (try store.put(bytes), UInt64(size)))
            #expect(try other.read(result.digest) == bytes)

            let file = scratch.path + "/file"
            try writeFile(file, bytes)
            let fd = try OwnedFD.open(file, O_RDONLY)
            let third = try Store(path: scratch.path + "/file-\(size)")
            #expect(try third.ingest(descriptor: fd.raw) == result)
            #expect(try third.read(result.digest) == bytes)
        }
    }

    @Test func whatIsNotFinishedLeavesNothing() throws {
        var random = SeededGenerator(seed: 4)
        for size in [1000, 9 << 20] {
            let bytes = random.bytes(size)
            do {
                var ingest = try store.ingest()
                try bytes.withUnsafeBytes { try ingest.update($0) }
            }
            #expect(try store.size(of: Digest.of(bytes)) == nil)
        }
        #expect(!store.needsCommit)
        #expect(try scratch.packs().isEmpty)
    }

    /// Puts and commits from several threads, over more than one pack: nothing may be lost when a full pack is left.
    @Test func putsDuringCommits() async throws {
        let pool = BlockingPool(threads: 5)
        defer { pool.close() }
        let store = store
        let digests = try await withThrowingTaskGroup(of: [Digest].self) { group in
            for thread in 0..<4 {
                group.addTask {
                    try await pool.run {
                        var random = SeededGenerator(seed: 100 + UInt64(thread))
                        return try (0..<300).map { _ in try store.put(random.bytes(128 * 1024)) }
                    }
                }
            }
            group.addTask {
                try await pool.run {
                    for _ in 0..<120 {
                        try store.commit()
                        usleep(3000)
                    }
                    return []
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        try store.commit()
        let again = try Store(path: scratch.store)
        for digest in digests { #expect(Digest.of(try again.read(digest)) == digest) }
        #expect(try scratch.packs().count > 1)
        for pack in try scratch.packs() { #expect(try scratch.size(pack) < 80 << 20) }
    }

    @Test func aLongIngestTakesLittleMemory() throws {
        let sparse = scratch.path + "/sparse"
        let noise = scratch.path + "/noise"
        do {
            let fd = try OwnedFD.open(sparse, O_RDWR | O_CREAT)
            try retrying("ftruncate") { ftruncate(fd.raw, 1 << 30) }
            let other = try OwnedFD.open(noise, O_RDWR | O_CREAT)
            var random = SeededGenerator(seed: 6)
            let piece = random.bytes(4 << 20)
            for _ in 0..<50 { try piece.withUnsafeBytes { try writeAll(other.raw, $0) } }
        }
        for (file, size) in [(sparse, 1 << 30), (noise, 200 << 20)] {
            let (status, lines) = try Probe("ingest", scratch.store, file).finish()
            #expect(status == 0, "\(lines)")
            let fields = try #require(lines.first).split(separator: " ")
            #expect(fields[1] == "\(size)" && fields[2] == "\(size)")
            #expect(try #require(Int(fields[3])) < 96 * 1024, "the most memory, in KiB, for \(file)")
        }
    }

    /// Beyond 128 MiB writes go past the page cache, in whole pages.
    @Test func aVeryLargeContentReadsBack() throws {
        let file = scratch.path + "/noise"
        var hasher = DigestHasher()
        do {
            let fd = try OwnedFD.open(file, O_RDWR | O_CREAT)
            let source = try OwnedFD.open("/dev/urandom", O_RDONLY)
            for piece in 0..<140 {
                var bytes = [UInt8](repeating: 0, count: (1 << 20) + piece)
                try bytes.withUnsafeMutableBytes { _ = try readFull(source.raw, $0) }
                hasher.update(bytes)
                try writeAll(fd.raw, bytes)
            }
        }
        let (status, lines) = try Probe("ingest", scratch.store, file).finish()
        let fields = try #require(lines.first).split(separator: " ")
        #expect(status == 0 && fields[0] == "\(hasher.finalize())" && fields[1] == fields[2], "\(lines)")
        // Another process, which finds on the disk what it finds.
        let store = try Store(path: scratch.store)
        var again = DigestHasher()
        try store.withContent(hasher.finalize()) { again.update($0) }
        #expect(again.finalize() == hasher.finalize())
    }

    /// Contents with a pack each must not take a descriptor each.
    @Test func manyLargeContentsWithFewDescriptors() throws {
        let (status, lines) = try Probe("large", scratch.store, "150", descriptors: 180).finish()
        #expect(status == 0 && lines == ["150"], "\(lines)")
        #expect(try scratch.packs().count == 151, "and one for the lists")
    }
}
