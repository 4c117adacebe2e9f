// How text becomes instructions: lexing, continuations, comments, directives, JSON forms, heredocs, limits.

import Testing

@testable import StageDockerfile

@Suite struct SyntaxTests {
    private func golden(_ text: String) throws -> [String] {
        try Dockerfile.parseSyntax(Array(text.utf8), file: "Dockerfile").map(\.golden)
    }

    @Test(arguments: [
        ("FROM a", ["from \"a\" L1"]),
        ("\u{FEFF}FROM a", ["from \"a\" L1"]),
        ("  from   a  AS  b  ", ["from \"a\" \"AS\" \"b\" L1"]),
        ("FROM a\r\nRUN x\r\n", ["from \"a\" L1", "run \"x\" L2"]),
        ("FROM a # no comment", ["from \"a\" \"#\" \"no\" \"comment\" L1"]),
        ("# c\n\n  # d\nFROM a", ["from \"a\" L4"]),
        ("RUN a \\\n  b", ["run \"a   b\" L1-2"]),
        ("RUN a \\  \n b", ["run \"a  b\" L1-2"]),
        ("RUN a \\\n# gone\n  # gone too\n b", ["run \"a  b\" L1-4"]),
        ("RUN a \\\n\n b", ["run \"a  b\" L1-3"]),
        ("RUN a \\\\\nRUN b", ["run \"a \\\\\\\\\" L1", "run \"b\" L2"]),
        ("RUN a \\", ["run \"a\" L1"]),
        ("\\\nRUN a", ["run \"a\" L1-2"]),
        ("RUN \\\n", ["run L1"]),
        ("RU\\\nN a", ["run \"a\" L1-2"]),
        ("unknown x y", ["unknown L1"]),
        ("RUN --a=b --c \"--d e\"", ["run [--a=b] [--c] \"\\\"--d e\\\"\" L1"]),
        ("RUN --a=\"b c\"d --'e' x", ["run [--a=b cd] [--e] \"x\" L1"]),
        ("RUN --a=b\\ c x", ["run [--a=b c] \"x\" L1"]),
        ("RUN -- --x", ["run \"--x\" L1"]),
        ("COPY  a\tb  c/ ", ["copy \"a\" \"b\" \"c/\" L1"]),
        ("COPY \"a b\" c", ["copy \"\\\"a\" \"b\\\"\" \"c\" L1"]),
        (
            "ENV a=b c=\"d e\" f='g h' i=j\\ k",
            ["env \"a\" \"b\" \"=\" \"c\" \"\\\"d e\\\"\" \"=\" \"f\" \"'g h'\" \"=\" \"i\" \"j\\\\ k\" \"=\" L1"]
        ),
        ("ENV a b  c", ["env \"a\" \"b  c\" \"\" L1"]),
        ("LABEL \"x y\"=z", ["label \"\\\"x y\\\"\" \"z\" \"=\" L1"]),
        ("ARG a b=c d=\"e f\"", ["arg \"a\" \"b=c\" \"d=\\\"e f\\\"\" L1"]),
        ("HEALTHCHECK --retries=3 CMD curl  x", ["healthcheck [--retries=3] \"CMD\" \"curl  x\" L1"]),
        ("HEALTHCHECK NONE", ["healthcheck \"NONE\" L1"]),
        ("HEALTHCHECK CMD [\"a\"]", ["healthcheck \"CMD\" \"a\" json L1"]),
        ("ONBUILD run --x=y a", ["onbuild L1 {run [--x=y] \"a\" L1}"]),
        ("WORKDIR a b", ["workdir \"a b\" L1"]),
    ])
    func instructions(text: String, expected: [String]) throws {
        #expect(try golden(text) == expected)
    }

    @Test(arguments: [
        ("CMD [\"a\", \"b c\"]", "cmd \"a\" \"b c\" json L1"),
        ("CMD []", "cmd json L1"),
        ("CMD  [ ] ", "cmd json L1"),
        ("CMD [\"\\u00e9\\n\\\"\\\\\\/\"]", "cmd \"é\\n\\\"\\\\/\" json L1"),
        ("CMD [\"\\ud83d\\ude00\\ud83d\"]", "cmd \"😀\u{FFFD}\" json L1"),
        ("CMD ['a']", "cmd \"['a']\" L1"),
        ("CMD [\"a\"", "cmd \"[\\\"a\\\"\" L1"),
        ("CMD [\"a\",]", "cmd \"[\\\"a\\\",]\" L1"),
        ("CMD [\"a\"] x", "cmd \"[\\\"a\\\"] x\" L1"),
        ("CMD [\"a\" \"b\"]", "cmd \"[\\\"a\\\" \\\"b\\\"]\" L1"),
        ("RUN [ -f x ]", "run \"[ -f x ]\" L1"),
        ("RUN [[ a ]]", "run \"[[ a ]]\" L1"),
        ("COPY [\"a b\", \"c\"]", "copy \"a b\" \"c\" json L1"),
        ("VOLUME [\"/a\"]", "volume \"/a\" json L1"),
        ("EXPOSE [\"80\"]", "expose \"[\\\"80\\\"]\" L1"),
    ])
    func jsonForms(text: String, expected: String) throws {
        #expect(try golden(text) == [expected])
    }

    @Test(arguments: ["CMD [1]", "CMD [\"a\", null]", "RUN [[\"a\"]]", "RUN [{\"a\": [1, -2.5e3, true, {}]}]"])
    func jsonOfSomethingElse(text: String) {
        #expect(throws: DockerfileError.self) { try golden(text) }
    }

    @Test(arguments: [
        ("RUN <<EOF\na\nb\nEOF\nRUN c", ["run \"<<EOF\" L1-4 <<EOF:\"a\\nb\\n\"", "run \"c\" L5"]),
        ("RUN <<\"E F\"\na\nE F", ["run \"<<\\\"E F\\\"\" L1-3 <<E F!:\"a\\n\""]),
        ("RUN 3<<-EOF cat\n\ta\n\t\tEOF", ["run \"3<<-EOF cat\" L1-3 3<<-EOF:\"\\ta\\n\""]),
        ("RUN << EOF\nEOF", ["run \"<< EOF\" L1-2 <<EOF:\"\""]),
        ("COPY <<a <<'b' /c\n1\na\n2\nb", ["copy \"<<a\" \"<<'b'\" \"/c\" L1-5 <<a:\"1\\n\" <<b!:\"2\\n\""]),
        ("RUN cat <<<EOF", ["run \"cat <<<EOF\" L1"]),
        ("RUN echo $((1<<2))\n2))", ["run \"echo $((1<<2))\" L1", "2)) L2"]),
        ("RUN echo '<<EOF'", ["run \"echo '<<EOF'\" L1"]),
        ("RUN [\"<<EOF\"]", ["run \"<<EOF\" json L1"]),
        ("ENV a=<<EOF", ["env \"a\" \"<<EOF\" \"=\" L1"]),
        ("ONBUILD RUN <<EOF\na\nEOF", ["onbuild L1-3 <<EOF:\"a\\n\" {run \"<<EOF\" L1 <<EOF:\"a\\n\"}"]),
        ("RUN <<EOF\r\na\r\nEOF\r\n", ["run \"<<EOF\" L1-3 <<EOF:\"a\\r\\n\""]),
        ("RUN <<$X\na\n$X", ["run \"<<$X\" L1-3 <<$X:\"a\\n\""]),
        ("RUN <<EOF\n# kept \\\n\nEOF", ["run \"<<EOF\" L1-4 <<EOF:\"# kept \\\\\\n\\n\""]),
    ])
    func heredocs(text: String, expected: [String]) throws {
        #expect(try golden(text) == expected)
    }

    @Test func chompedText() throws {
        let parsed = try Dockerfile.parseSyntax(Array("COPY <<-E /x\n\t\ta\n\tb\tc\n\tE".utf8), file: "D")
        #expect(parsed[0].heredocs[0].text == "a\nb\tc\n")
    }

    @Test func escapeDirective() throws {
        #expect(try golden("# escape=`\nRUN a `\n b\\") == ["run \"a  b\\\\\" L2-3"])
        #expect(try golden("#Escape = `\nENV a=b` c") == ["env \"a\" \"b` c\" \"=\" L2"])
    }

    @Test func directives() throws {
        let parsed = try Dockerfile.parse("# syntax=docker/dockerfile:1\n# check=skip=A,B;error=true\nFROM a")
        #expect(parsed.directives.syntax?.text == "docker/dockerfile:1")
        let checks = try parsed.directives.checkOptions()
        #expect(checks.skipped == ["A", "B"])
        #expect(checks.isError)
        // A comment, blank line or unknown key ends them.
        for text in ["# hello\n# escape=`\nFROM a", "\n# escape=`\nFROM a", "# x=y\n# escape=`\nFROM a"] {
            #expect(try Dockerfile.parse(text).directives.escape == UInt8(ascii: "\\"), "\(text)")
        }
    }

    @Test(arguments: [
        ("", "the Dockerfile is empty"),
        ("# only\n\n", "the Dockerfile has no instructions"),
        ("# escape=x\nFROM a", "invalid escape token `x`"),
        ("# escape=`\n# escape=`\nFROM a", "only one `escape` parser directive can be used"),
        ("RUN <<EOF\nx", "unterminated heredoc `EOF`"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV a=b c", "can't find = in `c`; it must be of the form name=value"),
    ])
    func refusals(text: String, message: String) {
        let error = #expect(throws: DockerfileError.self) { try golden(text) }
        #expect(error?.message == message)
    }

    @Test func nestedTriggers() throws {
        let deep = String(repeating: "ONBUILD ", count: 60)
        #expect(try golden(deep + "RUN x").count == 1)
        // Each level takes stack.
        let error = #expect(throws: DockerfileError.self) { try golden(deep + deep + "RUN x") }
        #expect(error?.message == "`ONBUILD` inside `ONBUILD` isn't allowed")
    }

    @Test func zeroBytes() throws {
        let error = #expect(throws: DockerfileError.self) { try Dockerfile.parse("FROM a\nRUN b\u{0}c") }
        #expect(error?.message == "the line holds a NUL byte")
        #expect(try golden("FROM a\nENV A=b\u{0}c").count == 2)
    }

    @Test func invalidUTF8() throws {
        let bad = Array("FROM a\nRUN ".utf8) + [0xFF, 0xFE]
        let error = #expect(throws: DockerfileError.self) { try Dockerfile.parse(bad, file: "D") }
        #expect(error?.range?.firstLine == 2)
        // Who only looks sees what docker's parser sees.
        let syntax = try Dockerfile.parseSyntax(bad, file: "D")
        #expect(syntax[1].arguments.map(\.text) == ["\u{FFFD}\u{FFFD}"])
        let heredoc = try Dockerfile.parseSyntax(Array("COPY <<E x\n".utf8) + [0xFF, 0x0A, 0x45], file: "D")
        #expect(heredoc[0].heredocs[0].content == "\u{FFFD}\n")
        // In a comment it harms nobody.
        #expect(try Dockerfile.parse([0x23, 0xFF, 0x0A] + Array("FROM a".utf8), file: "D").stages.count == 1)
    }

    @Test func lineLimit() throws {
        let longest = "RUN " + String(repeating: "x", count: 65_531)
        #expect(try golden(longest).count == 1)
        let error = #expect(throws: DockerfileError.self) { try golden("FROM a\n" + longest + "x\n") }
        #expect(error?.range?.firstLine == 2)
        // Joined lines may come to more.
        #expect(try golden(longest.dropLast() + "\\\n" + longest.dropLast(8)).count == 1)
    }

    @Test func emptyContinuationWarns() throws {
        let parsed = try Dockerfile.parse("FROM a\nRUN x \\\n\n  y")
        #expect(parsed.warnings.map(\.rule) == ["NoEmptyContinuation"])
    }

    @Test func rangesOfWords() throws {
        let parsed = try Dockerfile.parseSyntax(Array("FROM a\n  COPY --from=x é \\\n   dest".utf8), file: "D")
        let copy = parsed[1]
        #expect(copy.flags[0].range.firstColumn == 8 && copy.flags[0].range.lastColumn == 15)
        #expect(copy.arguments[0].range.firstColumn == 17 && copy.arguments[0].range.lastColumn == 18)
        #expect(copy.arguments[1].range.firstLine == 3 && copy.arguments[1].range.firstColumn == 4)
        #expect(copy.range.firstLine == 2 && copy.range.lastLine == 3)
    }
}
