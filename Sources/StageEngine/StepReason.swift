// Why a step was a hit, or had to run: as facts, so that a program can ask and a person can read.

import StageGraph
import StageHash
import StageStore

/// The reason for what became of a step.
public enum StepReason: Sendable, Codable, Hashable {
    /// A record with the same key: when it ran, and for how many seconds.
    case recorded(at: Timestamp, seconds: Double)
    /// An equal step of this build, by its index, was done for both.
    case sharedWith(step: Int)
    /// Another build was just running an equal step, and its outcome is used.
    case sharedWithAnotherBuild
    /// No step like it ran before.
    case firstRun
    /// A step like it ran before, and these fields of its key differ, in the order of the key: see Specs/cache-key.md.
    case differs(fields: [String])
    /// A record with the same key is there, and was not to be used.
    case cacheOff
    /// It failed the last time it ran.
    case failedBefore
    /// It brings something in (a context, an image), which is looked at in every build.
    case source
    /// It was stopped, or did not begin, because something else failed or the build was cancelled.
    case stopped
    /// What went wrong.
    case failed(message: String)
}

extension StepReason: CustomStringConvertible {
    public var description: String {
        switch self {
        case .recorded: "same inputs as before"
        case .sharedWith(let step): "the same step as \(StepID(step)) of this build"
        case .sharedWithAnotherBuild: "another build ran the same step meanwhile"
        case .firstRun: "no earlier run of it is known"
        case .differs(let fields): "differs from its earlier run in \(fields.joined(separator: ", "))"
        case .cacheOff: "the cache was not to be used"
        case .failedBefore: "it failed the last time"
        case .source: "looked at in every build"
        case .stopped: "stopped with the build"
        case .failed(let message): message
        }
    }
}
