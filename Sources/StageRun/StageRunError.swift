// What a person is told when something cannot be done.

import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem

/// An error of the facade. `description` is a whole message, without a prefix such as "error:".
public enum StageRunError: Error, Sendable, CustomStringConvertible {
    /// The Dockerfile is at fault; the text has its excerpt with the caret.
    case dockerfile(DockerfileError, rendered: String)
    /// A step failed. `source` is the Dockerfile, for an excerpt.
    case build(BuildError, source: [UInt8])
    case store(StoreError)
    /// There is no such image here.
    case noSuchImage(String, didYouMean: String?)
    /// The command of a container cannot be executed; `status` is what a shell would give, 127 (not found) or 126.
    case notExecutable(String, advice: String?, status: Int32)
    /// Anything else: a fact, and what to do about it.
    case failed(String, advice: String?)
    case cancelled

    public var description: String {
        switch self {
        case .dockerfile(_, let rendered): rendered
        case .build(let error, _): Self.text(error)
        case .store(let error): error.description
        case .noSuchImage(let name, let near):
            "no image \(name) in the store" + (near.map { ": did you mean `\($0)`?" } ?? "")
        case .failed(let message, let advice), .notExecutable(let message, let advice, _):
            advice.map { "\(message)\n\($0)" } ?? message
        case .cancelled: "cancelled"
        }
    }

    private static func text(_ error: BuildError) -> String {
        if case .stepFailed(_, _, let advice?) = error { return "\(error.description)\n\(advice)" }
        return error.description
    }

    static func failed(_ message: String) -> StageRunError { .failed(message, advice: nil) }
}
