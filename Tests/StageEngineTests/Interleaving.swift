// A task executor that does nothing by itself: a test picks, by a seed, which job is next, so that a build can be made to
// go through its interleavings, and the same one again.

import Synchronization

final class ManualExecutor: TaskExecutor {
    private let jobs = Mutex<[UnownedJob]>([])

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        jobs.withLock { $0.append(job) }
    }

    /// Runs jobs, each time one that `random` picks, until `isOver`.
    func run(_ random: inout some RandomNumberGenerator, until isOver: () -> Bool) {
        while !isOver() {
            let job = jobs.withLock { jobs in
                jobs.isEmpty ? nil : jobs.remove(at: Int.random(in: 0..<jobs.count, using: &random))
            }
            job?.runSynchronously(on: asUnownedTaskExecutor())
        }
    }
}
