// Why a path is not in a context, asked of the disk.

import StageContext
import StageSystem
import Testing

@Suite struct AbsentPathTests {
    private func reason(_ path: TreePath, _ fixture: Fixture, ignore: String = "") throws -> AbsentPath? {
        AbsentPath(
            path, context: fixture.root, rules: try IgnoreRules(text: Array(ignore.utf8), file: ".dockerignore"))
    }

    @Test func theNamesBesideItAreThere() throws {
        let fixture = try Fixture()
        try fixture.write("src/main.go")
        try fixture.write("src/main.log")
        try fixture.write("go.mod")
        #expect(
            try reason("src/mian.go", fixture, ignore: "**/*.log")
                == .missing(name: FileName("mian.go"), directory: "/src", names: [FileName("main.go")]))
        #expect(
            try reason("srv/main.go", fixture)
                == .missing(name: FileName("srv"), directory: "/", names: [FileName("go.mod"), FileName("src")]))
        #expect(try reason("src/main.go", fixture) == nil)
    }

    @Test func theLineThatLeavesItOut() throws {
        let fixture = try Fixture()
        try fixture.write("build/out/a")
        #expect(
            try reason("build/out/a", fixture, ignore: "# all\n*.log\nbuild\n")
                == .ignored(file: ".dockerignore", line: 3))
        #expect(try reason("build/out/a", fixture, ignore: "build\n!build/out\n") == nil)
    }

    @Test func nothingIsSaidBeyondASymlinkOrAFile() throws {
        let fixture = try Fixture()
        try fixture.write("file")
        try fixture.link("/etc", "link")
        #expect(try reason("link/passwd", fixture) == nil)
        #expect(try reason("file/x", fixture) == nil)
    }
}
