// Small Dockerfiles by stagerun, against what BuildKit made of them: the whole configuration, the text of the history, the members of
// every layer, and all about every file. Tests/Cases/buildkit/record wrote down BuildKit's images, so that the tests need no daemon.

import Foundation
import Testing

extension EndToEnd {
    @Suite struct SameAsBuildKit {
        @Test func everyCaseIsAsBuildKitBuiltIt() async throws {
            try await Lab.busybox()
            let cases = try ComparisonCase.all(in: "buildah", "buildkit", against: "buildkit")
            let bench = try await RecordedBench()
            #expect(Set(cases.map(\.name)) == Set(bench.expected.keys), "record the cases again")
            await withTaskGroup(of: Void.self) { group in
                for (index, first) in stride(from: 0, to: cases.count, by: 16).enumerated() {
                    if index >= ProcessInfo.processInfo.activeProcessorCount { await group.next() }
                    group.addTask { await bench.compare(cases[first..<min(first + 16, cases.count)]) }
                }
            }
        }
    }
}

private struct RecordedBench {
    let context: ComparisonContext
    /// By the names of cases, what `record` wrote.
    let expected: [String: [String]]
    /// The facts of the base image, which no case repeats.
    let base: [String]
    /// Cache mounts are new ones: what an earlier run left in a root that is kept would be there.
    private let caches = "BUILDKIT_CACHE_MOUNT_NS=\(UUID())"

    init() async throws {
        context = try await ComparisonContext()
        let place = try scratchDirectory("recorded-base")
        let archive = try await context.makeBase()
        try expectSuccess(try await command("tar", "xf", archive, "-C", place))
        base = try await comparisonFacts([place], exact: true)[0]
        var expected: [String: [String]] = [:]
        for directory in ["buildah", "buildkit"] {
            for (topic, parts) in try ComparisonCase.casesAndRecords(in: directory, ".expected") {
                for lines in parts.map({ $0.split(separator: "\n").map(String.init) }) {
                    expected["\(topic): \(lines[0])"] = Array(lines.dropFirst())
                }
            }
        }
        self.expected = expected
    }

    /// Records an issue for each image that differs in another way than its case says. The images are listed together:
    /// starting Python takes longer than a build.
    func compare(_ examples: ArraySlice<ComparisonCase>) async {
        var places: [String] = []
        defer { for place in places { try? FileManager.default.removeItem(atPath: place) } }
        var built: [(example: ComparisonCase, image: String)] = []
        for example in examples {
            do {
                let place = try scratchDirectory("recorded", ["Dockerfile": example.dockerfile])
                places.append(place)
                if try await build(example, in: place) {
                    built.append((example, place + "/image"))
                } else {
                    judge(example, ["fails"])
                }
            } catch { Issue.record("\(example.name): \(error)") }
        }
        if built.isEmpty { return }
        do {
            let listed = try await comparisonFacts(built.map(\.image), exact: true)
            for (item, found) in zip(built, listed) { judge(item.example, withoutBase(found)) }
        } catch { Issue.record("one of \(built.map(\.example.name)): \(error)") }
    }

    private func judge(_ example: ComparisonCase, _ ours: Set<String>) {
        let theirs = expected[example.name] ?? []
        let different =
            ours.subtracting(theirs).map { "stagerun: " + $0 } + Set(theirs).subtracting(ours).map { "buildkit: " + $0 }
        let found = different.sorted().joined(separator: "\n")
        let known = example.differences.sorted().joined(separator: "\n")
        #expect(
            found == known,
            "\(example.name)\n\(example.dockerfile)\nFound:\n\(found)\nKnown: \(example.reason ?? "")\n\(known)")
    }

    /// Builds to `image` in `place`; false where stagerun refuses.
    private func build(_ example: ComparisonCase, in place: String) async throws -> Bool {
        let directory = try await prepared(example, in: place)
        let script =
            #"set -f; exec "$0" build --progress plain -f "$TMP/Dockerfile" -o "type=oci,dest=$TMP/image,tar=false" "#
        let words =
            ["--build-arg", caches] + (example.mayUseCache ? [] : ["--no-cache"]) + example.arguments + [#""$CTX""#]
        let built = try await RunningCommand(
            ["sh", "-c", script + words.joined(separator: " "), Lab.binary], directory: directory,
            environment: ["STAGERUN_ROOT": Lab.store, "CTX": directory, "TMP": place]
        ).wait(atMost: .seconds(120))
        // A refusal, not a crash: those have the status of a signal.
        guard built.succeeded || ((1...125).contains(built.status) && !built.timedOut) else {
            throw LabFailure("no refusal", built)
        }
        return built.succeeded
    }

    /// What `record` would write of stagerun's image.
    private func withoutBase(_ found: [String]) -> Set<String> {
        let gone = Set(base).subtracting(found)
        if 2 * gone.count > base.count { return Set(["without base"] + found) }
        return Set(found).subtracting(base).union(gone.map { "gone " + $0 })
    }

    /// The context that a case is built with.
    private func prepared(_ example: ComparisonCase, in place: String) async throws -> String {
        guard example.ownsContext else { return context.path }
        let directory = place + "/context"
        if example.startsEmpty {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        } else {
            try expectSuccess(try await command("cp", "-a", context.path, directory))
        }
        if let lines = example.ignoreFile {
            let text = lines.joined(separator: "\n") + "\n"
            try text.write(toFile: directory + "/.dockerignore", atomically: false, encoding: .utf8)
        }
        for preparation in example.preparations {
            let done = try await RunningCommand(
                ["sh", "-ec", preparation], directory: directory, environment: ["CTX": directory, "TMP": place]
            ).wait(atMost: .seconds(60))
            try expectSuccess(done)
        }
        return directory
    }
}
