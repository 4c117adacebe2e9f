// The store on disk against the one in memory: random operations, with commits, new openings and ends without a commit among
// them. A failure says the seed: STAGERUN_SEED replays it.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import Testing

/// Something that is done to both.
private enum Operation {
    case put([UInt8])
    case putTwo([UInt8], [UInt8])
    case pieces([UInt8], Int)
    case abandon([UInt8])
    case directory(DirectoryObject)
    case set(Table, [UInt8], [UInt8]?)

    /// What it gave; `any` of both kinds of store.
    func apply(to store: any DirectorySink & ContentSink & TableStore) throws -> [Digest] {
        switch self {
        case .put(let bytes):
            return [try store.put(bytes)]
        case .putTwo(let first, let second):
            guard let disk = store as? Store else { return [try store.put(first), try store.put(second)] }
            return try first.withUnsafeBytes { first in
                try second.withUnsafeBytes { second in
                    // The first comes twice: of one content with itself there is one as well.
                    Array(try disk.put(together: [first, second, first]).prefix(2))
                }
            }
        case .pieces(let bytes, let size):
            var ingest = try store.ingest()
            for start in stride(from: 0, to: bytes.count, by: size) {
                try bytes[start..<min(start + size, bytes.count)].withUnsafeBytes { try ingest.update($0) }
            }
            return [try ingest.finish().digest]
        case .abandon(let bytes):
            var ingest = try store.ingest()
            try bytes.withUnsafeBytes { try ingest.update($0) }
            return []
        case .directory(let directory):
            let ref = try store.put(directory)
            return [ref.object]
        case .set(let table, let key, let value):
            store.set(table, key, value)
            return []
        }
    }
}

@Suite struct ModelTests {
    private struct Run {
        let path: String
        var random: SeededGenerator
        var store: Store
        var model = MemoryStore()
        /// Since the beginning, and how many of them are durable.
        var operations: [Operation] = []
        var committed = 0
        var known: [[UInt8]] = []
        var names: [Digest] = [Digest.of("nobody put this")]

        init(path: String, seed: UInt64) throws {
            self.path = path
            random = SeededGenerator(seed: seed)
            store = try Store(path: path)
        }

        private mutating func bytes() -> [UInt8] {
            let size = [0, 1, 500, 20_000, 262_143, 262_144, 262_145, 700_000, 1_400_000][Int(random.next() % 9)]
            switch random.next() % 6 {
            case 0: return random.bytes(size)
            case 1: return [UInt8](repeating: 0, count: size)
            case 2: return random.bytes(size / 2) + [UInt8](repeating: 0, count: size / 2) + random.bytes(3)
            case 3, 4:
                guard var edited = known.randomElement(using: &random), !edited.isEmpty else {
                    return random.text(size)
                }
                let place = Int(random.next() % UInt64(edited.count))
                if random.next() % 2 == 0 {
                    edited[place] ^= 1
                } else {
                    edited.insert(contentsOf: random.bytes(99), at: place)
                }
                return edited
            default: return random.text(size)
            }
        }

        private mutating func operation() -> Operation {
            switch random.next() % 10 {
            case 0, 1, 2: return .put(bytes())
            case 3: return .putTwo(bytes(), bytes())
            case 4, 5: return .pieces(bytes(), 1 + Int(random.next() % 400_000))
            case 6: return .abandon(bytes() + random.bytes(9))
            case 7:
                let items = (0..<(random.next() % 30)).map { index in
                    DirectoryObject.Item(
                        name: FileName("\(index)"),
                        entry: .node(
                            Node(
                                attributes: Attributes(mode: UInt16(random.next() % 0o10000)),
                                content: .file(names.randomElement(using: &random) ?? .zero, size: 1))))
                }
                return .directory(DirectoryObject(attributes: Attributes(mode: 0o755), items: items))
            default:
                let table =
                    Table.allCases.filter { $0 != .contents && $0 != .facts }.randomElement(using: &random) ?? .tags
                let key = [UInt8(random.next() % 6) + 1]
                return .set(table, key, random.next() % 4 == 0 ? nil : random.bytes(Int(random.next() % 9000)))
            }
        }

        mutating func step() throws {
            switch random.next() % 12 {
            case 0:
                try store.commit()
                committed = operations.count
            case 1:
                // Another look at the same directory, as another process would have it, after a commit or without.
                if random.next() % 2 == 0 {
                    try store.commit()
                    committed = operations.count
                }
                try reopen()
            default:
                let operation = operation()
                operations.append(operation)
                let expected = try operation.apply(to: model)
                let found = try operation.apply(to: store)
                #expect(found == expected)
                names += expected
                if case .put(let bytes) = operation, known.count < 12 { known.append(bytes) }
                if case .pieces(let bytes, _) = operation, known.count < 24 { known.append(bytes) }
            }
        }

        /// What was not committed is gone; the model forgets it too.
        private mutating func reopen() throws {
            store = try Store(path: path)
            operations.removeLast(operations.count - committed)
            model = MemoryStore()
            for operation in operations { _ = try operation.apply(to: model) }
        }

        func compare(_ names: [Digest]) throws {
            let sizes = try store.sizes(of: names)
            for (name, size) in zip(names, sizes) {
                let expected = try model.size(of: name)
                #expect(size == expected)
                #expect(try store.size(of: name) == expected)
                if expected == nil {
                    #expect(storeError { _ = try store.read(name) } == .missing(name))
                } else {
                    #expect(try store.read(name) == model.read(name))
                }
            }
            for table in Table.allCases where table != .contents && table != .facts {
                for key in UInt8(0)...7 { #expect(try store.get(table, [key]) == model.get(table, [key])) }
            }
        }
    }

    private static let seeds: [UInt64] =
        ProcessInfo.processInfo.environment["STAGERUN_SEED"].flatMap { UInt64($0) }.map { [$0] } ?? Array(1...10)

    @Test(arguments: seeds) func operationsAgainstTheStoreInMemory(seed: UInt64) throws {
        let scratch = try Scratch()
        var run = try Run(path: scratch.store, seed: seed)
        for step in 0..<120 {
            do {
                try run.step()
                if let name = run.names.randomElement(using: &run.random) { try run.compare([name]) }
            } catch { Issue.record("STAGERUN_SEED=\(seed), step \(step): \(error)") }
        }
        try run.compare(run.names)
    }
}
