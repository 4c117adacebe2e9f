// An index whose pages are damaged: found before LMDB meets them, and made again.
//
// STAGERUN_INDEX_ROT says how many damaged indexes are made again (default 16); STAGERUN_SEED replays the one that failed.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

@Suite struct IndexRebuildTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private static let seed: UInt64 = 91
    private static let batches = 8
    private var data: String { scratch.store + "/index/data.mdb" }

    /// Small contents, two large ones, records, and enough of all for branches and runs of pages.
    private func fill() throws {
        #expect(try Probe("say", scratch.store, "\(Self.seed)", "\(Self.batches)").finish().status == 0)
        let store = try Store(path: scratch.store)
        for number in 0..<600 { _ = try store.put(Array("content \(number)".utf8)) }
        for number in 0..<40 { store.set(.images, Digest.of("image \(number)").bytes, longValue(number)) }
        try store.commit()
        store.set(.tags, Array("name".utf8), Digest.of("image 1").bytes)
        try store.commit()
    }

    private func longValue(_ number: Int) -> [UInt8] { [UInt8](repeating: UInt8(number), count: 100 + 300 * number) }

    private func write(_ bytes: [UInt8], at offset: Int) throws {
        let fd = try OwnedFD.open(data, O_WRONLY)
        try bytes.withUnsafeBytes { try writeAll(fd.raw, $0, at: Int64(offset)) }
    }

    /// Every content is read back; what tables lost is lost, and nothing is wrong.
    private func expectContents(_ comment: Comment) throws {
        let store = try Store(path: scratch.store)
        for batch in 0..<Self.batches {
            let contents = SampleBatch(seed: Self.seed, number: batch).contents
            for content in contents { #expect(try store.read(Digest.of(content)) == content, comment) }
            let record = try store.get(.records, SampleBatch.key(seed: Self.seed, batch))
            #expect(record == nil || record == contents.flatMap { Digest.of($0).bytes }, comment)
        }
        for number in 0..<600 {
            #expect(try store.read(Digest.of("content \(number)")) == Array("content \(number)".utf8), comment)
        }
        for (key, value) in try store.all(.images) {
            let number = (0..<40).first { Digest.of("image \($0)").bytes == key }
            #expect(number.map(longValue) == value, comment)
        }
        // And it goes on being a store.
        let new = try store.put(Array("after the repair".utf8))
        store.set(.tags, [1], [2])
        try store.commit()
        #expect(try store.read(new).count == 16, comment)
    }

    @Test func aSoundIndexHasNoProblems() throws {
        #expect(try Store.indexProblems(at: scratch.store) == [])
        try fill()
        #expect(try Store.indexProblems(at: scratch.store) == [])
        #expect(try Store.rebuildIndex(at: scratch.store) == nil)
        // While it is written to.
        let writer = try Probe("write", scratch.store, "3", "100000")
        writer.waitForLine()
        for _ in 0..<30 { #expect(try Store.indexProblems(at: scratch.store) == []) }
        writer.kill()
        _ = try writer.finish()
    }

    @Test func pagesThatMakeNoSenseAreFoundAndMadeAgain() throws {
        try fill()
        let pristine = try readFile(data)
        let replayed = ProcessInfo.processInfo.environment["STAGERUN_SEED"].flatMap { UInt64($0) }
        let wanted = ProcessInfo.processInfo.environment["STAGERUN_INDEX_ROT"].flatMap { UInt64($0) } ?? 16
        var rebuilt: UInt64 = 0
        for seed in replayed.map({ [$0] }) ?? Array(1...(20 * wanted)) where rebuilt < wanted {
            var random = SeededGenerator(seed: seed)
            var bytes = pristine
            // Mostly where pages say what they are and where things lie.
            let page = 2 + Int(random.next() % UInt64(pristine.count / 4096 - 2))
            let reach: UInt64 = random.next() % 3 == 0 ? 4096 : 40
            let offset = page * 4096 + Int(random.next() % reach)
            bytes[offset] ^= UInt8(1 + random.next() % 255)
            try write(bytes, at: 0)
            let comment: Comment = "STAGERUN_SEED=\(seed): byte \(offset % 4096) of page \(page)"
            let problems = try Store.indexProblems(at: scratch.store)
            if problems.isEmpty {
                // In what is free, or in a value: no page is at fault, and LMDB does not fail.
                let run = try Probe("check", scratch.store, "\(Self.seed)", "\(Self.batches)").finish()
                #expect([0, 3].contains(run.status), "\(comment): \(run.lines)")
                #expect(!run.lines.contains { $0.hasPrefix("wrong") }, "\(comment): \(run.lines)")
            } else {
                rebuilt += 1
                let done = try #require(try Store.rebuildIndex(at: scratch.store), comment)
                #expect(done.problems == problems && done.kept > 0, comment)
                #expect(try Store.indexProblems(at: scratch.store) == [], comment)
                try expectContents(comment)
            }
            let fd = try OwnedFD.open(data, O_WRONLY | O_TRUNC)
            try pristine.withUnsafeBytes { try writeAll(fd.raw, $0) }
        }
        #expect(replayed != nil || rebuilt == wanted, "\(rebuilt)")
    }

    /// Nothing but the packs is left.
    @Test(arguments: [0, 20]) func anIndexThatIsNoneIsMadeOfThePacks(page: Int) throws {
        try fill()
        let size = try statEntry(AT_FDCWD, FileName(data)).size
        if page == 0 {
            try write([UInt8](repeating: 0x5A, count: Int(size)), at: 0)
        } else {
            // Both states of the beginning are there, and lead nowhere.
            try write([UInt8](repeating: 0, count: Int(size) - 8192), at: 8192)
        }
        #expect(try !Store.indexProblems(at: scratch.store).isEmpty)
        let done = try #require(try Store.rebuildIndex(at: scratch.store))
        #expect(done.found > 600 && done.lossy.contains(.contents))
        try expectContents("page \(page)")
        #expect(!FileManager.default.fileExists(atPath: scratch.store + "/index.new"))
    }

    @Test func whoHasTheStoreOpenKeepsItsIndex() throws {
        try fill()
        let holder = try Probe("hold", scratch.store, "x")
        holder.waitForLine()
        try write([UInt8](repeating: 0, count: 4096 * 4), at: 4096 * 3)
        let before = try readFile(data)
        #expect(storeError { _ = try Store.rebuildIndex(at: scratch.store) } == .inUse(path: scratch.store))
        #expect(try readFile(data) == before)
        holder.kill()
        _ = try holder.finish()
        #expect(try Store.rebuildIndex(at: scratch.store) != nil)
    }

    /// Whoever runs into the damage all the same is told what it is, in one sentence.
    @Test func lmdbGivingUpIsAnError() throws {
        try fill()
        let size = Int(try statEntry(AT_FDCWD, FileName(data)).size)
        for byte in [UInt8(0), 0xFF] {
            try write([UInt8](repeating: byte, count: size - 8192), at: 8192)
            let run = try Probe("check", scratch.store, "\(Self.seed)", "1").finish()
            #expect(run.status == 1 && run.lines.count == 1, "\(run)")
            #expect(run.lines.last?.contains("index") == true && run.lines.last?.contains("verify") == true, "\(run)")
        }
    }
}
