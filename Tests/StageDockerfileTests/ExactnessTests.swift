// Where docker's reader is lenient and where it is strict: facts of BuildKit's own behaviour, case by case.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct ExactnessTests {
    /// After `FROM a`: what `docker build` refuses, if at all, only when it runs.
    @Test(arguments: [
        "HEALTHCHECK --interval=1s NONE", "HEALTHCHECK --nonsense=x NONE", "STOPSIGNAL --x SIGTERM", "ARG --x y",
        "STOPSIGNAL NOSUCH", "EXPOSE nope", "RUN", "RUN []", "CMD", "CMD []", "ENTRYPOINT", "ENTRYPOINT []",
        "ONBUILD NONSENSE x", "ONBUILD COPY a", "ONBUILD RUN --nope x", "ONBUILD ENV =x", "ONBUILD HEALTHCHECK",
        "ONBUILD STOPSIGNAL", "ONBUILD COPY <<E /x\nb\nE", "RUN --mount=type=nope x", "RUN --mount=nonsense x",
        "RUN --mount=type=cache,mode=9 x", "RUN --mount=target x", "RUN --mount=type=bind,sharing=x x",
        "COPY <<a/b /x\nc\na/b", "COPY <<'E' <<E /x\n1\nE\n2\nE", "COPY --from=UPPER/x a b", "COPY --chmod=nope a b",
        "COPY --chown=a:b:c a b", "COPY [\"<<E\", \"/x\"]", "COPY <<\"E /x", "ADD --checksum=md5:1 a b",
        "ADD --unpack=false a b",
        "COPY http://x/y z", "WORKDIR ${x", "USER ${x", "LABEL a=${x", "VOLUME [\"a\", \"b\"]", "VOLUME a b",
        "ENV a=b=c", "ENV a= b=", "LABEL a=''", "ENV a b=c d", "SHELL [\"\"]", "MAINTAINER a b c", "EXPOSE 80/TCP ${x}",
        "HEALTHCHECK --retries=0 CMD x", "HEALTHCHECK --interval=0 CMD x", "HEALTHCHECK --timeout= CMD x",
        "healthcheck cmd x", "HEALTHCHECK CMD []  x", "RUN --network=none --security=sandbox x",
        "RUN --device=vendor.com/class=name,required x", "RUN --device=name=x,required=true x",
        "RUN --device=a,REQUIRED x",
        "FROM b as c", "FROM b:UPPER/x", "FROM --platform=nonsense b", "FROM $x", "FROM b AS C.d-e_f",
        "# check=nonsense", "RUN [1e999]", "CMD [\"a\", \"b\",]",
    ])
    func taken(line: String) throws {
        _ = try Dockerfile.parse("FROM a\n" + line)
    }

    @Test(arguments: [
        "HEALTHCHECK --interval=x CMD y", "HEALTHCHECK --interval=1ns CMD y", "HEALTHCHECK --interval=-1s CMD y",
        "HEALTHCHECK --retries=x CMD y", "HEALTHCHECK --retries=99999999999 CMD y", "HEALTHCHECK --nope=1 CMD y",
        "HEALTHCHECK CMD []", "HEALTHCHECK NONE x", "HEALTHCHECK SOME x", "STOPSIGNAL", "STOPSIGNAL --x",
        "ONBUILD", "ONBUILD FROM x", "onbuild maintainer x", "ONBUILD onbuild run x", "ONBUILD --x RUN y",
        "ONBUILD CMD [1]", "ONBUILD ENV x", "RUN --network= x", "RUN --network=NONE x", "RUN --security=x y",
        "RUN --mount x", "RUN --mount=a\\\"b x", "RUN --device=a,b x", "RUN --device=a,required=x y",
        "RUN --device=name=a,name=b x", "COPY a", "COPY", "ADD --parents a b", "COPY --unpack a b", "COPY --link=x a b",
        "COPY --from=a --from=b c d", "COPY a <<E\nE", "COPY [\"a\", \"<<E\"]", "ARG", "ARG =x", "ENV", "ENV x",
        "ENV =x", "ENV a=b c", "LABEL", "LABEL x", "EXPOSE", "EXPOSE --x 80", "VOLUME", "VOLUME []", "VOLUME [\"\"]",
        "USER", "WORKDIR", "WORKDIR --x y", "MAINTAINER", "SHELL", "SHELL []", "SHELL x", "SHELL --x [\"a\"]",
        "CMD --x y",
        "ENTRYPOINT --x y", "CMD [\"a\", 1]", "CMD [{}]", "COPY [[\"a\"]]", "FROM", "FROM a b", "FROM a as",
        "FROM a in b",
        "FROM a AS 1", "FROM a AS -", "FROM a AS b/c", "FROM --x a", "FROM --platform a b", "NONSENSE", "RUN <<E\nx",
    ])
    func refused(line: String) {
        #expect(throws: DockerfileError.self) { try Dockerfile.parse("FROM a\n" + line) }
    }

    /// An operand of an operator makes docker forget what its word had before.
    @Test(arguments: [
        ("8${x:-0}", ["0"]), ("a${b:-c}d e${b:-f}", ["cd", "f"]), ("a${b-}", []), ("a b${c-}", ["a"]),
        ("a\"${b:-c}\"d", ["cd"]), ("a${v}b", ["a1b"]), ("${v:-x}b ${v}c", ["1b", "1c"]), ("a${v/1/2}b", ["2b"]),
        ("a${v#x}b${v%y}c", ["1c"]), ("'a b'${x:-c d}e", ["c", "de"]),
    ])
    func operandsEmptyTheWord(word: String, words: [String]) throws {
        #expect(try Expansion().expand(word, ["v": "1"]).words == words)
    }

    /// Only blanks of ASCII, and not the vertical tab, may stand around the parts of a directive.
    @Test(arguments: [
        ("#\u{A0}escape=`", UInt8(ascii: "\\")), ("#\u{0B}escape=`", UInt8(ascii: "\\")),
        ("# escape\u{3000}=`", UInt8(ascii: "\\")), ("#\t\u{0C} escape\t=\r`\t", UInt8(ascii: "`")),
        ("\u{A0}# escape=`", UInt8(ascii: "`")),
    ])
    func blanksInDirectives(line: String, escape: UInt8) throws {
        #expect(try Dockerfile.parse(line + "\nFROM a").directives.escape == escape)
    }

    @Test(arguments: [
        ("# escape=`\nCOPY --chown=1` 2 a b", ["--chown=1 2"], "a"), ("COPY --a\\ b c d", ["--a b"], "c"),
        ("# escape=`\nCOPY --chown=1\\ a b", ["--chown=1\\"], "a"), ("COPY \u{2003}--a b", [], "--a"),
        ("COPY --a\u{A0}b c", ["--a\u{A0}b"], "c"), ("COPY --a\u{0B}--b c", ["--a", "--b"], "c"),
    ])
    func flagsEndAtBlanks(text: String, flags: [String], first: String) throws {
        let instruction = try #require(try Dockerfile.parseSyntax(Array(text.utf8), file: "Dockerfile").first)
        #expect(instruction.flags.map(\.text) == flags)
        #expect(instruction.arguments.first?.text == first)
    }

    @Test func whatIsDroppedIsSaid() throws {
        let parsed = try Dockerfile.parse("FROM a\nHEALTHCHECK --x=1 NONE\nSTOPSIGNAL --y 9\nARG --z w\nONBUILD NOPE")
        #expect(
            parsed.warnings.map(\.message) == [
                "--x=1 says nothing to HEALTHCHECK", "--y says nothing to STOPSIGNAL", "--z says nothing to ARG",
                "a build that is FROM this image will be refused: unknown instruction: NOPE",
            ])
    }

    /// A word, its variables, what it expands to (nil is refused), and the names found and not found.
    @Test(
        arguments: [
            ("x ${UNUSED}", [:], "x ", [], ["UNUSED"]), ("x ${FOO}", ["FOO": "y"], "x y", ["FOO"], []),
            ("${A-a} ${B-b} ${C-c}", ["A": "x", "B": ""], "x  c", ["A", "B"], ["C"]),
            ("${A:-a} ${B:-b} ${C:-c}", ["A": "x", "B": ""], "x b c", ["A", "B"], ["C"]),
            ("${A:-}", [:], "", [], ["A"]), ("${A+a} ${B+b} ${C+c}", ["A": "x", "B": ""], "a b ", ["A", "B"], ["C"]),
            ("${A:+a} ${B:+b} ${C:+c}", ["A": "x", "B": ""], "a  ", ["A", "B"], ["C"]),
            ("${B?b}", ["B": ""], "", ["B"], []), ("${B:?b}", ["B": ""], nil, [], []), ("${C?c}", [:], nil, [], []),
            ("${C:?}", [:], nil, [], []), ("${A=a}", ["A": "x"], nil, [], []), ("${A=:a}", ["A": "x"], nil, [], []),
            ("${A#()[]{\\}^$.\\*\\?|\\\\}", ["A": "()[]{}^$.*?|\\x"], "x", ["A"], []),
            ("${A%%\\**}", ["A": "xx**"], "xx", ["A"], []), ("${A#*x*y}", ["A": "xxyy"], "y", ["A"], []),
            ("${A#*}", ["A": "xxyy"], "xxyy", ["A"], []), ("${A#$B}", ["A": "xxyy", "B": "x"], "xyy", ["A", "B"], []),
            ("${A#$B}", ["A": "xxyy", "B": ""], "xxyy", ["A", "B"], []), ("${A#}", ["A": "xxyy"], "xxyy", ["A"], []),
            ("${A##*x}", ["A": "xxyy"], "yy", ["A"], []), ("${A##}", ["A": "xxyy"], "xxyy", ["A"], []),
            ("${A#?\\?}", ["A": "???y"], "?y", ["A"], []),
            ("${X:-.}${A%x}${X:-.}", ["A": "xxyy"], ".xxyy.", ["A"], ["X"]),
            ("${A%%\\**\\*}", ["A": "a***yy*"], "a", ["A"], []), ("${A%}", ["A": "xxyy"], "xxyy", ["A"], []),
            (
                "${A/$N/.} - ${A//$N/.}", ["A": "/foo*/*/*.txt", "N": "\\*/"], "/foo.*/*.txt - /foo..*.txt",
                ["A", "N"], []
            ),
            ("${A/$N/} - ${A//$N/}", ["A": "/tmp/tmp/b.txt", "N": "/tmp"], "/tmp/b.txt - /b.txt", ["A", "N"], []),
            (
                "${A/$N/$R} - ${A//$N/$R}", ["A": "/a/foo/b/c.txt", "N": "/?/", "R": "/"],
                "/foo/b/c.txt - /foo/c.txt", ["A", "N", "R"], []
            ),
            ("${A//\\//\\/}", ["A": "/tmp/foo.txt"], "\\/tmp\\/foo.txt", ["A"], []),
            ("${A/$B/ww}", ["A": "xxyy", "B": ""], "wwxxyy", ["A", "B"], []), ("${A//ww}", ["A": "xxyy"], nil, [], []),
            ("${A//}", ["A": "xxyy"], nil, [], []), ("${A///}", ["A": "xxyy"], "xxyy", ["A"], []),
            ("${A///}", [:], "", [], ["A"]),
            // With // the replacement is a template of Go's regular expressions; with / it is not.
            ("${A//b/$R}", ["A": "abc", "R": "<$0>"], "a<b>c", ["A", "R"], []),
            ("${A//b/$R}", ["A": "abc", "R": "[$1$x${y}$$]"], "a[$]c", ["A", "R"], []),
            ("${A//b/$R}", ["A": "abc", "R": "$ ${ $-"], "a$ ${ $-c", ["A", "R"], []),
            ("${A/b/$R}", ["A": "abc", "R": "<$0>"], "a<$0>c", ["A", "R"], []),
            ("\u{FEFF}a$A", ["A": "b"], "ab", ["A"], []), ("a\u{FEFF}", [:], "a\u{FEFF}", [], []),
        ] as [(String, [String: String], String?, [String], [String])])
    func expansion(word: String, variables: [String: String], value: String?, found: [String], missing: [String]) {
        let result = try? Expansion().expand(word, variables)
        #expect(result?.value == value)
        guard value != nil else { return }
        #expect(result?.matched.sorted() == found)
        #expect(result?.unmatched.sorted() == missing)
    }

    @Test(arguments: [
        ("80", ["80/tcp"]), ("80/", ["80/tcp"]), ("80-82/udp", ["80/udp", "81/udp", "82/udp"]), (":80", ["80/tcp"]),
        ("1:2", ["2/tcp"]), ("1-2:3-4", ["3/tcp", "4/tcp"]), ("1-9:3", ["3/tcp"]), ("::80", ["80/tcp"]),
        ("127.0.0.1:1:2", ["2/tcp"]), ("[::1]::2", ["2/tcp"]), ("::1:1:2", ["2/tcp"]), ("fe80::1:2:3:4", ["4/tcp"]),
        ("0", ["0/tcp"]), ("65535/SCTP", ["65535/sctp"]),
    ])
    func ports(text: String, ports: [String]) throws {
        #expect(try PortSpecification(text, at: .init(file: "D", firstLine: 1, lastLine: 1)).ports == ports)
    }

    @Test(arguments: [
        "", "x", "65536", "-1", "2-1", "1-2-3", "80/tcp/udp", "80/foo", "x:80", "1-3:4-5", "127.0.0.01:1:2",
        "1.2.3:1:2",
        "300.0.0.1:1:2", "[::1:1:2", ":::1:1:2", "80 ",
    ])
    func badPorts(text: String) {
        #expect(throws: DockerfileError.self) {
            try PortSpecification(text, at: .init(file: "D", firstLine: 1, lastLine: 1))
        }
    }

    @Test(arguments: [
        ("a", true), ("a/b", true), ("A/b", true), ("a/B", false), ("localhost/a", true), ("localhost:5000/a:b", true),
        ("x_y.example/a", false), ("-x.example/a", false), ("[::1]:80/a", true), ("[::1]/a", true), ("[g]/a", false),
        ("a.b:x/c", false), ("a..b", false), ("a.b", true), ("a__b", true), ("a___b", false), ("a---b", true),
        ("a:", false),
        ("a:-b", false), ("a:_b", true), ("a:" + String(repeating: "x", count: 128), true),
        ("a:" + String(repeating: "x", count: 129), false), (String(repeating: "a", count: 64), false),
        (String(repeating: "g", count: 64), true), (String(repeating: "g", count: 256), false),
        ("a@sha256:" + String(repeating: "a", count: 64), true),
        ("a@sha256:" + String(repeating: "a", count: 63), false),
        ("a@sha256:" + String(repeating: "A", count: 64), false), ("a@md5:" + String(repeating: "a", count: 32), false),
    ])
    func imageNames(name: String, isGood: Bool) {
        #expect((ImageName.fault(name) == nil) == isGood, "\(ImageName.fault(name) ?? "taken")")
    }
}
