// Opening, committing, sharing, being killed, and running out of space.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

@Suite struct DurabilityTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    // MARK: Opening

    @Test func missingDirectoriesAreMade() throws {
        let path = scratch.path + "/a/b/c/store"
        let digest = try Store(path: path).put(bytes("x"))
        #expect(try Store(path: path + "/").size(of: digest) == nil, "nothing was committed")
        let format = "stagerun store 2\nrequires chunk-lists checked-values leases image-records\n"
        #expect(try readFile(path + "/format") == bytes(format))
    }

    @Test func aFileInTheWayIsAnError() throws {
        try writeFile(scratch.path + "/file", [])
        let error = storeError { _ = try Store(path: scratch.path + "/file") }
        guard case .system(let fact)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(fact.errno == ENOTDIR)
        #expect(storeError { _ = try Store(path: scratch.path + "/file/store") } != nil)
        #expect(storeError { _ = try Store(path: "") } != nil)
    }

    /// LMDB may be open once a process: two spellings of one directory have to share it.
    @Test func oneDirectoryUnderManyNames() throws {
        let here = FileManager.default.currentDirectoryPath
        let up = String(repeating: "../", count: here.split(separator: "/").count)
        #expect(symlink(scratch.store, scratch.path + "/link") == 0)
        let paths = [scratch.store, up + scratch.store.dropFirst(), scratch.path + "/link", scratch.path + "/./store"]
        var stores = try paths.map { try Store(path: $0) }
        for (index, store) in stores.enumerated() {
            store.set(.tags, bytes("\(index)"), bytes(paths[index]))
            try store.commit()
        }
        for store in stores { #expect(try store.all(.tags).count == paths.count) }
        stores.removeFirst(3)
        let (status, lines) = try Probe("write", scratch.store, "1", "2").finish()
        #expect(status == 0, "\(lines)")
        #expect(try stores[0].get(.records, SampleBatch.key(seed: 1, 1)) != nil)
    }

    /// Who commits only when something needs it has to wait for what another thread is just committing: a build that ends
    /// meanwhile would lose it.
    @Test func whatIsBeingCommittedNeedsACommit() async throws {
        let store = try Store(path: scratch.store)
        // Another value of the same store sees what is committed, and nothing else.
        let observer = try Store(path: scratch.store)
        let pool = BlockingPool(threads: 1)
        defer { pool.close() }
        for round in 0..<20 {
            store.set(.records, bytes("\(round)"), bytes("kept"))
            async let committed: Void = pool.run { () throws(StoreError) in try store.commit() }
            while store.needsCommit { await Task.yield() }
            #expect(try observer.get(.records, bytes("\(round)")) == bytes("kept"))
            try await committed
        }
    }

    @Test func openingAndClosingFromManyThreads() async throws {
        let pool = BlockingPool(threads: 8)
        defer { pool.close() }
        let path = scratch.store
        try await withThrowingTaskGroup(of: Void.self) { group in
            for thread in 0..<8 {
                group.addTask {
                    try await pool.run {
                        for round in 0..<25 {
                            let store = try Store(path: path)
                            store.set(.tags, Array("\(thread) \(round)".utf8), [1])
                            try store.commit()
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try Store(path: path).all(.tags).count == 200)
    }

    // MARK: Tables

    @Test func tables() throws {
        let store = try Store(path: scratch.store)
        let (a, b, c) = (bytes("a"), bytes("b"), bytes("c"))
        store.set(.tags, b, [2])
        store.set(.tags, a, [1])
        #expect(try store.get(.tags, a) == [1])
        #expect(try store.get(.images, a) == nil)
        #expect(try store.all(.tags).map(\.key) == [a, b])
        try store.commit()
        #expect(!store.needsCommit)
        store.set(.tags, a, nil)
        store.set(.tags, c, [])
        store.set(.tags, b, [22])
        #expect(try store.get(.tags, a) == nil)
        #expect(try store.get(.tags, c) == [])
        #expect(try store.all(.tags).map(\.value) == [[22], []])
        let other = try Store(path: scratch.store)
        #expect(try other.all(.tags).map(\.value) == [[1], [2]])
        try store.commit()
        #expect(try other.all(.tags).map(\.key) == [b, c])
        #expect(try other.get(.tags, c) == [])
        store.set(.tags, bytes("none"), nil)
        try store.commit()
        #expect(try other.all(.tags).count == 2)
    }

    @Test func aKeyThatCannotBeKeptHoldsNothingBack() throws {
        let store = try Store(path: scratch.store)
        store.set(.tags, bytes("good"), [1])
        for size in [0, 512, 5000] {
            let key = [UInt8](repeating: 7, count: size)
            store.set(.tags, key, [2])
            guard case .database? = storeError({ try store.commit() }) else {
                Issue.record("a key of \(size) bytes was taken")
                continue
            }
            #expect(try store.get(.tags, key) == nil)
        }
        try store.commit()
        #expect(try Store(path: scratch.store).all(.tags).map(\.key) == [bytes("good")])
        let longest = [UInt8](repeating: 7, count: 511)
        store.set(.tags, longest, [3])
        try store.commit()
        #expect(try Store(path: scratch.store).get(.tags, longest) == [3])
    }

    /// A pair is always to be seen, whether it waits, is being written or is written.
    @Test func pairsAreSeenWhileTheyAreCommitted() async throws {
        let store = try Store(path: scratch.store)
        let pool = BlockingPool(threads: 3)
        defer { pool.close() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await pool.run {
                    for _ in 0..<150 { try store.commit() }
                }
            }
            group.addTask {
                try await pool.run {
                    for round in 0..<150 {
                        let key = Array("\(round)".utf8)
                        store.set(.tags, key, [1])
                        for _ in 0..<6 {
                            let (count, value) = (try store.all(.tags).count, try store.get(.tags, key))
                            #expect(count == round + 1 && value == [1])
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    // MARK: Sharing

    @Test func twoStoresOnOnePath() throws {
        let one = try Store(path: scratch.store)
        let two = try Store(path: scratch.store)
        var random = SeededGenerator(seed: 11)
        let samples = (0..<20).map { _ in random.bytes(30_000) }
        for (index, sample) in samples.enumerated() {
            let digest = try (index % 2 == 0 ? one : two).put(sample)
            #expect(try (index % 2 == 0 ? two : one).size(of: digest) == nil)
        }
        for sample in samples { _ = try two.put(sample) }
        try one.commit()
        try two.commit()
        #expect(try scratch.packs().count == 2)
        for store in [one, two, try Store(path: scratch.store)] {
            for sample in samples { #expect(try store.read(Digest.of(sample)) == sample) }
        }
    }

    @Test func processesWriteAtOnce() throws {
        let mine = try Store(path: scratch.store)
        let probes = try (1...3).map { try Probe("write", scratch.store, "\($0 % 2)", "8") }
        for batch in 0..<8 {
            for content in SampleBatch(seed: 50, number: batch).contents { _ = try mine.put(content) }
            mine.set(.records, SampleBatch.key(seed: 50, batch), [1])
            try mine.commit()
        }
        for probe in probes {
            let (status, lines) = try probe.finish()
            #expect(status == 0, "\(lines)")
        }
        for seed in [UInt64(0), 1, 50] { try expectWhole(seed: seed, batches: 8) }
    }

    private func expectWhole(seed: UInt64, batches: Int) throws {
        let store = try Store(path: scratch.store)
        for batch in 0..<batches {
            #expect(try store.get(.records, SampleBatch.key(seed: seed, batch)) != nil, "batch \(batch)")
            for content in SampleBatch(seed: seed, number: batch).contents {
                #expect(try store.read(Digest.of(content)) == content)
            }
        }
    }

    // MARK: Killed

    @Test func whatWasNotCommittedIsGone() throws {
        var digest = Digest.zero
        do {
            let store = try Store(path: scratch.store)
            digest = try store.put(bytes("not committed"))
            store.set(.tags, bytes("t"), [1])
            #expect(store.needsCommit)
            #expect(try store.read(digest) == bytes("not committed"), "its writer reads it")
        }
        #expect(try scratch.packs().count == 1)
        let store = try Store(path: scratch.store)
        #expect(try store.size(of: digest) == nil)
        #expect(try store.get(.tags, bytes("t")) == nil)
        let other = try store.put(bytes("other"))
        try store.commit()
        #expect(try store.read(other) == bytes("other"))
        #expect(try scratch.packs().count == 1, "the pack that nobody knows is removed by the next writer")
    }

    @Test func anUnindexedTailIsCutOff() throws {
        var random = SeededGenerator(seed: 21)
        let kept = random.bytes(10_000)
        do {
            let store = try Store(path: scratch.store)
            _ = try store.put(kept)
            try store.commit()
            _ = try store.put(random.bytes(3 << 20))
        }
        let pack = try #require(try scratch.packs().first)
        #expect(try scratch.size(pack) > 3 << 20)
        let store = try Store(path: scratch.store)
        let more = random.bytes(500)
        _ = try store.put(more)
        try store.commit()
        #expect(try scratch.packs() == [pack])
        #expect(try scratch.size(pack) == 10_016 + 516)
        #expect(try store.read(Digest.of(kept)) == kept)
        #expect(try store.read(Digest.of(more)) == more)
    }

    @Test(arguments: [UInt64(1), 2, 3]) func killedAtAnyMoment(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for round in 0..<8 {
            let batchSeed = seed * 100 + UInt64(round)
            let probe = try Probe("write", scratch.store, "\(batchSeed)", "1000")
            probe.waitForLine()
            usleep(useconds_t(random.next() % 250_000))
            probe.kill()
            let said = try probe.finish().lines
            // The one line that was read has lost its first letter; only whole numbers count.
            let durable = (said.compactMap { Int($0) }.max() ?? -1) + 1
            try expectWhole(seed: batchSeed, batches: durable)
            try expectWholeOrNothing(seed: batchSeed, from: durable)
        }
        // The next writer clears up: every pack left is known, and ends where the index says.
        let store = try Store(path: scratch.store)
        _ = try store.put(random.bytes(100))
        try store.commit()
        let facts = Dictionary(
            uniqueKeysWithValues: try store.all(.facts).map { (String(decoding: $0.key, as: UTF8.self), $0.value) })
        for pack in try scratch.packs() { #expect(facts["pack:" + pack] != nil, "\(pack) is nobody's") }
        #expect(facts.count == (try scratch.packs().count))
    }

    /// What follows the batches that were said: a batch is there with all its contents, or not.
    private func expectWholeOrNothing(seed: UInt64, from first: Int) throws {
        let store = try Store(path: scratch.store)
        for batch in first..<(first + 2) where try store.get(.records, SampleBatch.key(seed: seed, batch)) != nil {
            for content in SampleBatch(seed: seed, number: batch).contents {
                #expect(try store.read(Digest.of(content)) == content)
            }
        }
    }

    // MARK: Damage

    @Test func flippedBitsAreFound() throws {
        var random = SeededGenerator(seed: 31)
        let samples = [
            random.bytes(3000), random.text(5000), [UInt8](repeating: 0, count: 3 << 18), random.text(300_000),
            random.bytes(270_000), [UInt8](repeating: 0, count: 64), random.bytes(64),
        ]
        let writer = try Store(path: scratch.store)
        let digests = try samples.map { try writer.put($0) }
        try writer.commit()
        let pack = try #require(try scratch.packs().first)
        let image = try scratch.bytes(of: pack)
        var found = 0
        // Every bit of the first kilobyte, which has headers, then bits anywhere.
        let positions =
            Array(2950 * 8..<3300 * 8) + (0..<1500).map { _ in Int(random.next() % UInt64(image.count * 8)) }
        for bit in positions {
            let original = image[bit / 8]
            try scratch.set(pack, at: bit / 8, to: original ^ (1 << (bit % 8)))
            for (digest, sample) in zip(digests, samples) {
                var bytes: [UInt8] = []
                let error = storeError { bytes = try writer.read(digest) }
                if let error {
                    #expect(error.isCorrupt, "bit \(bit): \(error)")
                    found += 1
                } else if bytes != sample {
                    Issue.record("bit \(bit): wrong bytes for a content of \(sample.count)")
                }
            }
            try scratch.set(pack, at: bit / 8, to: original)
        }
        #expect(found == positions.count, "each bit belongs to one content")
    }

    @Test func aTruncatedOrMissingPackIsDamage() throws {
        var random = SeededGenerator(seed: 41)
        let samples = (0..<5).map { _ in random.bytes(20_000) }
        do {
            let store = try Store(path: scratch.store)
            for sample in samples { _ = try store.put(sample) }
            try store.commit()
        }
        let pack = try #require(try scratch.packs().first)
        #expect(truncate("\(scratch.store)/packs/\(pack)", 50_000) == 0)
        let store = try Store(path: scratch.store)
        for (index, sample) in samples.enumerated() {
            let error = storeError {
                let bytes = try store.read(Digest.of(sample))
                #expect(bytes == sample)
            }
            #expect(
                index < 2 ? error == nil : error?.isCorrupt == true, "content \(index): \(String(describing: error))")
        }
        let more = try store.put(random.bytes(100))
        try store.commit()
        #expect(try store.read(more).count == 100)
        #expect(try scratch.size(pack) == 50_000, "a damaged pack is not written to")

        #expect(unlink("\(scratch.store)/packs/\(pack)") == 0)
        let fresh = try Store(path: scratch.path + "/./store")
        #expect(storeError { _ = try fresh.read(Digest.of(samples[0])) }?.isCorrupt == true)
    }
}
