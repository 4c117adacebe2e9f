// A list of jobs that several tasks work off, and what they find.

import StageStore
import Synchronization

/// Hands out the indices of `count` jobs, each once, until one fails.
final class SharedWork<Found: Sendable>: Sendable {
    private let count: Int
    private let next = Atomic<Int>(0)
    private let state: Mutex<Found>

    init(count: Int, found: Found) {
        self.count = count
        state = Mutex(found)
    }

    var found: Found { state.withLock { $0 } }

    func add(_ change: (inout Found) -> Void) {
        state.withLock { found in change(&found) }
    }

    /// Runs `job` for every index on up to `workers` tasks and throws the first failure.
    func run(
        workers: Int, _ job: @escaping @Sendable (Int) throws(StoreError) -> Void
    ) async throws(StoreError) {
        if count == 0 { return }
        let failure: StoreError? = await withTaskGroup(of: StoreError?.self) { group in
            // A task costs more than a handful of small files.
            for _ in 0..<max(1, min(workers, count / 16 + 1)) { group.addTask { self.work(job) } }
            var first: StoreError?
            for await error in group { first = first ?? error }
            return first
        }
        if let failure { throw failure }
    }

    private func work(_ job: (Int) throws(StoreError) -> Void) -> StoreError? {
        while true {
            let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard index < count else { return nil }
            do throws(StoreError) { try job(index) } catch {
                next.store(count, ordering: .relaxed)
                return error
            }
        }
    }
}
