// The six Dockerfiles of the examples on real toolchains: they build, and what they build works.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Examples {
        static let goAnswers = ["Hello, world, from Go.\n", "Hello, gopher, from Go.\n", "ok\n"]
        static let goPaths = ["/", "/?name=gopher", "/healthz"]

        init() async throws { try await Lab.toolchains() }

        @Test(arguments: [
            ("Dockerfile", "go:single"), ("Dockerfile.multistage", "go:multi"), ("Dockerfile.scratch", "go:scratch"),
        ])
        func aGoServerAnswers(file: String, tag: String) async throws {
            let app = Lab.example("go-app")
            try expectSuccess(try await Lab.stagerun("build", "-f", "\(app)/\(file)", "-t", tag, app))
            #expect(try await answers(of: tag, paths: Self.goPaths) == Self.goAnswers)
        }

        @Test func theNodeServerAnswers() async throws {
            try expectSuccess(try await Lab.stagerun("build", "-t", "node-app:latest", Lab.example("node-app")))
            let got = try await answers(of: "node-app:latest", paths: ["/", "/?name=npm", "/healthz"])
            #expect(got == ["Hello, world, from Node.\n", "Hello, npm, from Node.\n", "ok\n"])
        }

        /// The development dependency and the sources stay in the builder stage.
        @Test func theNodeImageHoldsNoDevelopmentDependency() async throws {
            let app = Lab.example("node-app")
            try expectSuccess(try await Lab.stagerun("build", "-t", "node-app:latest", app))
            try expectSuccess(
                try await Lab.stagerun("build", "--target", "builder", "-t", "node-app:builder", app))
            let list = "ls -d node_modules/bundler src dist 2>/dev/null; true"
            let production = try await Lab.stagerun("run", "--rm", "node-app:latest", "sh", "-c", list)
            let builder = try await Lab.stagerun("run", "--rm", "node-app:builder", "sh", "-c", list)
            #expect(production.output.split(separator: "\n") == ["dist"])
            #expect(builder.output.split(separator: "\n") == ["dist", "node_modules/bundler", "src"])
        }

        @Test func targetTestBuildsOnlyWhatTestNeeds() async throws {
            let app = Lab.example("go-app")
            let report = try await Lab.build(
                "-f", "\(app)/Dockerfile.stages", "--target", "test", "-t", "myapp:test", app)
            #expect(report.stages.isSubset(of: ["deps", "test"]))
            #expect(Set(report.unneededStages).isSuperset(of: ["builder", "production"]))
            let tests = try await Lab.stagerun("run", "--rm", "myapp:test", "go", "test", "./...")
            try expectSuccess(tests)
            #expect(tests.text.contains("ok"))
        }

        @Test func targetProductionBuildsOnlyWhatProductionNeeds() async throws {
            let app = Lab.example("go-app")
            let report = try await Lab.build(
                "-f", "\(app)/Dockerfile.stages", "--target", "production", "-t", "myapp:production", app)
            #expect(report.stages.isSubset(of: ["deps", "builder", "production"]))
            #expect(report.unneededStages.contains("test"))
            #expect(!report.steps.contains { $0.title.contains("go test") })
            #expect(try await answers(of: "myapp:production", paths: Self.goPaths) == Self.goAnswers)
        }

        @Test func imagesShowsWhatTheMultiStageFormSaves() async throws {
            let app = Lab.example("go-app")
            for (tag, file) in [
                ("single", "Dockerfile"), ("multi", "Dockerfile.multistage"), ("scratch", "Dockerfile.scratch"),
            ] {
                try expectSuccess(try await Lab.stagerun("build", "-f", "\(app)/\(file)", "-t", "go:\(tag)", app))
            }
            let sizes = try await Lab.imageSizes()
            let single = try #require(sizes["go:single"])
            let multi = try #require(sizes["go:multi"])
            let scratch = try #require(sizes["go:scratch"])
            #expect(scratch < multi)
            #expect(multi * 20 < single, "the two-stage image is not even twenty times smaller")

            let table = try await Lab.stagerun("images")
            let heading = try #require(table.output.split(separator: "\n").first)
            #expect(heading.split(separator: " ").joined(separator: " ") == "REPOSITORY TAG IMAGE ID CREATED SIZE")
        }

        @Test func runPassesTheExitStatusOn() async throws {
            let outcome = try await Lab.stagerun(
                "run", "--rm", "alpine:3.19", "sh", "-c", "echo out; echo err >&2; exit 37")
            #expect(outcome.status == 37)
            #expect(outcome.output == "out\n")
            #expect(outcome.errors == "err\n")
        }
    }
}
