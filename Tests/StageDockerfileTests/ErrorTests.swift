// Errors as people see them: place, line, caret, hint.

import Testing

@testable import StageDockerfile

@Suite struct ErrorTests {
    @Test(arguments: [
        (
            "FROM a\nRUNN x",
            """
            Dockerfile:2:1: unknown instruction: RUNN
              2 | RUNN x
                | ^^^^
            hint: did you mean `RUN`?

            """
        ),
        (
            "FROM a\nCOPY --chmod=999 x y",
            """
            Dockerfile:2:6: invalid --chmod value `999`
              2 | COPY --chmod=999 x y
                |      ^^^^^^^^^^^
            hint: write an octal mode up to 7777, or a symbolic one such as u=rwX,go=rX

            """
        ),
        (
            "FROM a\n\tENV \\\n  é=1 x=${y:?}\n",
            """
            Dockerfile:3:8: y: is not allowed to be unset
              3 |   é=1 x=${y:?}
                |       ^^^^^^^^

            """
        ),
        (
            "FROM a AS one\nCOPY --from=two / /\nFROM one AS two",
            """
            Dockerfile:2:6: circular dependency between stages: `one` -> `two` -> `one`
              2 | COPY --from=two / /
                |      ^^^^^^^^^^
            hint: move what both need into a stage before them

            """
        ),
        (
            "FROM a AS one\nCOPY --from=two / /\nFROM b AS two\nFROM one",
            """
            Dockerfile:2:6: cannot copy from stage `two`: it is defined after stage `one`
              2 | COPY --from=two / /
                |      ^^^^^^^^^^
            hint: move its FROM (line 3) above line 1

            """
        ),
        (
            "FROM a\nCOPY --from=0 / /",
            """
            Dockerfile:2:6: stage `stage-0` cannot copy from itself
              2 | COPY --from=0 / /
                |      ^^^^^^^^
            hint: copy within a stage with RUN cp

            """
        ),
        (
            "FROM a AS Builder\nFROM Builder",
            """
            Dockerfile:2:6: invalid image name `Builder`: repository names are lower case
              2 | FROM Builder
                |      ^^^^^^^
            hint: stage names are lower case here: write `builder`

            """
        ),
        (
            "FROM a@sha256:abc",
            """
            Dockerfile:1:6: invalid image name `a@sha256:abc`: its sha256 digest has 3 digits instead of 64
              1 | FROM a@sha256:abc
                |      ^^^^^^^^^^^^

            """
        ),
        (
            "FROM $NONE",
            """
            Dockerfile:1:6: base name `$NONE` is empty after expansion
              1 | FROM $NONE
                |      ^^^^^
            hint: give the ARG a default before the first FROM, or pass --build-arg

            """
        ),
        (
            "FROM a\nRUN --network=host --security=insecure x",
            """
            Dockerfile:2:5: network.host is not allowed
              2 | RUN --network=host --security=insecure x
                |     ^^^^^^^^^^^^^^
            hint: give the right to the build with --allow network.host

            """
        ),
    ])
    func golden(text: String, expected: String) {
        #expect(Bench().rendered(text) == expected)
    }

    @Test(arguments: [
        "RUN --security=insecure x", "RUN --device=v/d,required x", "RUN --device=d x",
        "COPY http://x/y z",
        "COPY git://x/y z", "ADD --checksum=sha256:0 a b", "RUN []", "COPY --from=$NONE a b", "COPY --from=9 a b",
        "STOPSIGNAL SIGFOO", "EXPOSE 80/xyz", "EXPOSE 70000", "EXPOSE 9-8",
        "VOLUME [\"$NONE\"]",
        "COPY <<../x /d\nE\n../x",
    ])
    func refusedInLowering(line: String) throws {
        let error = #expect(throws: DockerfileError.self) { try Bench().lower("FROM a\n" + line) }
        #expect(error?.range?.firstLine == 2)
    }

    @Test func unknownTarget() throws {
        var bench = Bench()
        bench.options.target = "biulder"
        let error = #expect(throws: DockerfileError.self) { try bench.lower("FROM a AS builder\nFROM a AS run") }
        #expect(error?.message == "target stage `biulder` could not be found")
        #expect(error?.hint == "did you mean `builder`? the stages are `builder`, `run`")
        bench.options.target = "0"
        #expect(throws: DockerfileError.self) { try bench.lower("FROM a AS builder") }
    }

    /// BuildKit looks at the base, the platform and every `--from` of stages that nobody needs, too.
    @Test(arguments: [
        ("FROM Base AS x", "invalid image name `Base`"), ("FROM a//b AS x", "invalid image name `a//b`"),
        ("FROM $U AS x", "base name `$U` is empty"), ("FROM ${U AS x", "missing '}'"),
        ("FROM --platform=a/b/c/d a AS x", "invalid platform"), ("FROM --platform=$U a AS x", "empty platform"),
        ("FROM a AS x\nCOPY --from=7 / /", "invalid stage index 7"),
        ("FROM a AS x\nCOPY --from=Base / /", "invalid image name `Base`"),
        ("FROM a AS x\nRUN --mount=from=Base,target=/m c", "invalid image name `Base`"),
        ("FROM a AS x\nCOPY --from=x / /", "cannot copy from itself"),
        ("FROM a AS x\nCOPY --from=y / /\nFROM a AS y\nCOPY --from=x / /", "circular dependency"),
    ])
    func unreachableMistakesThatCount(stages: String, message: String) {
        #expect(Bench().rendered(stages + "\nFROM a").contains(message))
    }

    @Test(arguments: [
        "FROM a AS x\nCOPY --from=y / /\nFROM a AS y", "FROM a AS x\nCOPY --from=$U / /", "FROM --platform= a AS x",
        "FROM a AS x\nSTOPSIGNAL NO", "FROM a AS x\nRUN --mount=type=no c", "FROM a AS x\nCOPY --from= b c",
    ])
    func unreachableStagesThatAreTaken(stages: String) throws {
        _ = try Bench().graph(stages + "\nFROM a")
    }

    @Test func hostileLinesAreShownSafely() {
        let text = "FROM a\nRUNN \u{1B}[31m" + String(repeating: "x", count: 1_000)
        let shown = Bench().rendered(text)
        #expect(!shown.unicodeScalars.contains("\u{1B}"))
        #expect(shown.utf8.count < 500)
        let error = DockerfileError("m", at: .init(file: "D", firstLine: 99, lastLine: 99), hint: nil)
        #expect(error.rendered(source: "FROM a") == "D:99:1: m\n")
        #expect(DockerfileError("m").rendered(source: "") == "m\n")
    }

    @Test func warningsRendered() throws {
        let text = "FROM a\nMAINTAINER b"
        let warning = try #require(Dockerfile.parse(text).warnings.first)
        #expect(warning.rendered(source: text).hasPrefix("Dockerfile:2:1: MaintainerDeprecated: "))
    }
}
