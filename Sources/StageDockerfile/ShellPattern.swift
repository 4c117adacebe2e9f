// The patterns of `${v#pattern}` and `${v/pattern/text}`: `*`, `?` and escapes, nothing else.

/// A pattern as the pieces between its stars. A star and `?` do not cross a newline.
struct ShellPattern {
    private enum Token {
        case any
        case literal(Unicode.Scalar)
    }

    /// Always at least one; a pattern of n stars has n + 1 pieces.
    private var pieces: [[Token]] = [[]]
    private var length = 0

    /// Comparisons that one search may take; beyond, someone is trying to stall the build.
    private static let work = 1 << 28

    init(_ text: String) throws(ExpansionError) {
        var scalars = text.unicodeScalars.dropFirst(text.unicodeScalars.first == "\u{FEFF}" ? 1 : 0).makeIterator()
        while let scalar = scalars.next() {
            length += 1
            switch scalar {
            case "*": pieces.append([])
            case "?": pieces[pieces.count - 1].append(.any)
            case "\\":
                guard let escaped = scalars.next() else {
                    throw ExpansionError(message: "invalid pattern (\(text)) in substitution: it ends in an escape")
                }
                guard "*?\\}/".unicodeScalars.contains(escaped) else {
                    throw ExpansionError(
                        message: "invalid pattern (\(text)) in substitution: invalid escape '\\\(escaped)'")
                }
                pieces[pieces.count - 1].append(.literal(escaped))
            default: pieces[pieces.count - 1].append(.literal(scalar))
            }
        }
    }

    /// The value without the shortest or longest match at its start or end.
    func trim(
        _ value: [Unicode.Scalar], suffix: Bool, longest: Bool
    ) throws(ExpansionError) -> [Unicode.Scalar] {
        try checkWork(value.count)
        guard suffix else { return Array(value[(end(of: value, from: 0, longest: longest) ?? 0)...]) }
        // From the back, "shortest" is a leftmost match again.
        var mirrored = self
        mirrored.pieces = pieces.reversed().map { $0.reversed() }
        let reversed = Array(value.reversed())
        let kept = reversed[(mirrored.end(of: reversed, from: 0, longest: longest) ?? 0)...]
        return Array(kept.reversed())
    }

    /// The value with the first or every match replaced; a match is as long as it can be.
    func replace(
        _ value: [Unicode.Scalar], with replacement: [Unicode.Scalar], all: Bool, room: Int
    ) throws(ExpansionError) -> [Unicode.Scalar] {
        try checkWork(value.count)
        var result: [Unicode.Scalar] = []
        var position = 0
        var lastMatchEnd = -1
        while position <= value.count, let (start, end) = search(value, from: position) {
            result.append(contentsOf: value[position..<start])
            // An empty match right after a match does not count again.
            if end > start || start != lastMatchEnd {
                result.append(contentsOf: all ? Self.filled(replacement, with: value[start..<end]) : replacement)
            }
            guard result.count <= room else {
                throw ExpansionError(message: "the expanded text is larger than \(room) bytes")
            }
            lastMatchEnd = end
            position = end
            if !all { break }
            if end == start {
                if start < value.count { result.append(value[start]) }
                position = start + 1
            }
        }
        if position < value.count { result.append(contentsOf: value[position...]) }
        return result
    }

    /// With `//` the replacement is a template of Go's: `$0` is the match, `$$` a dollar, every other name nothing.
    private static func filled(_ template: [Unicode.Scalar], with match: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar]
    {
        guard template.contains("$") else { return template }
        var result: [Unicode.Scalar] = []
        var index = 0
        while index < template.count {
            guard template[index] == "$" else {
                result.append(template[index])
                index += 1
                continue
            }
            index += 1
            if index < template.count, template[index] == "$" {
                result.append("$")
                index += 1
                continue
            }
            let isBraced = index < template.count && template[index] == "{"
            var end = isBraced ? index + 1 : index
            while end < template.count, isNamePart(template[end]) { end += 1 }
            let name = template[(isBraced ? index + 1 : index)..<end]
            guard !name.isEmpty, !isBraced || (end < template.count && template[end] == "}") else {
                result.append("$")
                continue
            }
            if name.allSatisfy({ $0 == "0" }), name.count == 1 { result.append(contentsOf: match) }
            index = isBraced ? end + 1 : end
        }
        return result
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        if scalar == "_" { return true }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber:
            return true
        default: return false
        }
    }

    private func checkWork(_ count: Int) throws(ExpansionError) {
        guard count.multipliedReportingOverflow(by: max(length, 1)).partialValue <= Self.work else {
            throw ExpansionError(message: "the pattern and the value are too long to be matched")
        }
    }

    /// The leftmost match at or after a place.
    private func search(_ value: [Unicode.Scalar], from: Int) -> (start: Int, end: Int)? {
        var start = from
        while start <= value.count {
            if !pieces[0].isEmpty {
                guard let found = occurrence(of: pieces[0], in: value, from: start, crossingLines: true) else {
                    return nil
                }
                start = found
            }
            if let end = end(of: value, from: start, longest: true) { return (start, end) }
            // What follows the first piece is not on this line; a later start on it cannot change that.
            guard let newline = value[start...].firstIndex(of: "\n") else { return nil }
            start = newline + 1
        }
        return nil
    }

    /// Where the match that starts at `from` ends.
    private func end(of value: [Unicode.Scalar], from: Int, longest: Bool) -> Int? {
        guard matches(pieces[0], value, at: from) else { return nil }
        var position = from + pieces[0].count
        for index in pieces.indices.dropFirst() {
            let piece = pieces[index]
            let isLast = index == pieces.count - 1
            if isLast, longest {
                guard let start = lastOccurrence(of: piece, in: value, from: position) else { return nil }
                return start + piece.count
            }
            guard let start = occurrence(of: piece, in: value, from: position, crossingLines: false) else { return nil }
            position = start + piece.count
        }
        return position
    }

    private func matches(_ piece: [Token], _ value: [Unicode.Scalar], at start: Int) -> Bool {
        guard start + piece.count <= value.count else { return false }
        for (offset, token) in piece.enumerated() {
            let scalar = value[start + offset]
            switch token {
            case .any: if scalar == "\n" { return false }
            case .literal(let wanted): if scalar != wanted { return false }
            }
        }
        return true
    }

    private func occurrence(
        of piece: [Token], in value: [Unicode.Scalar], from: Int, crossingLines: Bool
    ) -> Int? {
        var start = from
        while start + piece.count <= value.count {
            if matches(piece, value, at: start) { return start }
            if !crossingLines, start < value.count, value[start] == "\n" { return nil }
            start += 1
        }
        return nil
    }

    private func lastOccurrence(of piece: [Token], in value: [Unicode.Scalar], from: Int) -> Int? {
        let line = value[from...].firstIndex(of: "\n") ?? value.count
        var start = min(line, value.count - piece.count)
        while start >= from {
            if matches(piece, value, at: start) { return start }
            start -= 1
        }
        return nil
    }
}
