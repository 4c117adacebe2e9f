// What is known of a build so far: the events summed up, for every reader of them.

import StageEngine
import StageGraph

/// The state of a build, made from its events alone.
struct BuildModel: Sendable {
    /// One step.
    struct StepRecord: Sendable {
        var description: StepDescription
        var started: Double?
        var state: StepState?
        var seconds = 0.0
        var reason: StepReason?
        var log = LogTail()

        /// Instructions are numbered; contexts and images that only feed them are not.
        var isInstruction: Bool { description.number > 0 }
        var isRunning: Bool { started != nil && state == nil }
    }

    /// An image that is looked up or fetched, or a piece of work after the steps.
    struct Activity: Sendable {
        var name: String
        var message: String
        var bytes: UInt64 = 0
        var total: UInt64 = 0
        var started: Double
        var finished: Double?
    }

    private(set) var steps: [Int: StepRecord] = [:]
    /// In the order they were first heard of.
    private(set) var images: [Activity] = []
    private(set) var exports: [Activity] = []
    private(set) var skippedStages = 0
    private(set) var isFinished = false

    init() {}

    /// Takes one event in; `now` is seconds since the build began.
    mutating func apply(_ event: BuildEvent, at now: Double) {
        switch event {
        case .planned(let steps, _, _):
            for step in withoutOnlyStage(steps) { self.steps[step.id] = StepRecord(description: step) }
        case .stageNotNeeded: skippedStages += 1
        case .warning: break
        case .image(let name, let message, let bytes, let total, let done):
            Self.update(&images, name: name, at: now, done: done) {
                ($0.message, $0.bytes, $0.total) = (message, bytes, total)
            }
        case .stepStarted(let step, _): steps[step]?.started = now
        case .stepOutput(let step, let stream, let text): steps[step]?.log.append(text, stream: stream)
        case .stepFinished(let step, let state, _, let seconds, let reason):
            steps[step]?.state = state
            steps[step]?.seconds = seconds
            steps[step]?.reason = reason
        case .exporting(let message, _, _, let done):
            Self.update(&exports, name: message, at: now, done: done) { $0.message = message }
        case .finished, .stopped: isFinished = true
        }
    }

    private static func update(
        _ activities: inout [Activity], name: String, at now: Double, done: Bool, change: (inout Activity) -> Void
    ) {
        let index = activities.firstIndex { $0.name == name } ?? activities.count
        if index == activities.count { activities.append(Activity(name: name, message: "", started: now)) }
        change(&activities[index])
        if done { activities[index].finished = now }
    }

    /// Steps that run now, in the order of the Dockerfile.
    var running: [StepRecord] {
        steps.values.filter(\.isRunning).sorted { $0.description.id < $1.description.id }
    }

    /// How many instructions are in one of `states`.
    func count(_ states: StepState...) -> Int {
        steps.values.reduce(0) { $0 + ($1.isInstruction && $1.state.map(states.contains) == true ? 1 : 0) }
    }

    /// How many instructions the target has.
    var instructions: Int { steps.values.reduce(0) { $0 + ($1.isInstruction ? 1 : 0) } }
}

/// The steps, without the name of a stage that has none in the Dockerfile and is the only one: it tells nothing.
func withoutOnlyStage(_ steps: [StepDescription]) -> [StepDescription] {
    guard Set(steps.map(\.stage).filter { !$0.isEmpty }) == ["stage-0"] else { return steps }
    return steps.map { step in
        var step = step
        step.stage = ""
        return step
    }
}

extension StepDescription {
    /// `[builder 2/6]`, `[builder]` or nothing.
    var tag: String {
        let stage = singleLine(stage)
        if number > 0 { return stage.isEmpty ? "[\(number)/\(total)]" : "[\(stage) \(number)/\(total)]" }
        return stage.isEmpty ? "[internal]" : "[\(stage)]"
    }

    /// The title on one line, safe to show.
    var heading: String { singleLine(title) }
}

/// A warning on one line, with its place once.
func warningText(_ message: String, _ source: SourceRange?) -> String {
    let text = singleLine(message)
    guard let place = source?.place, !text.hasPrefix(place + ":") else { return text }
    return "\(place): \(text)"
}

extension SourceRange {
    /// `Dockerfile:7`.
    var place: String { "\(singleLine(file)):\(firstLine)" }
}
