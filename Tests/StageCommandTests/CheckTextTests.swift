// What `check`, `--check` and `--call` print: docker's texts and documents, and SARIF.

import FoundationEssentials
import StageDockerfile
import StageGraph
import Testing

@testable import StageRun
@testable import stagerun

/// A report about a text, with base images that nobody knows.
private func report(_ text: String, file: String = "Dockerfile") -> CheckReport {
    var images: [String: BaseImage] = [:]
    while true {
        let found = Examination.of(Array(text.utf8), file: file, options: LoweringOptions(), images: images)
        let missing = found.needs.filter { images[$0.key] == nil }
        if missing.isEmpty {
            return CheckReport(file: file, source: Array(text.utf8), examination: found, unknownImages: [])
        }
        for request in missing { images[request.key] = .unknown(platform: request.platform) }
    }
}

@Suite struct CheckTextTests {
    private let text = "FROM scratch AS base\n# é\nCOPY a \\\n  b /x/\nCMD $x\nFROM base\nWORKDIR é\n"

    @Test func asDockerPrintsIt() {
        #expect(
            CheckDocument(report: report(text)).text == """
                Check complete, 2 warnings have been found!

                WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
                JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
                Dockerfile:5
                --------------------
                   3 |     COPY a \\
                   4 |       b /x/
                   5 | >>> CMD $x
                   6 |     FROM base
                   7 |     WORKDIR é
                --------------------

                WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/
                Relative workdir "é" can have unexpected results if the base image changes
                Dockerfile:7
                --------------------
                   5 |     CMD $x
                   6 |     FROM base
                   7 | >>> WORKDIR é
                   8 |    \u{20}
                --------------------

                """)
        #expect(CheckDocument(report: report("FROM scratch")).text == "Check complete, no warnings found.\n")
        #expect(
            CheckDocument(report: report("FROM scratch\nCMD x")).text.hasPrefix("Check complete, 1 warning has been"))
    }

    @Test func forPeople() {
        let page = CheckText(report: report(text), colours: false).page
        #expect(
            page == """
                warning: Dockerfile:5:1: JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
                  5 | CMD $x
                    | ^^^^^^
                  help: In the shell form the shell gets the signals, and the program may never be told to stop.

                warning: Dockerfile:7:9: WorkdirRelativePath: Relative workdir "é" can have unexpected results if the base image changes
                  7 | WORKDIR é
                    |         ^
                  help: Where it leads depends on the base image; start with an absolute path.

                Dockerfile: 2 warnings

                """)
        let broken = CheckText(report: report("FROM scratch\nCMD x\nEXPOSE \u{1B}[31m"), colours: false).page
        #expect(broken.hasSuffix("Dockerfile: 1 error, 1 warning\n"))
        #expect(!broken.contains("\u{1B}"))
        #expect(CheckText(report: report("FROM scratch"), colours: false).page == "Dockerfile: no warnings\n")
    }

    private struct Lint: Decodable {
        struct Range: Decodable {
            struct Position: Decodable { var line: Int }
            var start: Position
            var end: Position
        }
        struct Location: Decodable { var ranges: [Range] }
        struct Warning: Decodable {
            var ruleName: String
            var description: String
            var url: String
            var detail: String
            var location: Location
        }
        struct Source: Decodable {
            var filename: String
            var data: Data
        }
        struct BuildError: Decodable {
            var message: String
            var location: Location
        }
        var warnings: [Warning]
        var sources: [Source]
        var buildError: BuildError?
    }

    @Test func dockersDocument() throws {
        let document = CheckDocument(report: report("FROM scratch\nCMD a \\\n b\nEXPOSE x")).json.compact
        let lint = try JSONDecoder().decode(Lint.self, from: Data(document.utf8))
        #expect(lint.warnings.map(\.ruleName) == ["JSONArgsRecommended"])
        #expect(lint.warnings[0].location.ranges.map { [$0.start.line, $0.end.line] } == [[2, 3]])
        #expect(
            lint.sources.map { String(decoding: $0.data, as: UTF8.self) } == ["FROM scratch\nCMD a \\\n b\nEXPOSE x"])
        #expect(lint.buildError?.message == "invalid port `x` in EXPOSE")
        #expect(lint.buildError?.location.ranges.map(\.start.line) == [4])
    }

    /// What SARIF 2.1.0 requires, and what code hosts require beyond it.
    private struct SARIF: Decodable {
        struct Message: Decodable { var text: String }
        struct Rule: Decodable {
            struct Level: Decodable { var level: String }
            var id: String
            var shortDescription: Message
            var defaultConfiguration: Level
        }
        struct Driver: Decodable {
            var name: String
            var version: String
            var rules: [Rule]
        }
        struct Tool: Decodable { var driver: Driver }
        struct Region: Decodable {
            var startLine: Int
            var startColumn: Int
            var endLine: Int
            var endColumn: Int
        }
        struct Artifact: Decodable { var uri: String }
        struct Place: Decodable {
            var artifactLocation: Artifact
            var region: Region
        }
        struct Location: Decodable { var physicalLocation: Place }
        struct Result: Decodable {
            var ruleId: String
            var ruleIndex: Int
            var level: String
            var message: Message
            var locations: [Location]
        }
        struct Run: Decodable {
            var tool: Tool
            var columnKind: String
            var results: [Result]
        }
        var version: String
        var runs: [Run]
    }

    @Test func sarif() throws {
        let text = "FROM scratch\nLABEL é=é b=$ü\nEXPOSE x"
        let document = SARIFText(report: report(text, file: "a dir/ü%")).document.pretty
        let sarif = try JSONDecoder().decode(SARIF.self, from: Data(document.utf8))
        #expect(sarif.version == "2.1.0" && sarif.runs.count == 1)
        let run = sarif.runs[0]
        #expect(run.tool.driver.name == "stagerun" && run.columnKind == "unicodeCodePoints")
        #expect(run.results.map(\.ruleId) == ["UndefinedVar", "DockerfileError"])
        #expect(run.results.map(\.level) == ["warning", "error"])
        for result in run.results { #expect(run.tool.driver.rules[result.ruleIndex].id == result.ruleId) }
        let place = run.results[0].locations[0].physicalLocation
        #expect(place.artifactLocation.uri == "a%20dir/%C3%BC%25")
        #expect(
            [place.region.startLine, place.region.startColumn, place.region.endLine, place.region.endColumn] == [
                2, 11, 2, 15,
            ])
    }
}

@Suite struct OutlineTextTests {
    private let text = """
        # base is where it starts
        FROM scratch AS base
        # MODE of the build
        ARG MODE=fast
        ARG LONGER_NAME
        FROM base
        """

    @Test func asDockerPrintsIt() throws {
        let report = report(text)
        let outline = OutlineText(outline: try #require(report.examination.outline), source: report.source)
        #expect(
            outline.tables == """
                BUILD ARG     VALUE   DESCRIPTION
                MODE          fast    of the build
                LONGER_NAME          \u{20}

                """ + "\n")
        let targets = try Dockerfile.parse(text).targets
        #expect(
            TargetsText(targets: targets, source: []).table == """
                TARGET      DESCRIPTION
                base        is where it starts
                (default)  \u{20}

                """)
        #expect(
            TargetsText(targets: Array(targets.prefix(1)), source: [0x41]).json.compact
                == #"{"targets":[{"name":"base","description":"is where it starts","base":"scratch","#
                + #""location":{"ranges":[{"start":{"line":2},"end":{"line":2}}]}}],"sources":["QQ=="]}"#)
        #expect(
            outline.json.compact.hasPrefix(
                #"{"args":[{"name":"MODE","description":"of the build","value":"fast","location":{"ranges":[{"start":{"line":4}"#
            ))
    }
}

@Suite struct CallOptionTests {
    @Test func spellings() throws {
        #expect(try CallOption(nil, check: false) == nil)
        #expect(try CallOption("build", check: false) == nil)
        #expect(try CallOption(nil, check: true)?.method == .check)
        #expect(try CallOption("lint", check: true)?.method == .check)
        let outline = try #require(try CallOption("outline,format=json", check: false))
        #expect(outline.method == .outline && outline.isJSON && !outline.ignoresStatus)
        #expect(try CallOption("check,ignorestatus=true", check: false)?.ignoresStatus == true)
        for text in ["chekc", "check,format=yaml", "outline,targets", "check,x=1", "check,ignorestatus=maybe"] {
            #expect(throws: UsageError.self, "\(text)") { try CallOption(text, check: false) }
        }
        #expect(throws: UsageError.self) { try CallOption("outline", check: true) }
    }
}
