// Of processes that need the same step at the same time, one runs it: the others wait for its record.

import StageHash
import StageStore

extension StepWorker {
    /// Whose turn it is to run a step.
    enum Turn: Sendable {
        /// Ours; the lease is nil where nobody else could.
        case ours(WorkLease?)
        /// Nobody's: somebody ran it while we waited.
        case done(StepRecord)
    }

    /// Seconds between two signs of life of a holder.
    private static let beat = 5.0
    /// A holder that is silent for so long is stuck (stopped, or on a machine that sleeps): the step is run here, too.
    /// One that died does not get that far, since its claim goes with it.
    static let patience = 60.0

    /// Waits until the step is ours to run, or somebody else has run it.
    func awaitTurn(_ keyed: KeyedStep) async throws(BuildError) -> Turn {
        var pause = 5.0
        while true {
            do throws(StoreError) {
                let claim = try store.claim(keyed.key)
                // It may have been finished between our look-up and the claim.
                if case .granted(nil) = claim { return .ours(nil) }
                if let record = try store.record(keyed.key) { return .done(record) }
                switch claim {
                case .granted(let lease): return .ours(lease)
                case .taken(let silence): if silence > Self.patience { return .ours(nil) }
                }
            } catch { throw .store(error) }
            try? await Task.sleep(for: .milliseconds(pause))
            if Task.isCancelled { throw .cancelled }
            pause = min(pause * 1.5, 100)
        }
    }

    /// Does the work under its lease, giving signs of life.
    func holding(
        _ lease: WorkLease, _ work: () async throws(BuildError) -> TreeRef
    ) async throws(BuildError) -> TreeRef {
        let beating = Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: .seconds(Self.beat))
                lease.renew()
            }
        }
        defer { beating.cancel() }
        return try await work()
    }
}
