// What runs again and what does not.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Cache {
        init() async throws { try await Lab.busybox() }

        @Test func aSecondBuildRunsNothingAndGivesTheSameImage() async throws {
            try await Lab.toolchains()
            let app = Lab.example("go-app")
            let file = "\(app)/Dockerfile.multistage"
            let first = try await Lab.imageID("-f", file, "-t", "go:multi", app)
            let report = try await Lab.build("-f", file, "-t", "go:multi", app)
            #expect(!report.steps.isEmpty)
            #expect(report.ran.isEmpty)
            #expect(report.steps.allSatisfy { $0.state == "hit" || $0.state == "not needed" })
            #expect(try await Lab.imageID("-f", file, "-t", "go:multi", app) == first)
        }

        @Test func aChangedSourceFileRunsExactlyTheStepsBelowIt() async throws {
            try await Lab.toolchains()
            let app = try scratchDirectory("go-app")
            try expectSuccess(try await command("cp", "-a", Lab.example("go-app") + "/.", app))
            let file = "\(app)/Dockerfile.multistage"
            let before = try await Lab.imageID("-f", file, app)
            let source = try String(contentsOfFile: "\(app)/routes.go", encoding: .utf8)
            // Never the same text twice: a store that is kept between runs would know it.
            let changed = source.replacingOccurrences(of: "Hello, ", with: "Good day \(UUID().uuidString), ")
            try changed.write(toFile: "\(app)/routes.go", atomically: false, encoding: .utf8)

            let report = try await Lab.build("-f", file, app)
            #expect(report.ran.contains { $0.contains("go build") })
            #expect(report.titles("hit").contains { $0.contains("go mod download") })
            #expect(report.titles("hit").contains { $0.contains("COPY go.mod go.sum") })
            #expect(
                report.ran.allSatisfy {
                    $0.contains("COPY . .") || $0.contains("go build") || $0.contains("/app/server")
                })
            #expect(try await Lab.imageID("-f", file, app) != before)
        }

        @Test func aStepThatRanWithTheSameOutcomeDisturbsNothing() async throws {
            let unique = UUID().uuidString
            let context = try scratchDirectory(
                "cut-off",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS strip
                    COPY source.txt /source.txt
                    RUN grep -v '^#' /source.txt > /stripped.txt && rm /source.txt
                    RUN wc -l < /stripped.txt > /count.txt
                    FROM alpine:3.19
                    COPY --from=strip /count.txt /count.txt
                    RUN cat /count.txt > /result.txt
                    """,
                    "source.txt": "# first comment\none \(unique)\ntwo\n",
                ])
            let first = try await Lab.build(context)
            #expect(first.ran.contains { $0.contains("wc -l") })
            try "# second comment\none \(unique)\ntwo\n".write(
                toFile: "\(context)/source.txt", atomically: false, encoding: .utf8)
            let second = try await Lab.build(context)
            #expect(second.ran.contains { $0.contains("grep") })
            #expect(second.titles("hit").contains { $0.contains("wc -l") })
            #expect(second.titles("hit").contains { $0.contains("cat /count.txt") })
            #expect(second.image == first.image)
        }

        /// `touch` leaves the contents as they are and yet means something: what follows must see the new time.
        @Test func aTouchedFileIsNotFoldedAway() async throws {
            let context = try scratchDirectory(
                "touch",
                [
                    "Dockerfile": """
                    FROM alpine:3.19
                    COPY old.txt /old.txt
                    RUN echo \(UUID().uuidString) > /made.txt && sleep 1.1
                    RUN touch /old.txt
                    RUN [ /old.txt -nt /made.txt ] && echo newer > /verdict.txt
                    """,
                    "old.txt": "old\n",
                ])
            try expectSuccess(try await Lab.stagerun("build", "-t", "touched", context))
            let again = try await Lab.build("--no-cache", "-t", "touched", context)
            #expect(again.ran.contains { $0.contains("verdict") })
            let verdict = try await Lab.stagerun("run", "--rm", "touched", "cat", "/verdict.txt")
            #expect(verdict.output == "newer\n")
        }

        @Test func noCacheRunsEverythingAgain() async throws {
            let context = try scratchDirectory(
                "no-cache", ["Dockerfile": "FROM alpine:3.19\nRUN echo one > /one\nRUN echo two > /two\n"])
            _ = try await Lab.build(context)
            let again = try await Lab.build("--no-cache", context)
            #expect(again.ran.filter { $0.hasPrefix("RUN") }.count == 2)
        }

        @Test func progressAsJSONIsOneObjectALineAndTellsTheWholeBuild() async throws {
            let context = try scratchDirectory(
                "progress", ["Dockerfile": "FROM alpine:3.19\nRUN echo said-\(UUID().uuidString)\n"])
            let report = try await Lab.build(context)
            #expect(report.events.count >= 4)
            #expect(report.image != nil)
            #expect(report.steps.allSatisfy { $0.state != "?" })
        }
    }
}
