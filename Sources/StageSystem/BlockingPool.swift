// Threads of our own for system calls, hashing and compression.
//
// The cooperative pool is as wide as the cores and must never block. A task that prefers this executor
// (`withTaskExecutorPreference`, `pool.run`) runs on a thread of the pool instead; threads start on demand up to the limit.

import Glibc
import Synchronization

/// A task executor with its own threads, for work that blocks.
///
/// `@unchecked Sendable`: all state is behind `monitor`.
public final class BlockingPool: TaskExecutor, @unchecked Sendable {
    private let monitor = Monitor()
    private var queue: [UnownedJob] = []
    private var head = 0
    private var idle = 0
    private var started = 0
    private var closing = false
    private let limit: Int
    private let stackSize: Int

    /// - Parameter threads: the most threads it starts; they wait for work until the pool is closed.
    ///
    /// Stacks take walks of `TreePath.depthLimit` levels, unoptimised ones too. They are address space only: pages come
    /// when they are used.
    public convenience init(threads: Int) { self.init(threads: threads, stackSize: 8 << 20) }

    init(threads: Int, stackSize: Int) {
        limit = max(1, threads)
        self.stackSize = stackSize
    }

    /// Lets the threads end once their work is done. Work enqueued afterwards still runs, on the caller's thread.
    public func close() {
        monitor.lock()
        closing = true
        monitor.broadcast()
        monitor.unlock()
    }

    public func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        monitor.lock()
        if closing && started == 0 {
            monitor.unlock()
            unowned.runSynchronously(on: asUnownedTaskExecutor())
            return
        }
        queue.append(unowned)
        // A thread that was signalled counts as idle until it wakes: jobs that wait and idle threads are compared, so that
        // of two jobs in a row the second does not wait behind the first.
        if queue.count - head <= idle {
            monitor.signal()
        } else if started < limit {
            started += 1
            if startThread(stackSize: stackSize, { self.work() }) != 0 { started -= 1 }
        }
        // Where the system gives no thread at all, nobody else would ever run what waits.
        let orphaned = started == 0 ? takeJob() : nil
        monitor.unlock()
        orphaned?.runSynchronously(on: asUnownedTaskExecutor())
    }

    /// The next job in line, if any. Called with the mutex held.
    private func takeJob() -> UnownedJob? {
        guard head < queue.count else { return nil }
        let job = queue[head]
        head += 1
        if head == queue.count {
            queue.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 1024 && head * 2 >= queue.count {
            // A queue that never runs dry would keep the jobs that are done.
            queue.removeFirst(head)
            head = 0
        }
        return job
    }

    /// Runs `body` on a thread of the pool.
    public func run<R: Sendable, E: Error>(_ body: @Sendable @escaping () throws(E) -> R) async throws(E) -> R {
        let result: Result<R, E> = await withTaskExecutorPreference(self) {
            await Self.hop(body)
        }
        return try result.get()
    }

    @concurrent
    private static func hop<R: Sendable, E: Error>(_ body: @Sendable () throws(E) -> R) async -> Result<R, E> {
        do throws(E) { return .success(try body()) } catch { return .failure(error) }
    }

    private func work() {
        let executor = asUnownedTaskExecutor()
        monitor.lock()
        while true {
            if let job = takeJob() {
                monitor.unlock()
                job.runSynchronously(on: executor)
                monitor.lock()
            } else if closing {
                break
            } else {
                idle += 1
                monitor.wait()
                idle -= 1
            }
        }
        started -= 1
        monitor.unlock()
    }
}
