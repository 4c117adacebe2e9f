// The pool: every job runs, those that wait for each other too, whenever the pool closes and whatever the system gives.

import Glibc
import Synchronization
import Testing

@testable import StageSystem

/// A number that many threads count up.
private final class Counter: Sendable {
    private let atomic = Atomic(0)
    var value: Int { atomic.load(ordering: .relaxed) }
    @discardableResult func add(_ count: Int = 1) -> Int {
        atomic.wrappingAdd(count, ordering: .relaxed).newValue
    }
    func raise(to count: Int) { atomic.max(count, ordering: .relaxed) }
}

@Suite(.timeLimit(.minutes(15))) struct BlockingPoolTests {
    /// Each waits until all are there, which needs a thread each.
    @Test(arguments: [2, 5, 16]) func jobsThatWaitForEachOther(count: Int) async {
        let pool = BlockingPool(threads: count)
        defer { pool.close() }
        for _ in 0..<20 {
            let arrived = Counter()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<count {
                    group.addTask {
                        await pool.run {
                            arrived.add()
                            while arrived.value < count { usleep(200) }
                        }
                    }
                }
            }
        }
    }

    @Test func noMoreThreadsThanSaid() async {
        let pool = BlockingPool(threads: 3)
        defer { pool.close() }
        let running = Counter()
        let most = Counter()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<60 {
                group.addTask {
                    await pool.run {
                        let now = running.add()
                        most.raise(to: now)
                        usleep(1000)
                        running.add(-1)
                    }
                }
            }
        }
        #expect((2...3).contains(most.value))
    }

    @Test func resultsAndErrorsComeBack() async throws {
        let pool = BlockingPool(threads: 1)
        defer { pool.close() }
        #expect(await pool.run { 6 * 7 } == 42)
        await #expect(throws: SystemError("read", errno: EIO)) {
            try await pool.run { () throws(SystemError) in throw SystemError("read", errno: EIO) }
        }
    }

    @Test func nothingIsLostOnClosing() async {
        for round in 0..<50 {
            let pool = BlockingPool(threads: 1 + round % 4)
            let done = Counter()
            await withTaskGroup(of: Void.self) { group in
                for job in 0..<40 {
                    group.addTask { await pool.run { _ = done.add() } }
                    if job == round % 40 { group.addTask { pool.close() } }
                }
            }
            #expect(done.value == 40)
            #expect(await pool.run { 1 } == 1, "after closing, on the caller's thread")
        }
    }

    @Test func manyPools() async {
        await withTaskGroup(of: Int.self) { group in
            for number in 0..<200 {
                group.addTask {
                    let pool = BlockingPool(threads: 4)
                    defer { pool.close() }
                    return await pool.run { number }
                }
            }
            #expect(await group.reduce(0, +) == 199 * 100)
        }
    }

    /// A stack that no system has: not one thread starts.
    @Test func withoutAnyThread() async {
        let pool = BlockingPool(threads: 4, stackSize: 1 << 50)
        await withTaskGroup(of: Int.self) { group in
            for number in 0..<20 { group.addTask { await pool.run { number } } }
            #expect(await group.reduce(0, +) == 190)
        }
        pool.close()
        #expect(await pool.run { 1 } == 1)
    }

    /// A queue that never runs dry.
    @Test func aLongQueue() async {
        let pool = BlockingPool(threads: 1)
        defer { pool.close() }
        let done = Counter()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<20_000 { group.addTask { await pool.run { _ = done.add() } } }
        }
        #expect(done.value == 20_000)
    }
}
