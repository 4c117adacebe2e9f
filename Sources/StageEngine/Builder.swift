// The builder: what a program gives to have a graph built. The loop that does it is BuildRun.

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
    /// What its record says; nil for sources (scratch, images, contexts).
    public let record: Record?
    public var reason: StepReason
    /// How long it ran in this build: 0 for a hit.
    public var seconds: Double

    /// What is needed of a record after its step. An object, since outcomes are handed on from place to place.
    public final class Record: Sendable {
        /// The filesystem before; nil for steps that start from nothing.
        public let input: TreeRef?
        /// When it ran.
        public let created: Timestamp
        /// Everything it wrote, as a content; nil when it wrote nothing.
        public let log: Digest?

        public init(_ record: StepRecord) {
            input = record.input
            created = record.created
            log = record.log
        }
    }

    public init(state: StepState, tree: TreeRef, record: StepRecord?, reason: StepReason, seconds: Double = 0) {
        self.state = state
        self.tree = tree
        self.record = record.map(Record.init)
        self.reason = reason
        self.seconds = seconds
    }

    /// Of a step that is not done.
    static let none = StepOutcome(
        state: .notNeeded, tree: TreeRef(identity: .zero, object: .zero), record: nil, reason: .source)

    /// What the same step left, for an equal one.
    func shared(_ reason: StepReason) -> StepOutcome {
        var shared = self
        (shared.state, shared.reason, shared.seconds) = (.hit, reason, 0)
        return shared
    }
}

/// Which records may be used instead of running a step.
public enum CachePolicy: Sendable, Hashable {
    case use
    /// Every step runs (and still finds out that an outcome is the same).
    case ignore
    /// The steps of these stages run, by the stages' names.
    case ignoreStages(Set<String>)

    func allows(_ step: Step) -> Bool {
        switch self {
        case .use: true
        case .ignore: false
        case .ignoreStages(let stages): !stages.contains(step.stage)
        }
    }
}

/// How a graph is to be built.
public struct BuildOptions: Sendable {
    public var cache = CachePolicy.use
    /// What is built. With it, and a history given to the builder, the build is recorded, and explained by the one
    /// before.
    public var subject: BuildSubject?
    /// What sources are called where they come from, by step: the IDs of images. For records only.
    public var origins: [Int: Digest] = [:]
    /// When the build began: the times of events count from here.
    public var begin = ContinuousClock.now

    public init() {}
}

/// Builds graphs. A value; several may work at once on one store.
public struct Builder: Sendable {
    public typealias Store = TreeStore & StepCache
    /// Gives the tree of a source operation (`image`, `context`). Throws what the person should read.
    public typealias Sources = @Sendable (Operation) async throws(SourceError) -> TreeRef

    let store: any Store
    let executor: any Executor
    let unpacker: (any ArchiveUnpacker)?
    let loans: Loans
    let performers: [String: any StepPerformer]
    let flights: Flights
    let history: (any BuildHistory)?
    let pool: any TaskExecutor
    let jobs: Int
    let clock: @Sendable () -> Timestamp
    let checkpoint: @Sendable () -> Void

    /// - Parameters:
    ///   - loans: what commands may be lent.
    ///   - performers: what carries out the steps of own kinds, by the kind.
    ///   - flights: shared by the builders of one store in this program, so that they run no step twice at once.
    ///   - history: where builds with a subject are recorded.
    ///   - pool: where it all runs. Work blocks there: a `BlockingPool`, not the cooperative threads.
    ///   - jobs: how many steps may run at once.
    ///   - clock: the time now, for records.
    ///   - checkpoint: called after a step ran: a good moment to make the store durable. It must not block.
    public init(
        store: any Store, executor: any Executor, unpacker: (any ArchiveUnpacker)? = nil, loans: Loans = Loans(),
        performers: [String: any StepPerformer] = [:], flights: Flights = Flights(),
        history: (any BuildHistory)? = nil, pool: any TaskExecutor, jobs: Int,
        clock: @escaping @Sendable () -> Timestamp,
        checkpoint: @escaping @Sendable () -> Void = {}
    ) {
        self.store = store
        self.executor = executor
        self.unpacker = unpacker
        self.loans = loans
        self.performers = performers
        self.flights = flights
        self.history = history
        self.pool = pool
        self.jobs = jobs
        self.clock = clock
        self.checkpoint = checkpoint
    }

    /// Builds all steps of `graph`.
    ///
    /// Cancelling the task ends every running step; what was finished until then keeps its records.
    ///
    /// - Parameter observe: called in order, never by two threads at once.
    /// - Returns: the outcome of each step, by its index.
    public func build(
        _ graph: BuildGraph, options: BuildOptions = BuildOptions(), sources: @escaping Sources = Self.noSources,
        observe: @escaping @Sendable (BuildEvent) -> Void
    ) async throws(BuildError) -> [StepOutcome] {
        var run = BuildRun(
            graph: graph, options: options, sources: sources, worker: worker(observe, begin: options.begin),
            history: history, jobs: jobs)
        flights.begin()
        defer { flights.end() }
        let result: Result<[StepOutcome], BuildError> = await withTaskExecutorPreference(pool) {
            do throws(BuildError) { return .success(try await run.build()) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// For graphs that take nothing in.
    public static let noSources: Sources = { operation async throws(SourceError) in
        throw SourceError("nothing was given to find the \(operation.kind) with")
    }

    func worker(
        _ observe: @escaping @Sendable (BuildEvent) -> Void, begin: ContinuousClock.Instant = .now
    ) -> StepWorker {
        StepWorker(self, events: EventSequence(observe, begin: begin))
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
    private let start: ContinuousClock.Instant
    private let observe: @Sendable (BuildEvent) -> Void

    init(_ observe: @escaping @Sendable (BuildEvent) -> Void, begin: ContinuousClock.Instant) {
        self.observe = observe
        start = begin
    }

    func emit(_ make: (_ at: Double) -> BuildEvent) { lock.withLock { _ in observe(make(now)) } }

    var now: Double { (ContinuousClock.now - start).inSeconds }
}

extension Duration {
    /// The division of the library works in 128 bits; this is asked for with every event.
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
