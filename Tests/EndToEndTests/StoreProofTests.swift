// Proofs by running: processes killed at random moments, and many at once, on one store. Seeded; a failure names its seed.
//
// STAGERUN_PROOF_ROUNDS  how many commands are killed (200 for the full proof; CI takes fewer)
// STAGERUN_PROOF_SEED    the seed of an earlier run, to see it again
// STAGERUN_PROOF_SECONDS how long the eight processes run
// STAGERUN_PROOF_FLIPS   how many bytes are flipped (500 for the full proof)

import Foundation
import StageConformance
import Testing

extension EndToEnd {
    @Suite(.serialized) struct StoreProof {
        private static func setting(_ name: String) -> Int? {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
        }

        private let seed = UInt64(setting("STAGERUN_PROOF_SEED") ?? Int.random(in: 1...1_000_000))
        private let root: String
        private let contexts: [String]
        private let archive: String

        init() async throws {
            let place = try scratchDirectory("proof")
            root = place + "/store"
            try await Lab.makeBases("alpine", root: root)
            archive = place + "/rootfs.tar"
            let files = try scratchDirectory("rootfs", ["a": String(repeating: "a", count: 100_000), "b/c": "c"])
            try expectSuccess(try await command("tar", "-C", files, "-cf", archive, "."))
            contexts = try (0..<4).map { number in
                try scratchDirectory(
                    "proof-\(number)",
                    [
                        "Dockerfile": """
                        FROM alpine:3.19 AS build
                        COPY files /files
                        RUN --mount=type=cache,id=proof,target=/c cat /files/* > /all && echo \(number) >> /c/log
                        RUN head -c \(300_000 + number * 50_000) /dev/urandom > /noise; sha256sum /noise > /sum
                        FROM alpine:3.19
                        COPY --from=build /all /noise /sum /
                        RUN sha256sum -c /sum
                        """,
                        "files/one": String(repeating: "text \(number)\n", count: 5000),
                        "files/two": UUID().uuidString,
                    ])
            }
        }

        private func start(_ arguments: [String]) throws -> RunningCommand { try Lab.start(arguments, root: root) }

        /// What the rounds do, by chance.
        private func arguments(_ random: inout SeededGenerator) -> [String] {
            let number = Int.random(in: 0..<contexts.count, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0...4: return ["build", "--progress", "plain", "-t", "proof:\(number)", contexts[number]]
            case 5: return ["build", "--no-cache", "--progress", "plain", "-t", "proof:\(number)", contexts[number]]
            case 6: return ["prune", "-f", "--all"]
            case 7: return ["prune", "-f", "--keep-storage", "9MB"]
            case 8: return ["rmi", "-f", "proof:\(number)"]
            default: return ["import", archive, "imported:\(number)"]
            }
        }

        private func verify(_ note: String) async throws {
            let outcome = await (try start(["verify"])).wait()
            try #require(outcome.succeeded, "seed \(seed), \(note)\n\(outcome)")
        }

        /// Nothing temporary is left once the next command has run.
        private func expectTidy(_ note: String) throws {
            func names(_ directory: String) -> [String] {
                (try? FileManager.default.contentsOfDirectory(atPath: "\(root)/\(directory)")) ?? []
            }
            let left =
                names("runs") + names("running") + names("tmp")
                + (names("contexts") + names("")).filter { $0.hasSuffix(".new") }
            #expect(left.isEmpty, "seed \(seed), \(note): \(left)")
            #expect(Traces.mounts(under: root).isEmpty, "seed \(seed), \(note)")
        }

        @Test func killedAtRandomMomentsNothingIsLost() async throws {
            var random = SeededGenerator(seed: seed)
            let rounds = Self.setting("STAGERUN_PROOF_ROUNDS") ?? 24
            for round in 0..<rounds {
                let arguments = self.arguments(&random)
                let note = "round \(round): \(arguments.joined(separator: " "))"
                let running = try start(arguments)
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...900, using: &random)))
                running.sendToGroup(SIGKILL)
                _ = await running.wait()
                // The sandbox of a killed build is gone within a moment.
                _ = await Traces.eventually(within: .seconds(2)) { Traces.mounts(under: root).isEmpty }
                try await verify(note)
                try expectTidy(note)
            }
            for (number, context) in contexts.enumerated() {
                try expectSuccess(await (try start(["build", "-t", "proof:\(number)", context])).wait())
                try await expectRight("proof:\(number)", "the end")
            }
            try expectSuccess(await (try start(["prune", "-f", "--all"])).wait())
            try await verify("the end")
        }

        @Test func eightProcessesAtOnceLoseNothing() async throws {
            let seconds = Double(Self.setting("STAGERUN_PROOF_SECONDS") ?? 12)
            let end = ContinuousClock.now + .seconds(seconds)
            try await withThrowingTaskGroup(of: Int.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        var random = SeededGenerator(seed: seed &+ UInt64(worker) &* 1000)
                        var done = 0
                        while ContinuousClock.now < end {
                            try await self.turn(worker, &random)
                            done += 1
                        }
                        return done
                    }
                }
                for try await done in group { #expect(done > 0, "seed \(seed)") }
            }
            try await verify("the end")
            try expectTidy("the end")
            for worker in 3..<8 { try await expectRight("worker:\(worker)", "the end") }
        }

        private func expectRight(_ name: String, _ note: String) async throws {
            let check = await (try start(["run", "--rm", name, "sha256sum", "-c", "/sum"])).wait()
            try #require(check.succeeded, "seed \(seed), \(note)\n\(check)")
        }

        /// What one of eight processes does once: builds and looks at what was built, prunes, or verifies.
        private func turn(_ worker: Int, _ random: inout SeededGenerator) async throws {
            let number = Int.random(in: 0..<contexts.count, using: &random)
            let name = "worker:\(worker)"
            let arguments: [String]
            switch worker {
            case 0: arguments = ["prune", "-f", "--all"]
            case 1: arguments = ["verify"]
            case 2: arguments = ["prune", "-f", "--keep-storage", "\(Int.random(in: 5...30, using: &random))MB"]
            default:
                let cache = Int.random(in: 0..<4, using: &random) == 0 ? ["--no-cache"] : []
                arguments = ["build", "--progress", "plain", "-t", name] + cache + [contexts[number]]
            }
            let outcome = await (try start(arguments)).wait()
            try #require(outcome.succeeded, "seed \(seed)\n\(outcome)")
            if worker < 3 { return }
            try await expectRight(name, "worker \(worker)")
            let expected = try String(contentsOfFile: contexts[number] + "/files/two", encoding: .utf8)
            let shown = await (try start(["run", "--rm", name, "tail", "-c", "36", "/all"])).wait()
            #expect(shown.output == expected, "seed \(seed)\n\(shown)")
        }

        // MARK: Bit rot

        @Test func aFlippedByteIsNamedAndHealed() async throws {
            var random = SeededGenerator(seed: seed)
            for number in 0..<2 {
                try expectSuccess(await (try start(["build", "-t", "proof:\(number)", contexts[number]])).wait())
            }
            let pristine = root + ".pristine"
            try expectSuccess(try await command("cp", "-a", root, pristine))
            for round in 0..<(Self.setting("STAGERUN_PROOF_FLIPS") ?? 8) {
                try expectSuccess(try await command("rm", "-rf", "--one-file-system", root))
                try expectSuccess(try await command("cp", "-a", pristine, root))
                let file = try rottenFile(&random)
                try await judge(file, "round \(round): \(file)")
            }
        }

        /// Flips a byte; gives the file's path in the store. Workspaces and cache mounts are no part of what is verified.
        private func rottenFile(_ random: inout SeededGenerator) throws -> String {
            let directories =
                Int.random(in: 0..<10, using: &random) < 7 ? ["packs"] : ["packs", "index", "contexts", ""]
            var files: [String] = []
            for directory in directories {
                for name in try FileManager.default.contentsOfDirectory(atPath: "\(root)/\(directory)") {
                    let path = directory.isEmpty ? name : "\(directory)/\(name)"
                    let attributes = try FileManager.default.attributesOfItem(atPath: "\(root)/\(path)")
                    guard attributes[.type] as? FileAttributeType == .typeRegular,
                        (attributes[.size] as? Int ?? 0) > 0, name != "lock.mdb"
                    else { continue }
                    files.append(path)
                }
            }
            let path = try #require(files.sorted().randomElement(using: &random))
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: "\(root)/\(path)"))
            let offset = UInt64.random(in: 0..<(try file.seekToEnd()), using: &random)
            try file.seek(toOffset: offset)
            let byte = try #require(try file.read(upToCount: 1)?.first)
            try file.seek(toOffset: offset)
            try file.write(contentsOf: [byte ^ UInt8.random(in: 1...255, using: &random)])
            try file.close()
            return path
        }

        private func judge(_ file: String, _ note: String) async throws {
            let found = await (try start(["verify"])).wait()
            let note = "seed \(seed), \(note)\n\(found)"
            if found.succeeded { return try await expectRightOrRefused("proof:0", isRefusable: false, note) }
            #expect(found.status == 1, "\(note)")
            #expect(found.text.contains("damaged") || !file.hasPrefix("packs/"), "\(note)")
            try await expectRightOrRefused("proof:0", isRefusable: true, note)
            let repaired = await (try start(["verify", "--repair"])).wait()
            let isStored = file.hasPrefix("packs/") || file.hasPrefix("index/")
            if !isStored && !repaired.output.contains("repaired") { return }
            if repaired.status == 1 {
                try #require(repaired.output.contains("load it again"), "\(note)\n\(repaired)")
            } else {
                try #require(repaired.succeeded, "\(note)\n\(repaired)")
            }
            if repaired.output.contains("image alpine") { try await Lab.makeBases("alpine", root: root) }
            let again = await (try start(["verify"])).wait()
            try #require(again.succeeded, "\(note)\n\(again)")
            let build = await (try start(["build", "-t", "proof:0", contexts[0]])).wait()
            try #require(build.succeeded, "\(note)\n\(build)")
            try await expectRightOrRefused("proof:0", isRefusable: false, note)
        }

        private func expectRightOrRefused(_ name: String, isRefusable: Bool, _ note: String) async throws {
            let expected = try String(contentsOfFile: contexts[0] + "/files/two", encoding: .utf8)
            let script = "sha256sum -c /sum >&2 || echo wrong; tail -c 36 /all"
            let shown = await (try start(["run", "--rm", name, "sh", "-c", script])).wait()
            if isRefusable && !shown.succeeded && shown.output.isEmpty { return }
            #expect(shown.output == expected, "\(note)\n\(shown)")
        }
    }
}
