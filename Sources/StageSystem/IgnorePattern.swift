// One pattern of an ignore file or of `COPY --exclude`, compiled once, and matched in one pass over the path.
//
// The forms are those of moby/patternmatcher, its quirks included: `**` at the very front of an otherwise literal pattern
// is a bare suffix test (`**foo` matches `xfoo`), at the very end a bare prefix test (`foo**` matches `foobar/baz`).

/// A compiled pattern.
package struct IgnorePattern: Sendable {
    /// What stands for one character, or for a run of them.
    package enum Token: Hashable, Sendable {
        case literal(UInt32)
        /// `?`: one character that is not `/`.
        case any
        /// `[...]`.
        case set(CharacterClass)
        /// Any run of a class, possibly empty: what docker makes of `[*]`.
        case run(CharacterClass)
        /// `*`: any run without `/`.
        case star
        /// `**` or `**/` inside: nothing, or anything that ends in `/`. Followed by `deepLoop`.
        case deepEntry
        case deepLoop
        /// `**` at the end.
        case tail
        /// `^`, which docker takes for the start of the path wherever it stands.
        case start
    }

    package enum Form: Hashable, Sendable {
        case exact([UInt8])
        case prefix([UInt8])
        case suffix([UInt8])
        case tokens([Token])

        /// True when the whole path matches; `characters` are those of the path.
        package func matches(_ path: UnsafeRawBufferPointer, _ characters: () -> [UInt32]) -> Bool {
            switch self {
            case .exact(let bytes): path.elementsEqual(bytes)
            case .prefix(let bytes): path.begins(with: bytes)
            case .suffix(let bytes):
                path.ends(with: bytes) || (bytes.first == 0x2F && path.elementsEqual(bytes.dropFirst()))
            case .tokens(let tokens): TokenRun(tokens).run(characters()).accepted
            }
        }
    }

    package let form: Form
    /// A `!` pattern: what it matches is not ignored.
    package let negated: Bool
    /// The line of the ignore file, from 1.
    package let line: Int
    /// The bytes that every match starts with.
    package let head: [UInt8]
    /// The bytes that every match ends with.
    package let foot: [UInt8]
    /// The bytes that some name in every match starts with.
    package let deepHead: [UInt8]
    /// `*.o` and `**/*.o`, which need no more than a look at the end; nil for all others.
    private let isAnyDepth: Bool?

    /// Compiles a cleaned pattern (without its `!`); nil when its syntax is wrong.
    package init?(_ pattern: [UInt8], negated: Bool, line: Int) {
        guard let parsed = IgnoreSyntax.form(pattern) else { return nil }
        form = parsed
        self.negated = negated
        self.line = line
        deepHead = Self.deepHead(parsed)
        isAnyDepth = Self.isEnding(parsed)
        switch parsed {
        case .exact(let bytes): (head, foot) = (bytes, bytes)
        case .prefix(let bytes): (head, foot) = (bytes, [])
        case .suffix(let bytes): (head, foot) = ([], bytes.first == 0x2F ? Array(bytes.dropFirst()) : bytes)
        case .tokens(let tokens):
            head = literalBytes(tokens.prefix { $0.isLiteral })
            foot = literalBytes(tokens.suffix(from: (tokens.lastIndex { !$0.isLiteral } ?? -1) + 1))
        }
    }

    /// The longest run of literals that follows a `/` or a `**/`, up to the next `/`.
    private static func deepHead(_ form: Form) -> [UInt8] {
        guard case .tokens(let tokens) = form else { return [] }
        var best: [UInt8] = []
        for index in tokens.indices where tokens[index] == .deepLoop || tokens[index] == .literal(0x2F) {
            let run = literalBytes(tokens[(index + 1)...].prefix { $0.isLiteral && $0 != .literal(0x2F) })
            if run.count > best.count { best = run }
        }
        return best
    }

    /// For a `*` and literals without `/`: whether `**/` stands before them. A literal that begins beyond ASCII could
    /// begin within a character of the path, so those are left to the full match.
    private static func isEnding(_ form: Form) -> Bool? {
        guard case .tokens(var tokens) = form else { return nil }
        let isDeep = tokens.starts(with: [.deepEntry, .deepLoop])
        if isDeep { tokens.removeFirst(2) }
        guard tokens.first == .star, tokens.count > 1, tokens.dropFirst().allSatisfy(\.isLiteral) else { return nil }
        let literal = literalBytes(tokens.dropFirst())
        guard let first = literal.first, first < 0x80, !literal.contains(0x2F) else { return nil }
        return isDeep
    }

    /// True when the pattern matches this whole path; `characters` are those of the path.
    package func matches(_ path: UnsafeRawBufferPointer, _ characters: () -> [UInt32]) -> Bool {
        guard case .tokens = form else { return form.matches(path, characters) }
        if !path.begins(with: head) || !path.ends(with: foot) { return false }
        if let isAnyDepth { return isAnyDepth || !path.contains(0x2F) }
        return form.matches(path, characters)
    }

    /// True when some path beneath the directory `path` could match.
    package func canMatchBeneath(_ path: [UInt8]) -> Bool {
        let inside = path + [0x2F]
        switch form {
        case .suffix: return true
        case .exact(let bytes): return bytes.starts(with: inside)
        case .prefix(let bytes): return bytes.starts(with: inside) || inside.starts(with: bytes)
        case .tokens(let tokens):
            guard inside.starts(with: head.prefix(inside.count)) else { return false }
            return TokenRun(tokens).run(decodedCharacters(inside)).alive
        }
    }
}

extension UnsafeRawBufferPointer {
    package func begins(with bytes: [UInt8]) -> Bool {
        count >= bytes.count && prefix(bytes.count).elementsEqual(bytes)
    }

    package func ends(with bytes: [UInt8]) -> Bool {
        count >= bytes.count && suffix(bytes.count).elementsEqual(bytes)
    }
}

extension IgnorePattern.Token {
    var isLiteral: Bool { if case .literal = self { true } else { false } }
}

/// `[a-z]`, `[^a]`. As in docker, a class can match `/`.
package struct CharacterClass: Hashable, Sendable {
    var negated = false
    var ranges: [ClosedRange<UInt32>] = []

    func contains(_ character: UInt32) -> Bool { ranges.contains { $0.contains(character) } != negated }
}

/// Bytes that are no part of valid UTF-8 become characters of their own, from here on.
private let strayByte: UInt32 = 0x110000

/// The characters of `bytes`; `?` and `[...]` count in these.
package func decodedCharacters(_ bytes: [UInt8]) -> [UInt32] {
    var characters: [UInt32] = []
    characters.reserveCapacity(bytes.count)
    var index = 0
    while index < bytes.count {
        let byte = bytes[index]
        if byte < 0x80 {
            characters.append(UInt32(byte))
            index += 1
            continue
        }
        let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
        let slice = bytes[index..<min(index + length, bytes.count)]
        if slice.count == length, let text = String(validating: slice, as: UTF8.self),
            let scalar = text.unicodeScalars.first,
            text.unicodeScalars.count == 1
        {
            characters.append(scalar.value)
            index += length
        } else {
            characters.append(strayByte + UInt32(byte))
            index += 1
        }
    }
    return characters
}

private func literalBytes(_ tokens: some Sequence<IgnorePattern.Token>) -> [UInt8] {
    var bytes: [UInt8] = []
    for case .literal(let character) in tokens {
        if character >= strayByte {
            bytes.append(UInt8(truncatingIfNeeded: character - strayByte))
        } else if let scalar = Unicode.Scalar(character) {
            bytes.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
        }
    }
    return bytes
}

/// All positions in the tokens that a path can be at, moved on character by character: time grows with path times
/// tokens, never faster, whatever the pattern.
private struct TokenRun {
    let tokens: [IgnorePattern.Token]

    init(_ tokens: [IgnorePattern.Token]) { self.tokens = tokens }

    func run(_ characters: [UInt32]) -> (accepted: Bool, alive: Bool) {
        let count = tokens.count + 1
        return withUnsafeTemporaryAllocation(of: Bool.self, capacity: 2 * count) { buffer in
            buffer.initialize(repeating: false)
            var (here, next) = (0, count)
            add(0, buffer, here, isStart: true)
            for character in characters {
                for index in 0..<count { buffer[next + index] = false }
                var alive = false
                for index in 0..<tokens.count where buffer[here + index] {
                    if step(index, character, buffer, next) { alive = true }
                }
                if !alive { return (false, false) }
                swap(&here, &next)
            }
            let alive = (0..<tokens.count).contains { buffer[here + $0] }
            return (buffer[here + tokens.count], alive)
        }
    }

    /// Enters position `index` and those that need no character to reach from it.
    private func add(
        _ index: Int, _ buffer: UnsafeMutableBufferPointer<Bool>, _ base: Int, isStart: Bool = false
    ) {
        if buffer[base + index] { return }
        buffer[base + index] = true
        guard index < tokens.count else { return }
        switch tokens[index] {
        case .star, .run, .tail: add(index + 1, buffer, base, isStart: isStart)
        case .deepEntry:
            add(index + 1, buffer, base, isStart: isStart)
            add(index + 2, buffer, base, isStart: isStart)
        case .start: if isStart { add(index + 1, buffer, base, isStart: true) }
        case .literal, .any, .set, .deepLoop: break
        }
    }

    private func step(
        _ index: Int, _ character: UInt32, _ buffer: UnsafeMutableBufferPointer<Bool>, _ base: Int
    ) -> Bool {
        var moved = false
        func move(_ target: Int) {
            add(target, buffer, base)
            moved = true
        }
        switch tokens[index] {
        case .literal(let wanted): if wanted == character { move(index + 1) }
        case .any: if character != 0x2F { move(index + 1) }
        case .set(let set): if set.contains(character) { move(index + 1) }
        case .run(let set): if set.contains(character) { move(index) }
        case .star: if character != 0x2F { move(index) }
        case .tail: move(index)
        case .deepLoop:
            move(index)
            if character == 0x2F { move(index + 1) }
        case .deepEntry, .start: break
        }
        return moved
    }
}

/// Reads a wildcard of `COPY` as Go's `filepath.Match` does.
package enum PatternParser {
    /// The form of `pattern`; nil where `filepath.Match` would say "syntax error in pattern".
    package static func parse(_ pattern: [UInt8]) -> IgnorePattern.Form? {
        let characters = decodedCharacters(pattern)
        var tokens: [IgnorePattern.Token] = []
        var index = 0
        var special = false
        var leadingDeep = false
        while index < characters.count {
            switch characters[index] {
            case 0x2A where index + 1 < characters.count && characters[index + 1] == 0x2A:
                let start = index
                index += 2
                if index < characters.count, characters[index] == 0x2F { index += 1 }
                if start == 0 {
                    leadingDeep = true
                } else if index == characters.count, !special, !leadingDeep {
                    return .prefix(literalBytes(tokens))
                } else {
                    special = true
                }
                tokens += index == characters.count ? [.tail] : [.deepEntry, .deepLoop]
                continue
            case 0x2A: tokens.append(.star)
            case 0x3F: tokens.append(.any)
            case 0x5B:
                guard let set = characterClass(characters, &index) else { return nil }
                tokens.append(.set(set))
            case 0x5C:
                index += 1
                guard index < characters.count else { return nil }
                tokens.append(.literal(characters[index]))
            case let character:
                tokens.append(.literal(character))
                index += 1
                continue
            }
            special = true
            index += 1
        }
        if special { return .tokens(tokens) }
        return leadingDeep ? .suffix(Array(pattern.dropFirst(2))) : .exact(literalBytes(tokens))
    }

    /// Reads `[...]` from its bracket on; leaves `index` at the closing one.
    private static func characterClass(_ characters: [UInt32], _ index: inout Int) -> CharacterClass? {
        var set = CharacterClass()
        index += 1
        if index < characters.count, characters[index] == 0x5E {
            set.negated = true
            index += 1
        }
        while index < characters.count {
            if characters[index] == 0x5D, !set.ranges.isEmpty { return set }
            guard let low = member(characters, &index) else { return nil }
            var high = low
            if index < characters.count, characters[index] == 0x2D {
                index += 1
                guard let end = member(characters, &index) else { return nil }
                high = end
            }
            guard low <= high else { return nil }
            set.ranges.append(low...high)
        }
        return nil
    }

    private static func member(_ characters: [UInt32], _ index: inout Int) -> UInt32? {
        guard index < characters.count, characters[index] != 0x2D, characters[index] != 0x5D else { return nil }
        if characters[index] == 0x5C { index += 1 }
        guard index < characters.count else { return nil }
        defer { index += 1 }
        return characters[index]
    }
}
