// Context scans against the same work in C (scan-floor), on trees that are made here. Times are those of the work itself,
// as each program prints them; memory is the process's.

import Foundation

/// All of them: one list of trees, made once.
func contextScans(_ laboratory: Laboratory) throws -> [Finding] {
    let scans = try ContextScans(laboratory)
    return try scans.unchanged() + scans.unindexed() + scans.oneLarge() + scans.oneChanged() + scans.touched()
        + scans.inMemory() + scans.patterns()
}

private struct ContextScans {
    let laboratory: Laboratory
    private let place: String
    private let small: String
    private let medium: String

    /// The programs beside this one.
    private static let programs = CommandLine.arguments[0].split(separator: "/", omittingEmptySubsequences: false)
        .dropLast().joined(separator: "/")

    init(_ laboratory: Laboratory) throws {
        self.laboratory = laboratory
        place = try laboratory.scratch("contexts")
        small = place + "/small"
        medium = place + "/medium"
        laboratory.note("making 100,000 files of 1 KiB and 10,000 of 4 KiB")
        try laboratory.tree(small, files: 100_000, size: 1024, directories: 500)
        try laboratory.tree(medium, files: 10_000, size: 4096, directories: 100)
    }

    private func probe(_ arguments: [String]) throws -> (time: Double, usage: Usage) {
        let usage = try run([Self.programs + "/scan-probe"] + arguments)
        return (try number(usage), usage)
    }

    private func number(_ usage: Usage) throws -> Double {
        guard let word = usage.output.split(whereSeparator: \.isWhitespace).first, let value = Double(word) else {
            throw BenchError("no time in \(usage.output)")
        }
        return value
    }

    /// By turns, so that both meet the same machine; `before` each of them.
    ///
    /// - Parameter reads: how many files the scan has to have read; otherwise it is no measurement of what it says.
    private func measured(
        _ name: String, _ floorName: String, bar: Double, memory: Double? = nil, rounds: Int = 9, reads: Int? = nil,
        before: () throws -> Void = {}, mine: [String], floor floorArguments: [String]
    ) throws -> [Finding] {
        var times: [Double] = []
        var floors: [Double] = []
        var largest: Int64 = 0
        for _ in 0..<rounds {
            try before()
            let (time, usage) = try probe(mine)
            let words = usage.output.split(whereSeparator: \.isWhitespace)
            if let reads, words.count < 3 || Int(words[2]) != reads {
                throw BenchError("\(name): \(reads) files should have been read: \(usage.output)")
            }
            times.append(time)
            largest = max(largest, usage.maxRSS)
            try before()
            floors.append(try number(run([Self.programs + "/scan-floor"] + floorArguments)))
        }
        var result = Finding(benchmark: name, stagerun: median(times))
        result.floors[floorName] = median(floors)
        result.bar = bar
        result.barValue = median(times) / median(floors)
        guard let memory else { return [result] }
        var held = Finding(benchmark: name + ": memory", stagerun: Double(largest) / 1024)
        held.unit = "MiB"
        held.bar = memory
        return [result, held]
    }

    func unchanged() throws -> [Finding] {
        let index = place + "/unchanged.index"
        _ = try probe([small, "--index", index])
        // What was written just now is read once more, and then trusted.
        usleep(100_000)
        _ = try probe([small, "--index", index])
        return try measured(
            "100,000 files of 1 KiB, unchanged", "getdents64 and statx in C", bar: 1.3, memory: 64, reads: 0,
            mine: [small, "--index", index], floor: ["walk", small])
    }

    func unindexed() throws -> [Finding] {
        try measured(
            "10,000 files of 4 KiB, no index", "open, fstat, read, SHA-256 in C", bar: 1.3, rounds: 15, mine: [medium],
            floor: ["hash", medium])
            + measured(
                "100,000 files of 1 KiB, no index", "open, fstat, read, SHA-256 in C", bar: 1.3, memory: 96,
                mine: [small], floor: ["hash", small])
    }

    func oneLarge() throws -> [Finding] {
        let directory = place + "/large"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try run(["dd", "if=/dev/urandom", "of=\(directory)/large", "bs=1M", "count=1024"])
        defer { unlink(directory + "/large") }
        return try measured(
            "one file of 1 GiB, no index", "read, SHA-256 in C", bar: 1.15, memory: 64, rounds: 5, mine: [directory],
            floor: ["hash", directory])
    }

    func oneChanged() throws -> [Finding] {
        let index = place + "/changed.index"
        usleep(100_000)
        _ = try probe([medium, "--index", index])
        var round = 0
        return try measured(
            "one file changed in 10,000", "getdents64 and statx in C", bar: 1.5, rounds: 15, reads: 1,
            before: {
                round += 1
                try "\(round)".write(toFile: medium + "/dir-7/file-7.txt", atomically: false, encoding: .utf8)
                usleep(50_000)
            }, mine: [medium, "--index", index], floor: ["walk", medium])
    }

    func touched() throws -> [Finding] {
        let index = place + "/touched.index"
        _ = try probe([medium, "--index", index])
        func touch() throws {
            try run(["find", medium, "-type", "f", "-exec", "touch", "{}", "+"])
            usleep(50_000)
        }
        var findings = try measured(
            "touch of 10,000 files", "open, read, XXH3 in C", bar: 1.5, rounds: 15, reads: 10_000, before: touch,
            mine: [medium, "--index", index], floor: ["touch", medium])
        // The plain floor writes access times to the inodes that were touched, which the scan does not: both are told.
        var quiet: [Double] = []
        for _ in 0..<15 {
            try touch()
            quiet.append(try number(run([Self.programs + "/scan-floor", "quiet", medium])))
        }
        findings[0].floors["the same with O_NOATIME"] = median(quiet)
        return findings
    }

    func inMemory() throws -> [Finding] {
        try measured(
            "XXH3-128 of 128 KiB blocks", "libxxhash's dispatch in C", bar: 1.03, rounds: 9, mine: ["--xxh3"],
            floor: ["xxh3"])
    }

    /// A large ignore file, which has a bar of its own, and a usual one, against the scan without.
    func patterns() throws -> [Finding] {
        let index = place + "/patterns.index"
        _ = try probe([small, "--index", index])
        let shapes: [(Int) -> String] = [
            { "**/*.o\($0)" }, { "build-\($0)-*/tmp?" }, { "docs/**/x-\($0)*.md" }, { "name-\($0)" },
            { "**/gen-\($0)-*.tmp" }, { "dir*/sub\($0)/*.log" }, { "!keep-\($0)*" }, { "*/cache-\($0)/**" },
        ]
        let many = (0..<10_000).map { shapes[$0 % shapes.count]($0) }.joined(separator: "\n")
        try many.write(toFile: place + "/many", atomically: false, encoding: .utf8)
        let usual = """
            .git\n.gitignore\n**/node_modules\n*.log\n**/*.log\ndist\nbuild\n**/__pycache__\n**/*.pyc\n.env\n.env.*
            !.env.example\ncoverage/**\ndocs/*.md\n!docs/README.md\n**/.DS_Store\nDockerfile*\ntmp-*\n.vscode\n*.swp
            """
        try usual.write(toFile: place + "/usual", atomically: false, encoding: .utf8)
        var times: [String: [Double]] = [:]
        for _ in 0..<9 {
            times["none", default: []].append(try probe([small, "--index", index]).time)
            for name in ["many", "usual"] {
                times[name, default: []]
                    .append(try probe([small, "--index", index, "--ignore", "\(place)/\(name)"]).time)
            }
        }
        let without = median(times["none"] ?? [])
        var many10k = Finding(
            benchmark: "10,000 patterns over 100,000 paths", stagerun: median(times["many"] ?? []))
        many10k.bar = 2000
        var few = Finding(benchmark: "20 patterns over 100,000 paths", stagerun: median(times["usual"] ?? []))
        few.floors["the scan without them"] = without
        few.bar = 1.1
        few.barValue = few.stagerun / without
        return [many10k, few]
    }
}
