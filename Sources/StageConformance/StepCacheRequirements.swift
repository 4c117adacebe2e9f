// What every cache of step records does.

import StageEngine
import StageHash
import StageStore
import StageSystem

/// For anything that a `Builder` can find records in.
public enum StepCacheRequirements {
    public typealias Subject = any Builder.Store

    public static let all: [Requirement<Subject>] = [
        Requirement("a key that nobody kept has no record", hasNothingAtFirst),
        Requirement("a record is found by its key as it was kept", findsWhatWasKept),
        Requirement("a record takes the place of an earlier one with its key", replaces),
        Requirement("the first record that led from one tree to another is found by the two", findsOutcomes),
        Requirement("records do not disturb each other", separates),
        Requirement("a key is claimed by one at a time", claims),
        Requirement("records can be kept and found by many tasks at once", isShared),
    ]

    private static func key(_ number: Int) -> StepKey { StepKey(Digest.of("step \(number)")) }

    private static func tree(_ number: Int, _ store: Subject) throws -> TreeRef {
        let digest = try store.put(Array("file \(number)".utf8))
        let node = Node(attributes: Attributes(mode: 0o644), content: .file(digest, size: 9))
        let item = DirectoryObject.Item(name: FileName("f\(number)"), entry: .node(node))
        return try store.put(DirectoryObject(attributes: Attributes(mode: 0o755), items: [item]))
    }

    private static func record(_ number: Int, from input: Int? = nil, to result: Int, _ store: Subject) throws
        -> StepRecord
    {
        let log = number % 2 == 0 ? try store.put(Array("log of \(number)\n".utf8)) : nil
        let tree = try tree(result, store)
        let sources = (0..<(number % 3)).map {
            StepSource(input: $0, path: Array("dir/\($0)".utf8) + [0xFF], entry: .directory(tree))
        }
        var encoder = KeyEncoder(format: "conformance")
        encoder.field("operation", "\(number) \u{E9}")
        let walk = number % 5 == 0 ? KeyWalk(text: encoder.text) : KeyWalk(encoding: encoder.bytes[...])
        return StepRecord(
            key: key(number), walk: walk, title: "RUN step \(number)", stage: "s",
            input: try input.map { try Self.tree($0, store) }, result: tree,
            created: Timestamp(seconds: Int64(number) - 5, nanoseconds: UInt32(number)), duration: UInt64(number) << 33,
            log: log, sources: sources)
    }

    private static func hasNothingAtFirst(_ store: Subject) throws {
        try expect(try store.record(key(1)) == nil, "a record of a step that never ran")
        let (one, two) = (try tree(1, store), try tree(2, store))
        try expect(try store.outcome(from: one, to: two) == nil, "an outcome of a step that never ran")
        try expect(try store.outcome(from: nil, to: two) == nil, "an outcome of a step that never ran, from nothing")
    }

    private static func findsWhatWasKept(_ store: Subject) throws {
        for number in 0..<12 {
            let kept = try record(number, from: number % 4 == 0 ? nil : number, to: number + 100, store)
            try store.keep(kept)
            try expectEqual(try store.record(kept.key), kept, "record \(number)")
        }
    }

    private static func replaces(_ store: Subject) throws {
        var kept = try record(3, from: 1, to: 2, store)
        try store.keep(kept)
        (kept.result, kept.title, kept.duration) = (try tree(7, store), "RUN again", 1)
        try store.keep(kept)
        try expectEqual(try store.record(kept.key), kept, "the record that was kept last")
    }

    private static func findsOutcomes(_ store: Subject) throws {
        let first = try record(1, from: 1, to: 2, store)
        try store.keep(first)
        try store.keep(try record(2, from: 1, to: 2, store))
        try expectEqual(try store.outcome(from: tree(1, store), to: tree(2, store)), first, "the first that led there")
        try expect(try store.outcome(from: tree(2, store), to: tree(1, store)) == nil, "the way back was never gone")
        try expect(try store.outcome(from: nil, to: tree(2, store)) == nil, "nothing is not the first tree")
        let begun = try record(4, to: 2, store)
        try store.keep(begun)
        try expectEqual(try store.outcome(from: nil, to: tree(2, store)), begun, "the step that started from nothing")
    }

    private static func separates(_ store: Subject) throws {
        let records = try (0..<300).map { try record($0, from: $0 % 7, to: $0 + 10, store) }
        for record in records { try store.keep(record) }
        for record in records {
            try expectEqual(try store.record(record.key), record, "the record of \(record.title)")
            try expectEqual(try store.outcome(from: record.input, to: record.result), record, "its outcome")
        }
    }

    private static func claims(_ store: Subject) throws {
        func isTaken(_ key: StepKey) throws -> Bool {
            if case .taken(let silence) = try store.claim(key) {
                try expect(silence >= 0, "a holder that was heard of in the future")
                return true
            }
            return false
        }
        switch try store.claim(key(1)) {
        case .taken: throw Mismatch(reason: "a key that nobody claimed is taken")
        // Nobody else can use this cache.
        case .granted(nil): return try expect(!isTaken(key(1)), "a claim that nobody holds is taken")
        case .granted(let lease?):
            try expect(try isTaken(key(1)), "a key that is held was given to a second")
            try expect(try !isTaken(key(2)), "another key is taken")
            withExtendedLifetime(lease) {}
        }
        try expect(try !isTaken(key(1)), "a claim that ended still holds")
    }

    private static func isShared(_ store: Subject) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for number in 0..<60 {
                        // Half of them are every task's.
                        let own = try record(number % 2 == 0 ? number : number + 1000 * task, to: number, store)
                        try store.keep(own)
                        try expectEqual(try store.record(own.key), own, "record \(number) of task \(task)")
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
