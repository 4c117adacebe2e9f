// Each mistake gives one clear error, a non-zero exit, and leaves nothing behind.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct BadInput {
        struct Mistake: Sendable, CustomTestStringConvertible {
            var name: String
            var dockerfile: String?
            var arguments: [String] = []
            /// What the error has to name, so that a person finds the place.
            var named: [String]
            var testDescription: String { name }
        }

        private static let mistakes: [Mistake] = [
            Mistake(name: "a missing Dockerfile", dockerfile: nil, named: ["Dockerfile"]),
            Mistake(
                name: "a missing stage", dockerfile: "FROM alpine:3.19 AS builder\n",
                arguments: ["--target", "bilder"],
                named: ["bilder", "builder"]),
            Mistake(
                name: "a cycle",
                dockerfile: """
                    FROM alpine:3.19 AS a
                    COPY --from=b /x /x
                    FROM alpine:3.19 AS b
                    COPY --from=a /x /x
                    """, named: ["Dockerfile:"]),
            Mistake(
                name: "an unknown instruction", dockerfile: "FROM alpine:3.19\nRUNN true\n",
                named: ["Dockerfile:2", "RUNN", "RUN"]),
            Mistake(
                name: "an unknown flag of an instruction", dockerfile: "FROM alpine:3.19\nCOPY --form=x a b\n",
                named: ["Dockerfile:2", "--form"]),
            Mistake(
                name: "an unknown flag of the command", dockerfile: "FROM alpine:3.19\n", arguments: ["--taget", "x"],
                named: ["--taget"]),
            Mistake(
                name: "an unknown base image", dockerfile: "FROM 127.0.0.1:1/no/such:image\n",
                named: ["127.0.0.1:1/no/such:image"]),
            Mistake(
                name: "a COPY source that is not there", dockerfile: "FROM alpine:3.19\nCOPY nowhere.txt /\n",
                named: ["Dockerfile:2", "nowhere.txt"]),
            Mistake(
                name: "a COPY --from source that is not there",
                dockerfile: "FROM alpine:3.19 AS a\nFROM alpine:3.19\nCOPY --from=a /nowhere /\n",
                named: ["Dockerfile:3", "/nowhere"]),
            Mistake(
                name: "an ADD of an archive that points outside",
                dockerfile: "FROM alpine:3.19\nADD evil.tar /\n", named: ["evil.tar"]),
            Mistake(name: "an empty Dockerfile", dockerfile: "", named: ["Dockerfile"]),
        ]

        init() async throws { try await Lab.busybox() }

        @Test(arguments: mistakes)
        func aMistakeInABuildIsOneClearError(mistake: Mistake) async throws {
            let context = try scratchDirectory("mistake", ["other.txt": "other\n"])
            try makeEvilArchive("\(context)/evil.tar")
            try mistake.dockerfile?.write(toFile: "\(context)/Dockerfile", atomically: false, encoding: .utf8)
            let out = try scratchDirectory("mistake-out") + "/image.tar"
            try await expectOneErrorAndNothingLeft(naming: mistake.named) {
                try await Lab.start(
                    ["build", "--progress", "plain", "-t", "mistake:1", "-o", "type=oci,dest=\(out)"]
                        + mistake.arguments
                        + [context]
                ).wait(atMost: .seconds(60))
            }
            #expect(!FileManager.default.fileExists(atPath: out))
            #expect(!FileManager.default.fileExists(atPath: "/evil-escaped"))
        }

        @Test func aMissingContext() async throws {
            try await expectOneErrorAndNothingLeft(naming: ["/no/such/context"]) {
                try await Lab.stagerun("build", "-t", "mistake:1", "/no/such/context")
            }
        }

        @Test func anImportedArchiveThatPointsOutside() async throws {
            let archive = try scratchDirectory("evil") + "/evil.tar"
            try makeEvilArchive(archive)
            try await expectOneErrorAndNothingLeft(naming: ["evil"]) {
                try await Lab.stagerun("import", archive, "mistake:1")
            }
        }

        @Test func aRegistryThatIsDown() async throws {
            let port = try freePort()
            try await expectOneErrorAndNothingLeft(naming: ["127.0.0.1:\(port)"]) {
                try await Lab.stagerun("pull", "127.0.0.1:\(port)/a/b:c", atMost: .seconds(60))
            }
        }

        @Test func aRegistryThatDoesNotHaveTheImage() async throws {
            try await Registry.with { registry in
                try await expectOneErrorAndNothingLeft(naming: ["\(registry.address)/a/b:c"]) {
                    try await Lab.stagerun("pull", "\(registry.address)/a/b:c", atMost: .seconds(60))
                }
            }
        }

        /// Which of the stored blobs is damaged: the layer is the largest, then the configuration, then the manifest.
        @Test(arguments: [0, 1, 2])
        func aRegistryThatSendsOtherBytesThanItsDigestSays(blob: Int) async throws {
            let archive = try scratchDirectory("damaged") + "/image.tar"
            let context = try scratchDirectory(
                "damaged", ["Dockerfile": "FROM scratch\nCOPY big.txt /\n", "big.txt": UUID().uuidString])
            try "\(UUID())\n".write(toFile: "\(context)/big.txt", atomically: false, encoding: .utf8)
            try expectSuccess(
                try await command("sh", "-c", "head -c 100000 /dev/urandom | base64 >> big.txt", directory: context))
            try expectSuccess(try await Lab.stagerun("build", "-o", "type=oci,dest=\(archive)", context))
            try await Registry.with { registry in
                try await registry.push("oci-archive:\(archive)", as: "a/b:c")
                try registry.damage(try #require(try await registry.blobs().dropFirst(blob).first))
                let other = try scratchDirectory("other-store")
                let outcome = try await Lab.start(["pull", "\(registry.address)/a/b:c"], root: other)
                    .wait(atMost: .seconds(60))
                #expect(!outcome.succeeded && !outcome.timedOut, "\(outcome)")
                #expect(outcome.errors.contains("\(registry.address)"), "\(outcome)")
                expectOneError(outcome)
                let images = try await Lab.start(["images", "--json"], root: other).wait()
                #expect(!images.output.contains("a/b"))
            }
        }

        /// With 60 MB the command itself meets the end of the disk; with 14 MB stagerun does, when it stores what was made.
        @Test(.enabled(if: getuid() == 0, "mounting needs root"), arguments: [60, 14])
        func aFullDisk(megabytes: Int) async throws {
            let small = try scratchDirectory("small")
            try expectSuccess(try await command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small))
            let context = try scratchDirectory(
                "fill",
                [
                    "Dockerfile": """
                    FROM alpine:3.19
                    RUN dd if=/dev/urandom of=/filled bs=1M count=\(megabytes)
                    """
                ])
            do {
                try await Lab.makeBases("alpine", root: small + "/store")
                let outcome = try await Lab.start(
                    ["build", "--progress", "plain", "-t", "filled:1", context], root: small + "/store"
                ).wait(atMost: .seconds(60))
                #expect(!outcome.succeeded && !outcome.timedOut, "\(outcome)")
                let said = megabytes == 60 ? "No space left" : "the store's disk is full"
                #expect(outcome.errors.contains(said), "\(outcome)")
                let after = try await Lab.start(["images", "--json"], root: small + "/store").wait()
                try expectSuccess(after)
                #expect(!after.output.contains("filled"))
                #expect(Traces.mounts(under: small + "/store").isEmpty)
                let again = try await Lab.start(["run", "--rm", "alpine:3.19", "true"], root: small + "/store").wait()
                try expectSuccess(again)
            } catch {
                try await command("umount", "-l", small)
                throw error
            }
            try await command("umount", "-l", small)
        }

        /// Root without CAP_SYS_ADMIN in a chroot, where the kernel gives no user namespace either: as in many containers.
        @Test(.enabled(if: getuid() == 0, "dropping capabilities needs root"))
        func noPrivilegeForNamespaces() async throws {
            let other = try scratchDirectory("unprivileged")
            let context = try scratchDirectory(
                "unprivileged-context", ["Dockerfile": "FROM alpine:3.19\nRUN echo never > /never\n"])
            try await Lab.makeBases("alpine", root: other)
            let outcome = try await command(
                "unshare", "--mount", "sh", "-c",
                """
                mkdir "$1/root" && mount --rbind / "$1/root" && exec chroot "$1/root" \
                    setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \
                    "$2" build --root "$1" --progress plain -t never:1 "$3"
                """, "without", other, Lab.binary, context, atMost: .seconds(60))
            #expect(!outcome.succeeded && !outcome.timedOut, "\(outcome)")
            #expect(outcome.text.contains("namespace"), "\(outcome)")
            expectOneError(outcome)
            try await command("rmdir", other + "/root")
        }

        private func expectOneErrorAndNothingLeft(
            naming facts: [String], sourceLocation: SourceLocation = #_sourceLocation,
            _ body: () async throws -> Outcome
        ) async throws {
            let before = try await Lab.stagerun("images", "--json").output
            let outcome = try await body()
            #expect(!outcome.succeeded && !outcome.timedOut, "\(outcome)", sourceLocation: sourceLocation)
            for fact in facts {
                #expect(
                    outcome.errors.contains(fact), "\(fact) is not named: \(outcome)", sourceLocation: sourceLocation)
            }
            expectOneError(outcome, sourceLocation: sourceLocation)
            let after = try await Lab.stagerun("images", "--json").output
            #expect(after == before, sourceLocation: sourceLocation)
            #expect(Traces.mounts(under: Lab.store).isEmpty, sourceLocation: sourceLocation)
        }

        /// One message, and no crash.
        private func expectOneError(_ outcome: Outcome, sourceLocation: SourceLocation = #_sourceLocation) {
            #expect((1..<128).contains(outcome.status), "\(outcome)", sourceLocation: sourceLocation)
            let said = outcome.errors.split(separator: "\n").count { $0.lowercased().hasPrefix("error:") }
            #expect(said == 1, "\(said) errors: \(outcome)", sourceLocation: sourceLocation)
            #expect(!outcome.errors.contains("Fatal error"), sourceLocation: sourceLocation)
        }

        /// A tar file whose member is called `../evil-escaped`.
        private func makeEvilArchive(_ path: String) throws {
            var header = [UInt8](repeating: 0, count: 512)
            func put(_ text: String, at offset: Int) {
                for (index, byte) in text.utf8.enumerated() { header[offset + index] = byte }
            }
            put("../../../../../../../evil-escaped", at: 0)
            put("0000644", at: 100)
            put("0000000", at: 108)
            put("0000000", at: 116)
            put("00000000005", at: 124)
            put("00000000000", at: 136)
            put("        ", at: 148)
            put("0", at: 156)
            put("ustar\u{0}00", at: 257)
            let sum = header.reduce(0) { $0 + Int($1) }
            let octal = String(sum, radix: 8)
            put(String(repeating: "0", count: 6 - octal.count) + octal + "\u{0} ", at: 148)
            var archive = header + Array("evil\n".utf8)
            archive += [UInt8](repeating: 0, count: 512 - 5 + 1024)
            try Data(archive).write(to: URL(fileURLWithPath: path))
        }
    }
}
