// What is collected, what a lease keeps, what a commit takes back, and that packs are compacted under readers.

import Foundation
import StageConformance
import StageHash
import StageSystem
import StoreProbe
import Testing

@testable import StageStore

/// Records are directories by their object; images and builds are lists.
private struct TestLinks: LinkReader {
    func links(of table: Table, _ value: [UInt8]) -> [Link]? {
        guard let digest = value.withUnsafeBytes({ Digest(bytes: $0) }) else { return nil }
        return table == .records ? [.directory(digest)] : [.list(digest)]
    }

    func links(inList bytes: [UInt8]) -> [Link]? {
        stride(from: 0, to: bytes.count - 31, by: 32).compactMap { start in
            bytes[start..<(start + 32)].withUnsafeBytes { Digest(bytes: $0) }.map { .content($0) }
        }
    }
}

@Suite struct CollectionTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func open() throws -> Store { try Store(path: scratch.store, links: TestLinks()) }

    /// A tree of files with random bytes, all in one directory.
    private func tree(_ store: Store, seed: UInt64, files: Int = 10, size: Int = 20_000) throws -> TreeRef {
        var random = SeededGenerator(seed: seed)
        let items = try (0..<files).map { index in
            let bytes = random.bytes(size)
            return DirectoryObject.Item(
                name: FileName("file\(index)"),
                entry: .node(
                    Node(attributes: Attributes(mode: 0o644), content: .file(try store.put(bytes), size: UInt64(size))))
            )
        }
        return try store.put(DirectoryObject(attributes: Attributes(mode: 0o755), items: items))
    }

    private func record(_ store: Store, _ name: String, _ tree: TreeRef) throws {
        store.set(.records, Digest.of(name).bytes, tree.object.bytes)
        try store.commit()
    }

    /// A directory of its own that names a tree.
    private func directory(_ store: Store, naming tree: TreeRef) throws -> TreeRef {
        try store.put(
            DirectoryObject(
                attributes: Attributes(mode: 0o700), items: [.init(name: FileName("sub"), entry: .directory(tree))]))
    }

    /// Two processes and a tree that one recorded; the other has no lease.
    private func recorded() throws -> (builder: Store, collector: Store, tree: TreeRef) {
        let (builder, collector) = (try open(), try open())
        collector.rest()
        let old = try tree(builder, seed: 1)
        try record(builder, "old", old)
        return (builder, collector, old)
    }

    /// Takes one value away, by a census of a moment ago.
    private func take(
        _ table: Table, _ name: String, _ store: Store, _ census: Census, under lease: CollectorLease
    ) throws {
        var removal = Removal()
        removal.items = [(table, Digest.of(name).bytes)]
        _ = try store.collect(removal, from: census, deadShare: 0.1, under: lease)
    }

    @discardableResult
    private func collect(_ store: Store, dropping names: String..., deadShare: Double = 0.1) throws -> Collected {
        let lease = try #require(try store.collectorLease())
        let census = try store.census(TestLinks())
        #expect(census.faults.isEmpty)
        var removal = Removal()
        removal.items = names.map { (.records, Digest.of($0).bytes) }
        return try store.collect(removal, from: census, deadShare: deadShare, under: lease)
    }

    private func readAll(_ store: Store, _ tree: TreeRef) throws {
        for item in try DirectoryObject(encoded: store.read(tree.object))?.items ?? [] {
            if case .node(let node) = item.entry, let file = node.file {
                #expect(Digest.of(try store.read(file.digest)) == file.digest)
            }
        }
    }

    // MARK: What goes

    @Test func whatNothingLeadsToGoes() throws {
        let store = try open()
        let (kept, dropped) = (try tree(store, seed: 1), try tree(store, seed: 2))
        try record(store, "kept", kept)
        try record(store, "dropped", dropped)
        _ = try store.put(bytes("nobody's"))
        try store.commit()
        store.rest()
        let before = try scratch.packBytes()
        let collected = try collect(store, dropping: "dropped")
        #expect(collected.awaiting == 0)
        #expect(collected.freed > 190_000)
        #expect(try scratch.packBytes() < before - 190_000)
        #expect(try store.size(of: dropped.object) == nil)
        #expect(try store.size(of: Digest.of("nobody's")) == nil)
        #expect(try store.get(.records, Digest.of("dropped").bytes) == nil)
        try readAll(store, kept)
        try readAll(try open(), kept)
        let after = try store.census(TestLinks())
        #expect(after.condemned.isEmpty && after.contentCount == 11)
    }

    @Test func whatTwoLeadToStaysForTheOther() throws {
        let store = try open()
        let shared = try tree(store, seed: 1)
        try record(store, "one", shared)
        try record(store, "two", shared)
        store.rest()
        try collect(store, dropping: "one")
        try readAll(store, shared)
        try collect(store, dropping: "two")
        #expect(try store.size(of: shared.object) == nil)
        #expect(try scratch.packs().isEmpty)
    }

    @Test func listsAndChunksAreFollowed() throws {
        let store = try open()
        var random = SeededGenerator(seed: 4)
        let large = try store.put(random.bytes(3_000_000))
        let small = try store.put(random.bytes(5000))
        let list = try store.put(large.bytes + small.bytes)
        store.set(.images, Digest.of("image").bytes, list.bytes)
        store.set(.tags, bytes("name"), Digest.of("image").bytes)
        _ = try store.put(random.bytes(2_000_000))
        try store.commit()
        store.rest()
        let collected = try collect(store)
        #expect(collected.freed > 1_900_000 && collected.freed < 2_200_000)
        for digest in [large, small, list] { #expect(Digest.of(try store.read(digest)) == digest) }
    }

    // MARK: Leases

    @Test func aLeaseKeepsWhatWasGivenUp() throws {
        let (builder, collector, old) = try recorded()
        let collected = try collect(collector, dropping: "old")
        #expect(collected.freed == 0 && collected.awaiting > 200_000)
        try readAll(builder, old)
        #expect(try open().size(of: old.object) == nil, "who comes later does not see it")
        builder.rest()
        let swept = try collect(collector)
        #expect(swept.awaiting == 0 && swept.freed > 190_000)
    }

    @Test func whatACommitNamesIsTakenBack() throws {
        let (builder, collector, old) = try recorded()
        try collect(collector, dropping: "old")
        // The builder found the tree before it was given up, and names it now: by a record, and from a directory of its own.
        let parent = try directory(builder, naming: old)
        try record(builder, "new", parent)
        builder.rest()
        try collect(collector)
        let fresh = try open()
        #expect(try fresh.directory(parent.object).items.count == 1)
        try readAll(fresh, old)
    }

    @Test func aDirectoryThatIsHereHasAllBeneathIt() throws {
        let (builder, collector, old) = try recorded()
        try collect(collector, dropping: "old")
        // Named by nothing but a directory that nothing names: who finds that directory relies on what is beneath.
        let parent = try directory(builder, naming: old)
        try builder.commit()
        let fresh = try open()
        #expect(try fresh.size(of: parent.object) != nil)
        builder.rest()
        try collect(collector)
        try readAll(fresh, old)
        try record(fresh, "late", parent)
        fresh.rest()
        try collect(collector)
        try readAll(try open(), old)
    }

    @Test func aNewProcessStoresAnewWhatWasGivenUp() throws {
        let (builder, collector, old) = try recorded()
        try collect(collector, dropping: "old")
        let later = try open()
        let again = try tree(later, seed: 1)
        #expect(again == old)
        try record(later, "again", again)
        builder.rest()
        try collect(collector)
        later.rest()
        try readAll(try open(), again)
    }

    @Test func withoutALinkReaderACommitTakesAllBack() throws {
        let plain = try Store(path: scratch.store)
        let collector = try open()
        collector.rest()
        let old = try tree(plain, seed: 1)
        try record(plain, "old", old)
        try collect(collector, dropping: "old")
        plain.set(.records, Digest.of("new").bytes, old.object.bytes)
        try plain.commit()
        plain.rest()
        try collect(collector)
        try readAll(try open(), old)
    }

    @Test func aNameOfAnImageThatWentIsRefused() throws {
        let (tagger, collector) = (try open(), try open())
        collector.rest()
        let list = try tagger.put([])
        tagger.set(.images, Digest.of("image").bytes, list.bytes)
        try tagger.commit()
        let lease = try #require(try collector.collectorLease())
        try take(.images, "image", collector, try collector.census(TestLinks()), under: lease)
        tagger.set(.tags, bytes("name"), Digest.of("image").bytes)
        #expect(storeError { try tagger.commit() }?.isMissing == true)
        #expect(try open().get(.tags, bytes("name")) == nil)
    }

    @Test func whatCameSinceTheCensusStays() throws {
        let (builder, collector, old) = try recorded()
        let lease = try #require(try collector.collectorLease())
        let census = try collector.census(TestLinks())
        // A record that names it anew, an image that gets a name: after the look, before the collection.
        try record(builder, "new", old)
        builder.rest()
        try take(.records, "old", collector, census, under: lease)
        try readAll(try open(), old)
    }

    @Test func aDirectoryThatCameSinceTheCensusKeepsWhatItNames() throws {
        let (builder, collector, old) = try recorded()
        let lease = try #require(try collector.collectorLease())
        let census = try collector.census(TestLinks())
        // Committed by itself, as when many packs wait; nothing leads to it yet.
        let parent = try directory(builder, naming: old)
        try builder.commit()
        try take(.records, "old", collector, census, under: lease)
        // Who comes later finds the directory, and relies on all beneath it.
        let later = try open()
        #expect(try later.size(of: parent.object) != nil)
        try record(later, "late", parent)
        later.rest()
        builder.rest()
        _ = try collector.sweep(deadShare: 0.1, under: lease)
        try readAll(try open(), old)
    }

    @Test func aBuildKeepsWhatItsListNames() throws {
        let (store, collector) = (try open(), try open())
        collector.rest()
        let log = try store.put(bytes("what a failed step wrote"))
        let list = try store.put(log.bytes)
        store.set(.builds, Digest.of("build").bytes, list.bytes)
        try store.commit()
        store.rest()
        try collect(collector)
        #expect(try open().read(log) == bytes("what a failed step wrote"))
        let lease = try #require(try collector.collectorLease())
        try take(.builds, "build", collector, try collector.census(TestLinks()), under: lease)
        #expect(try open().size(of: log) == nil)
    }

    @Test func whatDoesNotReadIsNotTakenForNobodys() throws {
        let (store, collector) = (try open(), try open())
        collector.rest()
        try record(store, "kept", try tree(store, seed: 1))
        store.set(.records, Digest.of("odd").bytes, [1, 2, 3])
        try store.commit()
        store.rest()
        let lease = try #require(try collector.collectorLease())
        let census = try collector.census(TestLinks())
        #expect(census.obstacle != nil)
        #expect(throws: StoreError.self) {
            try collector.collect(Removal(), from: census, deadShare: 0.1, under: lease)
        }
        #expect(try collector.census(TestLinks()).contentCount == census.contentCount)
    }

    // MARK: Repair

    @Test func aRepairSeesWhatCameSinceTheLook() throws {
        let (builder, keeper) = (try open(), try open())
        keeper.rest()
        let old = try tree(builder, seed: 1)
        try record(builder, "old", old)
        let right = try #require(try keeper.collectorLease())
        let census = try keeper.census(TestLinks())
        let file = try #require(try builder.directory(old.object).items.first)
        guard case .node(let node) = file.entry, let bad = node.file?.digest else { return #expect(Bool(false)) }
        // Since the look: a directory that leads to what is damaged.
        let parent = try directory(builder, naming: old)
        try builder.commit()
        try keeper.repair(after: census, [old.object], TestLinks(), and: [], under: right) { now in
            now.notWhole([bad]).map { (.contents, $0.bytes, nil) }
        }
        for digest in [bad, old.object, parent.object] { #expect(try open().size(of: digest) == nil) }
        // A process that still knows them cannot name them any more.
        builder.set(.records, Digest.of("new").bytes, parent.object.bytes)
        #expect(storeError { try builder.commit() }?.isMissing == true)
    }

    // MARK: Packs

    @Test func readersGoOnWhileTheirPackIsCompacted() throws {
        let (reader, store) = (try open(), try open())
        let (kept, dropped) = (try tree(reader, seed: 1), try tree(reader, seed: 2))
        try record(reader, "kept", kept)
        try record(reader, "dropped", dropped)
        let late = try open()
        let packs = try scratch.packs()
        for other in [reader, store, late] { other.rest() }
        reader.letGoOfPacks()
        try readAll(reader, kept)
        try collect(store, dropping: "dropped")
        #expect(try Set(scratch.packs()).isDisjoint(with: packs))
        try readAll(reader, kept)
        try readAll(late, kept)
    }

    /// Looked up before, read after the pack went.
    @Test func aBatchIsReadThoughItsPackWasCompacted() throws {
        let (reader, store) = (try open(), try open())
        let (kept, dropped) = (try tree(reader, seed: 1), try tree(reader, seed: 2))
        try record(reader, "kept", kept)
        try record(reader, "dropped", dropped)
        let late = try open()
        var files: [Digest] = []
        for case .node(let node) in try late.directory(kept.object).items.map(\.entry) {
            if let file = node.file { files.append(file.digest) }
        }
        let packs = try scratch.packs()
        let batch = try late.lookUp(files)
        for other in [reader, store, late] { other.rest() }
        late.letGoOfPacks()
        try collect(store, dropping: "dropped")
        #expect(try Set(scratch.packs()).isDisjoint(with: packs))
        var contents = [[UInt8]](repeating: [], count: files.count)
        try batch.read { place, piece in contents[place] += piece }
        #expect(files.count == 10 && contents.map { Digest.of($0) } == files)
    }

    @Test func aPackThatIsWrittenToIsLeftAlone() throws {
        let (writer, store) = (try open(), try open())
        store.rest()
        try record(writer, "dropped", try tree(writer, seed: 1))
        let waiting = try writer.put(bytes("more"))
        writer.rest()
        try collect(store, dropping: "dropped")
        try writer.commit()
        #expect(try store.read(waiting) == bytes("more"))
    }

    @Test func littleDeadIsNotWorthACopy() throws {
        let store = try open()
        try record(store, "kept", try tree(store, seed: 1, files: 40))
        try record(store, "dropped", try tree(store, seed: 2, files: 5))
        store.rest()
        let packs = try scratch.packs()
        let collected = try collect(store, dropping: "dropped", deadShare: 0.25)
        #expect(collected.freed == 0)
        #expect(try scratch.packs() == packs)
        let thorough = try collect(store, deadShare: 0.01)
        #expect(thorough.freed > 90_000)
    }

    @Test func leftOversOfKilledWritersGo() throws {
        let store = try open()
        store.rest()
        _ = store
        try Data(count: 100_000).write(to: URL(fileURLWithPath: scratch.store + "/packs/00000000000000aa.pack"))
        let collected = try collect(store)
        #expect(collected.freed >= 100_000)
        #expect(try scratch.packs().isEmpty)
    }

    // MARK: Accounts

    @Test func bytesAreSharedExclusiveAndAddedInOrder() throws {
        let store = try open()
        let (one, two) = (try tree(store, seed: 1), try tree(store, seed: 2))
        let both = try store.put(
            DirectoryObject(
                attributes: Attributes(mode: 0o755),
                items: [
                    .init(name: FileName("one"), entry: .directory(one)),
                    .init(name: FileName("two"), entry: .directory(two)),
                ]))
        try record(store, "one", one)
        try record(store, "both", both)
        let census = try store.census(TestLinks())
        func roots(_ name: String) -> Census.Roots {
            census.items.first { $0.key == Digest.of(name).bytes }?.roots ?? .none
        }
        let holdings = census.holdings([roots("one"), roots("both")])
        let added = census.bytesAdded(inOrder: [roots("one"), roots("both")])
        #expect(holdings[0].exclusive == 0 && holdings[0].total > 200_000)
        #expect(holdings[1].total == census.contentBytes)
        #expect(holdings[1].exclusive == census.contentBytes - holdings[0].total)
        #expect(added == [holdings[0].total, holdings[1].exclusive])
        #expect(census.bytesAdded(inOrder: [roots("both"), roots("one")]) == [census.contentBytes, 0])
        #expect(added.reduce(0, +) == (try scratch.packBytes()))
    }
}
