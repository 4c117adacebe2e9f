// The builder: one loop that owns the schedule; children do the work and return what became of it.

import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization

/// What a build left behind for each step.
public struct StepOutcome: Sendable {
    public var state: StepState
    /// The filesystem after the step.
    public var tree: TreeRef
    /// Its record; nil for sources (scratch, images, contexts).
    public var record: StepRecord?
}

/// Builds graphs. A value; several may work at once on one store.
public struct Builder: Sendable {
    public typealias Store = TreeStore & StepCache
    /// Gives the tree of a source operation (`image`, `context`). Throws what the person should read.
    public typealias Sources = @Sendable (Operation) async throws(SourceError) -> TreeRef

    private let store: any Store
    private let executor: any Executor
    private let unpacker: (any ArchiveUnpacker)?
    private let loans: Loans
    private let pool: BlockingPool
    private let jobs: Int
    private let clock: @Sendable () -> Timestamp
    private let checkpoint: @Sendable () -> Void

    /// - Parameters:
    ///   - loans: what commands may be lent.
    ///   - jobs: how many steps may run at once.
    ///   - clock: the time now, for records.
    ///   - checkpoint: called after a step ran: a good moment to make the store durable. It must not block.
    public init(
        store: any Store, executor: any Executor, unpacker: (any ArchiveUnpacker)?, loans: Loans = Loans(),
        pool: BlockingPool, jobs: Int, clock: @escaping @Sendable () -> Timestamp,
        checkpoint: @escaping @Sendable () -> Void = {}
    ) {
        self.store = store
        self.executor = executor
        self.unpacker = unpacker
        self.loans = loans
        self.pool = pool
        self.jobs = jobs
        self.clock = clock
        self.checkpoint = checkpoint
    }

    /// Builds all steps of `graph`.
    ///
    /// - Parameters:
    ///   - useCache: false runs every step again (and still finds out that an outcome is the same).
    ///   - observe: called in order, never by two threads at once.
    /// - Returns: the outcome of each step, by its index.
    public func build(
        _ graph: BuildGraph, useCache: Bool = true, sources: @escaping Sources,
        observe: @escaping @Sendable (BuildEvent) -> Void
    ) async throws(BuildError) -> [StepOutcome] {
        var run = BuildRun(
            graph: graph, useCache: useCache, sources: sources, worker: worker(observe), jobs: jobs)
        let result: Result<[StepOutcome], BuildError> = await withTaskExecutorPreference(pool) {
            do throws(BuildError) { return .success(try await run.loop()) } catch { return .failure(error) }
        }
        return try result.get()
    }

    private func worker(_ observe: @escaping @Sendable (BuildEvent) -> Void) -> StepWorker {
        StepWorker(
            store: store, executor: executor, unpacker: unpacker, loans: loans, clock: clock,
            checkpoint: checkpoint, events: EventSequence(observe))
    }
}

/// Why a source of a build could not be had, for people to read.
public struct SourceError: Error, Sendable {
    public let message: String
    public init(_ message: String) { self.message = message }
}

/// Puts events in one order and stamps them with the time since the build began.
final class EventSequence: Sendable {
    private let lock = Mutex(())
    private let start = ContinuousClock.now
    private let observe: @Sendable (BuildEvent) -> Void

    init(_ observe: @escaping @Sendable (BuildEvent) -> Void) { self.observe = observe }

    func emit(_ make: @Sendable (_ at: Double) -> BuildEvent) { lock.withLock { _ in observe(make(now)) } }

    var now: Double { (ContinuousClock.now - start) / .seconds(1) }
}

/// The state of one build. Only its loop changes it.
private struct BuildRun {
    let graph: BuildGraph
    let useCache: Bool
    let sources: Builder.Sources
    let worker: StepWorker
    var schedule: Schedule
    var outcomes: [StepOutcome?]
    var keys: [Int: KeyedStep] = [:]
    /// The running step of a key, and the steps that wait for the same one.
    var flights: [StepKey: [Int]] = [:]
    var failure: BuildError?

    init(graph: BuildGraph, useCache: Bool, sources: @escaping Builder.Sources, worker: StepWorker, jobs: Int) {
        self.graph = graph
        self.useCache = useCache
        self.sources = sources
        self.worker = worker
        schedule = Schedule(
            inputs: graph.steps.map { $0.inputs.map(\.index) }, costs: graph.steps.map(Self.cost), limit: jobs)
        outcomes = [StepOutcome?](repeating: nil, count: graph.steps.count)
    }

    /// Seconds that a kind of step takes when nothing better is known.
    private static func cost(_ step: Step) -> Double {
        switch step.operation {
        case .run: 10
        case .image, .context, .remote: 1
        case .scratch, .makeDirectory, .copy, .merge: 0.01
        }
    }

    mutating func loop() async throws(BuildError) -> [StepOutcome] {
        await withTaskGroup(of: (Int, StepWorker.Result).self) { group in
            while true {
                if failure == nil && Task.isCancelled { failure = .cancelled }
                if failure == nil { advance(&group) }
                if failure != nil { group.cancelAll() }
                guard let (step, result) = await group.next() else { return }
                settle(step, result)
            }
        }
        if let failure { throw failure }
        let all = outcomes.compactMap { $0 }
        guard all.count == graph.steps.count else { throw .cancelled }
        return all
    }

    /// Looks up all that is ready, and starts what may run.
    private mutating func advance(_ group: inout TaskGroup<(Int, StepWorker.Result)>) {
        while failure == nil {
            if let index = schedule.take() {
                probe(index, &group)
            } else if let index = schedule.next() {
                start(index, &group)
            } else {
                return
            }
        }
    }

    private func inputs(_ step: Step) -> [TreeRef] { step.inputs.compactMap { outcomes[$0.index]?.tree } }

    private mutating func probe(_ index: Int, _ group: inout TaskGroup<(Int, StepWorker.Result)>) {
        let step = graph.steps[index]
        switch step.operation {
        case .image, .context, .remote:
            let (worker, sources) = (worker, sources)
            group.addTask { (index, await worker.source(step, sources)) }
        case .scratch:
            settle(index, worker.scratch())
        case .makeDirectory, .copy, .merge, .run:
            do throws(BuildError) {
                let keyed = try worker.key(step, inputs: inputs(step), platform: graph.platform)
                keys[index] = keyed
                if useCache, let record = try worker.lookUp(keyed, step) {
                    finish(index, StepOutcome(state: .hit, tree: record.result, record: record))
                } else if flights[keyed.key] != nil {
                    flights[keyed.key]?.append(index)
                } else {
                    flights[keyed.key] = [index]
                    schedule.park(index)
                }
            } catch { fail(index, error) }
        }
    }

    private mutating func start(_ index: Int, _ group: inout TaskGroup<(Int, StepWorker.Result)>) {
        guard let keyed = keys[index] else { return }
        let (worker, step, chain, isShared) = (worker, graph.steps[index], chain(of: graph.steps[index]), useCache)
        group.addTask { (index, await worker.execute(step, keyed, chain: chain, isShared: isShared)) }
    }

    /// The trees that led to what `step` starts from, oldest first.
    private func chain(of step: Step) -> [TreeRef] {
        var trees: [TreeRef] = []
        var next = step.inputs.first
        while let id = next {
            if let outcome = outcomes[id.index] {
                trees.append(outcome.tree)
                // A recorded result is relative to its recorded input, which has the same identity as ours.
                if let input = outcome.record?.input { trees.append(input) }
            }
            next = graph.steps[id.index].inputs.first
        }
        return deduplicated(trees.reversed())
    }

    private func deduplicated(_ trees: [TreeRef]) -> [TreeRef] {
        var result: [TreeRef] = []
        for tree in trees where result.last?.identity != tree.identity { result.append(tree) }
        return result
    }

    private mutating func settle(_ index: Int, _ result: StepWorker.Result) {
        switch result {
        case .done(let outcome):
            let waiting = keys[index].flatMap { flights.removeValue(forKey: $0.key) } ?? []
            finish(index, outcome)
            for other in waiting where other != index {
                worker.reportShared(graph.steps[other])
                finish(other, StepOutcome(state: .hit, tree: outcome.tree, record: outcome.record))
            }
        case .failed(let error): fail(index, error)
        }
    }

    private mutating func finish(_ index: Int, _ outcome: StepOutcome) {
        outcomes[index] = outcome
        schedule.finish(index)
    }

    private mutating func fail(_ index: Int, _ error: BuildError) {
        // The first failure counts; what it stopped reports `cancelled`.
        if failure == nil { failure = error }
        if case .cancelled? = failure, case .cancelled = error { return }
    }
}
