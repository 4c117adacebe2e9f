// The engine: arithmetic steps by themselves, and graphs of many stages and many files as whole processes of the release
// binary. Each stands beside a floor taken in the same run.

import Foundation

/// All of them.
func engineBars(_ laboratory: Laboratory) throws -> [Finding] {
    let bars = EngineBars(laboratory: laboratory)
    return try bars.arithmetic() + bars.manyStages() + bars.flat(200) + bars.flat(1000) + bars.tenThousandSteps()
        + bars.files(10_000, size: 4096, directories: 100) + bars.files(100_000, size: 1024, directories: 500)
}

private struct EngineBars {
    let laboratory: Laboratory

    private static let programs = CommandLine.arguments[0].split(separator: "/", omittingEmptySubsequences: false)
        .dropLast().joined(separator: "/")

    private func store() throws -> String { try laboratory.scratch("engine-store") }

    private func build(_ context: String, _ store: String) throws -> Usage {
        try run([laboratory.binary, "build", "--root", store, "--quiet", context])
    }

    /// What reading the context costs in C: `walk` for its names, `hash` for its contents.
    private func floor(_ mode: String, _ context: String) throws -> Double {
        try run([Self.programs + "/scan-floor", mode, context]).wall
    }

    private static let buildKit = "BuildKit, which exports no image"

    /// The client's wall time with a daemon that is warm; nothing without a daemon.
    private func byBuildKit(_ context: String, isFirst: Bool = false) throws -> Double? {
        guard let docker = laboratory.docker else { return nil }
        let fresh = isFirst ? ["--no-cache"] : []
        return try run([docker, "buildx", "build", "--quiet", "--output", "type=cacheonly"] + fresh + [context]).wall
    }

    private func medianOfAny(_ times: [Double?]) -> Double? {
        let times = times.compactMap(\.self)
        return times.isEmpty ? nil : median(times)
    }

    // MARK: Arithmetic

    func arithmetic() throws -> [Finding] {
        func microseconds(_ steps: Int) throws -> (first: Double, second: Double) {
            let words = try run([Self.programs + "/engine-probe", String(steps)]).output
                .split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
            guard words.count == 2 else { throw BenchError("engine-probe said something else") }
            return (words[0], words[1])
        }
        var small: [Double] = []
        var large: [Double] = []
        var again: [Double] = []
        var floors: [Double] = []
        for _ in 0..<5 {
            small.append(try microseconds(10_000).first)
            let (first, second) = try microseconds(100_000)
            large.append(first)
            again.append(second)
            floors.append(try number(run([Self.programs + "/scan-floor", "keys"])) * 1000 / 100_000)
        }
        var each = Finding(
            benchmark: "100,000 arithmetic steps, engine only, a step", unit: "us", stagerun: median(large))
        each.floors["its key's SHA-256 in C"] = median(floors)
        each.facts["a hit"] = median(again)
        each.bar = 8
        var growth = Finding(
            benchmark: "100,000 arithmetic steps against 10,000, a step", unit: "us", stagerun: median(large))
        growth.floors["10,000 steps"] = median(small)
        growth.bar = 1.3
        growth.barValue = median(large) / median(small)
        return [each, growth]
    }

    private func number(_ usage: Usage) throws -> Double {
        guard let word = usage.output.split(whereSeparator: \.isWhitespace).first, let value = Double(word) else {
            throw BenchError("no time in \(usage.output)")
        }
        return value
    }

    // MARK: Stages

    /// `count` stages FROM scratch that COPY one small file each.
    private func stages(_ count: Int, _ name: String, gathering: String) throws -> String {
        let context = try laboratory.scratch(name)
        try FileManager.default.createDirectory(atPath: context + "/f", withIntermediateDirectories: true)
        for file in 0..<count {
            try "file \(file)\n".write(toFile: "\(context)/f/\(file)", atomically: false, encoding: .utf8)
        }
        let stages = (0..<count).map { "FROM scratch AS s\($0)\nCOPY f/\($0) /\($0)\n" }.joined()
        try (stages + gathering).write(toFile: context + "/Dockerfile", atomically: false, encoding: .utf8)
        return context
    }

    /// Stages that gather 25 others each, and a last one that gathers those.
    private func gathering(_ count: Int) -> String {
        let groups = (0..<(count / 25)).map { group in
            "FROM scratch AS g\(group)\n"
                + (0..<25).map { "COPY --from=s\(group * 25 + $0) /\(group * 25 + $0) /\n" }.joined()
        }
        return groups.joined() + "FROM scratch\n"
            + (0..<(count / 25)).map { "COPY --from=g\($0) / /\n" }.joined()
    }

    private func firstAndUnchanged(
        _ name: String, _ context: String, first: Double, unchanged: Double?, rounds: Int = 5
    ) throws -> [Finding] {
        var firsts: [Double] = []
        var seconds: [Double] = []
        var hashes: [Double] = []
        var walks: [Double] = []
        for _ in 0..<rounds {
            let store = try store()
            firsts.append(try build(context, store).wall)
            hashes.append(try floor("hash", context))
            for _ in 0..<3 {
                seconds.append(try build(context, store).wall)
                walks.append(try floor("walk", context))
            }
            try run(["rm", "-rf", store])
        }
        let othersFirst = try byBuildKit(context, isFirst: true)
        let others = try (0..<3).map { _ in try byBuildKit(context) }
        var begun = Finding(benchmark: "\(name): first build", stagerun: median(firsts))
        begun.floors[Self.buildKit] = othersFirst
        begun.floors["open, read, SHA-256 of the files in C"] = median(hashes)
        begun.bar = first
        var again = Finding(benchmark: "\(name): unchanged", stagerun: median(seconds))
        again.floors["getdents64 and statx in C"] = median(walks)
        again.floors[Self.buildKit] = medianOfAny(others)
        again.bar = unchanged
        return [begun, again]
    }

    func manyStages() throws -> [Finding] {
        let context = try stages(1000, "thousand", gathering: gathering(1000))
        return try firstAndUnchanged(
            "1,000 stages, 40 that take 25 each, one that takes all", context, first: 1000, unchanged: 60)
    }

    func flat(_ count: Int) throws -> [Finding] {
        let all = "FROM scratch\n" + (0..<count).map { "COPY --from=s\($0) /\($0) /\n" }.joined()
        let context = try stages(count, "flat", gathering: all)
        let findings = try firstAndUnchanged(
            "\(count) stages copied flat into one", context, first: count == 200 ? 500 : 2000,
            unchanged: count == 200 ? 25 : nil, rounds: count == 200 ? 5 : 3)
        return findings
    }

    func tenThousandSteps() throws -> [Finding] {
        let context = try stages(5000, "ten-thousand", gathering: gathering(5000))
        let store = try store()
        let first = try build(context, store)
        let second = try build(context, store)
        try run(["rm", "-rf", store])
        return [("first build", first), ("unchanged", second)].map { name, usage in
            var memory = Finding(benchmark: "10,200 steps, memory: \(name)", stagerun: Double(usage.maxRSS) / 1024)
            memory.unit = "MiB"
            memory.facts["ms"] = usage.wall
            memory.bar = 128
            return memory
        }
    }

    // MARK: Files

    func files(_ count: Int, size: Int, directories: Int) throws -> [Finding] {
        laboratory.note("making \(count) files of \(size) bytes")
        let context = try laboratory.scratch("files", ["Dockerfile": "FROM scratch\nCOPY src /src\n"])
        try laboratory.tree(context + "/src", files: count, size: size, directories: directories)
        let isSmall = count == 10_000
        let store = try store()
        // What was written just now is not trusted by the index, so the next build reads it again.
        usleep(100_000)
        let cold = try build(context, store).wall
        let hash = try floor("hash", context)
        var changed: [Double] = []
        var unchanged: [Double] = []
        var walks: [Double] = []
        let othersFirst = try byBuildKit(context, isFirst: true)
        var othersChanged: [Double?] = []
        var othersUnchanged: [Double?] = []
        for round in 0..<9 {
            try "round \(round) of \(context)\n".write(
                toFile: "\(context)/src/dir-7/file-7.txt", atomically: false, encoding: .utf8)
            usleep(50_000)
            changed.append(try build(context, store).wall)
            unchanged.append(try build(context, store).wall)
            walks.append(try floor("walk", context))
            guard round < 3 else { continue }
            othersChanged.append(try byBuildKit(context))
            othersUnchanged.append(try byBuildKit(context))
        }
        try run(["rm", "-rf", store, context])
        let name = isSmall ? "10,000 files of 4 KiB copied" : "100,000 files of 1 KiB copied"
        var first = Finding(benchmark: "\(name): cold", stagerun: cold)
        first.floors["open, read, SHA-256 of the files in C"] = hash
        first.floors[Self.buildKit] = othersFirst
        first.bar = isSmall ? nil : 2000
        var one = Finding(benchmark: "\(name): one changed", stagerun: median(changed))
        one.floors["getdents64 and statx in C"] = median(walks)
        one.floors[Self.buildKit] = medianOfAny(othersChanged)
        one.bar = isSmall ? 100 : 400
        var none = Finding(benchmark: "\(name): unchanged", stagerun: median(unchanged))
        none.floors["getdents64 and statx in C"] = median(walks)
        none.floors[Self.buildKit] = medianOfAny(othersUnchanged)
        none.bar = isSmall ? 30 : 200
        return [first, one, none]
    }
}

/// The simulated schedule: prints its own lines, and renews the plot in Specs.
func schedulePlot(_ laboratory: Laboratory) throws -> [Finding] {
    let programs = CommandLine.arguments[0].split(separator: "/", omittingEmptySubsequences: false)
        .dropLast().joined(separator: "/")
    let usage = try run([
        programs + "/schedule-plot", laboratory.checkout + "/Tests/Cases/graphs",
        laboratory.checkout + "/Specs/schedule.svg",
    ])
    print(usage.output, terminator: "")
    return []
}
