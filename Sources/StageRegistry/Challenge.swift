// WWW-Authenticate: what a registry asks for, by RFC 9110's grammar (schemes with parameters, several in one header).

/// One challenge: `Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull"`.
struct Challenge: Hashable, Sendable {
    /// Lower case.
    var scheme: String
    /// Names in lower case; the first of equal ones counts.
    var parameters: [String: String]

    /// Bytes of all header values that are looked at.
    static let limit = 8 << 10

    /// The challenges of all `WWW-Authenticate` values, in order. What does not follow the grammar ends the reading.
    static func parse(_ values: [String]) -> [Challenge] {
        var parser = ChallengeParser(bytes: Array(values.joined(separator: ", ").utf8.prefix(limit)))
        return parser.parse()
    }
}

private struct ChallengeParser {
    let bytes: [UInt8]
    var index = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func parse() -> [Challenge] {
        var challenges: [Challenge] = []
        while true {
            skip { Self.isSpace($0) || $0 == UInt8(ascii: ",") }
            guard let name = token() else { return challenges }
            let afterName = index
            skip(Self.isSpace)
            if current == UInt8(ascii: "="), !challenges.isEmpty, let value = parameterValue() {
                let key = name.lowercased()
                if challenges[challenges.count - 1].parameters[key] == nil {
                    challenges[challenges.count - 1].parameters[key] = value
                }
                continue
            }
            index = afterName
            // A scheme is followed by a space, a comma or the end.
            guard current == nil || current == UInt8(ascii: ",") || current.map(Self.isSpace) == true else {
                return challenges
            }
            challenges.append(Challenge(scheme: name.lowercased(), parameters: [:]))
            skipToken68()
        }
    }

    private var current: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skip(_ condition: (UInt8) -> Bool) {
        while index < bytes.count, condition(bytes[index]) { index += 1 }
    }

    private mutating func token() -> String? {
        let start = index
        skip(Self.isTokenCharacter)
        return index > start ? String(decoding: bytes[start..<index], as: UTF8.self) : nil
    }

    /// Stands at "="; nil when no value follows.
    private mutating func parameterValue() -> String? {
        index += 1
        skip(Self.isSpace)
        guard current == UInt8(ascii: "\"") else { return token() }
        index += 1
        var value: [UInt8] = []
        while let byte = current {
            index += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: value, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let escaped = current else { return nil }
                value.append(escaped)
                index += 1
            default: value.append(byte)
            }
        }
        return nil
    }

    /// `Negotiate YII==`: one blob instead of parameters. It is passed over; no scheme that has one is spoken here.
    private mutating func skipToken68() {
        let start = index
        skip(Self.isSpace)
        let blob = index
        skip { Self.isTokenCharacter($0) || $0 == UInt8(ascii: "/") }
        let padding = index
        skip { $0 == UInt8(ascii: "=") }
        let isPadded = index > padding
        skip(Self.isSpace)
        let isAlone = current == nil || current == UInt8(ascii: ",")
        // Without padding, `Basic, Bearer a=b` and `a b` could not be told apart; a lone word after a space is a blob.
        if !(isAlone && blob > start && (isPadded || padding > blob)) { index = start }
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    private static func isTokenCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}
