// Which step is next: a value without async, without imports. Specs/scheduler.md draws the states.
//
//   waiting --(last input done)--> ready --take--> probing --park--> parked --next--> running --finish--> done
//                                                        \----------- run (on the spot) ---/            /
//                                                         \---------------finish (a hit)---------------/
//
// Every transition goes through `move`. A step that is parked waits until its weight fits beside what runs; the longest
// remaining path goes first. A step of weight 0 takes no place: it waits for something else than a core.

/// The order of one build.
public struct Schedule: Sendable {
    public enum State: Sendable, Hashable { case waiting, ready, probing, parked, running, done }

    private var states: [State]
    private var missingInputs: [Int32]
    private let dependents: Dependents
    private let weights: [Int]?
    private var ready: [Int] = []
    private var parked: PathHeap
    private var weightless: PathHeap
    private var runningWeight = 0
    /// How many steps run now.
    public private(set) var runningCount = 0
    private var remaining: Int
    private let limit: Int

    /// - Parameters:
    ///   - inputs: for each step the steps it takes in; indices below its own.
    ///   - costs: how long each is expected to take, in any unit.
    ///   - weights: how many places each takes while it runs, 0 or more; nil is one each. A step that is heavier than the
    ///     limit runs alone.
    ///   - limit: how many places there are; at least 1.
    public init(inputs: [[Int]], costs: [Double], weights: [Int]? = nil, limit: Int) {
        self.init(costs: costs, weights: weights, limit: limit) { step, take in inputs[step].forEach(take) }
    }

    /// - Parameter inputs: called for each step in turn, to give its inputs one by one.
    init(
        costs: [Double], weights: [Int]?, limit: Int, inputs: (_ step: Int, _ take: (Int) -> Void) -> Void
    ) {
        let count = costs.count
        var missing = [Int32](repeating: 0, count: count)
        dependents = Dependents(count: count, of: inputs, missing: &missing)
        missingInputs = missing
        self.weights = weights
        let priority = dependents.longestPaths(costs)
        parked = PathHeap(priority: priority)
        weightless = PathHeap(priority: priority)
        self.limit = max(1, limit)
        states = [State](repeating: .waiting, count: count)
        remaining = count
        for step in 0..<count where missing[step] == 0 { move(step, to: .ready) }
    }

    public var isDone: Bool { remaining == 0 }

    public func state(of step: Int) -> State { states[step] }

    /// The cost of `step` and of the most expensive way from it to an end of the graph.
    public func remainingPath(of step: Int) -> Double { parked.priority[step] }

    /// Better costs than those from the start: what waits for a place is put into the new order.
    public mutating func setCosts(_ costs: [Double]) {
        let priority = dependents.longestPaths(costs)
        parked.reorder(priority)
        weightless.reorder(priority)
    }

    /// How many steps there are now for `take`.
    public var readyCount: Int { ready.count }

    /// A step whose inputs are all done, to be looked up; nil when there is none now.
    public mutating func take() -> Int? {
        guard let step = ready.last else { return nil }
        move(step, to: .probing)
        return step
    }

    /// The looked-up step has to run.
    public mutating func park(_ step: Int) { move(step, to: .parked) }

    /// The looked-up step takes no place and no time: it is run on the spot.
    public mutating func run(_ step: Int) { move(step, to: .running) }

    /// The next step to run of those that take no place.
    public mutating func nextWeightless() -> Int? {
        guard let step = weightless.first else { return nil }
        move(step, to: .running)
        return step
    }

    /// The next step to run, if there is a place for it.
    public mutating func next() -> Int? {
        if let step = nextWeightless() { return step }
        // What does not fit is waited for: if lighter ones went past it, it might never come.
        guard let step = parked.first, runningWeight == 0 || runningWeight + weight(step) <= limit else { return nil }
        move(step, to: .running)
        return step
    }

    /// The step is done, by a hit or by running: what waited for it may be ready now.
    public mutating func finish(_ step: Int) {
        move(step, to: .done)
        for dependent in dependents[step] {
            missingInputs[Int(dependent)] -= 1
            if missingInputs[Int(dependent)] == 0 { move(Int(dependent), to: .ready) }
        }
    }

    private func weight(_ step: Int) -> Int { weights.map { max(0, $0[step]) } ?? 1 }

    private mutating func move(_ step: Int, to state: State) {
        switch states[step] {
        case .ready: ready.removeLast()  // `take` moves the last one
        // `next` moves the first one.
        case .parked: if weight(step) == 0 { weightless.removeFirst() } else { parked.removeFirst() }
        case .running:
            runningWeight -= weight(step)
            runningCount -= 1
        case .waiting, .probing, .done: break
        }
        switch state {
        case .ready: ready.append(step)
        case .parked: if weight(step) == 0 { weightless.insert(step) } else { parked.insert(step) }
        case .running:
            runningWeight += weight(step)
            runningCount += 1
        case .done: remaining -= 1
        case .waiting, .probing: break
        }
        states[step] = state
    }
}

/// For each step what takes it in, in one array: a graph of 100,000 steps is two allocations.
private struct Dependents: Sendable {
    private var starts: [Int32]
    private var steps: [Int32]

    /// - Parameter missing: counts the inputs of each step; a step that takes another in twice waits for it once.
    init(count: Int, of inputs: (_ step: Int, _ take: (Int) -> Void) -> Void, missing: inout [Int32]) {
        var starts = [Int32](repeating: 0, count: count + 1)
        var needed: [Int32] = []
        needed.reserveCapacity(2 * count)
        for step in 0..<count {
            let first = needed.count
            inputs(step) { input in
                if needed[first...].contains(Int32(input)) { return }
                needed.append(Int32(input))
                starts[input + 1] += 1
            }
            missing[step] = Int32(needed.count - first)
        }
        for index in 0..<count { starts[index + 1] += starts[index] }
        self.starts = starts
        steps = [Int32](repeating: 0, count: needed.count)
        var place = 0
        for step in 0..<count {
            for _ in 0..<missing[step] {
                let input = Int(needed[place])
                steps[Int(starts[input])] = Int32(step)
                starts[input] += 1
                place += 1
            }
        }
    }

    subscript(step: Int) -> ArraySlice<Int32> { steps[Int(starts[step])..<Int(starts[step + 1])] }

    /// Each step's cost and that of the most expensive way that follows it.
    func longestPaths(_ costs: [Double]) -> [Double] {
        var paths = costs
        for step in stride(from: costs.count - 1, through: 0, by: -1) {
            var longest = 0.0
            for dependent in self[step] { longest = max(longest, paths[Int(dependent)]) }
            paths[step] += longest
        }
        return paths
    }
}

/// Steps that wait, the one with the longest path first; of equal ones the earlier in the graph. A binary heap.
private struct PathHeap: Sendable {
    private(set) var priority: [Double]
    private var steps: [Int] = []

    init(priority: [Double]) { self.priority = priority }

    var first: Int? { steps.first }

    mutating func insert(_ step: Int) {
        steps.append(step)
        var place = steps.count - 1
        while place > 0, comes(steps[place], before: steps[(place - 1) / 2]) {
            steps.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    mutating func removeFirst() {
        guard let last = steps.popLast(), !steps.isEmpty else { return }
        steps[0] = last
        var place = 0
        while true {
            var best = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < steps.count && comes(steps[child], before: steps[best]) {
                best = child
            }
            if best == place { return }
            steps.swapAt(place, best)
            place = best
        }
    }

    mutating func reorder(_ priority: [Double]) {
        self.priority = priority
        let waiting = steps
        steps = []
        for step in waiting { insert(step) }
    }

    private func comes(_ a: Int, before b: Int) -> Bool {
        priority[a] > priority[b] || (priority[a] == priority[b] && a < b)
    }
}
