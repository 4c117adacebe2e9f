// The binary on real input. One test after another: they share a store, the machine's mounts and its processes.

import Testing

@Suite(.serialized, .enabled(if: Lab.hasBinary || Lab.inCI, "the release binary is missing"))
enum EndToEnd {}

extension EndToEnd {
    @Suite struct Presence {
        /// In CI a missing binary is a failure and never a skip.
        @Test func theBinaryIsThere() async throws {
            try #require(Lab.hasBinary, "no binary at \(Lab.binary)")
            let help = try await Lab.stagerun("--help")
            try expectSuccess(help)
            #expect(help.output.contains("build"))
        }
    }
}
