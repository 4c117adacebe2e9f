// Afterwards and beforehand: explain, plan, logs, and the trace, with the binary.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Explanations {
        init() async throws { try await Lab.busybox() }

        private func context(_ mark: String) throws -> String {
            try scratchDirectory(
                "explain",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS builder
                    ARG LEVEL=1
                    WORKDIR /src
                    COPY . .
                    RUN echo built-\(mark)-$LEVEL && cat main.txt > out.txt
                    FROM scratch
                    COPY --from=builder /src/out.txt /
                    """,
                    "main.txt": "one \(mark)\n", "README.md": "read me\n",
                ])
        }

        private func explain(_ arguments: String...) async throws -> [[String: Any]] {
            let outcome = try await Lab.start(["explain", "--json"] + arguments).wait()
            try expectSuccess(outcome)
            let document = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
            return try #require(document?["steps"] as? [[String: Any]])
        }

        @Test func aChangedFileIsNamedWithWhatBroughtIt() async throws {
            let context = try context(UUID().uuidString)
            _ = try await Lab.build(context)
            try "read me again\n".write(toFile: context + "/README.md", atomically: false, encoding: .utf8)
            let built = try await Lab.stagerun("build", "--explain", context)
            try expectSuccess(built)
            #expect(built.errors.contains("changed  README.md  8B -> 14B"))
            #expect(built.errors.contains("`COPY . .` at line 4 brought `src/README.md`"))

            let steps = try await explain("--context", context)
            #expect(
                steps.compactMap { $0["instruction"] as? String }.map { String($0.prefix(8)) } == [
                    "COPY . .", "RUN echo",
                ])
            let change = try #require(
                ((steps[1]["differences"] as? [[String: Any]])?.first?["changes"] as? [[String: Any]])?.first)
            #expect(change["path"] as? String == "src/README.md")
            #expect((change["was"] as? [String: Any])?["size"] as? Int == 8)
            #expect((change["now"] as? [String: Any])?["size"] as? Int == 14)
            // The last stage took what it took before.
            let last = try await Lab.stagerun("explain", "--context", context, "stage-1/1")
            #expect(last.output.contains("hit: the same inputs as when it ran"))
        }

        /// What a build would refuse before it runs anything has no plan.
        @Test func aPlanRefusesWhatTheBuildRefuses() async throws {
            let context = try scratchDirectory(
                "plan-refused",
                [
                    "Dockerfile": "# check=error=true\nFROM alpine:3.19\nMAINTAINER me\n"
                ])
            for command in ["build", "plan"] {
                let refused = try await Lab.stagerun(command, context)
                #expect(refused.status != 0)
                #expect(refused.errors.contains("lint violation found for rules: MaintainerDeprecated"), "\(command)")
            }
        }

        @Test func aBuildArgumentIsNamed() async throws {
            let context = try context(UUID().uuidString)
            _ = try await Lab.build(context)
            _ = try await Lab.build("--build-arg", "LEVEL=2", context)
            let steps = try await explain("--context", context)
            let difference = try #require((steps.first?["differences"] as? [[String: Any]])?.first)
            #expect(difference["kind"] as? String == "build argument")
            #expect(difference["name"] as? String == "LEVEL")
            #expect(difference["was"] as? String == "1")
            #expect(difference["now"] as? String == "2")
        }

        @Test func logsAreFoundAgain() async throws {
            let mark = UUID().uuidString
            let context = try context(mark)
            _ = try await Lab.build(context)
            // Of a hit, too.
            _ = try await Lab.build(context)
            let log = try await Lab.stagerun("logs", "--context", context, "RUN echo")
            #expect(log.output == "built-\(mark)-1\n")
            let table = try await Lab.stagerun("logs", "--context", context)
            #expect(table.output.contains("builder/4"))
            let silent = try await Lab.stagerun("logs", "--context", context, "COPY")
            #expect(silent.status == 0 && silent.output.isEmpty)
            #expect(silent.errors.contains("COPY") && silent.errors.contains("it wrote nothing"), "\(silent)")
            let unknown = try await Lab.stagerun("logs", "--context", context, "bilder")
            #expect(unknown.status == 1)
            #expect(unknown.errors.contains("did you mean `builder`?"))
        }

        @Test func theLogOfAFailureIsWhole() async throws {
            let context = try scratchDirectory(
                "failing", ["Dockerfile": "FROM alpine:3.19\nRUN seq 1 5000; echo \(UUID().uuidString); exit 3\n"])
            let failed = try await Lab.stagerun("build", context)
            #expect(failed.status == 1)
            let log = try await Lab.stagerun("logs", "--context", context, "2")
            #expect(log.output.split(separator: "\n").count == 5001)
            let explained = try await Lab.stagerun("explain", "--context", context)
            #expect(explained.output.contains("failed after"))
        }

        @Test func aPlanRunsAndWritesNothing() async throws {
            let context = try context(UUID().uuidString)
            let before = try await Lab.stagerun("plan", context)
            try expectSuccess(before)
            #expect(before.output.contains("no earlier run of it is known"))
            _ = try await Lab.build(context)
            try "two \(UUID().uuidString)\n".write(toFile: context + "/main.txt", atomically: false, encoding: .utf8)
            try await Task.sleep(for: .milliseconds(50))
            let files = try await command("find", Lab.store, "-not", "-path", "*/running*", "-printf", "%p %s %T@\n")
                .output
            let plan = try await Lab.stagerun("plan", context)
            try expectSuccess(plan)
            let after = try await command("find", Lab.store, "-not", "-path", "*/running*", "-printf", "%p %s %T@\n")
                .output
            #expect(plan.output.contains("changed  main.txt"))
            #expect(plan.output.contains("unless [builder 4/4] leaves what it left before"))
            func contents(_ list: String) -> [Substring] {
                list.split(separator: "\n").filter {
                    $0.contains("/packs/") || $0.contains("/contexts/") || $0.contains("data.mdb")
                }
            }
            #expect(contents(files) == contents(after))
            // What it said comes true.
            let report = try await Lab.build(context)
            #expect(report.ran.count == 3)
        }

        @Test func noCacheFilterRunsOneStage() async throws {
            let context = try context(UUID().uuidString)
            let first = try await Lab.build(context)
            let again = try await Lab.build("--no-cache-filter", "builder", context)
            #expect(again.titles("ran, same outcome").count == 3)
            #expect(again.titles("hit").contains { $0.contains("--from=builder") })
            #expect(again.image == first.image)
            let wrong = try await Lab.stagerun("build", "--no-cache-filter", "bilder", context)
            #expect(wrong.status == 1)
            #expect(wrong.errors.contains("did you mean"))
        }

        @Test func aTraceHasEveryStepThatRan() async throws {
            let context = try context(UUID().uuidString)
            let file = try scratchDirectory("trace") + "/trace.json"
            try expectSuccess(try await Lab.stagerun("build", "--trace", file, context))
            let data = try Data(contentsOf: URL(fileURLWithPath: file))
            let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            let events = try #require(document["traceEvents"] as? [[String: Any]])
            let spans = events.filter { $0["ph"] as? String == "X" }
            #expect(spans.contains { ($0["name"] as? String)?.contains("RUN echo") == true && $0["dur"] is Int })
            #expect(spans.allSatisfy { $0["ts"] is Int && $0["tid"] is Int })
        }

        /// A label is no input of any step, and a comment none of anything.
        @Test func aCommentOrALabelRunsNothing() async throws {
            let mark = UUID().uuidString
            let context = try context(mark)
            let first = try await Lab.build(context)
            let path = context + "/Dockerfile"
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try text.replacingOccurrences(of: "WORKDIR", with: "# a comment\nLABEL builder=\(mark)\nWORKDIR")
                .write(toFile: path, atomically: false, encoding: .utf8)
            let second = try await Lab.build(context)
            // The Dockerfile itself is in the context here; what it changes ends at the COPY that brings it.
            #expect(
                second.titles("ran", "ran, same outcome").allSatisfy {
                    $0.contains("COPY . .") || $0.contains("RUN echo")
                })
            #expect(second.titles("hit").contains { $0.contains("--from=builder") })
            #expect(second.image == first.image)
        }

        @Test func aStoppedBuildGoesOnWhereItWas() async throws {
            let mark = UUID().uuidString
            let context = try scratchDirectory(
                "stopped",
                ["Dockerfile": "FROM alpine:3.19\nRUN echo \(mark) > /a\nRUN sleep 60 # \(mark)\nRUN echo c > /c\n"])
            let build = try Lab.start(["build", "--progress", "plain", context])
            while !build.outputSoFar.contains("RUN sleep 60") { try await Task.sleep(for: .milliseconds(20)) }
            try await Task.sleep(for: .milliseconds(200))
            build.send(SIGINT)
            let stopped = await build.wait(atMost: .seconds(30))
            #expect(stopped.status == 130)
            let sleeping = try await command("pgrep", "-f", "sleep 60 # \(mark)")
            #expect(sleeping.output.isEmpty)
            let text = try String(contentsOfFile: context + "/Dockerfile", encoding: .utf8)
            try text.replacingOccurrences(of: "sleep 60", with: "sleep 0")
                .write(toFile: context + "/Dockerfile", atomically: false, encoding: .utf8)
            let next = try await Lab.build(context)
            #expect(next.titles("hit").contains { $0.contains("> /a") })
        }
    }
}
