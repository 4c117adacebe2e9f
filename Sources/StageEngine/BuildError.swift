// Why a build did not come to its end.

import StageGraph
import StageHash
import StageStore

/// A failed build.
public enum BuildError: Error, Sendable {
    /// A command ended with something else than 0. `logTail` has the last lines of what it wrote.
    case commandFailed(step: Step, exit: ExitStatus, logTail: [String])
    /// A step could not be done: a source that is not there, an account that the image lacks, no namespaces.
    case stepFailed(step: Step, message: String, advice: String?)
    /// An input of the build could not be had: the context, an image.
    case sourceFailed(step: Step, message: String)
    case store(StoreError)
    case cancelled

    /// The step it is about.
    public var step: Step? {
        switch self {
        case .commandFailed(let step, _, _), .stepFailed(let step, _, _), .sourceFailed(let step, _): step
        case .store, .cancelled: nil
        }
    }
}

extension BuildError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .commandFailed(let step, let exit, _): "\(step.title): \(exit)"
        case .stepFailed(let step, let message, _): "\(step.title): \(message)"
        case .sourceFailed(_, let message): message
        case .store(let error): error.description
        case .cancelled: "the build was cancelled"
        }
    }
}
