// Many patterns at once against each by itself: what the tables leave out must not match.

import StageConformance
import StageContext
import StageSystem
import Testing

@Suite("Pattern look-up")
struct PatternLookupTests {
    private static let pieces = [
        "a", "b", "ab", "*", "?", "**", "/", "/", "**/", "*.o", ".o", "[ab]", "name-1", "x", "-", "é", "ba/",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ]

    private func text(_ pieces: [String], _ most: Int, _ random: inout SeededGenerator) -> String {
        (0..<Int.random(in: 1...most, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
    }

    @Test(arguments: 0..<40)
    func manyPatternsDecideAsEachByItself(seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed))
        var lines: [String] = []
        while lines.count < 30 {
            let line = (Bool.random(using: &random) ? "" : "!") + text(Self.pieces, 5, &random)
            if (try? IgnoreRules(text: Array(line.utf8), file: "f")) != nil { lines.append(line) }
        }
        let all = try IgnoreRules(text: Array(lines.joined(separator: "\n").utf8), file: "f")
        let single = try lines.map { try IgnoreRules(text: Array($0.utf8), file: "f") }
        let names = [
            "a", "b", "ab", "x.o", ".o", "name-1", "name-12", "é", "bé", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x-",
        ]
        for _ in 0..<200 {
            let path = (0..<Int.random(in: 1...4, using: &random)).map { _ in names.randomElement(using: &random) ?? "a"
            }
            .joined(separator: "/")
            let bytes = Array(path.utf8)
            // The last line that matches the path or a directory above it.
            let expected = single.lastIndex { $0.decidingLine(bytes) != nil }.map { $0 + 1 }
            #expect(all.decidingLine(bytes) == expected, "\(path) in\n\(lines.joined(separator: "\n"))")
        }
    }
}
