// The steps of the graph as they come, each shared step made once.

import StageGraph

struct GraphAssembly {
    private(set) var steps: [Step] = []
    private(set) var contextPatterns: [String: [String]] = [:]
    private var knownPatterns: [String: Set<String>] = [:]
    private var shared: [Operation: StepID] = [:]

    /// The one step of an operation that all stages share: scratch, an image, a context.
    mutating func shared(_ operation: Operation, title: String, source: SourceRange?) -> StepID {
        if let step = shared[operation] { return step }
        let step = add(operation, inputs: [], stage: "", title: title, source: source)
        shared[operation] = step
        return step
    }

    mutating func add(
        _ operation: Operation, inputs: [StepID], stage: String, title: String, source: SourceRange?
    ) -> StepID {
        let id = StepID(steps.count)
        steps.append(
            Step(id: id, operation: operation, inputs: inputs, stage: stage, title: title, source: source))
        return id
    }

    /// Notes what a step takes from a context.
    mutating func takes(_ pattern: String, fromContext name: String) {
        if knownPatterns[name, default: []].insert(pattern).inserted {
            contextPatterns[name, default: []].append(pattern)
        }
    }

    /// Numbers a stage's steps as progress shows them; an image under the stage counts as the first.
    mutating func number(_ stage: [StepID], afterImage: Bool) {
        let first = afterImage ? 2 : 1
        for (offset, step) in stage.enumerated() {
            steps[step.index].number = first + offset
            steps[step.index].total = first - 1 + stage.count
        }
    }
}
