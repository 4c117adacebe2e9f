// Parser directives: the comments at the top of a Dockerfile that change how it is read.

import StageGraph

/// What the first comments of a Dockerfile ask for.
public struct Directives: Sendable, Hashable {
    /// `# syntax=`: the frontend that was asked for. This one is built in and reads them all.
    public var syntax: Word?
    /// `# escape=`: a backslash or a backtick.
    public var escape: UInt8 = UInt8(ascii: "\\")
    /// `# check=`: which build checks to skip and whether they are errors.
    public var check: Word?
    public var checks = CheckOptions()

    private var seen: Set<String> = []
    private var isOver = false

    public init() {}

    /// Takes a line without its leading blanks; true when it is a directive.
    mutating func take(_ line: ArraySlice<UInt8>, at range: SourceRange) throws(DockerfileError) -> Bool {
        if isOver { return false }
        guard let (key, value) = Self.pair(line), ["syntax", "escape", "check"].contains(key) else {
            isOver = true
            return false
        }
        guard seen.insert(key).inserted else {
            throw DockerfileError("only one `\(key)` parser directive can be used", at: range)
        }
        let word = Word(value, at: range)
        switch key {
        case "syntax": syntax = word
        case "check":
            check = word
            checks = try CheckOptions(value, at: range)
        default:
            guard value == "\\" || value == "`" else {
                throw DockerfileError(
                    "invalid escape token `\(value)`", at: range, hint: "it is either a backslash or a backtick")
            }
            escape = value.utf8.first ?? escape
        }
        return true
    }

    /// `# key = value`, the key in lower case.
    private static func pair(_ line: ArraySlice<UInt8>) -> (key: String, value: String)? {
        guard line.first == UInt8(ascii: "#") else { return nil }
        let bytes = Array(line.dropFirst())
        let body = Blank.trimmed(bytes, 0..<bytes.count)
        guard let equals = bytes[body].firstIndex(of: UInt8(ascii: "=")) else { return nil }
        let key = bytes[Blank.trimmed(bytes, body.lowerBound..<equals)]
        let value = bytes[Blank.trimmed(bytes, equals + 1..<body.upperBound)]
        func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte & 0xDF) }
        guard let first = key.first, isLetter(first), !value.isEmpty,
            key.allSatisfy({ isLetter($0) || (0x30...0x39).contains($0) })
        else { return nil }
        return (String(decoding: key, as: UTF8.self).lowercased(), String(decoding: value, as: UTF8.self))
    }
}

/// `# check=skip=RuleA,RuleB;error=true`.
public struct CheckOptions: Sendable, Hashable {
    public var skipsAll = false
    public var skipped: Set<String> = []
    /// Warnings fail the build.
    public var isError = false
    public var experimentalAll = false
    public var experimental: Set<String> = []

    public init() {}

    init(_ text: String, at range: SourceRange) throws(DockerfileError) {
        for part in text.split(separator: ";", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let key = pair.first.map { $0.filter { !$0.isWhitespace } } ?? ""
            guard pair.count == 2 else {
                throw DockerfileError(
                    "invalid check option `\(part)`", at: range, hint: "write `skip=RuleName` or `error=true`")
            }
            let values = pair[1].split(separator: ",").map { String($0.filter { !$0.isWhitespace }) }
            let isAll = values.contains { $0.lowercased() == "all" }
            switch key {
            case "skip":
                skipsAll = isAll
                skipped = Set(values)
            case "experimental":
                experimentalAll = isAll
                experimental = Set(values)
            case "error":
                guard let value = values.first, let flag = FlagValue.boolean(value) else {
                    throw DockerfileError("check option `error` is true or false, not `\(pair[1])`", at: range)
                }
                isError = flag
            default:
                throw DockerfileError(
                    "unknown check option `\(key)`", at: range,
                    hint: Spelling.hint(key, among: ["skip", "error", "experimental"]))
            }
        }
    }

    func keeps(_ warning: DockerfileWarning) -> Bool {
        warning.rule.isEmpty || !(skipsAll || skipped.contains(warning.rule))
    }
}
