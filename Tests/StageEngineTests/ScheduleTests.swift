// The schedule alone: every small graph, every order of outcomes.

import Testing

@testable import StageEngine

@Suite struct ScheduleTests {
    /// All graphs of up to four steps: each step comes once, never before its inputs, never more at once than allowed.
    @Test(arguments: 1...4) func everySmallGraph(count: Int) {
        let edges = (0..<count).flatMap { step in (0..<step).map { (step, $0) } }
        for mask in 0..<(1 << edges.count) {
            var inputs = [[Int]](repeating: [], count: count)
            for (bit, edge) in edges.enumerated() where mask & (1 << bit) != 0 { inputs[edge.0].append(edge.1) }
            for limit in 1...2 {
                for hits in 0..<(1 << count) { drive(inputs, limit: limit, hits: hits) }
            }
        }
    }

    private func drive(_ inputs: [[Int]], limit: Int, hits: Int) {
        var schedule = Schedule(inputs: inputs, costs: inputs.map { _ in 1 }, limit: limit)
        var done = Set<Int>()
        var running: [Int] = []
        while !schedule.isDone {
            var moved = false
            while let step = schedule.take() {
                moved = true
                #expect(inputs[step].allSatisfy(done.contains))
                if hits & (1 << step) != 0 {
                    schedule.finish(step)
                    #expect(done.insert(step).inserted)
                } else {
                    schedule.park(step)
                }
            }
            while let step = schedule.next() {
                moved = true
                running.append(step)
            }
            #expect(running.count <= limit)
            if let step = running.popLast() {
                schedule.finish(step)
                #expect(done.insert(step).inserted)
                moved = true
            }
            if !moved { Issue.record("stuck: \(inputs) \(hits)"); return }
        }
        #expect(done.count == inputs.count)
    }

    @Test func theLongestRemainingPathGoesFirst() {
        // 0 and 1 are ready; 1 leads to a long step.
        var schedule = Schedule(inputs: [[], [], [1]], costs: [5, 1, 10], limit: 1)
        while let step = schedule.take() { schedule.park(step) }
        #expect(schedule.next() == 1)
    }
}
