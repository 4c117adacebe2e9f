// One build: a loop that owns the schedule and everything else that changes. Children do the work and return what became
// of it. Specs/scheduler.md.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// The state of one build. Only its loop changes it.
struct BuildRun {
    typealias Group = TaskGroup<(Int, StepWorker.Result)>

    let graph: BuildGraph
    let options: BuildOptions
    let sources: Builder.Sources
    let worker: StepWorker
    let history: (any BuildHistory)?
    let begin = ContinuousClock.now
    /// How many threads look up what is ready together.
    private let lookers: Int
    private let loads: [StepLoad]
    private var schedule: Schedule
    /// Of steps that are not done: nothing that counts.
    private var outcomes: [StepOutcome]
    /// What the outcomes left: what steps that take them in are made of. Nil until a step is done.
    private var trees: [TreeRef?]
    private(set) var failures: [Int: FailedStep] = [:]
    private(set) var keys: [StepKey?]
    /// What is known of steps that are looked up, wait, run or have failed.
    private(set) var keyed: [KeyedStep?]
    /// The step of each key that is looked up or runs, and what waits for an equal one.
    private var flights: [StepKey: Int] = [:]
    /// Looked-up steps that run on the spot once all that is ready has been looked up.
    private var instants: [Int] = []
    private var waiting: [Int: [Int]] = [:]
    private(set) var failure: BuildError?
    /// The steps of the builds before; read when the first step has to run.
    private var earlier: EarlierSteps?

    init(
        graph: BuildGraph, options: BuildOptions, sources: @escaping Builder.Sources, worker: StepWorker,
        history: (any BuildHistory)?, jobs: Int
    ) {
        self.graph = graph
        self.options = options
        self.sources = sources
        self.worker = worker
        self.history = history
        lookers = min(jobs, Self.mostLookers)
        let own = worker.performers.mapValues(\.load)
        loads = graph.steps.map { $0.operation.load(own) }
        schedule = Schedule(costs: loads.map(\.seconds), weights: loads.map(\.weight), limit: jobs) { step, take in
            for input in graph.steps[step].inputs { take(input.index) }
        }
        outcomes = [StepOutcome](repeating: .none, count: graph.steps.count)
        trees = [TreeRef?](repeating: nil, count: graph.steps.count)
        keys = [StepKey?](repeating: nil, count: graph.steps.count)
        keyed = [KeyedStep?](repeating: nil, count: graph.steps.count)
    }

    /// Does all steps, and records what became of them.
    mutating func build() async throws(BuildError) -> [StepOutcome] {
        let started = worker.clock()
        await loop()
        if failure == nil, !schedule.isDone { failure = .cancelled }
        do throws(StoreError) { try keepRecord(started: started) } catch {
            // What went wrong before is the news.
            if failure == nil { failure = .store(error) }
        }
        if let failure { throw failure }
        return outcomes
    }

    /// What became of a step; nil while it is not done.
    func outcome(of index: Int) -> StepOutcome? { trees[index] == nil ? nil : outcomes[index] }

    private mutating func loop() async {
        await withTaskGroup(of: (Int, StepWorker.Result).self) { group in
            while true {
                if failure == nil && Task.isCancelled { failure = .cancelled }
                await advance(&group)
                // What runs beside a failure is ended: the report is about the first.
                if failure != nil { group.cancelAll() }
                guard let (step, result) = await group.next() else { return }
                settle(step, result)
            }
        }
    }

    /// Looks up all that is ready, and starts what may run: first what takes no place, then what is done on the spot, since
    /// a longer path may go on from it than from what waits for a place.
    private mutating func advance(_ group: inout Group) async {
        while failure == nil, !Task.isCancelled {
            // Beside running steps there is no core for it, and perhaps no thread of the pool.
            if lookers > 1, schedule.runningCount == 0, schedule.readyCount >= 2 * Self.leastShare {
                await probeTogether()
            } else if let index = schedule.take() {
                if graph.steps[index].operation.isSource {
                    wait(index)
                } else {
                    settle(Probe(index, inputs: inputs(graph.steps[index]), of: graph, worker, options.cache))
                }
            } else if let index = schedule.nextWeightless() {
                await start(index, &group)
            } else if let index = instants.popLast() {
                schedule.run(index)
                await start(index, &group)
            } else if let index = schedule.next() {
                await start(index, &group)
            } else {
                return
            }
        }
    }

    private func inputs(_ step: Step) -> [TreeRef] {
        var inputs: [TreeRef] = []
        inputs.reserveCapacity(step.inputs.count)
        for input in step.inputs { if let tree = trees[input.index] { inputs.append(tree) } }
        return inputs
    }

    /// Looks up what is ready, `mostTogether` at most, by as many threads as it is worth.
    private mutating func probeTogether() async {
        var steps: [(step: Int, inputs: [TreeRef])] = []
        steps.reserveCapacity(min(schedule.readyCount, Self.mostTogether))
        while steps.count < Self.mostTogether, let index = schedule.take() {
            if graph.steps[index].operation.isSource {
                wait(index)
            } else {
                steps.append((index, inputs(graph.steps[index])))
            }
        }
        if steps.isEmpty { return }
        let (worker, graph, cache, ready) = (worker, graph, options.cache, steps)
        let shares = max(1, min(lookers, ready.count / Self.leastShare))
        let probe = { @Sendable (share: Int) in
            (ready.count * share / shares..<ready.count * (share + 1) / shares).map { place in
                Probe(ready[place].step, inputs: ready[place].inputs, of: graph, worker, cache)
            }
        }
        let probes = await withTaskGroup(of: (share: Int, probes: [Probe]).self) { group in
            for share in 1..<max(1, shares) { group.addTask { (share, probe(share)) } }
            var found = [[Probe]](repeating: [], count: shares)
            found[0] = probe(0)
            for await (share, probes) in group { found[share] = probes }
            return found
        }
        for probe in probes.joined() where failure == nil { settle(probe) }
    }

    /// Below so many steps for each, another thread costs more than it saves: a look-up takes some ten microseconds.
    private static let leastShare = 16
    /// Beyond that the loop that settles what was found is what takes the time.
    private static let mostLookers = 8
    /// What was found of so many steps is held at once.
    private static let mostTogether = 1_024

    private mutating func settle(_ probe: Probe) {
        let index = probe.step
        keys[index] = probe.keyed?.key
        switch probe.result {
        case .failed(let error):
            keyed[index] = probe.keyed
            fail(index, worker.refused(graph.steps[index], error))
        case .hit(let outcome):
            worker.reportHit(graph.steps[index], outcome.reason)
            finish(index, outcome)
        case .missed(let missed):
            if let other = flights[missed.key] {
                waiting[other, default: []].append(index)
            } else {
                keyed[index] = missed
                flights[missed.key] = index
                learnDurations()
                wait(index)
            }
        }
    }

    /// A step that is to run waits for a place, but for one that needs none and no time.
    private mutating func wait(_ index: Int) {
        if loads[index] == .instant { instants.append(index) } else { schedule.park(index) }
    }

    private mutating func start(_ index: Int, _ group: inout Group) async {
        let worker = worker
        guard let keyed = keyed[index] else { return startSource(index, &group) }
        var work = StepWork(keyed: keyed, usesCache: options.cache.allows(keyed.step))
        work.earlier = nearest(to: index)
        work.isClaimed = work.usesCache && isWorthAClaim(index)
        if case .run = keyed.step.operation { work.chain = chain(of: keyed.step) }
        if case .instant = loads[index], worker.flights.take(keyed.key) {
            settle(index, await worker.executeTaken(work))
        } else {
            group.addTask { [work] in (index, await worker.executeAlone(work)) }
        }
    }

    /// What has no key: its tree is all that is asked for.
    private mutating func startSource(_ index: Int, _ group: inout Group) {
        let (worker, sources, step) = (worker, sources, graph.steps[index])
        if case .scratch = step.operation { return settle(index, worker.scratch(step)) }
        group.addTask { (index, await worker.source(step, sources)) }
    }

    private func isWorthAClaim(_ index: Int) -> Bool {
        switch graph.steps[index].operation {
        case .run: true
        case .own: loads[index] != .instant
        case .copy, .merge, .makeDirectory, .scratch, .image, .context, .remote: false
        }
    }

    /// The trees that led to what `step` starts from, oldest first.
    private func chain(of step: Step) -> [TreeRef] {
        var trees: [TreeRef] = []
        var next = step.inputs.first
        while let id = next {
            if let outcome = outcome(of: id.index) {
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
        if let key = keys[index] { flights[key] = nil }
        switch result {
        case .done(let outcome):
            finish(index, outcome)
            if waiting.isEmpty { return }
            for other in waiting.removeValue(forKey: index) ?? [] {
                worker.reportShared(graph.steps[other], with: index)
                finish(other, outcome.shared(.sharedWith(step: index)))
            }
        case .failed(let failed): fail(index, failed)
        }
    }

    private mutating func finish(_ index: Int, _ outcome: StepOutcome) {
        trees[index] = outcome.tree
        outcomes[index] = outcome
        keyed[index] = nil
        schedule.finish(index)
    }

    private mutating func fail(_ index: Int, _ failed: FailedStep) {
        failures[index] = failed
        // The first failure counts; what it stopped is told as cancelled.
        if failure == nil { failure = failed.error }
    }

    // MARK: Earlier builds

    /// The steps of the builds before, read once.
    private mutating func earlierSteps() -> EarlierSteps {
        if let earlier { return earlier }
        let found = EarlierSteps(lastBuild(), graph: graph)
        earlier = found
        return found
    }

    /// A history that cannot be read is none: nothing is built otherwise for it.
    private func lastBuild() -> BuildRecord? {
        options.subject.flatMap { subject in (try? history?.lastBuild(of: subject)) ?? nil }
    }

    private mutating func nearest(to index: Int) -> EarlierStep? {
        options.subject == nil || history == nil ? nil : earlierSteps().nearest(to: index)
    }

    /// Orders what waits by how long it took last time.
    private mutating func learnDurations() {
        guard earlier == nil, options.subject != nil, history != nil else { return }
        let known = earlierSteps()
        if known.isEmpty { return }
        schedule.setCosts(
            graph.steps.indices.map { index in
                // One that could not even be looked up took no time.
                known.nearest(to: index).flatMap { $0.seconds > 0 ? $0.seconds : nil } ?? loads[index].seconds
            })
    }

    private mutating func keepRecord(started: Timestamp) throws(StoreError) {
        guard let subject = options.subject, let history else { return }
        // Where nothing had to run, nothing was compared yet.
        if failure == nil && earlier == nil {
            let record = BuildRecord(of: self, subject: subject, started: started, earlier: .none)
            if try history.repeats(record) { return }
            if EarlierSteps.leavesNone(lastBuild(), graph: graph) { return try history.keep(record) }
        }
        try history.keep(BuildRecord(of: self, subject: subject, started: started, earlier: earlierSteps()))
    }
}

/// A step with its key, and what is recorded under that.
private struct Probe: Sendable {
    enum Result: Sendable {
        case hit(StepOutcome)
        case missed(KeyedStep)
        case failed(BuildError)
    }

    let step: Int
    /// Nil where its key could not be made. A step whose record cannot be read has one.
    let keyed: KeyedStep?
    let result: Result

    init(_ index: Int, inputs: [TreeRef], of graph: BuildGraph, _ worker: StepWorker, _ cache: CachePolicy) {
        let step = graph.steps[index]
        self.step = index
        var known: KeyedStep?
        do throws(BuildError) {
            let keyed = try worker.key(step, inputs: inputs, platform: graph.platform)
            known = keyed
            let hit = cache.allows(step) ? try worker.lookUp(keyed) : nil
            result = hit.map(Result.hit) ?? .missed(keyed)
        } catch { result = .failed(error) }
        keyed = known
    }
}
