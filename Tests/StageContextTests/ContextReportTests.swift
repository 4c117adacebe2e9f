// What a context's report says, and that it looks no further than a build would.

import Glibc
import StageContext
import StageSystem
import Testing

@Suite("Context report")
struct ContextReportTests {
    private func report(
        _ fixture: Fixture, _ ignore: String = "", patterns: [String]? = nil
    ) throws -> ContextReport {
        let rules = ignore.isEmpty ? IgnoreRules.none : try IgnoreRules(text: Array(ignore.utf8), file: ".dockerignore")
        return try ContextReport.make(ContextRequest(path: fixture.root, rules: rules, patterns: patterns))
    }

    @Test func saysWhatEntersAndWhatDoesNot() async throws {
        let fixture = try Fixture()
        for path in ["src/a", "src/deep/b", "doc/x", "log/keep", "log/drop", "node_modules/m/i"] {
            try fixture.write(path, path)
        }
        try fixture.link("/etc", "out")
        let ignore = "# rules\nnode_modules\nlog\n!log/keep"
        let report = try report(fixture, ignore, patterns: ["src"])
        #expect(report.files == 2)
        #expect(report.bytes == 15)
        #expect(report.largestFiles.map(\.path) == ["src/deep/b", "src/a"])
        #expect(report.largestDirectories.map(\.path) == ["src", "src/deep"])
        #expect(report.ignored.map(\.path) == ["log/drop", "node_modules"])
        #expect(report.ignored.map(\.line) == [3, 2])
        #expect(report.ignored.map(\.isDirectory) == [false, true])
        #expect(report.unused.map(\.path) == ["log", "doc"])
        #expect(report.warnings.isEmpty)
        let scan = try await fixture.scan(ignore, patterns: ["src"])
        #expect(scan.files == report.files && scan.bytes == report.bytes)
    }

    @Test func warnsOfWhatShouldNotBeThere() throws {
        let fixture = try Fixture()
        for path in [".git/HEAD", "node_modules/x", "id_rsa", ".env", ".env.example"] { try fixture.write(path, "x") }
        try fixture.write("big")
        truncate(fixture.root + "/big", Int(ContextReport.largeSize))
        let report = try report(fixture)
        #expect(
            report.warnings.map(\.kind) == [
                .noIgnoreFile, .environment, .repository, .largeFile, .privateKey, .dependencies,
            ])
    }

    @Test func followsNamedSymlinksAsAScanDoes() throws {
        let fixture = try Fixture()
        try fixture.write("real/f", "1")
        try fixture.write("other/f", "22")
        try fixture.link("real", "one")
        try fixture.link("loop", "loop")
        #expect(try report(fixture, patterns: ["one", "loop"]).bytes == 1)
    }

    @Test func ignoredDirectoryIsNotOpened() throws {
        let fixture = try Fixture()
        try fixture.write("secret/a", "1")
        try deepDirectory(fixture.root + "/secret", levels: 600)
        #expect(try report(fixture, "secret").files == 0)
        #expect(throws: ContextError.self) { try report(fixture) }
    }
}
