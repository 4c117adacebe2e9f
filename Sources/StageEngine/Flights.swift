// Single flight across builds: who runs a step says so, and who wants the same one waits and takes its outcome.

import StageHash
import Synchronization

/// The steps that the builds of one program run now, by key. Give the same one to every builder on a store.
public final class Flights: Sendable {
    private struct State {
        /// The running steps, and who waits for each.
        var waiting: [StepKey: [UInt64: CheckedContinuation<Void, Never>]] = [:]
        var nextWaiter: UInt64 = 0
        /// Builds that work now, and how many have begun so far.
        var builds = 0
        var begun: UInt64 = 0
        /// Waiters that were cancelled before they came to wait.
        var gone: Set<UInt64> = []
    }

    private let state = Mutex(State())

    public init() {}

    /// A build begins. It must `end`.
    func begin() {
        state.withLock { state in
            state.builds += 1
            state.begun += 1
        }
    }

    func end() { state.withLock { $0.builds -= 1 } }

    /// Something while one build alone works here; nil when there are others. The same thing twice: there was no other
    /// in between.
    var solitude: UInt64? { state.withLock { $0.builds == 1 ? $0.begun : nil } }

    /// Takes the step if nobody runs it now. Who took it must `leave` it.
    func take(_ key: StepKey) -> Bool {
        state.withLock { state in
            if state.waiting[key] != nil { return false }
            state.waiting[key] = [:]
            return true
        }
    }

    /// Returns when nobody runs the step any more, or when the task is cancelled.
    func wait(for key: StepKey) async {
        let waiter = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.waiting[key] == nil || state.gone.remove(waiter) != nil { return true }
                    state.waiting[key]?[waiter] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let continuation = state.withLock { state in
                if let continuation = state.waiting[key]?.removeValue(forKey: waiter) { return Optional(continuation) }
                state.gone.insert(waiter)
                return nil
            }
            continuation?.resume()
        }
        state.withLock { _ = $0.gone.remove(waiter) }
    }

    /// The step is done, or failed: those who wait look for themselves.
    func leave(_ key: StepKey) {
        let waiters = state.withLock { $0.waiting.removeValue(forKey: key) }
        for continuation in (waiters ?? [:]).values { continuation.resume() }
    }
}
