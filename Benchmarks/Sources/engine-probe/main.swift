// The engine by itself: arithmetic steps on a store in memory.
//
//   engine-probe STEPS
//
// Prints the microseconds a step of a first build, and of a second in which every step is a hit.

import Foundation
import StageEngine
import StageGraph
import StageStore
import StageSystem

/// Adds its number to its inputs.
struct Sum: StepPerformer {
    let load = StepLoad.instant

    func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
        do throws(StoreError) {
            var total: Int64 = 0
            for input in request.inputs {
                total &+= try request.store.read(input.object).reversed().reduce(0) { $0 << 8 | Int64($1) }
            }
            if case .integer(let value)? = request.operation["add"] { total &+= value }
            let digest = try request.store.put(withUnsafeBytes(of: total.littleEndian) { Array($0) })
            return TreeRef(identity: digest, object: digest)
        } catch { throw StepFailure(error.description) }
    }
}

struct NoCommands: Executor {
    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome { throw ExecutorError("there are no commands here") }
}

guard CommandLine.arguments.count == 2, let count = Int(CommandLine.arguments[1]), count > 0 else {
    print("usage: engine-probe STEPS")
    exit(2)
}
struct Random {
    var seed: UInt64 = 1

    mutating func next(below limit: Int) -> Int {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(seed >> 33) % limit
    }
}
var random = Random()
// Every step takes one or two of the thousand before it.
let steps = (0..<count).map { index in
    let inputs = index == 0 ? [] : (0...(index & 1)).map { _ in index - 1 - random.next(below: min(index, 1000)) }
    return Step(
        id: StepID(index), operation: .own(OwnOperation(kind: "sum", fields: [.init("add", .integer(Int64(index)))])),
        inputs: inputs.map { StepID($0) }, stage: "s", title: "step")
}
let graph = BuildGraph(
    steps: steps, target: StepID(count - 1), config: ImageSettings(), history: [], base: nil, platform: .host)
let pool = BlockingPool(threads: 4)
let builder = Builder(
    store: MemoryStore(), executor: NoCommands(), performers: ["sum": Sum()], pool: pool, jobs: 2,
    clock: { Timestamp(seconds: 1_700_000_000) })
var times: [Double] = []
for _ in 0..<2 {
    let begin = ContinuousClock.now
    _ = try await builder.build(graph) { _ in }
    times.append((ContinuousClock.now - begin) / .microseconds(1) / Double(count))
}
print(times[0], times[1])
