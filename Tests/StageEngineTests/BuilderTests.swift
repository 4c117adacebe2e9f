// The builder with an executor that edits trees by rule: no root, no disk, every run counted.

import StageConformance
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization
import Testing

@testable import StageEngine

/// Runs `write PATH TEXT`, `touch PATH`, `fail N` and `noop` on trees.
final class RuleExecutor: Executor {
    let store: MemoryStore
    let runs = Mutex<[String]>([])

    init(store: MemoryStore) { self.store = store }

    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome {
        let arguments = request.run.arguments
        runs.withLock { $0.append(arguments.joined(separator: " ")) }
        guard let input = request.chain.last else { throw ExecutorError("no input") }
        if arguments[0] == "sleep" {
            do { try await Task.sleep(for: .seconds(60)) } catch { throw ExecutorError("cancelled") }
        }
        do throws(StoreError) {
            var editor = TreeEditor(input, store: store)
            switch arguments[0] {
            case "write":
                let bytes = Array(arguments[2].utf8)
                let node = Node(
                    attributes: Attributes(mode: 0o644), content: .file(try store.put(bytes), size: UInt64(bytes.count))
                )
                try editor.put(.node(node), at: TreePath(arguments[1]), parents: Attributes(mode: 0o755))
            case "touch":
                if case .node(var node)? = try editor.look(TreePath(arguments[1])) {
                    node.touch = request.key.digest
                    try editor.put(.node(node), at: TreePath(arguments[1]), parents: Attributes(mode: 0o755))
                }
            case "fail":
                output(.error, Array("line 1\nlast words\n".utf8))
                return ExecOutcome(exit: .exited(Int32(arguments[1]) ?? 1), tree: nil)
            default: break
            }
            return ExecOutcome(exit: .exited(0), tree: try editor.commit())
        } catch { throw ExecutorError(error.description) }
    }
}

/// A graph that starts from scratch and goes on with commands, one after the other.
struct Bench {
    let store = MemoryStore()
    let executor: RuleExecutor
    let pool = BlockingPool(threads: 4)

    init() { executor = RuleExecutor(store: store) }

    func graph(_ operations: [(Operation, [Int])]) -> BuildGraph {
        let steps = operations.enumerated().map { index, item in
            Step(
                id: StepID(index), operation: item.0, inputs: item.1.map { StepID($0) }, stage: "s",
                title: "step \(index)")
        }
        return BuildGraph(
            steps: steps, target: StepID(steps.count - 1), config: ImageSettings(), history: [], base: nil,
            platform: Platform(os: "linux", architecture: "amd64"))
    }

    func chain(_ commands: [String]) -> BuildGraph {
        graph([(.scratch, [])] + commands.enumerated().map { (Self.run($1), [$0]) })
    }

    static func run(_ command: String) -> Operation {
        .run(Run(arguments: command.split(separator: " ").map(String.init), environment: []))
    }

    func build(_ graph: BuildGraph, useCache: Bool = true, jobs: Int = 2) async throws(BuildError) -> (
        states: [StepState], outcomes: [StepOutcome], ran: [String], events: [BuildEvent]
    ) {
        executor.runs.withLock { $0 = [] }
        let shared = EventList()
        var options = BuildOptions()
        if !useCache { options.cache = .ignore }
        let builder = Builder(
            store: store, executor: executor, unpacker: nil, pool: pool, jobs: jobs,
            clock: { Timestamp(seconds: 1_700_000_000) })
        let outcomes = try await builder.build(
            graph, options: options, sources: { _ async throws(SourceError) in throw SourceError("no such source") },
            observe: { shared.append($0) })
        return (outcomes.map(\.state), outcomes, executor.runs.withLock { $0 }, shared.all)
    }
}

final class EventList: Sendable {
    private let events = Mutex<[BuildEvent]>([])
    func append(_ event: BuildEvent) { events.withLock { $0.append(event) } }
    var all: [BuildEvent] { events.withLock { $0 } }
}

/// How a build ended.
enum Ending: Hashable {
    case completed
    case cancelled
    case failed(step: Int, message: String)
    case otherwise(String)
}

func ending(_ build: () async throws(BuildError) -> Void) async -> Ending {
    do throws(BuildError) {
        try await build()
        return .completed
    } catch {
        switch error {
        case .cancelled: return .cancelled
        case .stepFailed(let step, let message, _): return .failed(step: step.id.index, message: message)
        default: return .otherwise(error.description)
        }
    }
}

@Suite struct BuilderTests {
    @Test func aSecondBuildRunsNothing() async throws {
        let bench = Bench()
        let graph = bench.chain(["write /a 1", "write /b 2", "noop"])
        let first = try await bench.build(graph)
        #expect(first.ran == ["write /a 1", "write /b 2", "noop"])
        #expect(first.states == [.hit, .ran, .ran, .ran])
        let second = try await bench.build(graph)
        #expect(second.ran == [])
        #expect(second.states == [.hit, .hit, .hit, .hit])
        #expect(second.outcomes.last?.tree == first.outcomes.last?.tree)
    }

    @Test func aChangedStepRunsAndWhatFollowsRuns() async throws {
        let bench = Bench()
        _ = try await bench.build(bench.chain(["write /a 1", "write /b 2", "write /c 3"]))
        let next = try await bench.build(bench.chain(["write /a 1", "write /b 4", "write /c 3"]))
        #expect(next.ran == ["write /b 4", "write /c 3"])
    }

    @Test func theSameOutcomeDoesNotDisturbWhatFollows() async throws {
        let bench = Bench()
        _ = try await bench.build(bench.chain(["write /a 1", "write /b 2", "write /c 3"]))
        // Another command with the same effect: what follows is a hit.
        let next = try await bench.build(bench.chain(["write /a 1", "write //b 2", "write /c 3"]))
        #expect(next.ran == ["write //b 2"])
        #expect(next.states == [.hit, .hit, .ranSameOutcome, .hit])
    }

    @Test func aStepThatUndoesADifferenceRestoresTheHit() async throws {
        let bench = Bench()
        _ = try await bench.build(bench.chain(["write /a 1", "write /b 2", "write /c 3"]))
        let next = try await bench.build(bench.chain(["write /a 9", "write /b 2", "write /a 1", "write /c 3"]))
        #expect(next.ran == ["write /a 9", "write /b 2", "write /a 1"])
        #expect(next.states.last == .hit)
    }

    @Test func touchIsNeverFoldedAway() async throws {
        let bench = Bench()
        _ = try await bench.build(bench.chain(["write /a 1", "write /c 3"]))
        let next = try await bench.build(bench.chain(["write /a 1", "touch /a", "write /c 3"]))
        #expect(next.ran == ["touch /a", "write /c 3"])
        let again = try await bench.build(bench.chain(["write /a 1", "touch /a", "write /c 3"]), useCache: false)
        #expect(again.states == [.hit, .ranSameOutcome, .ranSameOutcome, .ranSameOutcome])
        #expect(again.outcomes.last?.tree == next.outcomes.last?.tree)
    }

    @Test func equalStepsOfOneBuildRunOnce() async throws {
        let bench = Bench()
        let graph = bench.graph([
            (.scratch, []), (Bench.run("write /a 1"), [0]), (Bench.run("write /a 1"), [0]),
            (Bench.run("write /a 1"), [0]),
        ])
        let result = try await bench.build(graph)
        #expect(result.ran == ["write /a 1"])
        #expect(Set(result.outcomes.dropFirst().map(\.tree)).count == 1)
    }

    @Test func aFailureNamesItsStepAndItsLastWords() async throws {
        let bench = Bench()
        do {
            _ = try await bench.build(bench.chain(["write /a 1", "fail 3", "write /b 2"]))
            Issue.record("the build came through")
        } catch {
            guard case .commandFailed(let step, let exit, let tail) = error else {
                Issue.record("another error: \(error)")
                return
            }
            #expect(step.id.index == 2)
            #expect(exit == .exited(3))
            #expect(tail == ["line 1", "last words"])
        }
        // What was finished before is kept.
        let next = try await bench.build(bench.chain(["write /a 1", "write /b 2"]))
        #expect(next.ran == ["write /b 2"])
    }

    @Test func cancellingStopsARunningStep() async throws {
        let bench = Bench()
        let task = Task {
            await ending { () async throws(BuildError) in _ = try await bench.build(bench.chain(["sleep"])) }
        }
        while bench.executor.runs.withLock({ $0.isEmpty }) { await Task.yield() }
        task.cancel()
        #expect(await task.value == .cancelled)
    }

    @Test func eventsOfAStepComeInOrder() async throws {
        let bench = Bench()
        let events = try await bench.build(bench.chain(["write /a 1"])).events
        let kinds = events.filter { $0.step == 1 }.map { event in
            switch event {
            case .stepStarted: "started"
            case .stepFinished(_, let state, _, _, _): state.rawValue
            default: "other"
            }
        }
        #expect(kinds == ["started", "ran"])
    }

    /// So many steps are ready at once that several threads look them up: nothing comes out otherwise than by one.
    @Test(arguments: [1, 2, 7]) func manyStepsAreReadyAtOnce(jobs: Int) async throws {
        let bench = Bench()
        var operations: [(Operation, [Int])] = [(.scratch, [])]
        // Each tenth is equal to the one before.
        for index in 1...300 { operations.append((Bench.run("write /a \(index - (index % 10 == 0 ? 1 : 0))"), [0])) }
        for index in 1...300 { operations.append((Bench.run("write /b \(index)"), [index])) }
        let graph = bench.graph(operations)
        let first = try await bench.build(graph, jobs: jobs)
        #expect(Set(first.ran) == Set(operations.dropFirst().map(Self.command)))
        #expect(first.ran.count == 270 + 300)
        let second = try await bench.build(graph, jobs: jobs)
        #expect(second.ran == [])
        #expect(second.outcomes.map(\.tree) == first.outcomes.map(\.tree))
        #expect(second.outcomes.allSatisfy { $0.state == .hit })
        for (step, outcome) in zip(graph.steps, second.outcomes).dropFirst() {
            let written = try bench.store.entry(at: step.id.index <= 300 ? "/a" : "/b", in: outcome.tree)
            guard case .node(let node)? = written, let file = node.file else {
                Issue.record("step \(step.id.index) left nothing")
                continue
            }
            let text = String(decoding: try bench.store.read(file.digest), as: UTF8.self)
            #expect(Self.command((step.operation, [])).hasSuffix(" " + text))
        }
        // Each step is told once, after what it takes in.
        var told: Set<Int> = []
        for case .stepFinished(let step, let state, _, _, _) in second.events {
            #expect(state == .hit)
            #expect(graph.steps[step].inputs.allSatisfy { told.contains($0.index) })
            #expect(told.insert(step).inserted)
        }
        #expect(told.count == graph.steps.count)
    }

    private static func command(_ item: (operation: Operation, inputs: [Int])) -> String {
        if case .run(let run) = item.operation { return run.arguments.joined(separator: " ") }
        return ""
    }

    /// Of many that cannot even be looked up, the same one is told, and no other.
    @Test(arguments: [1, 2, 7]) func oneOfManyRefusalsIsTold(jobs: Int) async throws {
        let bench = Bench()
        var operations: [(Operation, [Int])] = [(.scratch, [])]
        for index in 1...200 {
            let isMissing = index == 50 || index == 120
            let copy = Copy(
                sources: [.path(input: 1, pattern: isMissing ? "missing-\(index)" : ".")], destination: "/",
                resetsOwner: true)
            operations.append((.copy(copy), [0, 0]))
        }
        let graph = bench.graph(operations)
        let end = await ending { () async throws(BuildError) in _ = try await bench.build(graph, jobs: jobs) }
        #expect(end == .failed(step: 120, message: "missing-120 is not there: no missing-120 in /"))
    }

    /// Random graphs of writes: a second build runs nothing, and what a changed step does not reach stays a hit.
    @Test(arguments: 0..<60) func randomGraphs(seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let bench = Bench()
        let count = Int.random(in: 2...12, using: &random)
        var operations: [(Operation, [Int])] = [(.scratch, [])]
        for index in 1..<count {
            operations.append((Bench.run("write /f\(index) \(index)"), [Int.random(in: 0..<index, using: &random)]))
        }
        let first = try await bench.build(bench.graph(operations))
        #expect(first.ran.count == count - 1, "seed \(seed)")
        #expect(try await bench.build(bench.graph(operations)).ran == [], "seed \(seed)")
        let changed = Int.random(in: 1..<count, using: &random)
        operations[changed].0 = Bench.run("write /f\(changed) new")
        var reached: Set<Int> = [changed]
        for index in (changed + 1)..<max(changed + 1, count) where operations[index].1.contains(where: reached.contains)
        {
            reached.insert(index)
        }
        let second = try await bench.build(bench.graph(operations))
        #expect(second.ran.count == reached.count, "seed \(seed)")
    }
}
