// How fast contents come into the store and out of it, and how large it is. Times are of whole processes (store-probe), with
// the store's commit in them, which is durable. Floors say whether they sync.

import Foundation

func storeSpeed(_ laboratory: Laboratory) throws -> [Finding] {
    let bench = try StoreSpeed(laboratory)
    return try bench.smallFiles() + bench.oneLarge() + bench.checkOut() + bench.lookUp()
}

struct StoreSpeed {
    let laboratory: Laboratory
    let place: String
    let probe: String

    init(_ laboratory: Laboratory) throws {
        self.laboratory = laboratory
        place = try laboratory.scratch("store")
        probe =
            CommandLine.arguments[0].split(separator: "/", omittingEmptySubsequences: false).dropLast()
            .joined(separator: "/") + "/store-probe"
        guard access(probe, X_OK) == 0 else { throw BenchError("no store-probe at \(probe): build all products") }
    }

    func remove(_ names: String...) throws {
        try run(["rm", "-rf"] + names.map { "\(place)/\($0)" })
    }

    /// By turns, so that both meet the same machine; `mine` before each floor.
    private func measured(
        _ name: String, bar: Double, barFloor: String, rounds: Int = 7, mine: [String], floors: [String: [String]]
    ) throws -> [Finding] {
        var usages: [Usage] = []
        var times: [String: [Double]] = [:]
        for _ in 0..<rounds {
            try remove("into", "copy")
            usages.append(try run(mine))
            for (floor, arguments) in floors.sorted(by: { $0.key < $1.key }) {
                try remove("into", "copy")
                times[floor, default: []].append(try run(arguments).wall)
            }
        }
        try remove("into", "copy")
        var result = Finding(benchmark: name, stagerun: median(usages.map(\.wall)))
        result.floors = times.mapValues(median)
        result.bar = bar
        result.barValue = result.stagerun / (result.floors[barFloor] ?? .nan)
        var memory = Finding(benchmark: name + ": memory", stagerun: Double(usages.map(\.maxRSS).max() ?? 0) / 1024)
        memory.unit = "MiB"
        memory.bar = 128
        return [result, memory]
    }

    func smallFiles() throws -> [Finding] {
        var findings: [Finding] = []
        for (files, size) in [(10_000, 4096), (100_000, 1024)] {
            laboratory.note("making \(files) files of \(size) bytes")
            let tree = "\(place)/tree-\(size)"
            var text = try SourceText(seed: UInt64(size))
            try StoreTree.make(tree, files: files) { _ in text.text(size) }
            try run(["sync", "-f", place])
            findings += try measured(
                "ingest \(files) files of \(size) bytes", bar: 1.2, barFloor: "tar -cf, no sync",
                mine: [probe, "ingest", "\(place)/into", tree],
                floors: [
                    "tar -cf, no sync": ["tar", "-cf", "\(place)/copy", "-C", place, "tree-\(size)"],
                    "tar -cf and sync": [
                        "sh", "-c", "tar -cf \(place)/copy -C \(place) tree-\(size) && sync \(place)/copy",
                    ],
                ])
        }
        return findings
    }

    func oneLarge() throws -> [Finding] {
        let file = "\(place)/large"
        laboratory.note("making 1 GiB of noise")
        try run(["dd", "if=/dev/urandom", "of=\(file)", "bs=1M", "count=1024", "conv=fsync"])
        let findings = try measured(
            "ingest 1 GiB that does not compress", bar: 1.5, barFloor: "cp and sync",
            mine: [probe, "put", "\(place)/into", file],
            floors: [
                "cp and sync": ["sh", "-c", "cp \(file) \(place)/copy && sync \(place)/copy"],
                "cp, no sync": ["cp", file, "\(place)/copy"],
            ])
        // The same file with 1 MiB in its middle that was not there.
        try run([probe, "put", "\(place)/into", file])
        let before = try StoreTree.allocated("\(place)/into")
        try run([
            "sh", "-c",
            "{ head -c 536870912 \(file); head -c 1048576 /dev/urandom; tail -c +536870913 \(file); } > \(place)/copy",
        ])
        try run([probe, "put", "\(place)/into", "\(place)/copy"])
        var growth = Finding(
            benchmark: "1 MiB inserted into 1 GiB: growth",
            stagerun: (try StoreTree.allocated("\(place)/into") - before) / Double(1 << 20))
        growth.unit = "MiB"
        growth.bar = 4
        try remove("into", "copy", "large")
        return findings + [growth]
    }

    func checkOut() throws -> [Finding] {
        let tree = "\(place)/tree-4096"
        let said = try run([probe, "ingest", "\(place)/from", tree]).output.split(whereSeparator: \.isWhitespace)
        guard said.count >= 3 else { throw BenchError("store-probe named no tree") }
        // Each to a place of its own: where a filesystem has just lost ten thousand files, the next ones take ten times as
        // long, whoever makes them (ext4 without a journal keeps the inodes back for a while).
        var mine: [Double] = []
        var copies: [Double] = []
        for round in 0..<7 {
            mine.append(
                try run([
                    probe, "check-out", "\(place)/from", String(said[1]), String(said[2]), "\(place)/out-\(round)",
                ])
                .wall)
            copies.append(try run(["cp", "-a", tree, "\(place)/cp-\(round)"]).wall)
        }
        var result = Finding(benchmark: "check out 10,000 files of 4096 bytes", stagerun: median(mine))
        result.floors["cp -a"] = median(copies)
        result.bar = 1
        result.barValue = median(mine) / median(copies)
        try remove("from")
        try run(["sh", "-c", "rm -rf \(place)/out-* \(place)/cp-*"])
        return [result]
    }

    func lookUp() throws -> [Finding] {
        laboratory.note("making a store of 1,000,000 contents")
        try run([probe, "fill", "\(place)/from", "1000000"])
        var mine: [Double] = []
        var start: [Double] = []
        for round in 0..<41 {
            mine.append(try run([probe, "record", "\(place)/from", "\(round * 241)"]).wall)
            start.append(try run([probe, "nothing"]).wall)
        }
        var result = Finding(benchmark: "open a store of 1,000,000 contents, look a record up", stagerun: median(mine))
        result.floors["process start"] = median(start)
        result.bar = 3
        result.barValue = median(mine) - median(start)
        try remove("from")
        return [result]
    }
}
