// Dockerfiles that are too large, never end or are no text: a working build, or one error that says where; no crash, and memory
// in proportion.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct HostileDockerfile {
        struct Case: Sendable, CustomTestStringConvertible {
            var name: String
            var bytes: @Sendable () -> [UInt8]
            /// What the error has to say; nil when the build has to work.
            var error: String?
            /// A file that has to be in the image, and its size.
            var file: (path: String, size: Int)?
            var testDescription: String { name }

            init(
                _ name: String, error: String? = nil, file: (path: String, size: Int)? = nil,
                _ text: @escaping @Sendable () -> String
            ) {
                self.init(name, error: error, file: file, bytes: { Array(text().utf8) })
            }

            init(
                _ name: String, error: String? = nil, file: (path: String, size: Int)? = nil,
                bytes: @escaping @Sendable () -> [UInt8]
            ) {
                (self.name, self.bytes, self.error, self.file) = (name, bytes, error, file)
            }
        }

        private static let cases = [
            Case("10 MB of ENV", file: ("/f", 2)) {
                let lines = (0..<170_000).map { "ENV VARIABLE_\($0 % 1000)=\"some value or other, the \($0)th\"\n" }
                return "FROM scratch\n" + lines.joined() + "COPY f /f\n"
            },
            Case("10 MB of comments and empty lines", file: ("/f", 2)) {
                "FROM scratch\n" + String(repeating: "# a comment of forty characters, or so...\n\n", count: 240_000)
                    + "COPY f /f\n"
            },
            Case("10 MB in one instruction", file: ("/f", 2)) {
                "FROM scratch\nCOPY f /f\nLABEL x=1"
                    + String(repeating: " \\\n  label.of.some.length=with-a-value", count: 270_000) + "\n"
            },
            Case("a line of 70 KB", error: "Dockerfile:3") {
                "FROM scratch\nCOPY f /f\nLABEL x=" + String(repeating: "y", count: 70_000) + "\n"
            },
            Case("10,000 stages, each on the one before", file: ("/f", 2)) {
                "FROM scratch AS s0\nCOPY f /f\n"
                    + (1..<10_000).map { "FROM s\($0 - 1) AS s\($0)\nENV N=\($0)\n" }.joined()
            },
            Case("10,000 stages that nobody needs", file: ("/f", 2)) {
                (0..<10_000).map { "FROM scratch AS s\($0)\nCOPY f /\($0)\n" }.joined() + "FROM scratch\nCOPY f /f\n"
            },
            Case("a heredoc of 1 MB", file: ("/big", 1_100_000)) {
                "FROM scratch\nCOPY <<EOF /big\n" + String(repeating: "ten bytes\n", count: 110_000) + "EOF\n"
            },
            Case("ONBUILD of ONBUILD", error: "Dockerfile:2") { "FROM scratch\nONBUILD ONBUILD RUN x\n" },
            Case("a trigger that takes from the stage that it runs in", error: "Dockerfile:3") {
                "FROM scratch AS a\nONBUILD COPY --from=b / /x\nFROM a AS b\nCOPY f /f\n"
            },
            Case("stages in a circle", error: "Dockerfile:2") {
                "FROM scratch AS a\nCOPY --from=c / /\nFROM scratch AS b\nCOPY --from=a / /\nFROM scratch AS c\nCOPY --from=b / /\n"
            },
            Case("a heredoc without an end", error: "Dockerfile:2") { "FROM scratch\nCOPY <<EOF /x\nEO\n" },
            Case("a quote without an end", error: "Dockerfile:2") { "FROM scratch\nENV A=\"b c\nCOPY f /f\n" },
            Case(
                "no UTF-8", error: "Dockerfile:2", bytes: { Array("FROM scratch\nLABEL a=".utf8) + [0xC3, 0x28, 0x0A] }),
            Case("a NUL byte", error: "Dockerfile:2", bytes: { Array("FROM scratch\nLABEL a=b".utf8) + [0, 0x0A] }),
            Case("only NUL bytes", error: "Dockerfile:1", bytes: { [UInt8](repeating: 0, count: 100_000) }),
            Case("a digest of the wrong length", error: "Dockerfile:1") { "FROM busybox@sha256:0123456789abcdef\n" },
            Case("a digest that is none", error: "Dockerfile:1") {
                "FROM busybox@\(String(repeating: "x", count: 71))\n"
            },
        ]

        @Test(arguments: cases) func isBuiltOrRefusedWithAPlace(_ example: Case) async throws {
            let place = try scratchDirectory("hostile", ["context/f": "f\n"])
            let bytes = example.bytes()
            try Data(bytes).write(to: URL(fileURLWithPath: place + "/context/Dockerfile"))
            // The most memory that the program had, beside its status.
            let measured = """
                import resource, subprocess, sys
                status = subprocess.run(sys.argv[1:]).returncode
                print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
                sys.exit(status if status >= 0 else 128 - status)
                """
            let outcome = try await command(
                "python3", "-c", measured, Lab.binary, "build", "--progress", "plain", "-o",
                "type=tar,dest=\(place)/tree.tar",
                place + "/context", environment: ["STAGERUN_ROOT": Lab.store], atMost: .seconds(120))
            #expect(!outcome.timedOut, "\(outcome)")
            let peak = try #require(
                outcome.output.split(separator: "\n").last?.split(separator: " ").last.flatMap { Int($0) }, "\(outcome)"
            )
            #expect(peak < 150_000 + bytes.count / 1024 * 100, "\(peak) KiB for \(bytes.count) bytes")
            if let error = example.error {
                #expect(outcome.status == 1, "\(outcome)")
                #expect(
                    outcome.errors.contains("error: \(place)/context/\(error):")
                        || outcome.errors.contains("\(error):"), "\(outcome)")
                #expect(outcome.errors.split(separator: "\n").count { $0.hasPrefix("error:") } == 1, "\(outcome)")
            } else {
                try expectSuccess(outcome)
                let file = try #require(example.file)
                let found = try await command("tar", "-xOf", place + "/tree.tar", "." + file.path)
                let other = try await command("tar", "-xOf", place + "/tree.tar", String(file.path.dropFirst()))
                #expect(max(found.output.utf8.count, other.output.utf8.count) == file.size, "\(found)")
            }
        }
    }
}
