// The rules of `.dockerignore`: which paths of a context do not enter a build. Specs/context.md has the semantics.

import Glibc
import StageSystem

/// What is wrong with an ignore file.
public enum IgnoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A pattern with wrong syntax. `line` counts from 1.
    case badPattern(file: String, line: Int, pattern: String)
    /// A `!` with nothing behind it.
    case emptyException(file: String, line: Int)
    /// The file has more than `limit` bytes.
    case tooLarge(file: String, limit: Int)
    case unreadable(SystemError)

    public var description: String {
        switch self {
        case .badPattern(let file, let line, let pattern):
            "\(file):\(line): the pattern \(pattern) has wrong syntax: close every [ with ], put something between them, "
                + "and write \\ only in front of a character"
        case .emptyException(let file, let line):
            "\(file):\(line): ! needs a pattern behind it"
        case .tooLarge(let file, let limit):
            "\(file) is larger than \(limit >> 20) MiB: is it an ignore file?"
        case .unreadable(let error):
            "ignore file: \(error)"
        }
    }
}

/// An ignore file as it was read.
public struct IgnoreFile: Hashable, Sendable {
    public let path: String
    public let text: [UInt8]

    public init(path: String, text: [UInt8]) {
        self.path = path
        self.text = text
    }
}

/// Compiled ignore rules. The last pattern that matches a path or a directory above it decides.
public struct IgnoreRules: Sendable {
    /// The name the rules were read under, for messages.
    public let file: String
    let patterns: [IgnorePattern]
    private let lookup: PatternLookup
    /// The `!` patterns, in order.
    private let exceptions: [Int]

    /// True when nothing is ignored.
    public var isEmpty: Bool { patterns.isEmpty }

    /// True when a `!` pattern takes something in again.
    public var hasExceptions: Bool { !exceptions.isEmpty }

    /// True when a pattern leaves out whatever is at the context's root.
    public let ignoresEverything: Bool

    /// No rules: nothing is ignored.
    public static let none = IgnoreRules(patterns: [], file: "")

    /// The largest ignore file that is read.
    public static let sizeLimit = 16 << 20

    private init(patterns: [IgnorePattern], file: String, ignoresEverything: Bool = false) {
        self.ignoresEverything = ignoresEverything
        self.patterns = patterns
        self.file = file
        lookup = PatternLookup(patterns)
        exceptions = patterns.indices.filter { patterns[$0].negated }
    }

    /// Reads the text of an ignore file.
    ///
    /// - Parameters:
    ///   - text: the file's bytes, with or without a byte order mark.
    ///   - file: its name, for messages.
    /// - Throws: `IgnoreError.badPattern` or `.emptyException`, with the line.
    public init(text: [UInt8], file: String) throws(IgnoreError) {
        try self.init(Self.lines(text), file: file)
    }

    /// Patterns as a program has them, not out of a file: a leading `/` stays, and nothing is a comment.
    public init(patterns: [[UInt8]]) throws(IgnoreError) {
        try self.init(zip(1..., patterns).map { (number: $0, pattern: $1) }, file: "patterns")
    }

    private init(_ lines: [(number: Int, pattern: [UInt8])], file: String) throws(IgnoreError) {
        var patterns: [IgnorePattern] = []
        var ignoresEverything = false
        for line in lines {
            // Docker cleans twice, and looks for the `!` again the second time: `/!a` is an exception too.
            var cleaned = cleanedPath(trimmed(line.pattern[...]))
            let negated = cleaned.first == 0x21
            if negated { cleaned.removeFirst() }
            if cleaned.isEmpty {
                if negated { throw .emptyException(file: file, line: line.number) }
                continue
            }
            guard let compiled = IgnorePattern(cleaned, negated: negated, line: line.number) else {
                // Docker compiles a pattern when it first asks it, and an exception only of what is ignored so far.
                if negated, patterns.allSatisfy(\.negated), IgnoreSyntax.isGlob(cleaned) { continue }
                throw .badPattern(
                    file: file, line: line.number, pattern: String(decoding: trimmed(line.pattern[...]), as: UTF8.self))
            }
            patterns.append(compiled)
            let all = ["*", "**", "**/*"].contains { cleaned.elementsEqual($0.utf8) }
            ignoresEverything = ignoresEverything || (all && !negated)
        }
        self.init(patterns: patterns, file: file, ignoresEverything: ignoresEverything)
    }

    /// The patterns of an ignore file: without comments and empty lines, each cleaned as a path, and without a leading `/`.
    /// Whether they have a meaning is not looked at.
    public static func patterns(in text: [UInt8]) -> [[UInt8]] { lines(text).map(\.pattern) }

    private static func lines(_ text: [UInt8]) -> [(number: Int, pattern: [UInt8])] {
        var lines: [(number: Int, pattern: [UInt8])] = []
        let body = text.starts(with: [0xEF, 0xBB, 0xBF]) ? text[3...] : text[...]
        var number = 0
        for line in body.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            if line.first == 0x23 { continue }
            var pattern = trimmed(line)
            if pattern.isEmpty { continue }
            let exception = pattern.first == 0x21
            if exception { pattern = trimmed(pattern.dropFirst()) }
            lines.append((number, (exception ? [0x21] : []) + unrooted(cleanedPath(pattern))))
        }
        return lines
    }

    /// The ignore file of a build: `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` at the
    /// context's root; nil when neither is there.
    ///
    /// - Parameter dockerfile: the Dockerfile's path; nil when it has none (standard input, a named context).
    public static func ignoreFile(context: String, dockerfile: String?) throws(IgnoreError) -> IgnoreFile? {
        for path in [dockerfile.map { $0 + ".dockerignore" }, context + "/.dockerignore"] {
            guard let path else { continue }
            do throws(SystemError) {
                // O_NONBLOCK: a fifo of that name must not hang the build.
                let fd = try OwnedFD.open(path, O_RDONLY | O_NONBLOCK)
                let type = FileType(mode: try statDescriptor(fd.raw, path).mode)
                // As in BuildKit, a directory of that name says nothing.
                if type == .directory { continue }
                if type != .file { throw SystemError("read", path, errno: EINVAL) }
                return IgnoreFile(path: path, text: try readToEnd(fd.raw, limit: sizeLimit, path))
            } catch {
                if error.errno == ENOENT || error.errno == ENOTDIR { continue }
                if error.errno == EFBIG { throw .tooLarge(file: path, limit: sizeLimit) }
                throw .unreadable(error)
            }
        }
        return nil
    }

    /// True when `path` does not enter the build.
    ///
    /// - Parameter path: relative to the context's root, cleaned, `/` between names, no leading one.
    public func isIgnored(_ path: [UInt8], isDirectory: Bool) -> Bool {
        decision(path).map { !patterns[$0].negated } ?? false
    }

    /// The line of the ignore file that decides about `path`, whichever way; nil when no pattern matches.
    public func decidingLine(_ path: [UInt8]) -> Int? { decision(path).map { patterns[$0].line } }

    private func decision(_ path: [UInt8]) -> Int? {
        if patterns.isEmpty { return nil }
        var last: Int?
        for (index, byte) in path.enumerated() where byte == 0x2F {
            last = self.last(matching: Array(path[..<index]), after: last)
        }
        return self.last(matching: path, after: last)
    }

    /// The last pattern that matches `path` itself, or `parent`, the last one that matched a directory above.
    func last(matching path: [UInt8], after parent: Int?) -> Int? {
        path.withUnsafeBytes { lookup.last(matching: $0, after: parent ?? -1, in: patterns) } ?? parent
    }

    /// True when a path beneath the ignored directory `path` could be taken in again.
    ///
    /// - Parameter last: the pattern that decided about the directory.
    func canReinclude(beneath path: [UInt8], after last: Int) -> Bool {
        exceptions.reversed().prefix { $0 > last }.contains { patterns[$0].canMatchBeneath(path) }
    }
}

/// Without the white space around it (Unicode's, as Go's `strings.TrimSpace`).
private func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    // Beyond ASCII: NEL and NBSP (C2 85, C2 A0), U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000.
    func wideSpace(_ bytes: ArraySlice<UInt8>) -> Int {
        let three = Array(bytes.prefix(3))
        if three.count >= 2, three[0] == 0xC2, three[1] == 0x85 || three[1] == 0xA0 { return 2 }
        guard three.count == 3 else { return 0 }
        switch (three[0], three[1], three[2]) {
        case (0xE1, 0x9A, 0x80), (0xE2, 0x80, 0x80...0x8A), (0xE2, 0x80, 0xA8...0xA9), (0xE2, 0x80, 0xAF),
            (0xE2, 0x81, 0x9F), (0xE3, 0x80, 0x80):
            return 3
        default: return 0
        }
    }
    var rest = bytes
    while let first = rest.first {
        let count = isSpace(first) ? 1 : wideSpace(rest)
        if count == 0 { break }
        rest = rest.dropFirst(count)
    }
    while let last = rest.last {
        if isSpace(last) {
            rest = rest.dropLast()
        } else if rest.count >= 2, wideSpace(rest.suffix(2)) == 2 {
            rest = rest.dropLast(2)
        } else if rest.count >= 3, wideSpace(rest.suffix(3)) == 3 {
            rest = rest.dropLast(3)
        } else {
            break
        }
    }
    return rest
}

/// Without one leading `/`; the root stays.
private func unrooted(_ path: [UInt8]) -> [UInt8] {
    path.count > 1 && path.first == 0x2F ? Array(path.dropFirst()) : path
}

/// Go's `filepath.Clean`, but for nothing, which stays nothing.
private func cleanedPath(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    if bytes.isEmpty { return [] }
    let rooted = bytes.first == 0x2F
    var parts: [ArraySlice<UInt8>] = []
    for part in bytes.split(separator: 0x2F) {
        if part == [0x2E] { continue }
        if part == [0x2E, 0x2E] {
            if let last = parts.last, last != [0x2E, 0x2E] {
                parts.removeLast()
                continue
            }
            if rooted { continue }
        }
        parts.append(part)
    }
    if parts.isEmpty { return rooted ? [0x2F] : [0x2E] }
    return (rooted ? [0x2F] : []) + Array(parts.joined(separator: [0x2F]))
}

extension IgnoreRules {
    /// The line of an ignore file that leaves out `path` and, but for what a line cannot say, nothing else: bytes that a
    /// line cannot hold, such as a newline or blanks at its ends, are any one character in it.
    public static func line(leavingOut path: TreePath) -> String {
        var line = ""
        let text = String(path.description.dropFirst())
        for (place, character) in text.unicodeScalars.enumerated() {
            let isEdge = place == 0 || place == text.unicodeScalars.count - 1
            switch character {
            case "*", "?", "[", "\\": line += "\\" + String(character)
            case "!" where place == 0, "#" where place == 0: line += "\\" + String(character)
            case _ where character.value < 0x20 || character.value == 0x7F || character == "\u{FFFD}": line += "?"
            case _ where isEdge && character.properties.isWhitespace: line += "?"
            default: line.unicodeScalars.append(character)
            }
        }
        return line
    }
}
