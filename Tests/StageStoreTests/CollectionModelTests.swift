// Random builders and a collector on one store, against a model of what leads to what: nothing that is reached or leased is
// lost, and nothing else stays.
//
// STAGERUN_MODEL_RUNS says how many seeds are tried (default 12); STAGERUN_SEED replays the one that failed.

import Foundation
import StageConformance
import StageHash
import StageSystem
import StoreProbe
import Testing

@testable import StageStore

@Suite struct CollectionModelTests {
    static let seeds: [UInt64] = {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["STAGERUN_SEED"].flatMap({ UInt64($0) }) { return [seed] }
        return Array(1...(environment["STAGERUN_MODEL_RUNS"].flatMap { UInt64($0) } ?? 12))
    }()

    @Test(arguments: seeds) func nothingReachedIsLostAndNothingElseStays(seed: UInt64) throws {
        var game = try Game(seed: seed)
        for turn in 0..<120 {
            do { try game.play() } catch { throw GameError(seed: seed, turn: turn, error: "\(error)") }
        }
        do { try game.end() } catch { throw GameError(seed: seed, turn: -1, error: "\(error)") }
    }
}

private struct GameError: Error { let seed: UInt64, turn: Int, error: String }

private struct Mismatch: Error { let what: String }

/// A process that builds: what it has found or put under its lease.
private struct Builder {
    let store: Store
    var lease: Lease
    var known: [TreeRef] = []
    /// What it will have said once it commits.
    var said: [String: TreeRef] = [:]

    init(_ path: String) throws {
        store = try Store(path: path, links: DirectoryLinks())
        lease = try store.lease()
        store.rest()
    }
}

private struct DirectoryLinks: LinkReader {
    func links(of table: Table, _ value: [UInt8]) -> [Link]? {
        value.withUnsafeBytes { Digest(bytes: $0) }.map { [.directory($0)] }
    }

    func links(inList bytes: [UInt8]) -> [Link]? { nil }
}

private struct Game {
    let scratch: Scratch
    var random: SeededGenerator
    var builders: [Builder]
    let collector: Store
    /// All directories ever made, with what each leads to directly.
    var children: [Digest: (directories: [TreeRef], files: [Digest])] = [:]
    var records: [String: TreeRef] = [:]

    init(seed: UInt64) throws {
        scratch = try Scratch()
        random = SeededGenerator(seed: seed)
        let path = scratch.store
        builders = try (0..<3).map { _ in try Builder(path) }
        collector = try Store(path: path, links: DirectoryLinks())
        collector.rest()
    }

    mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }

    // MARK: Turns

    mutating func play() throws {
        if below(6) == 0 { return try collect() }
        try build(below(builders.count))
        if below(8) == 0 { try check() }
    }

    private mutating func build(_ who: Int) throws {
        switch below(10) {
        case 0...4: try makeDirectory(who)
        case 5, 6: name(who)
        case 7: try look(who)
        case 8: try commit(who)
        default: try renew(who)
        }
    }

    /// A directory of a few files, from few different ones, and of directories that the builder knows.
    private mutating func makeDirectory(_ who: Int) throws {
        var items: [DirectoryObject.Item] = []
        var (directories, files): ([TreeRef], [Digest]) = ([], [])
        for number in 0..<(1 + below(3)) {
            var bytes = SeededGenerator(seed: UInt64(below(25)))
            // Now and then a large one, of chunks.
            let size = below(12) == 0 ? 700_000 : 3000 + below(4) * 1000
            let digest = try builders[who].store.put(bytes.bytes(size))
            files.append(digest)
            let node = Node(attributes: Attributes(mode: 0o644), content: .file(digest, size: UInt64(size)))
            items.append(.init(name: FileName("f\(number)"), entry: .node(node)))
        }
        let known = builders[who].known
        for number in 0..<below(3) where !known.isEmpty {
            let tree = known[below(known.count)]
            directories.append(tree)
            items.append(.init(name: FileName("d\(number)"), entry: .directory(tree)))
        }
        let object = DirectoryObject(attributes: Attributes(mode: 0o755), items: items.sorted { $0.name < $1.name })
        let tree = try builders[who].store.put(object)
        children[tree.object] = (directories, files)
        builders[who].known.append(tree)
    }

    /// A record that leads to what the builder knows; or none any more.
    private mutating func name(_ who: Int) {
        let key = "record \(below(6))"
        guard !builders[who].known.isEmpty, below(4) > 0 else { return }
        let tree = builders[who].known[below(builders[who].known.count)]
        builders[who].store.set(.records, Digest.of(key).bytes, tree.object.bytes)
        builders[who].said[key] = tree
    }

    /// Finds a directory of another builder: all beneath it may be relied on.
    private mutating func look(_ who: Int) throws {
        let all = children.keys.sorted()
        guard !all.isEmpty else { return }
        let object = all[below(all.count)]
        guard try builders[who].store.size(of: object) != nil else { return }
        try expectWhole(object, in: builders[who].store, "found")
        let directory = try builders[who].store.directory(object)
        builders[who].known.append(TreeRef(identity: Digest.of(directory.identityBytes()), object: object))
    }

    private mutating func commit(_ who: Int) throws {
        try builders[who].store.commit()
        for (key, tree) in builders[who].said { records[key] = tree }
        builders[who].said = [:]
    }

    private mutating func renew(_ who: Int) throws {
        try commit(who)
        builders[who].known = []
        builders[who].lease = try builders[who].store.lease()
    }

    /// A collection that takes some records, while builders go on between its look and its act.
    private mutating func collect() throws {
        guard let right = try collector.collectorLease() else { throw Mismatch(what: "somebody else collects") }
        let census = try collector.census(DirectoryLinks())
        if let fault = census.faults.first { throw Mismatch(what: "\(fault)") }
        let before = records
        var removal = Removal()
        var going: [String] = []
        for key in records.keys.sorted() where below(3) == 0 {
            going.append(key)
            removal.items.append((.records, Digest.of(key).bytes))
        }
        for _ in 0..<below(5) { try build(below(builders.count)) }
        _ = try collector.collect(removal, from: census, deadShare: Double(below(3)) / 10, under: right)
        // What was said anew since the census stays.
        for key in going where records[key] == before[key] { records[key] = nil }
    }

    // MARK: What must hold

    private func check() throws {
        let fresh = try Store(path: scratch.store, links: DirectoryLinks())
        for (key, tree) in records {
            let value = try fresh.get(.records, Digest.of(key).bytes)
            if value != tree.object.bytes { throw Mismatch(what: "\(key) is not what was said") }
            try expectWhole(tree.object, in: fresh, key)
        }
        for builder in builders {
            for tree in builder.known { try expectWhole(tree.object, in: builder.store, "known") }
        }
    }

    private func expectWhole(_ object: Digest, in store: Store, _ note: String) throws {
        for digest in reached(from: [object]) where Digest.of(try store.read(digest)) != digest {
            throw Mismatch(what: "\(note): wrong bytes of \(digest)")
        }
    }

    private func reached(from roots: [Digest]) -> Set<Digest> {
        var seen: Set<Digest> = []
        var stack = roots
        while let digest = stack.popLast() {
            guard seen.insert(digest).inserted, let next = children[digest] else { continue }
            stack += next.directories.map(\.object) + next.files
        }
        return seen
    }

    /// All builders are done: exactly what records lead to is left.
    mutating func end() throws {
        try check()
        for who in builders.indices { try commit(who) }
        builders = []
        guard let right = try collector.collectorLease() else { throw Mismatch(what: "somebody else collects") }
        let census = try collector.census(DirectoryLinks())
        _ = try collector.collect(Removal(), from: census, deadShare: 0, under: right)
        try check()
        let left = try collector.census(DirectoryLinks())
        let expected = reached(from: records.values.map(\.object))
        // Chunks and their lists are contents of their own.
        let listed = left.graph.rows.map(\.digest).filter { expected.contains($0) }
        if listed.count != expected.count { throw Mismatch(what: "\(expected.count) reached, \(listed.count) there") }
        var seen = left.graph.noMarks
        for item in left.items { left.graph.mark(item.roots?.vertices ?? [], in: &seen) { _ in } }
        for number in 0..<left.contentCount where !seen[number] {
            throw Mismatch(what: "nothing leads to \(left.graph.rows[number].digest)")
        }
        if !left.condemned.isEmpty { throw Mismatch(what: "given up, and still here") }
        let live = left.contentBytes
        let packs = try scratch.packBytes()
        if packs > live + PackSweep.leastDead * UInt64(left.packs.count) {
            throw Mismatch(what: "\(packs) bytes in packs for \(live)")
        }
    }
}
