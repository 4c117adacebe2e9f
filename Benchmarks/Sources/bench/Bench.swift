// `bench [--only NAME]...`: measures the release binary against floors taken in the same run, one JSON object a line.
//
// STAGERUN   the binary; else ../.build/release/stagerun beside this package
// DOCKER     a docker client whose daemon is there: BuildKit's times stand beside those of the engine
// BENCH_ROOT a directory that keeps the store and the base images for the next run; else one that is removed
//
// Times are milliseconds, medians of the whole process. A ratio is stagerun's time over the floor's; `bar` is the most
// that is allowed and `met` says whether it was. The exit status is 1 when a bar was missed.

import Foundation

@main
enum Bench {
    static func main() {
        do {
            let laboratory = try Laboratory()
            defer { laboratory.close() }
            let all: [(name: String, run: (Laboratory) throws -> [Finding])] = [
                ("no-op", noOpRebuild), ("run-true", chainOfRuns), ("cpu-stages", independentCPU),
                ("sleep-stages", independentSleeps), ("context", contextScans),
                ("store", { try storeSpeed($0) + storeSize($0) }), ("dockerfile", dockerfiles),
                ("engine", engineBars), ("schedule", schedulePlot), ("collection", collectionBars),
            ]
            let wanted = try selection(from: all.map(\.name))
            var missed = false
            for benchmark in all where wanted.contains(benchmark.name) {
                for result in try benchmark.run(laboratory) {
                    print(try result.json())
                    missed = missed || !result.met
                }
            }
            if missed { exit(1) }
        } catch {
            FileHandle.standardError.write(Data("bench: \(error)\n".utf8))
            exit(2)
        }
    }

    private static func selection(from names: [String]) throws -> Set<String> {
        var wanted: Set<String> = []
        var rest = CommandLine.arguments.dropFirst()
        while let word = rest.popFirst() {
            guard word == "--only", let name = rest.popFirst(), names.contains(name) else {
                throw BenchError("usage: bench [--only NAME]..., with NAME one of \(names.joined(separator: ", "))")
            }
            wanted.insert(name)
        }
        return wanted.isEmpty ? Set(names) : wanted
    }
}

/// One line of the output.
struct Finding {
    var benchmark: String
    var unit = "ms"
    var stagerun: Double
    /// What it is measured against, and how long that took.
    var floors: [String: Double] = [:]
    var bar: Double?
    /// What the bar is about, when that is not the time itself.
    var barValue: Double?
    var facts: [String: Double] = [:]

    var met: Bool { bar.map { (barValue ?? stagerun) <= $0 } ?? true }

    func json() throws -> String {
        var object: [String: Any] = ["benchmark": benchmark, "unit": unit, "stagerun": rounded(stagerun), "met": met]
        object["bar"] = bar
        object["against the bar"] = barValue.map(rounded)
        for (name, value) in floors {
            object[name] = rounded(value)
            object["ratio to \(name)"] = rounded(stagerun / value)
        }
        for (name, value) in facts { object[name] = rounded(value) }
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self)
    }

    private func rounded(_ value: Double) -> Decimal {
        Decimal(string: String(format: "%.3f", value)) ?? .nan
    }
}
