// Several targets in one build: shared stages once, an image, names and outputs for each.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct SeveralTargets {
        init() async throws { try await Lab.busybox() }

        private static let dockerfile = """
            FROM alpine:3.19 AS tools
            RUN echo \(UUID().uuidString) > /shared
            FROM tools AS unneeded
            RUN false
            FROM tools AS App
            RUN cp /shared /app
            CMD ["/app"]
            FROM scratch AS bundle
            COPY --from=tools /shared /bundle
            LABEL kind=bundle
            """

        @Test func oneGraphAnImageEach() async throws {
            let place = try scratchDirectory("targets", ["Dockerfile": Self.dockerfile])
            let outcome = try await Lab.stagerun(
                "build", "--progress=plain", "--target", "app", "--target", "bundle", "-t", "several-{target}:1",
                "-o", "type=tar,dest=\(place)/{target}.tar", "--iidfile", "\(place)/{target}.id", "--metadata-file",
                "\(place)/meta.json", place)
            try expectSuccess(outcome)
            // RUN of tools, RUN of app, COPY of bundle: what both need ran once.
            #expect(outcome.errors.contains("3 steps: 3 ran"), "\(outcome)")
            #expect(outcome.errors.contains("Built app: ") && outcome.errors.contains("Built bundle: "), "\(outcome)")
            // In the order that they were asked for in, and the steps after them.
            let ends = outcome.errors.split(separator: "\n").suffix(3).map { $0.prefix { $0 != ":" } }
            #expect(ends == ["Built app", "Built bundle", "3 steps"], "\(outcome)")
            #expect(outcome.errors.contains("as several-app:1") && outcome.errors.contains("as several-bundle:1"))

            let app = try await command("tar", "--list", "--file", "\(place)/app.tar")
            let bundle = try await command("tar", "--list", "--file", "\(place)/bundle.tar")
            #expect(app.output.contains("app\n") && !app.output.contains("bundle\n"))
            #expect(bundle.output.split(separator: "\n").map { $0.drop { $0 == "." || $0 == "/" } }.contains("bundle"))
            let run = try await Lab.stagerun("run", "--rm", "several-app:1", "cat", "/app")
            try expectSuccess(run)
            #expect(run.output.count == 37)

            let metadata = try #require(
                try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: "\(place)/meta.json")))
                    as? [String: [String: Any]])
            for target in ["app", "bundle"] {
                let id = try String(contentsOfFile: "\(place)/\(target).id", encoding: .utf8)
                #expect(metadata[target]?["containerimage.config.digest"] as? String == id)
                // Each alone is the same image, and nothing runs again.
                let alone = try await Lab.build("--target", target, place)
                #expect(alone.image == id && alone.ran.isEmpty)
            }
            let inspected = try await Lab.stagerun("inspect", "several-bundle:1")
            #expect(inspected.output.contains("\"kind\": \"bundle\"") && !inspected.output.contains("/app"))
        }

        @Test func whatCannotBeShared() async throws {
            let place = try scratchDirectory("targets", ["Dockerfile": Self.dockerfile + "\nARG TARGETSTAGE\n"])
            let named = try await Lab.stagerun("build", "--target", "app", "--target", "bundle", "-t", "x:1", place)
            #expect(named.status == 125)
            #expect(named.errors.contains("put {target} where each one's name belongs"))
            let twice = try await Lab.stagerun("build", "--target", "app", "--target", "App", place)
            #expect(twice.status == 125)
            let stage = try await Lab.stagerun("build", "--target", "app", "--target", "bundle", place)
            #expect(stage.status == 1)
            #expect(stage.errors.contains("TARGETSTAGE has no one value"))
            let unknown = try await Lab.stagerun("build", "--target", "app", "--target", "bundel", place)
            #expect(unknown.errors.contains("did you mean `bundle`?"))
        }
    }
}
