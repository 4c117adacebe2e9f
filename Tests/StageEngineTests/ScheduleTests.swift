// The schedule alone: every small graph, every order of outcomes, weights, and what the order is worth.

import Testing

@testable import StageEngine

@Suite struct ScheduleTests {
    /// All graphs of up to five steps, every step a hit or a miss, ended in every order: each step comes once, never
    /// before its inputs, never more at once than allowed, and something can always go on.
    @Test(arguments: 1...5) func everySmallGraph(count: Int) {
        let edges = (0..<count).flatMap { step in (0..<step).map { (step, $0) } }
        for mask in 0..<(1 << edges.count) {
            var inputs = [[Int]](repeating: [], count: count)
            for (bit, edge) in edges.enumerated() where mask & (1 << bit) != 0 { inputs[edge.0].append(edge.1) }
            for limit in [1, 2, 5] {
                let schedule = Schedule(inputs: inputs, costs: inputs.map { _ in 1 }, limit: limit)
                var walk = ScheduleWalk(inputs: inputs, limit: limit)
                walk.explore(schedule)
                if let fault = walk.fault {
                    Issue.record("\(fault): inputs \(inputs), limit \(limit)")
                    return
                }
                #expect(walk.ends > 0)
            }
        }
    }

    @Test func theLongestRemainingPathGoesFirst() {
        // 0 and 1 are ready; 1 leads to a long step.
        var schedule = Schedule(inputs: [[], [], [1]], costs: [5, 1, 10], limit: 1)
        while let step = schedule.take() { schedule.park(step) }
        #expect(schedule.remainingPath(of: 1) == 11)
        #expect(schedule.next() == 1)
        #expect(schedule.next() == nil)
        schedule.finish(1)
        #expect(schedule.next() == 0)
    }

    @Test func betterCostsReorderWhatWaits() {
        var schedule = Schedule(inputs: [[], [], []], costs: [3, 2, 1], limit: 1)
        while let step = schedule.take() { schedule.park(step) }
        schedule.setCosts([1, 2, 3])
        var order: [Int] = []
        while let step = schedule.next() {
            order.append(step)
            schedule.finish(step)
        }
        #expect(order == [2, 1, 0])
    }

    /// A download takes no core's place; a heavy step runs alone, and is not overtaken for ever.
    @Test func weights() {
        var schedule = Schedule(
            inputs: [[], [], [], [], []], costs: [9, 8, 7, 1, 1], weights: [1, 5, 1, 0, 0], limit: 2)
        while let step = schedule.take() { schedule.park(step) }
        var first: Set<Int> = []
        while let step = schedule.next() { first.insert(step) }
        #expect(first == [0, 3, 4])
        schedule.finish(3)
        #expect(schedule.next() == nil)
        schedule.finish(0)
        #expect(schedule.next() == 1)
        #expect(schedule.next() == nil)
        schedule.finish(1)
        #expect(schedule.next() == 2)
    }

    @Test func whatRunsOnTheSpotTakesNoPlace() {
        var schedule = Schedule(inputs: [[], [0], [0]], costs: [1, 1, 1], weights: [0, 1, 0], limit: 1)
        #expect(schedule.take() == 0)
        schedule.run(0)
        #expect(schedule.state(of: 0) == .running)
        #expect(schedule.next() == nil)
        #expect(schedule.take() == nil)
        schedule.finish(0)
        #expect(schedule.take() == 2)
        #expect(schedule.take() == 1)
        schedule.park(1)
        schedule.run(2)
        #expect(schedule.next() == 1)
        #expect(schedule.next() == nil)
        schedule.finish(1)
        #expect(!schedule.isDone)
        schedule.finish(2)
        #expect(schedule.isDone)
    }

    @Test func anInputThatIsTakenTwiceCountsOnce() {
        var schedule = Schedule(inputs: [[], [0, 0]], costs: [1, 1], limit: 1)
        #expect(schedule.take() == 0)
        schedule.finish(0)
        #expect(schedule.take() == 1)
        schedule.finish(1)
        #expect(schedule.isDone)
    }
}

/// Goes every way that a schedule can go. The schedule is a value, so each way has its own.
private struct ScheduleWalk {
    let inputs: [[Int]]
    let limit: Int
    private var seen: Set<[Schedule.State]> = []
    private(set) var ends = 0
    private(set) var fault: String?

    init(inputs: [[Int]], limit: Int) {
        self.inputs = inputs
        self.limit = limit
    }

    mutating func explore(_ schedule: Schedule) {
        let states = inputs.indices.map(schedule.state)
        guard fault == nil, seen.insert(states).inserted else { return }
        check(states, schedule)
        if schedule.isDone {
            ends += 1
            return
        }
        var moved = false
        var taken = schedule
        if let step = taken.take() {
            moved = true
            if !inputs[step].allSatisfy({ states[$0] == .done }) { fault = "step \(step) came before its inputs" }
            var hit = taken
            hit.finish(step)
            explore(hit)
            taken.park(step)
            explore(taken)
        }
        var next = schedule
        if next.next() != nil {
            moved = true
            explore(next)
        }
        for step in inputs.indices where states[step] == .running {
            moved = true
            var finished = schedule
            finished.finish(step)
            explore(finished)
        }
        if !moved { fault = "nothing can go on in \(states)" }
    }

    private mutating func check(_ states: [Schedule.State], _ schedule: Schedule) {
        if states.count(where: { $0 == .running }) > limit { fault = "more than \(limit) run" }
        if schedule.isDone != states.allSatisfy({ $0 == .done }) { fault = "done is not what it says" }
        for (step, needed) in inputs.enumerated() {
            let isWaiting = needed.contains { states[$0] != .done }
            if isWaiting != (states[step] == .waiting) { fault = "step \(step) is \(states[step])" }
        }
    }
}
