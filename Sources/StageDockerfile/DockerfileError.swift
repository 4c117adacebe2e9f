// What can be wrong with a Dockerfile, said so that a person finds the place and knows what to do.

import StageGraph

/// A Dockerfile that cannot be built as it is written.
public struct DockerfileError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What is wrong, in one sentence without a full stop.
    public var message: String
    /// The offending word or instruction; nil when the file as a whole is meant.
    public var range: SourceRange?
    /// What to do about it: "did you mean `builder`?"
    public var hint: String?

    public init(_ message: String, at range: SourceRange? = nil, hint: String? = nil) {
        self.message = message
        self.range = range
        self.hint = hint
    }

    /// One line: place, message and hint.
    public var description: String {
        let place = range.map { "\($0.file):\($0.firstLine): " } ?? ""
        return place + message + (hint.map { " (\($0))" } ?? "")
    }

    /// Several lines: the place, the line of `source` with a caret under the word, and the hint. Ends with a newline.
    public func rendered(source: [UInt8]) -> String {
        SourceExcerpt(source: source).rendered(message: message, range: range, hint: hint)
    }

    public func rendered(source: String) -> String { rendered(source: Array(source.utf8)) }
}

/// Something that builds, but that its author would want to know.
public struct DockerfileWarning: Sendable, Hashable, CustomStringConvertible {
    /// The name of the `CheckRule`; empty when none is behind it.
    public var rule: String
    public var message: String
    /// The word that is meant.
    public var range: SourceRange?
    /// The instruction that is meant, as docker locates its warnings; nil when only `range` is known.
    public var lines: SourceRange?
    /// The comment above the instruction enables the rule, which is experimental.
    var isAskedFor = false

    /// The rule behind it.
    public var check: CheckRule? { rule.isEmpty ? nil : CheckRule.named(rule) }

    public init(rule: String, _ message: String, at range: SourceRange?) {
        self.rule = rule
        self.message = message
        self.range = range
    }

    public var description: String {
        let place = range.map { "\($0.file):\($0.firstLine): " } ?? ""
        return place + (rule.isEmpty ? "" : rule + ": ") + message
    }

    /// As an error is rendered, with the rule's name before the message.
    public func rendered(source: [UInt8]) -> String {
        let text = rule.isEmpty ? message : "\(rule): \(message)"
        return SourceExcerpt(source: source).rendered(message: text, range: range, hint: nil)
    }

    public func rendered(source: String) -> String { rendered(source: Array(source.utf8)) }
}

/// The lines of a file that a message is about.
struct SourceExcerpt {
    let source: [UInt8]
    /// How much of a line is shown; a minified one would fill the screen.
    private static let width = 160

    func rendered(message: String, range: SourceRange?, hint: String?) -> String {
        var text = ""
        if let range {
            text += "\(range.file):\(range.firstLine):\(range.firstColumn): \(Self.printable(message))\n"
            text += excerpt(range)
        } else {
            text += Self.printable(message) + "\n"
        }
        if let hint { text += "hint: \(Self.printable(hint))\n" }
        return text
    }

    private func excerpt(_ range: SourceRange) -> String {
        guard let line = line(range.firstLine) else { return "" }
        let start = min(max(range.firstColumn - 1, 0), line.count)
        let lastColumn = range.lastLine == range.firstLine ? range.lastColumn : line.count
        let end = min(max(lastColumn, start), line.count)
        // A long line is shown from a little before the word.
        let from = start > Self.width / 2 && line.count > Self.width ? start - Self.width / 4 : 0
        let to = min(line.count, from + Self.width)
        let lead = from > 0 ? "..." : ""
        let shown = lead + Self.printable(line[from..<to]) + (to < line.count ? "..." : "")
        let before = String(decoding: line[from..<start], as: UTF8.self)
        let pad =
            String(repeating: " ", count: lead.count)
            + String(before.unicodeScalars.map { $0 == "\t" ? "\t" : " " } as [Character])
        let word = String(decoding: line[start..<max(start, min(end, to))], as: UTF8.self)
        let carets = String(repeating: "^", count: max(1, word.unicodeScalars.count))
        let number = String(range.firstLine)
        let gutter = String(repeating: " ", count: number.count)
        return "  \(number) | \(shown)\n  \(gutter) | \(pad)\(carets)\n"
    }

    private func line(_ number: Int) -> ArraySlice<UInt8>? {
        guard number >= 1 else { return nil }
        var current = 1
        var start = 0
        while current < number {
            guard let end = source[start...].firstIndex(of: UInt8(ascii: "\n")) else { return nil }
            start = end + 1
            current += 1
        }
        var end = source[start...].firstIndex(of: UInt8(ascii: "\n")) ?? source.count
        while end > start, source[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        if number == 1, source[..<end].starts(with: [0xEF, 0xBB, 0xBF]) { start = 3 }
        return ArraySlice(source[start..<end])
    }

    /// Control characters would move the cursor or colour the terminal; a Dockerfile may come from anybody.
    private static func printable(_ bytes: ArraySlice<UInt8>) -> String {
        printable(String(decoding: bytes, as: UTF8.self))
    }

    private static func printable(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            let isControl =
                (scalar.value < 0x20 && scalar != "\t" && scalar != "\n") || (0x7F...0x9F).contains(scalar.value)
            result.append(isControl ? "\u{FFFD}" : scalar)
        }
        return String(result)
    }
}
