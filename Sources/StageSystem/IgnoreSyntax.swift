// How moby/patternmatcher reads a pattern of an ignore file, to the letter: it checks it with Go's `filepath.Match`, and
// then matches with a regular expression that it writes character by character. So a class in brackets is a regular
// expression's, `[*]` is not a literal star, and `\d` is a digit.

package enum IgnoreSyntax {
    /// What a pattern (cleaned, without its `!`) matches; nil where docker finds no meaning in it, now or when it gets to it.
    package static func form(_ pattern: [UInt8]) -> IgnorePattern.Form? {
        guard isGlob(pattern) else { return nil }
        var writer = ExpressionWriter()
        switch writer.write(decodedCharacters(pattern)) {
        case .exact: return .exact(pattern)
        case .prefix: return .prefix(Array(pattern.dropLast(2)))
        case .suffix: return .suffix(Array(pattern.dropFirst(2)))
        case .expression:
            var reader = ExpressionReader(writer.text)
            return reader.tokens().map { .tokens($0) }
        }
    }

    /// Whether `filepath.Match` has nothing against the pattern. It is asked about the path `.` and stops where that no
    /// longer matches, so it does not see every mistake.
    package static func isGlob(_ pattern: [UInt8]) -> Bool {
        var rest = pattern[...]
        var name: [UInt8] = [0x2E]
        while !rest.isEmpty {
            let (hasStar, chunk) = nextChunk(&rest)
            if hasStar, chunk.isEmpty { return true }
            guard let length = matchLength(chunk, name) else { return false }
            if let length, length == name.count || !rest.isEmpty {
                name.removeFirst(length)
                continue
            }
            return true
        }
        return true
    }

    /// Takes the stars at the front and what follows them up to the next star.
    private static func nextChunk(_ rest: inout ArraySlice<UInt8>) -> (hasStar: Bool, chunk: ArraySlice<UInt8>) {
        let stars = rest.prefix { $0 == 0x2A }
        rest = rest.dropFirst(stars.count)
        var end = rest.startIndex
        var isInClass = false
        while end < rest.endIndex {
            switch rest[end] {
            case 0x5C: if end + 1 < rest.endIndex { end += 1 }
            case 0x5B: isInClass = true
            case 0x5D: isInClass = false
            case 0x2A where !isInClass:
                defer { rest = rest[end...] }
                return (!stars.isEmpty, rest[..<end])
            default: break
            }
            end += 1
        }
        defer { rest = [] }
        return (!stars.isEmpty, rest)
    }

    /// How much of the front of `name`, which is ASCII, a chunk matches: nil in the inside when it does not, nil for wrong
    /// syntax.
    private static func matchLength(_ chunk: ArraySlice<UInt8>, _ name: [UInt8]) -> Int?? {
        let characters = decodedCharacters(Array(chunk))
        var position = 0
        var index = 0
        var fails = false
        while index < characters.count {
            fails = fails || position == name.count
            let next = fails ? nil : UInt32(name[position])
            switch characters[index] {
            case 0x5B:
                index += 1
                let isNegated = index < characters.count && characters[index] == 0x5E
                if isNegated { index += 1 }
                guard let hit = classHit(characters, &index, next ?? 0) else { return nil }
                fails = fails || hit == isNegated
            case 0x3F:
                fails = fails || next == 0x2F
                index += 1
            default:
                if characters[index] == 0x5C { index += 1 }
                guard index < characters.count else { return nil }
                fails = fails || characters[index] != next
                index += 1
            }
            position = min(position + 1, name.count)
        }
        return .some(fails ? nil : position)
    }

    /// Reads a class past its `]`.
    private static func classHit(_ characters: [UInt32], _ index: inout Int, _ wanted: UInt32) -> Bool? {
        var hit = false
        var ranges = 0
        while index >= characters.count || characters[index] != 0x5D || ranges == 0 {
            guard let low = classMember(characters, &index) else { return nil }
            var high = low
            if characters[index] == 0x2D {
                index += 1
                guard let end = classMember(characters, &index) else { return nil }
                high = end
            }
            hit = hit || (low <= wanted && wanted <= high)
            ranges += 1
        }
        index += 1
        return hit
    }

    /// A character of a class, behind which there must be more.
    private static func classMember(_ characters: [UInt32], _ index: inout Int) -> UInt32? {
        guard index < characters.count, characters[index] != 0x2D, characters[index] != 0x5D else { return nil }
        if characters[index] == 0x5C { index += 1 }
        guard index + 1 < characters.count, characters[index] < 0x110000 else { return nil }
        index += 1
        return characters[index - 1]
    }
}

/// Writes the regular expression of a pattern, and knows when none is needed.
private struct ExpressionWriter {
    enum Kind { case exact, prefix, suffix, expression }

    private(set) var text: [UInt32] = []
    private var kind = Kind.exact

    private mutating func append(_ part: String) { text += part.unicodeScalars.map(\.value) }

    mutating func write(_ pattern: [UInt32]) -> Kind {
        var index = 0
        while index < pattern.count {
            let character = pattern[index]
            index += 1
            switch character {
            case 0x2A where index < pattern.count && pattern[index] == 0x2A:
                let isFirst = index == 1
                index += 1
                if index < pattern.count, pattern[index] == 0x2F { index += 1 }
                stars(isLast: index == pattern.count)
                if isFirst { kind = .suffix }
            case 0x2A:
                append("[^/]*")
                kind = .expression
            case 0x3F:
                append("[^/]")
                kind = .expression
            case 0x5C:
                text.append(character)
                if index < pattern.count {
                    text.append(pattern[index])
                    index += 1
                    kind = .expression
                }
            case 0x5B, 0x5D:
                text.append(character)
                kind = .expression
            default:
                if isMark(character) { text.append(0x5C) }
                text.append(character)
            }
        }
        append("$")
        return kind
    }

    private mutating func stars(isLast: Bool) {
        if !isLast {
            append("(.*/)?")
            kind = .expression
        } else if kind == .exact {
            kind = .prefix
        } else {
            append(".*")
            kind = .expression
        }
    }

    /// What a regular expression reads otherwise and a pattern does not; `^` is forgotten there.
    private func isMark(_ character: UInt32) -> Bool { ".+()|{}$".unicodeScalars.contains { $0.value == character } }
}

/// Reads what `ExpressionWriter` has written, as Go's `regexp` does.
private struct ExpressionReader {
    private let text: [UInt32]
    private var position = 0

    init(_ text: [UInt32]) { self.text = text }

    private var next: UInt32? { position < text.count ? text[position] : nil }

    private mutating func takes(_ part: String) -> Bool {
        let part = part.unicodeScalars.map(\.value)
        guard text[position...].starts(with: part) else { return false }
        position += part.count
        return true
    }

    mutating func tokens() -> [IgnorePattern.Token]? {
        var tokens: [IgnorePattern.Token] = []
        while let character = next {
            if takes(".*") {
                tokens.append(.tail)
            } else if takes("(.*/)?") {
                tokens += [.deepEntry, .deepLoop]
            } else if takes("[^/]*") {
                tokens.append(.star)
            } else if takes("[^/]") {
                tokens.append(.any)
            } else if takes("$") {
                return tokens
            } else if takes("^") {
                tokens.append(.start)
            } else if takes("[") {
                guard let set = characterClass() else { return nil }
                tokens.append(takes("*") ? .run(set) : .set(set))
            } else if takes("\\") {
                guard let set = escape() else { return nil }
                if let single = set.single { tokens.append(.literal(single)) } else { tokens.append(.set(set)) }
            } else {
                tokens.append(.literal(character))
                position += 1
            }
        }
        // The end went into an escape: anything may follow.
        return tokens + [.tail]
    }

    /// What follows a backslash. Of the letters only those that mean a character or a class of ASCII; what else Go has
    /// for them nobody means in a path.
    private mutating func escape() -> CharacterClass? {
        guard let character = next else { return nil }
        position += 1
        func one(_ value: UInt32) -> CharacterClass { CharacterClass(ranges: [value...value]) }
        switch Unicode.Scalar(character) {
        case "a": return one(0x07)
        case "f": return one(0x0C)
        case "n": return one(0x0A)
        case "r": return one(0x0D)
        case "t": return one(0x09)
        case "v": return one(0x0B)
        case "d", "D", "s", "S", "w", "W":
            let name =
                ["d": "digit", "s": "perlspace", "w": "word"][
                    String(decoding: [UInt8(truncatingIfNeeded: character | 0x20)], as: UTF8.self)] ?? ""
            return CharacterClass(negated: character < 0x61, ranges: Self.named[name] ?? [])
        default:
            let isWord = Self.named["alnum"]?.contains { $0.contains(character) } ?? false
            return character < 0x80 && !isWord ? one(character) : nil
        }
    }

    private mutating func characterClass() -> CharacterClass? {
        var set = CharacterClass(negated: takes("^"))
        var isFirst = true
        while isFirst || next != 0x5D {
            isFirst = false
            if text[position...].starts(with: [0x5B, 0x3A]), let name = posixName() {
                guard let ranges = name else { return nil }
                set.ranges += ranges
                continue
            }
            guard let low = member() else { return nil }
            guard let lowest = low.single else {
                set.ranges += low.positiveRanges
                continue
            }
            var highest = lowest
            if next == 0x2D, position + 1 < text.count, text[position + 1] != 0x5D {
                position += 1
                guard let high = member()?.single, high >= lowest else { return nil }
                highest = high
            }
            set.ranges.append(lowest...highest)
        }
        position += 1
        return set
    }

    private mutating func member() -> CharacterClass? {
        guard let character = next else { return nil }
        position += 1
        if character == 0x5C { return escape() }
        return CharacterClass(ranges: [character...character])
    }

    /// `[:alpha:]`: nil when it is none, nil in the inside when there is none of that name.
    private mutating func posixName() -> [ClosedRange<UInt32>]?? {
        let rest = text[(position + 2)...]
        guard let end = rest.indices.dropLast().first(where: { rest[$0] == 0x3A && rest[$0 + 1] == 0x5D }) else {
            return nil
        }
        var name = String(String.UnicodeScalarView(rest[..<end].compactMap(Unicode.Scalar.init)))
        position = end + 2
        let isNegated = name.hasPrefix("^")
        if isNegated { name.removeFirst() }
        guard name != "perlspace", let ranges = Self.named[name] else { return .some(nil) }
        return CharacterClass(negated: isNegated, ranges: ranges).positiveRanges
    }

    private static let named: [String: [ClosedRange<UInt32>]] = [
        "alnum": [0x30...0x39, 0x41...0x5A, 0x61...0x7A], "alpha": [0x41...0x5A, 0x61...0x7A], "ascii": [0...0x7F],
        "blank": [0x09...0x09, 0x20...0x20], "cntrl": [0...0x1F, 0x7F...0x7F], "digit": [0x30...0x39],
        "graph": [0x21...0x7E], "lower": [0x61...0x7A], "print": [0x20...0x7E],
        "punct": [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E], "space": [0x09...0x0D, 0x20...0x20],
        "upper": [0x41...0x5A], "word": [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A],
        "xdigit": [0x30...0x39, 0x41...0x46, 0x61...0x66], "perlspace": [0x09...0x0A, 0x0C...0x0D, 0x20...0x20],
    ]
}

extension CharacterClass {
    /// The one character that it has, if it has but one.
    fileprivate var single: UInt32? {
        guard !negated, ranges.count == 1, let range = ranges.first, range.count == 1 else { return nil }
        return range.lowerBound
    }

    /// The same without a negation.
    fileprivate var positiveRanges: [ClosedRange<UInt32>] {
        guard negated else { return ranges }
        var result: [ClosedRange<UInt32>] = []
        var start: UInt32 = 0
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if range.lowerBound > start { result.append(start...(range.lowerBound - 1)) }
            start = max(start, range.upperBound + 1)
        }
        return result + [start...0x10FFFF]
    }
}
