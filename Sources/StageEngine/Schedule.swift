// Which step is next: a value without async, without imports. Specs/scheduler.md draws the states.
//
//   waiting --(last input done)--> ready --take--> probing --park--> parked --next--> running --finish--> done
//                                                        \----------------finish (a hit)-----------------/
//
// Every transition goes through `move`. A step that is parked waits for one of `limit` places; the longest remaining path goes first.

/// The order of one build.
public struct Schedule: Sendable {
    public enum State: Sendable, Hashable { case waiting, ready, probing, parked, running, done }

    private var states: [State]
    private var missingInputs: [Int]
    private let dependents: [[Int]]
    private let priority: [Double]
    private var ready: [Int] = []
    private var parked: [Int] = []
    private var running = 0
    private var remaining: Int
    private let limit: Int

    /// - Parameters:
    ///   - inputs: for each step the steps it takes in; indices below its own.
    ///   - costs: how long each is expected to take, in any unit.
    ///   - limit: how many may run at once; at least 1.
    public init(inputs: [[Int]], costs: [Double], limit: Int) {
        let count = inputs.count
        var dependents = [[Int]](repeating: [], count: count)
        var missing = [Int](repeating: 0, count: count)
        for (step, needed) in inputs.enumerated() {
            for input in Set(needed) {
                dependents[input].append(step)
                missing[step] += 1
            }
        }
        var priority = costs
        for step in stride(from: count - 1, through: 0, by: -1) {
            priority[step] += dependents[step].map { priority[$0] }.max() ?? 0
        }
        self.dependents = dependents
        missingInputs = missing
        self.priority = priority
        self.limit = max(1, limit)
        states = [State](repeating: .waiting, count: count)
        remaining = count
        for step in 0..<count where missing[step] == 0 { move(step, to: .ready) }
    }

    public var isDone: Bool { remaining == 0 }

    public func state(of step: Int) -> State { states[step] }

    /// A step whose inputs are all done, to be looked up; nil when there is none now.
    public mutating func take() -> Int? {
        guard let step = ready.last else { return nil }
        move(step, to: .probing)
        return step
    }

    /// The looked-up step has to run.
    public mutating func park(_ step: Int) { move(step, to: .parked) }

    /// The next step to run, if there is a place for it.
    public mutating func next() -> Int? {
        guard running < limit, let step = parked.max(by: { (priority[$0], -$0) < (priority[$1], -$1) }) else {
            return nil
        }
        move(step, to: .running)
        return step
    }

    /// The step is done, by a hit or by running: what waited for it may be ready now.
    public mutating func finish(_ step: Int) {
        move(step, to: .done)
        for dependent in dependents[step] {
            missingInputs[dependent] -= 1
            if missingInputs[dependent] == 0 { move(dependent, to: .ready) }
        }
    }

    private mutating func move(_ step: Int, to state: State) {
        switch states[step] {
        case .ready: ready.removeLast()  // `take` moves the last one
        case .parked: parked.removeAll { $0 == step }
        case .running: running -= 1
        case .waiting, .probing, .done: break
        }
        switch state {
        case .ready: ready.append(step)
        case .parked: parked.append(step)
        case .running: running += 1
        case .done: remaining -= 1
        case .waiting, .probing: break
        }
        states[step] = state
    }
}
