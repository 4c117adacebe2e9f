// Stages that do not need each other: how near the builder comes to the machine.

import Foundation

/// 16 stages of half a second of CPU each; the loop is calibrated in the same run.
func independentCPU(_ laboratory: Laboratory) throws -> [Finding] {
    try laboratory.makeBases("alpine")
    func loop(_ rounds: Int, _ number: Int) -> String {
        "i=0; while [ $i -lt \(rounds) ]; do i=$((i+1)); done; echo \(number) > /dev/null"
    }
    let probe = 200_000
    let milliseconds = try repeated(3, ["busybox", "sh", "-c", loop(probe, 0)]).map(\.cpu).min() ?? 0
    let rounds = Int(Double(probe) * 500 / milliseconds)
    let stages = 16
    let context = try laboratory.scratch("cpu", ["Dockerfile": independent(stages) { loop(rounds, $0) }])

    var mine: [Double] = []
    var floor: [Double] = []
    var ideal: [Double] = []
    for _ in 0..<3 {
        mine.append(
            try run(
                [laboratory.binary, "build", "--no-cache", "--progress", "plain", context],
                environment: laboratory.storeEnvironment
            ).wall)
        // The same loops, as many at a time as there are cores: their own sum is what the ideal is made of.
        let jobs = (1...stages).map { loop(rounds, $0) }.joined(separator: "\n")
        let list = try laboratory.scratch("jobs", ["jobs": jobs + "\n"]) + "/jobs"
        let bare = try run([
            "xargs", "--arg-file", list, "--delimiter", "\n", "--max-procs", "\(Int(laboratory.cores))",
            "--max-args", "1", "busybox", "sh", "-c",
        ])
        floor.append(bare.wall)
        ideal.append(bare.cpu / laboratory.cores)
    }
    var result = Finding(benchmark: "16 independent stages of 0.5 s of CPU", stagerun: median(mine))
    result.floors["sum / cores"] = median(ideal)
    result.floors["the bare loops"] = median(floor)
    result.bar = 1.1
    result.barValue = median(mine) / median(ideal)
    result.facts["cores"] = laboratory.cores
    return [result]
}

/// 64 stages that each sleep for a second, all at once.
func independentSleeps(_ laboratory: Laboratory) throws -> [Finding] {
    try laboratory.makeBases("alpine")
    let context = try laboratory.scratch("sleep", ["Dockerfile": independent(64) { "sleep 1 # \($0)" }])
    let runs = try repeated(
        3, [laboratory.binary, "build", "--no-cache", "--jobs", "64", "--progress", "plain", context],
        environment: laboratory.storeEnvironment)
    var result = Finding(benchmark: "64 stages that sleep 1 s, --jobs 64", stagerun: median(runs.map(\.wall)))
    result.floors["one sleep"] = median(try repeated(3, ["busybox", "sleep", "1"]).map(\.wall))
    result.bar = 3000
    return [result]
}

/// Stages s1, s2, ... that each run a command and leave a file, and one that gathers the files.
private func independent(_ count: Int, _ command: (Int) -> String) -> String {
    let stages = (1...count).map {
        "FROM alpine:3.19 AS s\($0)\nRUN echo \($0) > /\($0)\nRUN \(command($0))"
    }
    let gathering = (1...count).map { "COPY --from=s\($0) /\($0) /" }
    return (stages + ["FROM scratch"] + gathering).joined(separator: "\n") + "\n"
}
