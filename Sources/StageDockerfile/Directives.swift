// Parser directives: the comments at the top of a Dockerfile that change how it is read.

import StageGraph

/// What the first comments of a Dockerfile ask for.
public struct Directives: Sendable, Hashable {
    /// `# syntax=`: the frontend that was asked for. This one is built in and reads them all.
    public var syntax: Word?
    /// `# escape=`: a backslash or a backtick.
    public var escape: UInt8 = UInt8(ascii: "\\")
    /// `# check=`: which build checks to skip and whether they are errors. Read by `checkOptions`, not here: a mistake in it
    /// is none of the syntax.
    public var check: Word?

    private var seen: Set<String> = []
    private var isOver = false

    public init() {}

    /// Takes a line without its leading blanks; true when it is a directive.
    mutating func take(
        _ line: ArraySlice<UInt8>, isIndented: Bool, at range: SourceRange
    ) throws(DockerfileError) -> Bool {
        if isOver { return false }
        guard let (key, value) = Self.pair(line), ["syntax", "escape", "check"].contains(key) else {
            isOver = true
            return false
        }
        guard seen.insert(key).inserted else {
            throw DockerfileError("only one `\(key)` parser directive can be used", at: range)
        }
        // Docker takes what is before the first blank, and looks for checks only where the line begins with `#`.
        let first = String(value.prefix { $0 != " " })
        let word = Word(key == "check" ? first : value, at: range)
        switch key {
        case "syntax": syntax = word
        case "check": if !isIndented { check = word }
        default:
            guard value == "\\" || value == "`" else {
                throw DockerfileError(
                    "invalid escape token `\(value)`", at: range, hint: "it is either a backslash or a backtick")
            }
            escape = value.utf8.first ?? escape
        }
        return true
    }

    /// What the `check` directive says; nothing special without one.
    public func checkOptions() throws(DockerfileError) -> CheckOptions {
        guard let check else { return CheckOptions() }
        return try CheckOptions(check.text, at: check.range)
    }

    /// `# key = value`, the key in lower case.
    private static func pair(_ line: ArraySlice<UInt8>) -> (key: String, value: String)? {
        guard line.first == UInt8(ascii: "#") else { return nil }
        return pair(Array(line.dropFirst()))
    }

    /// The same of a comment without its `#`.
    static func pair(_ comment: String) -> (key: String, value: String)? { pair(Array(comment.utf8)) }

    private static func pair(_ bytes: [UInt8]) -> (key: String, value: String)? {
        guard let equals = bytes.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        let key = trimmed(bytes[..<equals])
        let value = trimmed(bytes[(equals + 1)...])
        func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte & 0xDF) }
        guard let first = key.first, isLetter(first), !value.isEmpty,
            key.allSatisfy({ isLetter($0) || (0x30...0x39).contains($0) })
        else { return nil }
        return (String(decoding: key, as: UTF8.self).lowercased(), String(decoding: value, as: UTF8.self))
    }

    /// Without the blanks around it that a directive may have: a vertical tab or Unicode's make it a plain comment.
    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { Blank.separates(byte) && byte != 0x0B }
        let rest = bytes.drop(while: isBlank)
        return rest.prefix((rest.lastIndex { !isBlank($0) } ?? rest.startIndex - 1) + 1 - rest.startIndex)
    }
}
