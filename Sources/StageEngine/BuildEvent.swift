// All that a build tells: one enum, ordered, lossless. The terminal view, the plain log and JSON lines are readers of it.

import StageGraph
import StageHash
import StageStore

/// What became of a step.
public enum StepState: String, Sendable, Codable, Hashable {
    /// Its result was known; nothing ran.
    case hit
    /// It ran, and left something new.
    case ran
    /// It ran, and left what an earlier run had left: what follows is not disturbed.
    case ranSameOutcome = "ran, same outcome"
    /// The target does not need it.
    case notNeeded = "not needed"
    case cancelled
    case failed
}

/// A step as events describe it.
public struct StepDescription: Sendable, Codable, Hashable {
    public var id: Int
    public var stage: String
    public var title: String
    /// As `Operation.kind` names it: `run`, `copy`, `context`.
    public var kind: String
    /// The steps that it takes in, by index; the first is the filesystem that it starts from.
    public var inputs: [Int]
    public var number: Int
    public var total: Int
    public var source: SourceRange?

    public init(_ step: Step) {
        id = step.id.index
        stage = step.stage
        title = step.title
        kind = step.operation.kind
        inputs = step.inputs.map(\.index)
        number = step.number
        total = step.total
        source = step.source
    }

    public init(
        id: Int, stage: String, title: String, kind: String, inputs: [Int], number: Int, total: Int,
        source: SourceRange?
    ) {
        self.id = id
        self.stage = stage
        self.title = title
        self.kind = kind
        self.inputs = inputs
        self.number = number
        self.total = total
        self.source = source
    }
}

extension BuildEvent {
    /// The index of the step that it is about, if it is about one.
    public var step: Int? {
        switch self {
        case .stepStarted(let step, _), .stepOutput(let step, _, _), .stepFinished(let step, _, _, _, _): step
        case .stopped(_, let step, _, _): step
        case .planned, .stageNotNeeded, .warning, .image, .exporting, .finished: nil
        }
    }
}

/// One thing that happened. Times are seconds since the build began.
public enum BuildEvent: Sendable, Codable, Hashable {
    /// The graph is known. Comes first, after warnings and image resolution.
    case planned(steps: [StepDescription], target: String, platform: String)
    /// A stage that is not built, and the number of its instructions.
    case stageNotNeeded(stage: String, instructions: Int)
    /// Something about the Dockerfile or the context that a person should know.
    case warning(message: String, source: SourceRange?)
    /// An image is looked up or fetched. `bytes` of `total` so far; `done` once.
    case image(name: String, message: String, bytes: UInt64, total: UInt64, done: Bool)
    case stepStarted(step: Int, at: Double)
    /// What a command wrote. Bytes that are not UTF-8 were replaced.
    case stepOutput(step: Int, stream: LogStream, text: String)
    /// `seconds` is how long it ran: 0 for a hit. `reason` says why it was a hit or a miss.
    case stepFinished(step: Int, state: StepState, at: Double, seconds: Double, reason: StepReason)
    /// Work after the steps: layers, archives.
    case exporting(message: String, at: Double, seconds: Double, done: Bool)
    /// The build is over; `image` is the image ID. Comes last.
    case finished(image: String?, names: [String], at: Double)
    /// The build did not come to its end: what went wrong, and at which step where it was one. Comes last.
    case stopped(message: String, step: Int?, cancelled: Bool, at: Double)
}
