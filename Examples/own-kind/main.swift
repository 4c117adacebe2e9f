// A program with a kind of step of its own: it joins texts. No Dockerfile, no image, no root: `own-kind-example`.

import StageConformance
import StageEngine
import StageGraph
import StageStore
import StageSystem

/// Carries out steps of the kind `join`.
struct Join: StepPerformer {
    let load = StepLoad.core(seconds: 0.001)

    func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
        do throws(StoreError) {
            var bytes: [UInt8] = []
            for input in request.inputs { bytes += try request.store.read(input.object) }
            if case .string(let text)? = request.operation["text"] { bytes += Array(text.utf8) }
            request.output(.output, Array("\(bytes.count) bytes\n".utf8))
            let digest = try request.store.put(bytes)
            return TreeRef(identity: digest, object: digest)
        } catch { throw StepFailure(error.description) }
    }
}

/// This program runs no commands.
struct NoCommands: Executor {
    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome { throw ExecutorError("there is nothing to run commands with") }
}

func graph(_ texts: [String]) -> BuildGraph {
    var steps: [Step] = []
    func add(_ title: String, _ fields: [OwnOperation.Field], _ inputs: [StepID]) {
        let operation = StageGraph.Operation.own(OwnOperation(kind: "join", fields: fields))
        steps.append(Step(id: StepID(steps.count), operation: operation, inputs: inputs, stage: "", title: title))
    }
    for text in texts { add("text \(text)", [.init("text", .string(text))], []) }
    add("all", [], steps.map(\.id))
    return BuildGraph(
        steps: steps, target: StepID(steps.count - 1), config: ImageSettings(), history: [], base: nil, platform: .host)
}

// What every performer has to do, checked on this one.
let operations = ["a", "b"].map { OwnOperation(kind: "join", fields: [.init("text", .string($0))]) }
for requirement in StepPerformerRequirements.all {
    try await requirement.check { StepPerformerSubject(performer: Join(), operations: operations) }
}
let store = MemoryStore()
let pool = BlockingPool(threads: 4)
let builder = Builder(
    store: store, executor: NoCommands(), performers: ["join": Join()], pool: pool, jobs: 4,
    clock: { Timestamp(seconds: 1_700_000_000) })
for texts in [["one ", "two ", "three"], ["one ", "2 ", "three"]] {
    let outcomes = try await builder.build(graph(texts)) { _ in }
    print(outcomes.map(\.state.rawValue).joined(separator: ", "))
    if let last = outcomes.last { print(String(decoding: try store.read(last.tree.object), as: UTF8.self)) }
}
pool.close()
