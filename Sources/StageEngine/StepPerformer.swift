// The seam for steps of a host program's own kinds: what carries one out, and how it is placed among the others.

import StageGraph
import StageHash
import StageStore

/// Carries out the steps of one own kind. One for each kind is given to the builder.
///
/// What it leaves has to depend on the request's operation and inputs alone: they are the key by which it is found again.
public protocol StepPerformer: Sendable {
    /// How steps of this kind are placed.
    var load: StepLoad { get }

    /// Does the step and gives what it leaves, kept in the store. Inputs and result need not be trees of files: they are
    /// whatever the kinds that take them in can read.
    ///
    /// Cancelling the task has to end it soon.
    func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef
}

/// What a step needs while it runs.
public enum StepLoad: Sendable, Hashable {
    /// One of the places that `--jobs` gives, for about so many seconds.
    case core(seconds: Double)
    /// It waits for something else than a core, such as the network, for about so many seconds: it takes no place.
    case waiting(seconds: Double)
    /// It takes microseconds and never blocks: it is done on the spot.
    case instant
}

/// One step to do.
public struct StepRequest: Sendable {
    public var key: StepKey
    public var operation: OwnOperation
    /// What its inputs left, in order.
    public var inputs: [TreeRef]
    public var store: any TreeStore
    /// Takes what the step has to say; kept as its log.
    public var output: @Sendable (LogStream, [UInt8]) -> Void

    public init(
        key: StepKey, operation: OwnOperation, inputs: [TreeRef], store: any TreeStore,
        output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) {
        self.key = key
        self.operation = operation
        self.inputs = inputs
        self.store = store
        self.output = output
    }
}

/// Why a step of an own kind could not be done.
public struct StepFailure: Error, Hashable, Sendable {
    public let message: String
    /// What the person can do about it.
    public let advice: String?

    public init(_ message: String, advice: String? = nil) {
        self.message = message
        self.advice = advice
    }
}

extension Operation {
    /// How a step is placed, and how long it takes when nothing better is known.
    ///
    /// - Parameter own: what the performers of own kinds say.
    func load(_ own: [String: StepLoad]) -> StepLoad {
        switch self {
        case .run: .core(seconds: 10)
        case .image, .context, .remote: .waiting(seconds: 1)
        case .scratch, .makeDirectory: .instant
        case .copy, .merge: .core(seconds: 0.01)
        case .own(let operation): own[operation.kind] ?? .instant
        }
    }
}

extension StepLoad {
    var seconds: Double {
        switch self {
        case .core(let seconds), .waiting(let seconds): seconds
        case .instant: 1e-6
        }
    }

    /// Places of `--jobs`.
    var weight: Int {
        if case .core = self { return 1 }
        return 0
    }
}
