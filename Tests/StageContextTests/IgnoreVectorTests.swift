// Random rules on random paths: against what moby/patternmatcher said of them (Vectors/ignore.tsv), and against a matcher
// that is too simple to be wrong.

import Glibc
import StageConformance
import StageContext
import StageSystem
import Testing

@Suite("Ignore vectors")
struct IgnoreVectorTests {
    /// Each line: rules (their lines joined by U+23CE), a path, and 1 for ignored, 0 for not, E for a bad pattern.
    /// Made with moby/patternmatcher 0.5.0, seed 1.
    @Test func agreesWithDocker() throws {
        let folder = #filePath.prefix(upTo: #filePath.lastIndex(of: "/") ?? #filePath.startIndex)
        let text = String(decoding: try readFile(folder + "/Vectors/ignore.tsv"), as: UTF8.self)
        var checked = 0
        var wrong: [String] = []
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count == 3 else {
                Issue.record("odd line \(line)")
                continue
            }
            let rulesText = fields[0].split(separator: "\u{23CE}", omittingEmptySubsequences: false).joined(
                separator: "\n")
            checked += 1
            let outcome: String
            do throws(IgnoreError) {
                let rules = try IgnoreRules(text: Array(rulesText.utf8), file: "f")
                outcome = rules.isIgnored(Array(fields[1].utf8), isDirectory: false) ? "1" : "0"
            } catch { outcome = "E" }
            if outcome != fields[2] { wrong.append("\(line) gave \(outcome)") }
        }
        #expect(checked > 1000)
        #expect(wrong.isEmpty, "\(wrong.count) of \(checked): \(wrong.prefix(20).joined(separator: "\n"))")
    }

    /// The wildcards by plain backtracking, on ASCII.
    private func naive(_ pattern: ArraySlice<UInt8>, _ path: ArraySlice<UInt8>) -> Bool {
        guard let first = pattern.first else { return path.isEmpty }
        if pattern.starts(with: [0x2A, 0x2A]) {
            var rest = pattern.dropFirst(2)
            if rest.first == 0x2F { rest = rest.dropFirst() }
            if rest.isEmpty { return true }
            if naive(rest, path) { return true }
            return path.indices.contains { path[$0] == 0x2F && naive(rest, path[($0 + 1)...]) }
        }
        if first == 0x2A {
            let run = path.prefix { $0 != 0x2F }.count
            return (0...run).contains { naive(pattern.dropFirst(), path.dropFirst($0)) }
        }
        guard let head = path.first, first == 0x3F ? head != 0x2F : first == head else { return false }
        return naive(pattern.dropFirst(), path.dropFirst())
    }

    @Test func agreesWithNaiveMatcher() throws {
        var random = SeededGenerator(seed: 42)
        let names = ["a", "b", "ab", "ba", "c.d", "e"]
        for _ in 0..<4000 {
            var lines: [(negated: Bool, pattern: String)] = []
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let parts = (0..<Int.random(in: 1...3, using: &random)).map { _ in
                    ["*", "a", "b", "a*", "*b", "?", "**", "?b", "c.d", "c*d"].randomElement(using: &random) ?? "a"
                }
                // A leading `**` before literals only is docker's suffix test; it has vectors of its own.
                let pattern = "x/" + parts.joined(separator: "/")
                lines.append((Bool.random(using: &random), pattern))
            }
            let text = lines.map { ($0.negated ? "!" : "") + $0.pattern }.joined(separator: "\n")
            let rules = try IgnoreRules(text: Array(text.utf8), file: "f")
            for _ in 0..<5 {
                let parts = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                    names.randomElement(using: &random) ?? "a"
                }
                let path = ["x"] + parts
                var expected = false
                for line in lines {
                    let hit = path.indices.contains { end in
                        naive(Array(line.pattern.utf8)[...], Array(path[...end].joined(separator: "/").utf8)[...])
                    }
                    if hit { expected = !line.negated }
                }
                let name = path.joined(separator: "/")
                #expect(rules.isIgnored(Array(name.utf8), isDirectory: false) == expected, "\(text) on \(name)")
            }
        }
    }
}
