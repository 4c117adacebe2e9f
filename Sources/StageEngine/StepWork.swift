// A step on its way through a build: with its key, as work, failed.

import StageGraph
import StageHash
import StageStore

/// A step with its key, ready to be looked up or to run. An object, since it is handed on from place to place.
final class KeyedStep: Sendable {
    let step: Step
    let key: StepKey
    /// What the key is the digest of: most steps are hits, and need no text of it.
    let walk: KeyWalk
    let inputs: [TreeRef]
    let selection: CopySelection?
    /// What the binds of a `RUN` show, by the number of the mount.
    let mounted: [Int: Entry]
    /// What it takes in besides the filesystem that it starts from.
    let sources: [StepSource]
    /// `Flights.solitude` before it was looked up.
    let solitude: UInt64?

    init(
        _ step: Step, _ encoder: KeyEncoder, inputs: [TreeRef], selection: CopySelection?, mounted: [Int: Entry],
        sources: [StepSource], solitude: UInt64?
    ) {
        self.step = step
        key = encoder.finalize()
        walk = KeyWalk(encoding: encoder.bytes[...])
        self.inputs = inputs
        self.selection = selection
        self.mounted = mounted
        self.sources = sources
        self.solitude = solitude
    }
}

/// A step that is to run.
struct StepWork: Sendable {
    let keyed: KeyedStep
    /// Whether an outcome that another build had meanwhile may stand for this one.
    let usesCache: Bool
    /// Whether other processes are asked. Not for what takes less than to ask.
    var isClaimed = false
    /// For `RUN`: the trees that led to its filesystem.
    var chain: [TreeRef] = []
    /// The nearest step of an earlier build.
    var earlier: EarlierStep?

    var step: Step { keyed.step }
}

/// A step that did not come to its end.
struct FailedStep: Sendable {
    var error: BuildError
    var seconds = 0.0
    /// What it wrote until then.
    var log: Digest?

    init(_ error: BuildError, seconds: Double = 0, log: Digest? = nil) {
        self.error = error
        self.seconds = seconds
        self.log = log
    }

    var isCancelled: Bool { if case .cancelled = error { true } else { false } }
}
