// Which step of an earlier build a step is to be compared with: the one that was written the same, else the one that
// stood in its place.

import StageGraph
import StageHash
import StageStore

/// The steps of the last build and of those before it, as counterparts for the steps of a graph.
struct EarlierSteps: Sendable {
    private struct Name: Hashable {
        var stage: String
        var title: String
    }

    private struct Place: Hashable {
        var stage: String
        var kind: String
        var ordinal: Int
    }

    /// By the index of the graph's step.
    private let counterparts: [EarlierStep?]
    /// The steps of builds before that no step of this graph is like.
    let unmatched: [EarlierStep]
    let isEmpty: Bool

    /// So many steps of other targets are carried from build to build.
    private static let carried = 4096

    init(_ last: BuildRecord?, graph: BuildGraph) {
        let known = last.map { Self.steps(of: $0) + $0.elsewhere } ?? []
        isEmpty = known.isEmpty
        guard !known.isEmpty else {
            counterparts = []
            unmatched = []
            return
        }
        let names = graph.steps.map { Name(stage: $0.stage, title: $0.title) }
        let written = Set(names)
        var byName: [Name: [EarlierStep]] = [:]
        var byTitle: [String: EarlierStep] = [:]
        var byPlace: [Place: EarlierStep] = [:]
        for step in known {
            let name = Name(stage: step.stage, title: step.title)
            byName[name, default: []].append(step)
            if byTitle[step.title] == nil { byTitle[step.title] = step }
            // What is still written somewhere is no counterpart for something else.
            guard !written.contains(name) else { continue }
            let place = Place(stage: step.stage, kind: step.kind, ordinal: step.ordinal)
            if byPlace[place] == nil { byPlace[place] = step }
        }
        var occurrences: [Name: Int] = [:]
        counterparts = zip(graph.steps, Self.ordinals(graph.steps.map { ($0.stage, $0.operation.kind) })).map {
            step, ordinal in
            let name = Name(stage: step.stage, title: step.title)
            let occurrence = occurrences[name, default: 0]
            occurrences[name] = occurrence + 1
            if let same = byName[name] { return same[min(occurrence, same.count - 1)] }
            let place = Place(stage: step.stage, kind: step.operation.kind, ordinal: ordinal)
            return byPlace[place] ?? byTitle[step.title].flatMap { $0.kind == step.operation.kind ? $0 : nil }
        }
        unmatched = Array(
            known.filter { !written.contains(Name(stage: $0.stage, title: $0.title)) }.prefix(Self.carried))
    }

    /// Of a build in which nothing ran, so that nothing is looked for.
    static let none = EarlierSteps()

    private init() { (counterparts, unmatched, isEmpty) = ([], [], true) }

    /// Whether the last build had the steps of the graph, and leaves none to carry on.
    static func leavesNone(_ last: BuildRecord?, graph: BuildGraph) -> Bool {
        guard let last, last.end == .completed, last.elsewhere.isEmpty, last.steps.count == graph.steps.count else {
            return false
        }
        return zip(last.steps, graph.steps).allSatisfy {
            $0.description.title == $1.title && $0.description.stage == $1.stage
        }
    }

    func nearest(to index: Int) -> EarlierStep? { counterparts.indices.contains(index) ? counterparts[index] : nil }

    /// Which one of its kind each is in its stage.
    static func ordinals(_ steps: [(stage: String, kind: String)]) -> [Int] {
        var counts: [Place: Int] = [:]
        return steps.map { stage, kind in
            let place = Place(stage: stage, kind: kind, ordinal: 0)
            defer { counts[place, default: 0] += 1 }
            return counts[place, default: 0]
        }
    }

    /// The steps of a build that have something to compare with: their own record, or the one that they were compared
    /// with when they left none.
    private static func steps(of build: BuildRecord) -> [EarlierStep] {
        let ordinals = ordinals(build.steps.map { ($0.description.stage, $0.description.kind) })
        let bases = build.bases
        var result: [EarlierStep] = []
        for (index, step) in build.steps.enumerated() {
            guard let key = step.key else { continue }
            let description = step.description
            switch step.state {
            case .hit, .ran, .ranSameOutcome:
                result.append(
                    EarlierStep(
                        stage: description.stage, title: description.title, kind: description.kind,
                        ordinal: ordinals[index], key: key, base: bases[index], seconds: step.lastSeconds,
                        failed: false))
            case .failed:
                // A step that failed is compared with itself when it comes again unchanged, else with what it was
                // compared with itself.
                var failed = EarlierStep(
                    stage: description.stage, title: description.title, kind: description.kind,
                    ordinal: ordinals[index], key: key, base: bases[index],
                    seconds: step.seconds > 0 ? step.seconds : step.earlier?.seconds ?? 0, failed: true)
                failed.before = step.earlier.flatMap { $0.failed ? $0.before : $0.key }
                result.append(failed)
            case .cancelled, .notNeeded, nil:
                if let earlier = step.earlier { result.append(earlier) }
            }
        }
        return result
    }
}

extension EarlierStep {
    /// It failed, and the same step ran again for that.
    func isRepeated(by step: BuildRecord.Step) -> Bool { failed && key == step.key }

    /// The record to compare with; nil when it was pruned.
    func run(in cache: any StepCache) -> StepRecord? {
        let keys = failed ? [before].compactMap { $0 } : [key]
        return keys.lazy.compactMap { key in (try? cache.record(key)) ?? nil }.first
    }
}

extension BuildRecord {
    /// For each step the image that its filesystem started from, if it was one.
    var bases: [Digest?] {
        var bases: [Digest?] = []
        for step in steps {
            let base = step.inputs.first.flatMap { $0 < bases.count ? bases[$0] : nil } ?? step.origin
            bases.append(base)
        }
        return bases
    }
}

extension BuildRecord.Step {
    /// How long it ran when it last did.
    var lastSeconds: Double {
        if state == .hit, case .recorded(_, let seconds)? = reason { return seconds }
        return seconds
    }
}

// MARK: The record of a build that just ended

extension BuildRecord {
    init(of run: BuildRun, subject: BuildSubject, started: Timestamp, earlier: EarlierSteps) {
        var steps: [Step] = []
        steps.reserveCapacity(run.graph.steps.count)
        for (index, step) in run.graph.steps.enumerated() {
            var recorded = Step(description: StepDescription(step))
            recorded.key = run.keys[index]
            recorded.origin = run.options.origins[index]
            if case .run(let run) = step.operation { recorded.arguments = run.argumentNames }
            if let outcome = run.outcome(of: index) {
                recorded.state = outcome.state
                recorded.reason = outcome.reason
                recorded.seconds = outcome.seconds
                recorded.result = outcome.tree
                recorded.log = outcome.record?.log
            } else if let failed = run.failures[index] {
                recorded.state = failed.isCancelled ? .cancelled : .failed
                recorded.reason = failed.isCancelled ? .stopped : .failed(message: failed.error.description)
                recorded.seconds = failed.seconds
                recorded.log = failed.log
                recorded.attempt = run.keyed[index].map { StepAttempt(keyText: $0.walk.text, sources: $0.sources) }
            }
            if recorded.state != .hit, recorded.key != nil { recorded.earlier = earlier.nearest(to: index) }
            steps.append(recorded)
        }
        let end: BuildEnd
        switch run.failure {
        case nil: end = .completed
        case .cancelled: end = .cancelled
        case .some(let error): end = .failed(error.description)
        }
        self.init(
            subject: subject, target: run.graph.steps[run.graph.target.index].stage,
            platform: run.graph.platform.description, started: started,
            seconds: (ContinuousClock.now - run.begin).inSeconds, end: end, steps: steps,
            skippedStages: run.graph.skippedStages, elsewhere: earlier.unmatched)
    }
}
