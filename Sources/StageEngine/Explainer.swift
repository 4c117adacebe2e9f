// Explains a build from its record and the records of its steps.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// Finds out why steps of a recorded build ran.
public struct Explainer: Sendable {
    public let build: BuildRecord
    private let store: any Builder.Store
    private let bases: [Digest?]

    /// For so many of the files of a difference, the instruction that brought it is looked for.
    private static let traced = 50

    public init(_ build: BuildRecord, store: any Builder.Store) {
        self.build = build
        self.store = store
        bases = build.bases
    }

    /// The explanations of all steps that ran, in order.
    public func explain() throws(StoreError) -> [StepExplanation] {
        var result: [StepExplanation] = []
        for (index, step) in build.steps.enumerated() where step.key != nil {
            switch step.state {
            case .ran, .ranSameOutcome, .failed, .cancelled: result.append(try explain(index))
            case .hit, .notNeeded, nil: break
            }
        }
        return result
    }

    /// Why the step of that index ran.
    public func explain(_ index: Int) throws(StoreError) -> StepExplanation {
        var explanation = StepExplanation(step: index)
        let step = build.steps[index]
        guard step.state != .hit, let earlier = step.earlier, !earlier.isRepeated(by: step),
            let old = earlier.run(in: store),
            let now = try current(step)
        else { return explanation }
        explanation.earlier = StepExplanation.EarlierRun(
            stage: old.stage, title: old.title, key: old.key, created: old.created,
            seconds: Double(old.duration) / 1e9)
        let pairs = KeyDifference(from: KeyText(old.walk.text), to: KeyText(now.keyText)).pairs
        var done: Set<Topic> = []
        for pair in pairs {
            let topic = Topic(field: pair.name)
            guard topic == .field || done.insert(topic).inserted else { continue }
            switch topic {
            case .instruction: explanation.differences += instruction(pair, old, step)
            case .environment: explanation.differences += variables(pair, step)
            case .sources: explanation.differences += files(old.sources, now.sources, step)
            case .filesystem: explanation.differences.append(filesystem(old, step, earlier, index))
            case .field:
                explanation.differences.append(
                    .field(name: pair.name, was: pair.was?.value, now: pair.now?.value))
            }
        }
        return explanation
    }

    /// What a field of a key belongs to.
    private enum Topic: Hashable {
        case instruction, environment, sources, filesystem, field

        init(field: String) {
            switch field {
            case "operation", "arguments", "destination", "path", "script", "script text": self = .instruction
            case "environment": self = .environment
            case "source name", "source is directory", "source content", "mount content", "merged": self = .sources
            case "input": self = .filesystem
            default: self = .field
            }
        }
    }

    private func current(_ step: BuildRecord.Step) throws(StoreError) -> StepAttempt? {
        if let attempt = step.attempt { return attempt }
        guard let key = step.key, let record = try store.record(key) else { return nil }
        return StepAttempt(keyText: record.walk.text, sources: record.sources)
    }

    private func instruction(
        _ pair: KeyDifference.Pair, _ old: StepRecord, _ step: BuildRecord.Step
    ) -> [Difference] {
        if !old.title.utf8.elementsEqual(step.description.title.utf8) {
            return [.instruction(was: old.title, now: step.description.title)]
        }
        // The title is one line of limited length; what differs is beyond it.
        return [
            .field(
                name: pair.name, was: pair.was?.values.joined(separator: " "),
                now: pair.now?.values.joined(separator: " "))
        ]
    }

    /// What differs in the list of variables.
    private func variables(_ pair: KeyDifference.Pair, _ step: BuildRecord.Step) -> [Difference] {
        func split(_ text: String) -> (name: String, value: String) {
            let bytes = Array(text.utf8)
            let name = bytes.prefix { $0 != UInt8(ascii: "=") }
            return (
                String(decoding: name, as: UTF8.self), String(decoding: bytes.dropFirst(name.count + 1), as: UTF8.self)
            )
        }
        let was = (pair.was?.values ?? []).map(split)
        let now = (pair.now?.values ?? []).map(split)
        let before = Dictionary(was.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        let after = Dictionary(now.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        let arguments = Set(step.arguments)
        var result: [Difference] = []
        var seen: Set<String> = []
        for name in now.map(\.name) + was.map(\.name) where seen.insert(name).inserted {
            let (old, new) = (before[name], after[name])
            if old.map({ Array($0.utf8) }) == new.map({ Array($0.utf8) }) { continue }
            result.append(.variable(name: name, isArgument: arguments.contains(name), was: old, now: new))
        }
        // The same variables in another order.
        if result.isEmpty {
            result = [.field(name: "order of the variables", was: pair.was?.raw, now: pair.now?.raw)]
        }
        return result
    }

    // MARK: Files

    /// What a COPY selected or binds show, source by source.
    private func files(_ old: [StepSource], _ new: [StepSource], _ step: BuildRecord.Step) -> [Difference] {
        var origins: [FileOrigin] = []
        for source in new + old {
            let origin = origin(source, step)
            if !origins.contains(origin) { origins.append(origin) }
        }
        var result: [Difference] = []
        for origin in origins {
            let before = old.filter { self.origin($0, step) == origin }
            let after = new.filter { self.origin($0, step) == origin }
            var comparison = FileComparison(store: store)
            do throws(StoreError) {
                for source in after {
                    let same = before.first { $0.path == source.path }
                    try comparison.compare(same?.entry, source.entry, at: TreePath(bytes: source.path))
                }
                for source in before where !after.contains(where: { $0.path == source.path }) {
                    try comparison.compare(source.entry, nil, at: TreePath(bytes: source.path))
                }
            } catch {
                result.append(.forgotten(origin))
                continue
            }
            if comparison.total == 0 { continue }
            var changes = comparison.changes
            if case .input(let from) = origin { trace(&changes, from) }
            result.append(.files(origin, changes: changes, total: comparison.total))
        }
        return result
    }

    private func origin(_ source: StepSource, _ step: BuildRecord.Step) -> FileOrigin {
        guard source.input > 0, source.input < step.inputs.count else { return .heredoc }
        return .input(step: step.inputs[source.input])
    }

    private func filesystem(
        _ old: StepRecord, _ step: BuildRecord.Step, _ earlier: EarlierStep, _ index: Int
    ) -> Difference {
        if let now = bases[index], let was = earlier.base, was != now, let base = root(of: index) {
            return .base(step: base, was: was, now: now)
        }
        guard let first = step.inputs.first, build.steps.indices.contains(first),
            let now = build.steps[first].result, let was = old.input
        else { return .forgotten(.filesystem) }
        var comparison = FileComparison(store: store)
        do throws(StoreError) {
            try comparison.compare(.directory(was), .directory(now), at: TreePath())
        } catch { return .forgotten(.filesystem) }
        var changes = comparison.changes
        trace(&changes, first)
        return .files(.filesystem, changes: changes, total: comparison.total)
    }

    /// The source that the filesystem of a step started from.
    private func root(of index: Int) -> Int? {
        var here = index
        while let next = build.steps[here].inputs.first, next < here { here = next }
        return here == index ? nil : here
    }

    /// Finds for each file the last step, `last` or before it, that left it otherwise than it found it.
    private func trace(_ changes: inout [FileChange], _ last: Int) {
        for place in changes.indices.prefix(Self.traced) {
            changes[place].broughtBy = bringer(of: TreePath(changes[place].path), last)
        }
    }

    private func bringer(of path: TreePath, _ last: Int) -> Int? {
        var here = last
        while let before = build.steps[here].inputs.first, before < here {
            guard let now = build.steps[here].result, let was = build.steps[before].result else { return nil }
            if now.identity != was.identity {
                do throws(StoreError) {
                    let (old, new) = (try store.entry(at: path, in: was), try store.entry(at: path, in: now))
                    let isSame = old.map { old in new.map { old.sameIdentity(as: $0) } ?? false } ?? (new == nil)
                    if !isSame { return here }
                } catch { return nil }
            }
            here = before
        }
        return nil
    }
}
