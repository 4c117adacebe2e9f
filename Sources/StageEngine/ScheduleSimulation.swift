// What an order is worth: a discrete-event simulation that drives the real `Schedule` on a graph with known durations, for
// any number of cores. Specs/scheduler.md has the plot; `bench --only schedule` makes it.

/// A graph with how long each step takes.
public struct ScheduleSimulation: Sendable {
    /// For each step the steps it takes in; indices below its own.
    public let inputs: [[Int]]
    /// How long each takes, in any unit.
    public let durations: [Double]

    public init(inputs: [[Int]], durations: [Double]) {
        self.inputs = inputs
        self.durations = durations
    }

    /// Who goes next.
    public enum Order: String, Sendable, CaseIterable {
        /// `Schedule`: the longest remaining path.
        case longestPath = "longest remaining path"
        /// Whoever was ready first.
        case firstCome = "first come, first served"
        /// All that is ready, and nothing else before all of that is done.
        case waves
    }

    /// No order can be faster: the longest path, or the sum of all durations spread over the cores.
    public func lowerBound(cores: Int) -> Double {
        var ends: [Double] = []
        for (step, needed) in inputs.enumerated() {
            ends.append((needed.map { ends[$0] }.max() ?? 0) + durations[step])
        }
        return max(ends.max() ?? 0, durations.reduce(0, +) / Double(max(1, cores)))
    }

    /// When the last step is done.
    ///
    /// - Parameter expected: what the schedule believes the durations to be; the real ones when nil.
    public func makespan(cores: Int, order: Order, expected: [Double]? = nil) -> Double {
        switch order {
        case .longestPath:
            var schedule = Schedule(inputs: inputs, costs: expected ?? durations, limit: cores)
            return run { start in
                while let step = schedule.take() { schedule.park(step) }
                while let step = schedule.next() { start(step) }
            } finish: {
                schedule.finish($0)
            }
        case .firstCome:
            var queue = ReadyQueue(inputs)
            var running = 0
            return run { start in
                while running < cores, let step = queue.next() {
                    running += 1
                    start(step)
                }
            } finish: {
                running -= 1
                queue.finish($0)
            }
        case .waves:
            var queue = ReadyQueue(inputs)
            var wave: [Int] = []
            var running = 0
            return run { start in
                if wave.isEmpty, running == 0 {
                    while let step = queue.next() { wave.append(step) }
                }
                while running < cores, !wave.isEmpty {
                    running += 1
                    start(wave.removeFirst())
                }
            } finish: {
                running -= 1
                queue.finish($0)
            }
        }
    }

    /// Lets time go from end to end of running steps: `advance` starts what may start, `finish` is told of each end.
    private func run(_ advance: ((Int) -> Void) -> Void, finish: (Int) -> Void) -> Double {
        var now = 0.0
        var running: [(end: Double, step: Int)] = []
        while true {
            advance { running.append((now + durations[$0], $0)) }
            guard
                let next = running.indices.min(by: {
                    (running[$0].end, running[$0].step) < (running[$1].end, running[$1].step)
                })
            else { return now }
            now = running[next].end
            finish(running.remove(at: next).step)
        }
    }

    /// Steps in the order in which they became ready.
    private struct ReadyQueue {
        private var missing: [Int]
        private var dependents: [[Int]]
        private var ready: [Int]

        init(_ inputs: [[Int]]) {
            missing = inputs.map { Set($0).count }
            dependents = [[Int]](repeating: [], count: inputs.count)
            for (step, needed) in inputs.enumerated() { for input in Set(needed) { dependents[input].append(step) } }
            ready = inputs.indices.filter { inputs[$0].isEmpty }
        }

        mutating func next() -> Int? { ready.isEmpty ? nil : ready.removeFirst() }

        mutating func finish(_ step: Int) {
            for dependent in dependents[step] {
                missing[dependent] -= 1
                if missing[dependent] == 0 { ready.append(dependent) }
            }
        }
    }
}
