// What it takes to say what a prune of a large store would free: a census of the index, a read of every directory.

import Foundation

func collectionBars(_ laboratory: Laboratory) throws -> [Finding] {
    let programs = CommandLine.arguments[0].split(separator: "/", omittingEmptySubsequences: false).dropLast()
        .joined(separator: "/")
    let store = try laboratory.scratch("collection-store")
    try run([programs + "/store-probe", "steps", store, "1000000"])
    let directories = 1_000_000 / 101
    var times: [Double] = []
    var keeping: [Double] = []
    var memory = 0.0
    var floors: [Double] = []
    for _ in 0..<5 {
        let all = try run([laboratory.binary, "prune", "--root", store, "--dry-run", "--all"])
        times.append(all.wall)
        memory = max(memory, Double(all.maxRSS))
        keeping.append(
            try run([laboratory.binary, "prune", "--root", store, "--dry-run", "--keep-storage", "50MB"]).wall)
        floors.append(try run([laboratory.binary, "images", "--root", store]).wall)
    }
    var result = Finding(
        benchmark: "prune --dry-run, 1,000,000 contents in \(directories) directories", stagerun: median(times))
    result.floors["opening that store"] = median(floors)
    result.facts["with --keep-storage"] = median(keeping)
    result.facts["memory, MiB"] = memory / 1024
    result.bar = 2000
    return [result]
}
