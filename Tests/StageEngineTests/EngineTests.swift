// The whole engine on steps of own kinds: arithmetic, every look-up and every run counted.

import StageConformance
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization
import Testing

@testable import StageEngine

/// Adds its number to the sum of its inputs, modulo `modulus`.
struct Sum: StepPerformer {
    var load = StepLoad.core(seconds: 0.001)
    let runs = Counter()

    func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
        runs.add(request.key)
        if case .boolean(true)? = request.operation["fails"] { throw StepFailure("it was to fail") }
        var total = 0
        do throws(StoreError) {
            for input in request.inputs {
                total += Int(String(decoding: try request.store.read(input.object), as: UTF8.self)) ?? 0
            }
            if case .integer(let value)? = request.operation["add"] { total += Int(value) }
            if case .integer(let modulus)? = request.operation["modulo"] { total %= Int(modulus) }
            let digest = try request.store.put(Array(String(total).utf8))
            return TreeRef(identity: digest, object: digest)
        } catch { throw StepFailure("\(error)") }
    }
}

/// How often each key ran.
final class Counter: Sendable {
    private let counts = Mutex<[StepKey: Int]>([:])
    func add(_ key: StepKey) { counts.withLock { $0[key, default: 0] += 1 } }
    var total: Int { counts.withLock { $0.values.reduce(0, +) } }
    var most: Int { counts.withLock { $0.values.max() ?? 0 } }
}

/// What tasks came to.
final class Results<Value: Sendable>: Sendable {
    private let values = Mutex<[Value]>([])
    func add(_ value: Value) { values.withLock { $0.append(value) } }
    var all: [Value] { values.withLock { $0 } }
}

/// A store that is one in memory, but for what it does otherwise.
protocol MemoryBacked: DirectorySink, ContentSink, StepCache {
    var store: MemoryStore { get }
}

extension MemoryBacked {
    func record(_ key: StepKey) throws(StoreError) -> StepRecord? { try store.record(key) }
    func outcome(from input: TreeRef?, to result: TreeRef) throws(StoreError) -> StepRecord? {
        try store.outcome(from: input, to: result)
    }
    func size(of digest: Digest) throws(StoreError) -> UInt64? { try store.size(of: digest) }
    func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) { try store.withContent(digest, body) }
    func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest { try store.put(bytes) }
    func ingest() throws(StoreError) -> any ContentIngest { try store.ingest() }
    func directory(_ object: Digest) throws(StoreError) -> DirectoryObject { try store.directory(object) }
    func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef { try store.put(directory) }
}

/// A store in memory that counts look-ups.
final class CountingStore: MemoryBacked {
    let store = MemoryStore()
    private let counts = Mutex((lookups: 0, kept: 0))

    var lookups: Int { counts.withLock { $0.lookups } }
    var kept: Int { counts.withLock { $0.kept } }

    func record(_ key: StepKey) throws(StoreError) -> StepRecord? {
        counts.withLock { $0.lookups += 1 }
        return try store.record(key)
    }
    func keep(_ record: StepRecord) throws(StoreError) {
        counts.withLock { $0.kept += 1 }
        try store.keep(record)
    }
}

struct NoCommands: Executor {
    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome { throw ExecutorError("there are no commands here") }
}

/// Graphs of sums.
enum SumGraph {
    static func step(_ index: Int, add: Int, inputs: [Int], modulo: Int? = nil, stage: String = "s") -> Step {
        var fields = [OwnOperation.Field("add", .integer(Int64(add)))]
        if let modulo { fields.append(.init("modulo", .integer(Int64(modulo)))) }
        return Step(
            id: StepID(index), operation: .own(OwnOperation(kind: "sum", fields: fields)),
            inputs: inputs.map { StepID($0) }, stage: stage, title: "step \(index)")
    }

    static func graph(_ steps: [Step]) -> BuildGraph {
        BuildGraph(
            steps: steps, target: StepID(steps.count - 1), config: ImageSettings(), history: [], base: nil,
            platform: Platform(os: "linux", architecture: "amd64"))
    }

    /// Every step adds a number of its own, so that no two are equal.
    static func random(_ random: inout SeededGenerator, count: Int) -> BuildGraph {
        graph(
            (0..<count).map { index in
                let width = index == 0 ? 0 : Int.random(in: 0...min(3, index), using: &random)
                let inputs = Set((0..<width).map { _ in Int.random(in: 0..<index, using: &random) })
                return step(index, add: index + 1, inputs: inputs.sorted())
            })
    }

    static func builder(
        _ store: CountingStore, _ sum: Sum, on executor: any TaskExecutor, jobs: Int = 2, flights: Flights = Flights()
    ) -> Builder {
        Builder(
            store: store, executor: NoCommands(), performers: ["sum": sum], flights: flights, history: store.store,
            pool: executor, jobs: jobs, clock: { Timestamp(seconds: 1_700_000_000) })
    }
}

@Suite struct EngineTests {
    /// `replay` in a failure is the line that runs that very case again.
    private func replay(_ seed: UInt64, _ test: String) -> Comment {
        "replay: swift test --filter 'EngineTests/\(test)', seed \(seed)"
    }

    @Test(arguments: 0..<80) func randomGraphsInRandomInterleavings(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let graph = SumGraph.random(&random, count: Int.random(in: 1...24, using: &random))
        let count = graph.steps.count
        let store = CountingStore()
        let sum = Sum()
        let place = replay(seed, "randomGraphsInRandomInterleavings")
        let first = try build(graph, store, sum, &random)
        #expect(sum.runs.total == count, place)
        #expect(store.kept == count, place)
        // Each is looked up by the loop; by who is about to run it only where another build works at once.
        #expect(store.lookups == count, place)
        let second = try build(graph, store, sum, &random)
        #expect(sum.runs.total == count, place)
        #expect(store.lookups == 2 * count, place)
        #expect(second.map(\.tree) == first.map(\.tree), place)
        #expect(second.allSatisfy { $0.state == .hit }, place)
    }

    /// Two builds of one graph at once, in random interleavings: every step runs once.
    @Test(arguments: 0..<80) func twoBuildsAtOnceRunEachStepOnce(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let graph = SumGraph.random(&random, count: Int.random(in: 1...12, using: &random))
        let store = CountingStore()
        let sum = Sum(load: seed % 2 == 0 ? .core(seconds: 1) : .instant)
        let both = buildAtOnce(2, graph, store, sum, &random)
        let place = replay(seed, "twoBuildsAtOnceRunEachStepOnce")
        #expect(sum.runs.total == graph.steps.count, place)
        #expect(sum.runs.most <= 1, place)
        #expect(both[0] == both[1] && both[0].count == graph.steps.count, place)
    }

    /// Layers of steps that are done on the spot, so many that several threads look them up: two builds at once, in random
    /// interleavings, leave what one thread leaves and run each step once.
    @Test(arguments: 0..<12) func manyStepsOnTheSpot(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let widths = (0..<4).map { _ in Int.random(in: 1...150, using: &random) }
        var steps: [Step] = []
        for width in widths {
            let above = steps.count
            for _ in 0..<width {
                let inputs = above == 0 ? [] : (0...1).map { _ in Int.random(in: 0..<above, using: &random) }
                steps.append(SumGraph.step(steps.count, add: steps.count + 1, inputs: inputs))
            }
        }
        let graph = SumGraph.graph(steps)
        let place = replay(seed, "manyStepsOnTheSpot")
        let alone = buildAtOnce(1, graph, CountingStore(), Sum(load: .instant), jobs: 1, &random)[0]
        #expect(alone.count == steps.count, place)
        let (store, sum) = (CountingStore(), Sum(load: .instant))
        #expect(buildAtOnce(2, graph, store, sum, jobs: 4, &random) == [alone, alone], place)
        #expect(sum.runs.total == steps.count, place)
        #expect(sum.runs.most == 1, place)
        #expect(store.kept == steps.count, place)
        #expect(buildAtOnce(1, graph, store, sum, jobs: 4, &random) == [alone], place)
        #expect(sum.runs.total == steps.count, place)
    }

    /// Of many steps on the spot one fails: it is the report, what was done keeps its record, and nothing goes on from there.
    @Test(arguments: [1, 2, 7]) func oneOfManyOnTheSpotFails(jobs: Int) async throws {
        let pool = BlockingPool(threads: 4)
        defer { pool.close() }
        let (store, sum) = (CountingStore(), Sum(load: .instant))
        func graph(fails: Bool) -> BuildGraph {
            var steps = (0..<200).map { SumGraph.step($0, add: $0 + 1, inputs: []) }
            if fails {
                let fields = [OwnOperation.Field("fails", .boolean(true))]
                steps[120].operation = .own(OwnOperation(kind: "sum", fields: fields))
            }
            steps.append(SumGraph.step(200, add: 1, inputs: Array(0..<200)))
            return SumGraph.graph(steps)
        }
        let builder = SumGraph.builder(store, sum, on: pool, jobs: jobs)
        let events = EventList()
        let end = await ending { () async throws(BuildError) in
            _ = try await builder.build(graph(fails: true)) { events.append($0) }
        }
        #expect(end == .failed(step: 120, message: "it was to fail"))
        var states: [Int: StepState] = [:]
        for case .stepFinished(let step, let state, _, _, _) in events.all {
            #expect(states.updateValue(state, forKey: step) == nil)
        }
        #expect(states[120] == .failed)
        #expect(states[200] == nil)
        let done = states.filter { $0.value == .ran }
        #expect(done.count == states.count - 1)
        let next = try await builder.build(graph(fails: false)) { _ in }
        for step in graph(fails: false).steps.indices {
            #expect(next[step].state == (done[step] == nil ? .ran : .hit), "step \(step)")
        }
    }

    /// A step that is done on the spot ends before it can be cancelled; what would follow does not begin.
    @Test func cancellingEndsStepsOnTheSpot() async throws {
        let pool = BlockingPool(threads: 4)
        defer { pool.close() }
        let sum = Sum(load: .instant)
        let builder = SumGraph.builder(CountingStore(), sum, on: pool)
        let graph = SumGraph.graph((0..<100).map { SumGraph.step($0, add: 1, inputs: $0 == 0 ? [] : [$0 - 1]) })
        let end = await Task {
            await ending { () async throws(BuildError) in
                _ = try await builder.build(graph) { event in
                    if case .stepFinished(9, _, _, _, _) = event { withUnsafeCurrentTask { $0?.cancel() } }
                }
            }
        }.value
        #expect(end == .cancelled)
        #expect(sum.runs.total == 10)
    }

    /// A change that a step takes away again (3 + 4 and 13 + 4 are both 7 modulo 10) reaches nothing behind it.
    @Test func earlyCutOffThroughOwnSteps() async throws {
        let pool = BlockingPool(threads: 2)
        defer { pool.close() }
        let store = CountingStore()
        let sum = Sum()
        func graph(_ first: Int) -> BuildGraph {
            SumGraph.graph([
                SumGraph.step(0, add: first, inputs: []), SumGraph.step(1, add: 4, inputs: [0], modulo: 10),
                SumGraph.step(2, add: 1, inputs: [1]), SumGraph.step(3, add: 1, inputs: [2]),
            ])
        }
        _ = try await SumGraph.builder(store, sum, on: pool).build(graph(3)) { _ in }
        let next = try await SumGraph.builder(store, sum, on: pool).build(graph(13)) { _ in }
        #expect(next.map(\.state) == [.ran, .ran, .hit, .hit])
        #expect(sum.runs.total == 6)
    }

    @Test func aKindThatNobodyCarriesOut() async throws {
        let pool = BlockingPool(threads: 2)
        defer { pool.close() }
        let builder = Builder(
            store: MemoryStore(), executor: NoCommands(), pool: pool, jobs: 1, clock: { .epoch })
        let error = await #expect(throws: BuildError.self) {
            _ = try await builder.build(SumGraph.graph([SumGraph.step(0, add: 1, inputs: [])])) { _ in }
        }
        #expect(error?.description == "step 0: nothing was given to do a sum with")
    }

    /// What was finished before a failure is not done again.
    @Test func theNextBuildGoesOnFromAFailure() async throws {
        let pool = BlockingPool(threads: 2)
        defer { pool.close() }
        let store = CountingStore()
        let sum = Sum()
        func graph(fails: Bool) -> BuildGraph {
            var steps = [SumGraph.step(0, add: 1, inputs: []), SumGraph.step(1, add: 2, inputs: [0])]
            let fields = [OwnOperation.Field("fails", .boolean(fails))]
            steps.append(
                Step(
                    id: StepID(2), operation: .own(OwnOperation(kind: "sum", fields: fields)), inputs: [StepID(1)],
                    stage: "s", title: "step 2"))
            return SumGraph.graph(steps)
        }
        let builder = SumGraph.builder(store, sum, on: pool)
        let events = EventList()
        await #expect(throws: BuildError.self) {
            _ = try await builder.build(graph(fails: true)) { events.append($0) }
        }
        let states = events.all.compactMap { event -> StepState? in
            if case .stepFinished(_, let state, _, _, _) = event { return state }
            return nil
        }
        #expect(states == [.ran, .ran, .failed])
        #expect(try await builder.build(graph(fails: false)) { _ in }.map(\.state) == [.hit, .hit, .ran])
    }

    /// The observer sees the same events, in the same order, as who iterates.
    @Test func eventsAsASequence() async throws {
        let pool = BlockingPool(threads: 4)
        defer { pool.close() }
        var random = SeededGenerator(seed: 7)
        let graph = SumGraph.random(&random, count: 40)
        let stream = EventStream()
        let events = EventList()
        let builder = SumGraph.builder(CountingStore(), Sum(), on: pool, jobs: 4)
        let build = Task {
            defer { stream.finish() }
            return try await builder.build(graph) { event in
                events.append(event)
                stream.send(event)
            }
        }
        var seen: [BuildEvent] = []
        for await event in stream { seen.append(event) }
        _ = try await build.value
        #expect(seen == events.all)
        #expect(seen.count == 80)
        var last = 0.0
        for event in seen {
            switch event {
            case .stepStarted(_, let at), .stepFinished(_, _, let at, _, _):
                #expect(at >= last)
                last = at
            default: break
            }
        }
    }

    /// What builds that run beside each other leave, in an interleaving that `random` picks.
    private func buildAtOnce(
        _ builds: Int, _ graph: BuildGraph, _ store: CountingStore, _ sum: Sum, jobs: Int = 2,
        _ random: inout SeededGenerator
    ) -> [[TreeRef]] {
        let manual = ManualExecutor()
        let flights = Flights()
        let results = Results<[TreeRef]>()
        for _ in 0..<builds {
            let builder = SumGraph.builder(store, sum, on: manual, jobs: jobs, flights: flights)
            Task(executorPreference: manual) {
                let outcomes = try? await builder.build(graph) { _ in }
                results.add(outcomes?.map(\.tree) ?? [])
            }
        }
        manual.run(&random) { results.all.count == builds }
        return results.all
    }

    private func build(
        _ graph: BuildGraph, _ store: CountingStore, _ sum: Sum, _ random: inout SeededGenerator
    ) throws -> [StepOutcome] {
        let manual = ManualExecutor()
        let builder = SumGraph.builder(store, sum, on: manual)
        let results = Results<[StepOutcome]>()
        Task(executorPreference: manual) { results.add((try? await builder.build(graph) { _ in }) ?? []) }
        manual.run(&random) { !results.all.isEmpty }
        return try #require(results.all.first)
    }
}

/// Arithmetic with how long it takes is in the benchmarks; here the simulator of the schedule.
@Suite struct ScheduleSimulationTests {
    @Test func knownMakespans() {
        // Two chains: 1-1-1 and one long step of 3, on two cores.
        let graph = ScheduleSimulation(inputs: [[], [0], [1], []], durations: [1, 1, 1, 3])
        for order in ScheduleSimulation.Order.allCases where order != .waves {
            #expect(graph.makespan(cores: 2, order: order) == 3)
        }
        #expect(graph.makespan(cores: 2, order: .waves) == 5)
        #expect(graph.lowerBound(cores: 2) == 3)
        #expect(graph.lowerBound(cores: 1) == 6)
        #expect(graph.makespan(cores: 1, order: .longestPath) == 6)
    }

    /// First come starts the short steps and leaves the long chain for the end.
    @Test func theLongestPathIsWorthIt() {
        let graph = ScheduleSimulation(inputs: [[], [], [], [2], [3]], durations: [2, 2, 1, 2, 2])
        #expect(graph.makespan(cores: 2, order: .longestPath) == 5)
        #expect(graph.makespan(cores: 2, order: .firstCome) == 7)
    }

    /// Graphs of real builds, with how long each step took: the order is never slower than first come.
    @Test(arguments: ["go-app", "node-app", "hello"]) func recordedGraphs(name: String) throws {
        let path = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        let bytes = try readFile("/\(path)/Cases/graphs/\(name).graph")
        let rows = String(decoding: bytes, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("#") }
            .map { $0.split(separator: " ") }
        let durations = rows.compactMap { $0.first.flatMap { Double($0) } }
        #expect(rows.count > 5 && durations.count == rows.count)
        let simulation = ScheduleSimulation(
            inputs: rows.map { $0.dropFirst().compactMap { Int($0) } }, durations: durations)
        for cores in [1, 2, 3, 4, 8, 16, 32, 64, 128, 256] {
            let makespan = simulation.makespan(cores: cores, order: .longestPath)
            #expect(makespan <= simulation.makespan(cores: cores, order: .firstCome) + 1e-9, "\(cores) cores")
            #expect(makespan >= simulation.lowerBound(cores: cores) - 1e-9, "\(cores) cores")
        }
    }

    /// The bounds hold on random graphs: never below the lower bound, and never twice above it (Graham).
    @Test(arguments: 0..<40) func randomGraphs(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let graph = SumGraph.random(&random, count: 60)
        let simulation = ScheduleSimulation(
            inputs: graph.steps.map { $0.inputs.map(\.index) },
            durations: graph.steps.map { _ in Double.random(in: 0.01...10, using: &random) })
        for cores in [1, 2, 3, 8, 64] {
            let bound = simulation.lowerBound(cores: cores)
            for order in [ScheduleSimulation.Order.longestPath, .firstCome] {
                let makespan = simulation.makespan(cores: cores, order: order)
                #expect(makespan >= bound - 1e-9 && makespan <= 2 * bound + 1e-9, "seed \(seed), \(order), \(cores)")
            }
        }
    }
}
