// What everything that carries out steps of an own kind does.

import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization

/// A performer that is to be proved, with something to do.
public struct StepPerformerSubject: Sendable {
    public var performer: any StepPerformer
    /// At least two operations of one kind, which leave different things.
    public var operations: [OwnOperation]
    /// Keeps in a store what the operations take in, and gives its names in order.
    public var inputs: @Sendable (any TreeStore) throws -> [TreeRef]

    public init(
        performer: any StepPerformer, operations: [OwnOperation],
        inputs: @escaping @Sendable (any TreeStore) throws -> [TreeRef] = { _ in [] }
    ) {
        self.performer = performer
        self.operations = operations
        self.inputs = inputs
    }
}

/// For anything that is a `StepPerformer`.
public enum StepPerformerRequirements {
    public static let all: [Requirement<StepPerformerSubject>] = [
        Requirement("what a step leaves is kept in the store", keepsResults),
        Requirement("the same step leaves the same, in another store too", isReproducible),
        Requirement("a step does not depend on its key", ignoresKeys),
        Requirement("steps that run at once do not disturb each other", separates),
        Requirement("a builder runs each step once, and finds it again", isFoundAgain),
    ]

    private static func perform(
        _ subject: StepPerformerSubject, _ operation: OwnOperation, in store: any TreeStore, key: String = "key"
    ) async throws -> TreeRef {
        let request = StepRequest(
            key: StepKey(Digest.of(key)), operation: operation, inputs: try subject.inputs(store), store: store,
            output: { _, _ in })
        return try await subject.performer.perform(request)
    }

    private static func keepsResults(_ subject: StepPerformerSubject) async throws {
        try expect(subject.operations.count >= 2, "the check needs two operations")
        var results: Set<Digest> = []
        let store = MemoryStore()
        for operation in subject.operations {
            let result = try await perform(subject, operation, in: store)
            try expect(try store.size(of: result.object) != nil, "what \(operation) left is not in the store")
            results.insert(result.identity)
        }
        try expectEqual(results.count, subject.operations.count, "different results of different operations")
    }

    private static func isReproducible(_ subject: StepPerformerSubject) async throws {
        let (store, other) = (MemoryStore(), MemoryStore())
        for operation in subject.operations {
            let first = try await perform(subject, operation, in: store)
            try expectEqual(try await perform(subject, operation, in: store), first, "the second result")
            try expectEqual(try await perform(subject, operation, in: other), first, "the result in another store")
        }
    }

    private static func ignoresKeys(_ subject: StepPerformerSubject) async throws {
        let store = MemoryStore()
        for operation in subject.operations {
            let first = try await perform(subject, operation, in: store)
            let second = try await perform(subject, operation, in: store, key: "another")
            try expectEqual(second, first, "the result under another key")
        }
    }

    private static func separates(_ subject: StepPerformerSubject) async throws {
        let store = MemoryStore()
        var alone: [TreeRef] = []
        for operation in subject.operations { alone.append(try await perform(subject, operation, in: store)) }
        try await withThrowingTaskGroup(of: (Int, TreeRef).self) { group in
            for round in 0..<40 {
                let index = round % subject.operations.count
                group.addTask { (index, try await perform(subject, subject.operations[index], in: MemoryStore())) }
            }
            for try await (index, result) in group { try expectEqual(result, alone[index], "the result among others") }
        }
    }

    // MARK: In a builder

    /// Gives what it was made with.
    private struct Given: StepPerformer {
        let load = StepLoad.instant
        let trees: [TreeRef]

        func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
            guard case .integer(let number)? = request.operation["number"], trees.indices.contains(Int(number)) else {
                throw StepFailure("there is no such input")
            }
            return trees[Int(number)]
        }
    }

    private final class Counted: StepPerformer {
        let performer: any StepPerformer
        let count = Mutex(0)

        init(_ performer: any StepPerformer) { self.performer = performer }

        var load: StepLoad { performer.load }

        func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
            count.withLock { $0 += 1 }
            return try await performer.perform(request)
        }
    }

    private static func isFoundAgain(_ subject: StepPerformerSubject) async throws {
        let store = MemoryStore()
        let given = "conformance input"
        let trees = try subject.inputs(store)
        var steps: [Step] = []
        func add(_ operation: OwnOperation, _ inputs: [StepID]) {
            let id = StepID(steps.count)
            steps.append(Step(id: id, operation: .own(operation), inputs: inputs, stage: "s", title: "step \(id)"))
        }
        for number in trees.indices {
            add(OwnOperation(kind: given, fields: [.init("number", .integer(Int64(number)))]), [])
        }
        // Twice each: equal steps of one build are one.
        for operation in subject.operations + subject.operations { add(operation, trees.indices.map { StepID($0) }) }
        let graph = BuildGraph(
            steps: steps, target: StepID(steps.count - 1), config: ImageSettings(), history: [], base: nil,
            platform: .host)
        let counted = Counted(subject.performer)
        let pool = BlockingPool(threads: 4)
        defer { pool.close() }
        var performers: [String: any StepPerformer] = [given: Given(trees: trees)]
        for operation in subject.operations { performers[operation.kind] = counted }
        let builder = Builder(
            store: store, executor: NoCommands(), performers: performers, pool: pool, jobs: 4,
            clock: { Timestamp(seconds: 1_700_000_000) })
        let first = try await builder.build(graph) { _ in }
        try expectEqual(counted.count.withLock { $0 }, subject.operations.count, "runs of the first build")
        let second = try await builder.build(graph) { _ in }
        try expectEqual(counted.count.withLock { $0 }, subject.operations.count, "runs of both builds")
        try expect(second.allSatisfy { $0.state == .hit }, "a step that was not found again")
        try expectEqual(second.map(\.tree), first.map(\.tree), "what the steps left")
    }
}
