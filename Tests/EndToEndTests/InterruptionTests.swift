// A build that is stopped leaves nothing: by Ctrl-C within a second, by kill -9 at the latest when the next one starts.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Interruption {
        init() async throws { try await Lab.busybox() }

        /// Two stages that run at once, each with a child in a session of its own; `marker` is in their command lines.
        private func sleepers(_ marker: String) throws -> String {
            try scratchDirectory(
                "sleepers",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS a
                    RUN setsid sleep \(marker)1 & sleep \(marker)2; echo a > /a
                    FROM alpine:3.19 AS b
                    RUN trap '' INT TERM; sleep \(marker)3; echo b > /b
                    FROM alpine:3.19
                    COPY --from=a /a /a
                    COPY --from=b /b /b
                    """
                ])
        }

        private func marker() -> String { "9\(UInt32.random(in: 10_000_000...99_999_999))" }

        private func startSleepers(_ marker: String) async throws -> RunningCommand {
            let build = try Lab.start(["build", "--jobs", "4", "--progress", "plain", try sleepers(marker)])
            let asleep = await Traces.eventually(within: .seconds(20)) {
                (1...3).allSatisfy { number in
                    Traces.processes("sleep \(marker)\(number)").contains { $0.contains(": sleep") }
                }
            }
            if !asleep {
                build.sendToGroup(SIGKILL)
                throw LabFailure("the steps did not start", await build.wait())
            }
            return build
        }

        @Test(arguments: [SIGINT, SIGTERM])
        func aSignalEndsEverythingWithinASecond(signal: Int32) async throws {
            let marker = marker()
            let build = try await startSleepers(marker)
            let sent = ContinuousClock.now
            build.sendToGroup(signal)
            let outcome = await build.wait(atMost: .seconds(30))
            let took = sent.duration(to: .now)
            #expect(took < .seconds(1), "it took \(took)")
            #expect(!outcome.succeeded)
            #expect(Traces.processes("sleep \(marker)").isEmpty)
            #expect(Traces.mounts(under: Lab.store).isEmpty)
            #expect(try Traces.openRuns(in: Lab.store).isEmpty)
        }

        @Test func afterKillNineTheNextStartFindsEverythingClean() async throws {
            let marker = marker()
            let build = try await startSleepers(marker)
            build.send(SIGKILL)
            _ = await build.wait()
            try expectSuccess(try await Lab.stagerun("images"))
            let gone = await Traces.eventually(within: .seconds(1)) { Traces.processes("sleep \(marker)").isEmpty }
            #expect(gone, "\(Traces.processes("sleep \(marker)"))")
            #expect(Traces.mounts(under: Lab.store).isEmpty)
            #expect(try Traces.openRuns(in: Lab.store).isEmpty)

            let context = try scratchDirectory(
                "after", ["Dockerfile": "FROM alpine:3.19\nRUN echo \(marker) > /after\n"])
            try expectSuccess(try await Lab.stagerun("build", context))
        }

        @Test func aFailingStepStopsTheOthersAndSaysWhere() async throws {
            let marker = marker()
            let context = try scratchDirectory(
                "failing",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS slow
                    RUN sleep \(marker)
                    FROM alpine:3.19 AS failing
                    RUN sleep 0.3; echo the-last-words; exit 43
                    FROM alpine:3.19
                    COPY --from=slow / /slow
                    COPY --from=failing / /failing
                    """
                ])
            let outcome = try await Lab.stagerun(
                "build", "--jobs", "4", "--progress", "plain", context, atMost: .seconds(30))
            #expect(!outcome.succeeded && !outcome.timedOut)
            #expect(outcome.seconds < 5)
            #expect(outcome.text.contains("the-last-words"))
            #expect(outcome.text.contains("43"))
            #expect(outcome.text.contains("Dockerfile:4"))
            #expect(Traces.processes("sleep \(marker)").isEmpty)
        }

        @Test func runPassesSignalsOn() async throws {
            let server = try Lab.start([
                "run", "--rm", "alpine:3.19", "sh", "-c",
                "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
            ])
            _ = await Traces.eventually(within: .seconds(10)) { server.outputSoFar.contains("ready") }
            server.send(SIGTERM)
            let outcome = await server.wait(atMost: .seconds(10))
            #expect(outcome.status == 7)
            #expect(outcome.output == "ready\ncaught\n")
        }
    }
}
