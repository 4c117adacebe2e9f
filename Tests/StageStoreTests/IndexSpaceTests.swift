// Blocks below free pages of the index go back to the filesystem, and nothing that anybody still reads goes with them.

import Foundation
import StageConformance
import StageHash
import StageSystem
import Testing

@testable import StageStore

/// Records are directories by their object.
private struct RecordLinks: LinkReader {
    func links(of table: Table, _ value: [UInt8]) -> [Link]? {
        value.withUnsafeBytes { Digest(bytes: $0) }.map { [.directory($0)] }
    }

    func links(inList bytes: [UInt8]) -> [Link]? { nil }
}

@Suite struct IndexSpaceTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func open() throws -> Store { try Store(path: scratch.store, links: RecordLinks()) }

    private static func content(_ number: Int) -> [UInt8] { Array("content \(number)".utf8) }

    /// Contents that nothing leads to.
    private func put(_ numbers: Range<Int>, in store: Store) throws {
        for number in numbers { _ = try store.put(Self.content(number)) }
        try store.commit()
    }

    /// A directory of one file, with a record that keeps it.
    private func keep(_ store: Store) throws -> Digest {
        let file = try store.put(Array("kept".utf8))
        let node = Node(attributes: Attributes(mode: 0o644), content: .file(file, size: 4))
        let tree = try store.put(
            DirectoryObject(
                attributes: Attributes(mode: 0o755), items: [.init(name: FileName("file"), entry: .node(node))]))
        store.set(.records, Digest.of("kept").bytes, tree.object.bytes)
        try store.commit()
        return file
    }

    private func collect(_ store: Store) throws -> Collected {
        let lease = try #require(try store.collectorLease())
        return try store.collect(Removal(), from: store.census(RecordLinks()), deadShare: 0.1, under: lease)
    }

    private func allocated() throws -> UInt64 {
        try statEntry(AT_FDCWD, FileName(scratch.store + "/index/data.mdb")).blocks * 512
    }

    @Test func theOrderOfALooseFillHasEachNameOnce() {
        for count in [0, 1, 999, 1000, 1001, 1002, 5000] {
            let names = (0..<count).map { Digest.of(Self.content($0)) }.sorted()
            let order = Store.looselyFilling(names)
            #expect(order.sorted() == names)
            #expect((order == names) == (count < 1000))
        }
    }

    /// Pages that are full to the brim would each be halved by the next image.
    @Test func theIndexGrowsByAboutWhatIsNew() throws {
        let store = try open()
        try put(0..<20_000, in: store)
        let first = try store.database.space().live
        try put(20_000..<22_000, in: store)
        let second = try store.database.space().live
        #expect(second <= first + first / 5, "\(first) bytes, then \(second)")
        #expect(first <= 20_000 * 150, "and nothing is wasted")
    }

    @Test func anIndexThatIsNearlyEmptiedGivesItsRoomBack() throws {
        var store = try open()
        let kept = try keep(store)
        for start in stride(from: 0, to: 40_000, by: 10_000) { try put(start..<(start + 10_000), in: store) }
        store.rest()
        let before = try allocated()
        #expect(before > 3 << 20)
        let census = try store.census(RecordLinks())
        let said = try store.predict(census, keeping: census.items.compactMap(\.roots), deadShare: 0.1)
        let collected = try collect(store)
        let after = try allocated()
        #expect(after < 512 << 10)
        // The collection itself needs pages, which go back with the others: what is freed is told against the time before.
        #expect(said.index <= before && said.index + (512 << 10) > before - after)
        #expect(collected.index >= before - after)
        #expect(try Store.indexProblems(at: scratch.store) == [])
        store = try open()
        #expect(try store.read(kept) == Array("kept".utf8))
        #expect(try store.size(of: Digest.of(Self.content(7))) == nil)
        // What went back is taken again.
        try put(0..<20_000, in: store)
        #expect(try store.read(Digest.of(Self.content(19_999))) == Self.content(19_999))
        #expect(try Store.indexProblems(at: scratch.store) == [])
    }

    /// Any part of many contents goes, whichever they are: what was said of the index beforehand is what it takes less.
    @Test(arguments: [5, 50, 70, 90, 100]) func whatTheIndexGivesBackIsForetold(percent: Int) throws {
        let store = try open()
        var random = SeededGenerator(seed: UInt64(percent))
        var kept: [DirectoryObject.Item] = []
        for start in stride(from: 0, to: 30_000, by: 10_000) {
            for number in start..<(start + 10_000) {
                let file = try store.put(Self.content(number))
                if Int.random(in: 0..<100, using: &random) < percent { continue }
                let node = Node(attributes: Attributes(mode: 0o644), content: .file(file, size: 12))
                kept.append(.init(name: FileName("\(number)"), entry: .node(node)))
            }
            try store.commit()
        }
        kept.sort { $0.name < $1.name }
        let tree = try store.put(DirectoryObject(attributes: Attributes(mode: 0o755), items: kept))
        store.set(.records, Digest.of("kept").bytes, tree.object.bytes)
        try store.commit()
        store.rest()
        let before = try allocated()
        let census = try store.census(RecordLinks())
        let said = try store.predict(census, keeping: census.items.compactMap(\.roots), deadShare: 0.1)
        _ = try collect(store)
        let after = try allocated()
        let freed = Int(before) - Int(after)
        // Whether the last few pages go back may depend on a page more or less.
        #expect(abs(Int(said.index) - freed) <= 64 << 10, "\(said.index) of \(before), was \(freed)")
        #expect(try Store.indexProblems(at: scratch.store) == [])
    }

    @Test func aCommitThatChangesEveryPageLeavesNoFreeOnesBehind() throws {
        let store = try open()
        try put(0..<25_000, in: store)
        try put(25_000..<28_000, in: store)
        let space = try store.database.space()
        #expect(space.spare < 512 << 10)
        #expect(space.live > 2 << 20)
        for number in stride(from: 0, to: 28_000, by: 97) {
            #expect(try store.read(Digest.of(Self.content(number))) == Self.content(number))
        }
        #expect(try Store.indexProblems(at: scratch.store) == [])
    }

    @Test func aFewFreePagesStay() throws {
        let store = try open()
        try put(0..<2_000, in: store)
        try put(2_000..<4_000, in: store)
        let before = try allocated()
        #expect(try store.giveBackIndexSpace(share: 0) == 0)
        #expect(try allocated() == before)
    }

    @Test func aReaderKeepsTheStateThatItBeganWith() throws {
        let store = try open()
        try put(0..<25_000, in: store)
        store.rest()
        try store.database.read { transaction throws(StoreError) in
            let state = transaction.state
            // Every page that this state has is changed, and free from then on.
            try store.database.write { changes throws(StoreError) in
                for number in 0..<25_000 { try changes.put(.contents, Digest.of(Self.content(number)).bytes, nil) }
            }
            _ = try store.database.giveBackFreePages()
            var count = 0
            try transaction.visit(.contents) { key, value throws(StoreError) in
                if key.count == 32, ContentEntry(value) != nil { count += 1 }
            }
            #expect(count == 25_000)
            #expect(transaction.state == state)
        }
        // And when it is done, they go.
        #expect(try store.database.giveBackFreePages() > 1 << 20)
        #expect(try Store.indexProblems(at: scratch.store) == [])
    }

    @Test func theStateBeforeTheLastOneStaysWhole() throws {
        let store = try open()
        try put(0..<25_000, in: store)
        try store.database.write { changes throws(StoreError) in
            for number in 0..<24_000 { try changes.put(.contents, Digest.of(Self.content(number)).bytes, nil) }
        }
        #expect(try store.database.giveBackFreePages() > 1 << 20)
        let newest = try store.revision()
        // As a power cut leaves it that takes the newest first page away.
        let copy = scratch.path + "/copy"
        try FileManager.default.createDirectory(atPath: copy + "/index", withIntermediateDirectories: true)
        var bytes = try readFile(scratch.store + "/index/data.mdb")
        let page = newest % 2
        bytes.replaceSubrange((page * 4096)..<((page + 1) * 4096), with: [UInt8](repeating: 0, count: 4096))
        try Data(bytes).write(to: URL(fileURLWithPath: copy + "/index/data.mdb"))
        #expect(try Store.indexProblems(at: copy) == ["page \(page) is not what an index begins with"])
    }

    @Test func anIndexWithDamageGivesNothingBack() throws {
        do {
            let store = try open()
            try put(0..<25_000, in: store)
            try store.database.write { changes throws(StoreError) in
                for number in 0..<24_000 { try changes.put(.contents, Digest.of(Self.content(number)).bytes, nil) }
            }
        }
        // Leaves of contents say that they are other pages, which LMDB does not look at as it reads.
        var bytes = try readFile(scratch.store + "/index/data.mdb")
        func word(_ place: Int) -> Int { Int(bytes[place]) | Int(bytes[place + 1]) << 8 }
        for page in stride(from: 2 * 4096, to: bytes.count, by: 4096) where word(page + 10) == 2 {
            let node = word(page + 16)
            if node < 4088, word(page + node + 6) == 32 { bytes[page + 5] ^= 1 }
        }
        try Data(bytes).write(to: URL(fileURLWithPath: scratch.store + "/index/data.mdb"))
        #expect(try !Store.indexProblems(at: scratch.store).isEmpty)
        let store = try open()
        #expect(try store.database.space().spare > 1 << 20)
        #expect(try store.database.giveBackFreePages() == 0)
    }
}
