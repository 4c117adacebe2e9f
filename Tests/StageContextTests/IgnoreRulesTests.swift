// The ignore rules against what docker does.

import StageContext
import StageSystem
import Testing

private func ignored(_ text: String, _ path: String) throws -> Bool {
    try IgnoreRules(text: Array(text.utf8), file: ".dockerignore").isIgnored(Array(path.utf8), isDirectory: false)
}

@Suite("Ignore rules")
struct IgnoreRulesTests {
    /// Lines of the file, a path, and whether docker ignores it.
    static let table: [(String, String, Bool)] = [
        ("a", "a", true), ("a", "b", false), ("a", "a/b", true), ("a", "b/a", false), ("/a", "a", true),
        ("a/", "a", true), ("./a", "a", true), ("x/../a", "a", true), ("  a  ", "a", true), ("#a", "#a", false),
        (" #a", "#a", true), ("\\#a", "#a", true), ("a\r\nb\r\n", "b", true), ("\u{FEFF}a", "a", true),
        ("*", "a", true), ("*", ".a", true), ("*", "a/b", true), ("*/b", "a/b", true), ("*/b", "a/c/b", false),
        ("*.go", "a.go", true), ("*.go", "d/a.go", false), ("**/*.go", "d/e/a.go", true), ("**/*.go", "a.go", true),
        ("**", "a", true), ("**", "a/b", true), ("**/a", "a", true), ("**/a", "x/y/a", true), ("**/a", "x/ya", false),
        ("**a", "xa", true), ("**a*", "xa", false), ("**a*", "x/ab", true), ("a/**", "a", false),
        ("a/**", "a/b/c", true),
        ("a**", "ab/c", true), ("a/**/b", "a/b", true), ("a/**/b", "a/x/y/b", true), ("a/**/b", "a/xb", false),
        ("?", "a", true), ("?", "ab", false), ("?", "\u{E9}", true), ("a?b", "a/b", false), ("[a-c]", "b", true),
        ("[^a-c]", "b", false), ("[^a-c]", "d", true), ("[a\\]]", "]", true), ("\\*", "*", true), ("\\*", "a", false),
        ("a.b", "axb", false), ("a+", "a+", true), ("a$", "a$", true), ("(a)", "(a)", true), ("a|b", "a", false),
        ("*\n!a", "a", false), ("*\n!a", "a/b", false), ("*\n!a/b", "a/b", false), ("*\n!a/b", "a/c", true),
        ("!a\n*", "a", true), ("*.md\n!README.md", "README.md", false),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false), ("a\n!a/b\na/b/c", "a/b/c", true),
        ("a\n! b", "b", false), ("*\n! b", "b", false), ("*\n!/b", "b", false), (".", "a", false), ("/", "a", false),
        ("..", "a", false), ("../a", "a", false), ("a/*", "a/b/c", true), ("a/*\n!a/b", "a/b", false), ("", "a", false),
        ("a b", "a b", true), ("**/.git\n**/node_modules", "x/node_modules/y/z", true),
        ("*\n!**/*.go", "x/y.go", false),
        ("*\n!**/*.go", "x/y.c", true), ("a/b\n!a", "a/b", false), ("a\n!a/x\na*", "a/x", true), ("*\n/!a", "a", false),
    ]

    /// What docker's regular expressions make of classes, escapes and `^`.
    static let classes: [(String, String, Bool)] = [
        ("[*]", "*", false), ("[*]", "[]", true), ("[*]", "^/]", true), ("[?]", "?", false), ("[?]", "^]", true),
        ("[a*b]", "aab]", true), ("[a*b]", "[a^b]", true), ("[!a]", "!", true), ("[!a]", "b", false),
        ("\\d", "5", true),
        ("\\d", "d", false), ("\\D", "d", true), ("\\w", "_", true), ("\\s", " ", true), ("\\n", "n", false),
        ("\\!", "!", true), ("[[:alpha:]]", "k", true), ("[[:alpha:]]", "5", false), ("[[:^alpha:]]", "5", true),
        ("[\\d]", "5", true), ("[^\\d]", "5", false), ("[^\\d]", "x", true), ("[a\\-c]", "-", true),
        ("[a\\-c]", "b", false),
        ("x^*", "x^", false), ("x^", "x^", true), ("^x*", "xy", true), ("^x*", "^xy", false), ("[^/]", "a", true),
        ("[a-c]*", "b/x", true), ("a]*", "a]b", true), ("![z-a]\n*", "a", true),
    ]

    @Test(arguments: classes)
    func classesAndEscapes(_ text: String, _ path: String, _ expected: Bool) throws {
        #expect(try ignored(text, path) == expected, "\(text.debugDescription) on \(path)")
    }

    @Test(arguments: ["\\e", "\\b", "\\1", "\\\u{E9}", "[[:nope:]]", "a*[", "*\n![z-a]"])
    func whatNoExpressionSays(_ text: String) {
        #expect(throws: IgnoreError.self) { try IgnoreRules(text: Array(text.utf8), file: "f") }
    }

    @Test(arguments: table)
    func outcome(_ text: String, _ path: String, _ expected: Bool) throws {
        #expect(try ignored(text, path) == expected, "\(text.debugDescription) on \(path)")
    }

    @Test(arguments: ["[", "a\n\n# c\n[b", "[]", "[^]", "a\\", "[a-]", "[-a]", "[z-a]", "[a", "!["])
    func badPatternNamesItsLine(_ text: String) throws {
        let line = text.split(separator: "\n", omittingEmptySubsequences: false).count
        do {
            _ = try IgnoreRules(text: Array(text.utf8), file: "x.dockerignore")
            Issue.record("\(text) was taken")
        } catch {
            guard case .badPattern("x.dockerignore", line, _) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(error.description.hasPrefix("x.dockerignore:\(line): "))
        }
    }

    @Test(arguments: ["!", "a\n! ", "!/"])
    func exceptionWithoutPattern(_ text: String) {
        #expect(throws: IgnoreError.self) { try IgnoreRules(text: Array(text.utf8), file: "f") }
    }

    @Test func namesAreBytes() throws {
        let rules = try IgnoreRules(text: [0x61, 0xFF, 0x2A], file: "f")
        #expect(rules.isIgnored([0x61, 0xFF], isDirectory: false))
        #expect(rules.isIgnored([0x61, 0xFF, 0xFE, 0x62], isDirectory: false))
        #expect(!rules.isIgnored([0x61, 0xFE], isDirectory: false))
    }

    @Test func decidingLineIsTheLastThatMatches() throws {
        let rules = try IgnoreRules(text: Array("# c\n*\n\n!a\n".utf8), file: "f")
        #expect(rules.decidingLine(Array("a".utf8)) == 4)
        #expect(rules.decidingLine(Array("b/c".utf8)) == 2)
        #expect(IgnoreRules.none.decidingLine(Array("a".utf8)) == nil)
    }

    @Test func hostilePatternIsLinear() throws {
        let pattern = String(repeating: "**/*a", count: 200)
        let rules = try IgnoreRules(text: Array(pattern.utf8), file: "f")
        let path = [UInt8](repeating: 0x61, count: 4000)
        let start = ContinuousClock.now
        _ = rules.isIgnored(path + [0x62, 0x2F, 0x63], isDirectory: false)
        // Backtracking would take longer than the universe lasts; any machine does the linear walk in this.
        #expect(ContinuousClock.now - start < .seconds(60))
    }

    /// The line that the report advises leaves out that path, whatever is in its name, and no neighbour.
    @Test(arguments: [
        "a", "a b", "a*b", "a?b", "a[b]c", "[", "a\\b", "!a", "#a", " a", "a ", "dir/#a", "d/!b", "\tx", "a\nb", "é*",
        "**",
    ])
    func adviceLeavesOutWhatItNames(path: String) throws {
        let line = IgnoreRules.line(leavingOut: TreePath(path))
        #expect(!line.contains("\n"))
        #expect(try ignored(line, path), "\(line)")
        for other in ["axb", "b", "abc", "x", "dir/x", "d/b"] where other != path {
            #expect(try !ignored(line, other) || line.contains("?"), "\(line) ignores \(other)")
        }
    }
}
