// What each instruction demands of its own arguments and flags.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct CommandTests {
    private func parse(_ line: String) throws -> Command {
        let parsed = try Dockerfile.parse("FROM a\n" + line)
        return try #require(parsed.stages[0].instructions.first).command
    }

    @Test(arguments: [
        ("RUNN x", "unknown instruction: RUNN", "did you mean `RUN`?"),
        ("FORM x", "unknown instruction: FORM", "did you mean `FROM`?"),
        ("zzzzzz x", "unknown instruction: zzzzzz", nil),
        (
            "COPY a", "COPY requires at least two arguments, but only one was provided",
            "write COPY SOURCE... DESTINATION"
        ),
        ("COPY --fro=x a b", "unknown flag: --fro", "did you mean `--from`?"),
        ("ADD --from=x a b", "unknown flag: --from", nil),
        ("COPY --from=a --from=b c d", "duplicate flag: --from", "give it once"),
        ("COPY --chown a b", "missing a value on flag: --chown", "write --chown=VALUE"),
        ("COPY --link=maybe a b", "flag --link is true or false, not `maybe`", nil),
        ("COPY --link= a b", "missing a value on flag: --link", "write --link=VALUE"),
        ("COPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination", nil),
        ("WORKDIR", "WORKDIR requires exactly one argument", nil),
        ("USER", "USER requires exactly one argument", nil),
        ("ENV", "ENV requires at least one argument", nil),
        ("ENV =a", "ENV names can not be blank", nil),
        ("ARG =a", "ARG names can not be blank", nil),
        ("EXPOSE", "EXPOSE requires at least one argument", nil),
        ("VOLUME [\" \"]", "VOLUME specified can not be an empty string", nil),
        ("SHELL a", "SHELL requires the arguments to be in JSON form", "write SHELL [\"executable\", \"parameters\"]"),
        ("SHELL []", "SHELL requires at least one argument", nil),
        ("USER --x=y a", "unknown flag: --x", "USER has no flags"),
        ("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger", nil),
        ("ONBUILD ONBUILD RUN a", "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", nil),
        ("ONBUILD", "ONBUILD requires at least one argument", nil),
        ("FROM a b", "FROM requires either one or three arguments", "write `FROM IMAGE` or `FROM IMAGE AS NAME`"),
        ("FROM a AS 1b", "invalid name for build stage: `1b`", nil),
        ("FROM a AS b/c", "invalid name for build stage: `b/c`", nil),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument", nil),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments", nil),
        ("HEALTHCHECK CMD", "missing command after HEALTHCHECK CMD", nil),
        ("HEALTHCHECK FOO x", "unknown type `FOO` in HEALTHCHECK", "write HEALTHCHECK CMD COMMAND"),
        ("HEALTHCHECK --interval=1us CMD x", "duration `1us` is less than 1ms", nil),
        ("HEALTHCHECK --interval=5 CMD x", "invalid duration `5`", nil),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)", nil),
        ("RUN --network=hots x", "invalid network mode: `hots`", "did you mean `host`?"),
        ("RUN --security=no x", "invalid security mode: `no`", nil),
    ])
    func refusals(line: String, message: String, hint: String?) {
        let error = #expect(throws: DockerfileError.self) { try parse(line) }
        #expect(error?.message == message)
        if let hint { #expect(error?.hint == hint) }
        #expect(error?.range?.firstLine == 2)
    }

    /// They count when the command is to run, not before.
    @Test(arguments: [
        ("RUN --mount=type=cach,target=/x x", "unsupported mount type `cach`", "did you mean `cache`?"),
        ("RUN --mount=type=cache x", "a mount of type `cache` needs a target", "add target=PATH"),
        ("RUN --mount=type=cache,target=/x,sharing=some x", "unsupported sharing value `some`", nil),
        ("RUN --mount=tgt=/x x", "unexpected key `tgt` in --mount", nil),
        ("RUN --mount=type=bind,target=/ x", "invalid mount target `/`", nil),
        ("RUN --mount=type=bind,target=/x,size=1 x", "key `size` does not go with a mount of type `bind`", nil),
        ("RUN --mount=type=secret x", "a secret mount needs an id", "add id=NAME"),
        ("RUN --mount=type=cache,target=/x,mode=9 x", "invalid value `9` for mode", nil),
    ])
    func refusedMounts(line: String, message: String, hint: String?) throws {
        _ = try parse(line)
        _ = try Bench().lower("FROM a AS unused\n\(line)\nFROM a")
        let error = #expect(throws: DockerfileError.self) { try Bench().lower("FROM a\n\(line)") }
        #expect(error?.message == message)
        if let hint { #expect(error?.hint == hint) }
        #expect(error?.range?.firstLine == 2)
    }

    @Test(arguments: [
        "RUN", "CMD", "ENTRYPOINT []", "CMD []", "FROM a as b", "MAINTAINER x y", "COPY <<a <<b /c\na\nb",
        "RUN --mount=type=cache,id=x,target=/c,sharing=locked,uid=1,mode=0755 true",
        "RUN --mount=target=/x,from=y true",
        "RUN --mount=type=secret,id=s,env=S true", "RUN --mount=type=ssh true",
        "RUN --mount=type=tmpfs,dst=/t,size=1g true",
        "RUN --mount=\"type=bind,\\\"source=a,b\\\",target=/x\" true", "RUN --mount=type=cache,target=$X,uid=$U true",
        "RUN --device=vendor/class=x,required true", "COPY --parents --exclude=a --exclude=b --link=false x y",
        "ADD --keep-git-dir=true --checksum=sha256:0 --unpack=false a b", "HEALTHCHECK --interval=1m30s CMD [\"a\"]",
    ])
    func accepted(line: String) throws {
        #expect(throws: Never.self) { try Dockerfile.parse("FROM a\n" + line) }
    }

    @Test func beforeTheFirstStage() {
        let error = #expect(throws: DockerfileError.self) { try Dockerfile.parse("ARG a\nRUN x\nFROM b") }
        #expect(error?.range?.firstLine == 2)
        #expect(throws: DockerfileError.self) { try Dockerfile.parse("ARG a") }
    }

    @Test func heredocSourcesComeAfterPaths() throws {
        guard case .copy(let copy) = try parse("COPY <<a b /c\nx\na") else { Issue.record("no COPY"); return }
        #expect(copy.sources.count == 2)
        guard case .path(let word) = copy.sources[0] else { Issue.record("no path first"); return }
        #expect(word.text == "b")
    }

    @Test func triggerText() throws {
        #expect(try parse("onbuild  COPY \\\n a b") == .onBuild("COPY  a b"))
        #expect(try parse("ONBUILD RUN <<E\nx\nE") == .onBuild("RUN <<E\nx\nE"))
        #expect(try parse("ONBUILD \t RUN a \t ") == .onBuild("RUN a \t "))
        #expect(try parse("ONBUILD -- RUN a") == .onBuild("-- RUN a"))
    }

    @Test(arguments: [
        ("1h30m", Int64(5_400_000_000_000)), ("1.5s", 1_500_000_000), (".5s", 500_000_000), ("0", 0),
        ("2ms", 2_000_000),
        ("-3s", -3_000_000_000), ("+1us", 1_000), ("1.9999999999s", 1_999_999_999), ("1.s", 1_000_000_000),
        ("0.000000000000000000000001h", 0), ("2562047h", 9_223_369_200_000_000_000), ("-0", 0),
        ("9223372036854775807ns", .max), ("-9223372036854775808ns", .min),
    ])
    func durations(text: String, value: Int64) {
        #expect(GoText.duration(text) == value)
    }

    @Test(arguments: [
        "", "5", "s", "1x", "1h-", "9999999999h", "..s", ".s", "1.2.3s", "9223372036854775808ns", "+-1s", "٣s",
    ])
    func noDurations(text: String) {
        #expect(GoText.duration(text) == nil)
    }

    @Test(arguments: [
        (0, #"'\x00'"#), (3, #"'\x03'"#), (10, #"'\n'"#), (39, #"'\''"#), (34, #"'"'"#), (65, "'A'"),
        (0x7F, #"'\x7f'"#),
        (0xD800, "'\u{FFFD}'"), (0x110000, "'\u{FFFD}'"), (92, #"'\\'"#),
    ])
    func numbersAsCharacters(number: Int, text: String) {
        #expect(GoText.quotedCharacter(number) == text)
    }

    @Test(arguments: [
        (Int64(0), "0s"), (5_400_000_000_000, "1h30m0s"), (90_000_000_000, "1m30s"), (1_500_000_000, "1.5s"),
        (250_000_000, "250ms"), (1_500, "1.5µs"), (7, "7ns"), (-2_000_000_000, "-2s"),
    ])
    func durationTexts(value: Int64, text: String) {
        #expect(GoText.text(nanoseconds: value) == text)
    }

    @Test(arguments: [
        ("0755", true), ("7777", true), ("17777", false), ("8", false), ("u=rwX,go=rX", true), ("+x", true),
        ("g=u", true),
        ("a+rw-x", true), ("", false), ("u", false), ("x+", false), ("u=rwz", false), ("755x", false),
    ])
    func modes(text: String, isValid: Bool) {
        #expect(FileMode.isValid(text) == isValid)
    }

    @Test(arguments: [
        ("golang:1.22", true), ("docker.io/library/go_lang", true), ("localhost:5000/a/b:c", true), ("a--b", true),
        ("a@sha256:" + String(repeating: "0", count: 64), true), ("a@sha256:00", false), ("Alpine", false),
        ("a:", false), ("a//b", false), ("a:-b", false), ("-a", false), ("a..b", false), ("a b", false), ("é", false),
        ("a@md5:00", false), ("HOST/a", true), ("a___b", false),
    ])
    func imageNames(name: String, isValid: Bool) {
        #expect((ImageName.fault(name) == nil) == isValid)
    }

    @Test func spelling() {
        #expect(Spelling.closest("biulder", among: ["deps", "builder"]) == "builder")
        #expect(Spelling.closest("x", among: ["y"]) == nil)
        #expect(Spelling.distance(Array("kitten".utf8), Array("sitting".utf8)) == 3)
        #expect(Spelling.distance(Array("ab".utf8), Array("ba".utf8)) == 1)
    }
}
