// The same Dockerfiles on the same bases by buildah: the same files, the same configuration.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct SameAsBuildah {
        private static let cases: [(context: String, file: String, tag: String)] = [
            ("go-app", "Dockerfile", "same-go:single"),
            ("go-app", "Dockerfile.multistage", "same-go:multi"),
            ("go-app", "Dockerfile.scratch", "same-go:scratch"),
            ("go-app", "Dockerfile.stages", "same-go:stages"),
            ("node-app", "Dockerfile", "same-node:latest"),
        ]

        @Test func theExamplesEqualWhatBuildahBuilds() async throws {
            try await Lab.toolchains()
            let buildah = try Buildah()
            do {
                for base in ["alpine:3.19", "golang:1.22", "node:20-alpine"] {
                    try await hand(base, to: buildah, as: "localhost/\(base)")
                }
                for example in Self.cases { try await compare(example, buildah) }
            } catch {
                await buildah.close()
                throw error
            }
            await buildah.close()
        }

        private func compare(
            _ example: (context: String, file: String, tag: String), _ buildah: Buildah
        ) async throws {
            let context = Lab.example(example.context)
            let file = "\(context)/\(example.file)"
            try expectSuccess(try await Lab.stagerun("build", "-f", file, "-t", example.tag, context))
            try await hand(example.tag, to: buildah, as: "localhost/ours")
            try await buildah.build("-f", file, "-t", "localhost/theirs", context)

            let ours = try await buildah.withRoot(of: "localhost/ours") { try await listing(of: $0) }
            var theirs = try await buildah.withRoot(of: "localhost/theirs") { try await listing(of: $0) }
            if !ours.contains(where: { $0.hasPrefix("etc/hosts|") }) {
                // In a base without /etc/hosts buildah's chroot isolation leaves the empty file that it mounted its own on.
                theirs.removeAll { $0 == "etc/hosts|f|755|0:0|0|1 links" || $0.hasSuffix("  ./etc/hosts") }
            }
            #expect(!ours.isEmpty)
            let different = differences(ours, theirs)
            #expect(
                different.isEmpty,
                "\(example.file) of \(example.context):\n\(different.prefix(40).joined(separator: "\n"))")

            let ourConfig = try await buildah.config(of: "localhost/ours")
            let theirConfig = try await buildah.config(of: "localhost/theirs")
            for key in ["architecture", "os"] { #expect(ourConfig[key] as? String == theirConfig[key] as? String) }
            let ourSettings = try settings(ourConfig)
            let theirSettings = try settings(theirConfig)
            #expect(ourSettings == theirSettings, "\(example.file) of \(example.context)")
        }

        /// What a runtime reads. An image from scratch has the working directory `/` and CMD sets `ArgsEscaped`, which only
        /// Windows reads, by BuildKit's rules; buildah leaves both out, and both forms mean the same.
        private func settings(_ configuration: [String: Any]) throws -> NSDictionary {
            var settings = try #require(configuration["config"] as? [String: Any])
            settings["ArgsEscaped"] = nil
            if settings["WorkingDir"] as? String == "/" { settings["WorkingDir"] = nil }
            return settings as NSDictionary
        }

        /// By way of an archive, as a person would move it.
        private func hand(_ image: String, to buildah: Buildah, as name: String) async throws {
            let archive = try scratchDirectory("handed") + "/image.tar"
            try expectSuccess(try await Lab.stagerun("save", "--format", "oci", "-o", archive, image))
            let identifier = try await buildah("pull", "--quiet", "oci-archive:\(archive)")
            try await buildah("tag", identifier, name)
            try FileManager.default.removeItem(atPath: archive)
        }
    }
}
