// What one RUN costs: fifty of them in a chain, each `true`, without the cache.

import CFloor
import Foundation

func chainOfRuns(_ laboratory: Laboratory) throws -> [Finding] {
    let count = 50
    try laboratory.makeBases("alpine")
    // The numbers keep the steps apart; without them a builder could see that all are the same.
    let steps = (1...count).map { "RUN true \($0)" }
    let context = try laboratory.scratch(
        "chain", ["Dockerfile": (["FROM alpine:3.19"] + steps).joined(separator: "\n") + "\n"])
    let build = [laboratory.binary, "build", "--no-cache", "--progress", "plain", context]
    try run(build, environment: laboratory.storeEnvironment)

    let lower = try laboratory.scratch("lower")
    try run([laboratory.checkout + "/Examples/bases/busybox-rootfs", lower + "/rootfs.tar"])
    try run(["tar", "--extract", "--file", lower + "/rootfs.tar", "--directory", lower])
    try run(["ln", "-sf", "busybox", lower + "/bin/true"])

    var mine: [Double] = []
    var floor: [Double] = []
    for _ in 0..<7 {
        mine.append(try run(build, environment: laboratory.storeEnvironment).wall / Double(count))
        var nanoseconds: Int64 = 0
        let error = floor_steps(lower, try laboratory.scratch("floor"), Int32(count), &nanoseconds)
        guard error == 0 else { throw BenchError("the floor needs root: \(String(cString: strerror(error)))") }
        floor.append(Double(nanoseconds) / 1e6 / Double(count))
    }
    var result = Finding(benchmark: "one RUN true of a chain of 50, --no-cache", stagerun: median(mine))
    result.floors["namespaces, overlay, exec in C"] = median(floor)
    result.bar = 12
    return [result]
}
