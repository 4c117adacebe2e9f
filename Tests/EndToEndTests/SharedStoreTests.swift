// Many processes in one store.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct SharedStore {
        init() async throws { try await Lab.busybox() }

        /// A step that counts its runs in a cache mount of its own, and leaves another result each time.
        private func counted(_ seconds: Double, failing: Bool = false) throws -> (context: String, id: String) {
            let id = UUID().uuidString
            let context = try scratchDirectory(
                "counted",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS counted
                    RUN --mount=type=cache,id=\(id),target=/count \
                        : \(id); echo run >> /count/runs; sleep \(seconds); cat /proc/sys/kernel/random/uuid > /uuid\
                    \(failing ? "; test $(wc -l < /count/runs) -gt 1" : "")
                    FROM alpine:3.19
                    RUN --mount=type=cache,id=\(id),target=/count : \(id); wc -l < /count/runs > /runs
                    """
                ])
            return (context, id)
        }

        private func runs(_ context: String) async throws -> String {
            _ = try await Lab.build("-t", "counted:1", context)
            let shown = try await Lab.stagerun("run", "--rm", "counted:1", "cat", "/runs")
            return shown.output.trimmingCharacters(in: .whitespacesAndNewlines)
        }

        @Test func twoProcessesThatNeedAStepRunItOnce() async throws {
            let (context, _) = try counted(1.5)
            let builds = try (0..<3).map { _ in
                try Lab.start(["build", "--progress", "json", "--target", "counted", context])
            }
            var images: Set<String?> = []
            var ran = 0
            for build in builds {
                let outcome = await build.wait()
                try expectSuccess(outcome)
                let report = try BuildReport(outcome.output)
                images.insert(report.image)
                ran += report.titles("ran").count
            }
            #expect(images.count == 1)
            #expect(ran == 1, "the others take its record")
            #expect(try await runs(context) == "1")
        }

        @Test func whoWaitsForAKilledBuildRunsTheStepItself() async throws {
            let (context, _) = try counted(3)
            let first = try Lab.start(["build", "--progress", "plain", "--target", "counted", context])
            _ = await Traces.eventually(within: .seconds(20)) {
                (try? FileManager.default.contentsOfDirectory(atPath: Lab.store + "/running").isEmpty) == false
            }
            let second = try Lab.start(["build", "--progress", "json", "--target", "counted", context])
            try await Task.sleep(for: .milliseconds(500))
            first.send(SIGKILL)
            _ = await first.wait()
            let outcome = await second.wait(atMost: .seconds(60))
            try expectSuccess(outcome)
            #expect(try BuildReport(outcome.output).titles("ran").count == 1)
            #expect(try FileManager.default.contentsOfDirectory(atPath: Lab.store + "/running").isEmpty)
        }

        @Test func aFailureIsNotShared() async throws {
            let (context, _) = try counted(1, failing: true)
            let builds = try (0..<2).map { _ in
                try Lab.start(["build", "--progress", "json", "--target", "counted", context])
            }
            var succeeded = 0
            for build in builds where await build.wait().succeeded { succeeded += 1 }
            #expect(succeeded == 1, "the second runs the step that failed in the first")
        }
    }
}
