// The dry run: which steps would run, as far as it can be known without running one. Nothing is executed, and nothing is
// written: what grafts would leave is worked out in memory.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// What would become of a step.
public enum Expectation: Sendable, Hashable {
    /// A source, which every build looks at.
    case looks
    /// Its result is known.
    case hit
    /// An equal step of the build, by its index, would do for both.
    case shared(with: Int)
    case runs
    /// It would run, unless this step, which runs before it, leaves what it left before.
    case follows(step: Int)
    /// It cannot be done as things are.
    case fails(String)
}

/// What a build would do.
public struct BuildPlan: Sendable {
    /// The steps, as a build would record them. What would run has no state, what it is compared with is `earlier`.
    public var build: BuildRecord
    /// By the index of the step.
    public var expectations: [Expectation]
    /// Why what would run would run, for `runs` alone.
    public var explanations: [StepExplanation]
}

extension Builder {
    public typealias PlanSources = @Sendable (Operation) async throws(SourceError) -> TreeRef?

    /// Works out what `build` would do with the same arguments.
    ///
    /// - Parameters:
    ///   - overlay: the store, with a layer above it that takes what is only worked out; `sources` put into it too.
    ///   - sources: as for a build; nil for what cannot be known without fetching it.
    public func plan<Base>(
        _ graph: BuildGraph, options: BuildOptions, overlay: OverlayStore<Base>,
        sources: @escaping PlanSources
    ) async throws(BuildError) -> BuildPlan where Base: StepCache {
        let builder = Builder(
            store: PlanStore(overlay), executor: executor, unpacker: unpacker, loans: loans, performers: performers,
            history: history, pool: pool, jobs: jobs, clock: clock)
        let result: Result<BuildPlan, BuildError> = await withTaskExecutorPreference(pool) {
            do throws(BuildError) {
                var planning = Planning(graph, options, builder.worker { _ in }, history)
                return .success(try await planning.plan(sources))
            } catch { return .failure(error) }
        }
        return try result.get()
    }
}

/// The records of the base, and no others.
private struct PlanStore<Base: DirectorySource & ContentSource & StepCache>: DirectorySink, ContentSink, StepCache {
    let overlay: OverlayStore<Base>

    init(_ overlay: OverlayStore<Base>) { self.overlay = overlay }

    func record(_ key: StepKey) throws(StoreError) -> StepRecord? { try overlay.base.record(key) }
    func outcome(from input: TreeRef?, to result: TreeRef) throws(StoreError) -> StepRecord? {
        try overlay.base.outcome(from: input, to: result)
    }
    func keep(_ record: StepRecord) throws(StoreError) {}

    func size(of digest: Digest) throws(StoreError) -> UInt64? { try overlay.size(of: digest) }
    func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) { try overlay.withContent(digest, body) }
    func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest { try overlay.put(bytes) }
    func ingest() throws(StoreError) -> any ContentIngest { try overlay.ingest() }
    func directory(_ object: Digest) throws(StoreError) -> DirectoryObject { try overlay.directory(object) }
    func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef { try overlay.put(directory) }
}

/// One dry run.
private struct Planning {
    private let graph: BuildGraph
    private let options: BuildOptions
    private let worker: StepWorker
    private let earlier: EarlierSteps
    private var expectations: [Expectation] = []
    private var steps: [BuildRecord.Step] = []
    /// The step of each key that would run.
    private var running: [StepKey: Int] = [:]

    init(_ graph: BuildGraph, _ options: BuildOptions, _ worker: StepWorker, _ history: (any BuildHistory)?) {
        self.graph = graph
        self.options = options
        self.worker = worker
        var last: BuildRecord?
        if let subject = options.subject { last = try? history?.lastBuild(of: subject) }
        earlier = EarlierSteps(last, graph: graph)
    }

    mutating func plan(_ sources: Builder.PlanSources) async throws(BuildError) -> BuildPlan {
        for step in graph.steps {
            var recorded = BuildRecord.Step(description: StepDescription(step))
            recorded.origin = options.origins[step.id.index]
            if case .run(let run) = step.operation { recorded.arguments = run.argumentNames }
            let expectation = try await expectation(step, &recorded, sources)
            if expectation != .hit { recorded.earlier = earlier.nearest(to: step.id.index) }
            expectations.append(expectation)
            steps.append(recorded)
        }
        let build = BuildRecord(
            subject: options.subject ?? BuildSubject(file: "", context: ""),
            target: graph.steps[graph.target.index].stage, platform: graph.platform.description,
            started: worker.clock(), seconds: 0, end: .completed, steps: steps, skippedStages: graph.skippedStages,
            elsewhere: [])
        let explainer = Explainer(build, store: worker.store)
        var explanations: [StepExplanation] = []
        do throws(StoreError) {
            for (index, expectation) in expectations.enumerated() where expectation == .runs {
                explanations.append(try explainer.explain(index))
            }
        } catch { throw .store(error) }
        return BuildPlan(build: build, expectations: expectations, explanations: explanations)
    }

    private mutating func expectation(
        _ step: Step, _ recorded: inout BuildRecord.Step, _ sources: Builder.PlanSources
    ) async throws(BuildError) -> Expectation {
        switch step.operation {
        case .scratch, .image, .context, .remote:
            recorded.result = try await source(step, sources)
            return .looks
        case .makeDirectory, .copy, .merge, .run, .own: break
        }
        if let open = step.inputs.first(where: { steps[$0.index].result == nil }) {
            if case .follows(let first) = expectations[open.index] { return .follows(step: first) }
            return .follows(step: open.index)
        }
        let keyed: KeyedStep
        do throws(BuildError) {
            let inputs = step.inputs.compactMap { steps[$0.index].result }
            keyed = try worker.key(step, inputs: inputs, platform: graph.platform)
        } catch {
            if case .store = error { throw error }
            return .fails(error.description)
        }
        recorded.key = keyed.key
        recorded.attempt = StepAttempt(keyText: keyed.walk.text, sources: keyed.sources)
        if options.cache.allows(step), let outcome = try worker.lookUp(keyed) {
            (recorded.state, recorded.reason, recorded.result) = (.hit, outcome.reason, outcome.tree)
            recorded.attempt = nil
            return .hit
        }
        if let other = running[keyed.key] {
            recorded.result = steps[other].result
            return .shared(with: other)
        }
        running[keyed.key] = step.id.index
        return try graft(step, keyed, &recorded)
    }

    /// What a graft leaves is known without running anything, unless it unpacks what is not in the store yet.
    private func graft(
        _ step: Step, _ keyed: KeyedStep, _ recorded: inout BuildRecord.Step
    ) throws(BuildError) -> Expectation {
        switch step.operation {
        case .copy, .merge, .makeDirectory: break
        case .run, .own, .scratch, .image, .context, .remote: return .runs
        }
        do throws(BuildError) { recorded.result = try worker.graft(step, keyed) } catch {
            if case .store(.missing) = error { return .runs }
            if case .store = error { throw error }
            return .fails(error.description)
        }
        return .runs
    }

    private func source(_ step: Step, _ sources: Builder.PlanSources) async throws(BuildError) -> TreeRef? {
        if case .scratch = step.operation {
            do throws(StoreError) {
                return try worker.store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
            } catch { throw .store(error) }
        }
        do throws(SourceError) { return try await sources(step.operation) } catch {
            throw Task.isCancelled ? .cancelled : .sourceFailed(step: step, message: error.message)
        }
    }
}
