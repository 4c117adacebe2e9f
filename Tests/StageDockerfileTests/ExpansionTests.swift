// Every operator of variable substitution, quoting, escaping and word splitting.

import Testing

@testable import StageDockerfile

@Suite struct ExpansionTests {
    private let variables = [
        "a": "A", "b": "B", "empty": "", "path": "/usr/local/bin", "file": "x.tar.gz", "sp": "p q", "star": "a*b?c",
        "lines": "ab\ncd", "é": "E",
    ]

    @Test(arguments: [
        ("", ""), ("plain", "plain"), ("$a", "A"), ("${a}", "A"), ("$a$b", "AB"), ("x$a.y", "xA.y"), ("$ab", ""),
        ("${a}b", "Ab"), ("$", "$"), ("a$", "a$"), ("$.", "$."), ("$é", "E"), ("$1a", "a"), ("$$a", "a"),
        ("${unset}", ""), ("\\$a", "$a"), ("\\\\$a", "\\A"), ("'$a'", "$a"), ("\"$a\"", "A"), ("\"'$a'\"", "'A'"),
        ("'\"'", "\""), ("a\\ b", "a b"), ("a\\", "a"), ("\"a\\\"b\"", "a\"b"), ("\"a\\nb\"", "a\\nb"),
        ("\"\\$a\\\\\"", "$a\\"), ("a'b'\"c\"", "abc"), ("a  b", "a  b"), ("a<<b", "a<<b"),
        ("${a:-w}", "A"), ("${unset:-w}", "w"), ("${empty:-w}", "w"), ("${unset-w}", "w"), ("${empty-w}", ""),
        ("${unset:-$b}", "B"), ("${unset:-${b}x}", "Bx"), ("${unset:-'$b'}", "$b"), ("${unset:-\\}}", "}"),
        ("${unset:-}", ""), ("${unset:-a b}", "a b"),
        ("${a:+w}", "w"), ("${unset:+w}", ""), ("${empty:+w}", ""), ("${empty+w}", "w"), ("${unset+w}", ""),
        ("${a:?m}", "A"), ("${a?m}", "A"), ("${empty?m}", ""),
        ("${path#*/}", "usr/local/bin"), ("${path##*/}", "bin"), ("${path%/*}", "/usr/local"), ("${path%%/*}", ""),
        ("${file%.*}", "x.tar"), ("${file%%.*}", "x"), ("${file#x}", ".tar.gz"), ("${file#?.}", "tar.gz"),
        ("${file#nope}", "x.tar.gz"), ("${file%}", "x.tar.gz"), ("${file##*}", ""), ("${unset#x}", ""),
        ("${star#a\\*}", "b?c"), ("${star%\\?c}", "a*b"), ("${file#[x]}", "x.tar.gz"), ("${lines#*c}", "ab\ncd"),
        ("${path/usr/opt}", "/opt/local/bin"), ("${path/\\/usr/}", "/local/bin"), ("${path//\\//-}", "-usr-local-bin"),
        ("${file/.*/}", "x"), ("${file//?/z}", "zzzzzzzz"), ("${star/\\*/+}", "a+b?c"), ("${path/l*l/L}", "/usr/L/bin"),
        ("${file/q/r}", "x.tar.gz"), ("${a/A/$b}", "B"), ("${unset/x/y}", ""), ("${a//*/z}", "z"),
    ])
    func values(word: String, expected: String) throws {
        #expect(try Expansion().expand(word, variables).value == expected)
    }

    @Test(arguments: [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"), ("${a", "syntax error: missing '}'"),
        ("${a:-b", "syntax error: missing '}'"), ("${a:", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"), ("${:a}", "syntax error: bad substitution"),
        ("${{a}}", "syntax error: bad substitution"),
        ("${a!b}", "unsupported modifier (!) in substitution"),
        ("${a:#b}", "unsupported modifier (:#) in substitution"),
        ("${a:%b}", "unsupported modifier (:%) in substitution"),
        ("${a:=b}", "unsupported modifier (:=) in substitution"),
        ("${a=b}", "unsupported modifier (=) in substitution"),
        ("${unset:?}", "unset: is not allowed to be unset"), ("${unset?gone}", "unset: gone"),
        ("${empty:?}", "empty: is not allowed to be empty"), ("${empty:?no $a}", "empty: no A"),
        ("${a#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("${a/b}", "syntax error: missing '/' in ${}"), ("${a/b/c", "syntax error: missing '}'"),
    ])
    func refusals(word: String, message: String) {
        let error = #expect(throws: ExpansionError.self) { try Expansion().expand(word, variables) }
        #expect(error?.message == message)
    }

    @Test(arguments: [
        ("a b", ["a", "b"]), (" a  b ", ["a", "b"]), ("'a b' c", ["a b", "c"]), ("a\\ b", ["a b"]),
        ("$sp", ["p", "q"]),
        ("\"$sp\"", ["p q"]), ("x$sp", ["xp", "q"]), ("<< EOF", ["<< EOF"]), ("a <<EOF b", ["a", "<<EOF", "b"]),
        ("''", []), ("$empty", []), ("a\u{A0}b", ["a", "b"]),
    ])
    func words(word: String, expected: [String]) throws {
        #expect(try Expansion().expand(word, variables).words == expected)
    }

    @Test func options() throws {
        var raw = Expansion()
        raw.keepsQuotes = true
        raw.keepsEscapes = true
        raw.keepsUnset = true
        #expect(
            try raw.expand("'a' \"$b\" \\x $no ${no} ${no:-w} $a", variables).value
                == "'a' \"B\" \\x $no ${no} ${no:-w} A")
        var heredoc = Expansion()
        heredoc.ignoresQuotes = true
        #expect(try heredoc.expand("it's \"$a\" \\$b", variables).value == "it's \"A\" $b")
        let backtick = Expansion(escape: UInt8(ascii: "`"))
        #expect(try backtick.expand("c:\\$a`$b", variables).value == "c:\\A$b")
    }

    @Test func names() throws {
        let result = try Expansion().expand("$a ${b:-x} $no ${no} ${gone:+$a}", variables)
        #expect(result.matched == ["a", "b"])
        #expect(result.unmatched == ["no", "gone"])
    }

    @Test func nothingGrowsWithoutEnd() {
        let big = ["v": String(repeating: "x", count: 1 << 20)]
        #expect(throws: ExpansionError.self) { try Expansion().expand("$v$v", big) }
        #expect(throws: ExpansionError.self) { try Expansion().expand("${v//x/yyyy}", big) }
        let deep = String(repeating: "${a:-", count: 5_000) + String(repeating: "}", count: 5_000)
        #expect(throws: ExpansionError.self) { try Expansion().expand(deep, [:] as [String: String]) }
        // Quadratic on paper; refused before it stalls.
        let pattern = String(repeating: "a", count: 30_000) + "b"
        #expect(throws: ExpansionError.self) { try Expansion().expand("${v#*\(pattern)}", big) }
    }
}
