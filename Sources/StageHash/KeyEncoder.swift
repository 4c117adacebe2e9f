// One walk, two readings: the bytes that make a step's key, and the text that `explain` compares. Specs/cache-key.md.

/// The key of a step: SHA-256 over the canonical encoding of all that decides its outcome.
public struct StepKey: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    public let digest: Digest

    public init(_ digest: Digest) { self.digest = digest }

    public static func < (a: StepKey, b: StepKey) -> Bool { a.digest < b.digest }

    public var description: String { digest.hex }

    public init(from decoder: any Decoder) throws { digest = try Digest(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try digest.encode(to: encoder) }
}

/// Encodes named fields, in order: every field is a kind byte, the framed name and the framed value, so that no two
/// different walks give the same bytes. The same walk writes a line of text a field.
public struct KeyEncoder: Sendable {
    private var bytes: [UInt8] = []
    /// `text`, as UTF-8.
    public private(set) var lines: [UInt8] = []

    /// `name = value` lines, in the order of the walk. Values are escaped; a field never takes two lines, and two
    /// different walks never give the same text.
    public var text: String { String(decoding: lines, as: UTF8.self) }

    private enum Kind: UInt8 {
        case string = 1
        case integer = 2
        case digest = 3
        case boolean = 4
        case list = 5
        case bytes = 6
    }

    /// - Parameter format: names the encoding's version and purpose; the first field of every key.
    public init(format: String) {
        bytes.reserveCapacity(512)
        lines.reserveCapacity(512)
        field("format", format)
    }

    public mutating func field(_ name: String, _ value: String) {
        begin(.string, name)
        frame(value)
        quote(value)
        lines.append(Self.newline)
    }

    public mutating func field(_ name: String, _ value: Int64) {
        begin(.integer, name)
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        end(String(value))
    }

    public mutating func field(_ name: String, _ value: Bool) {
        begin(.boolean, name)
        bytes.append(value ? 1 : 0)
        end(value ? "true" : "false")
    }

    public mutating func field(_ name: String, _ value: Digest) {
        begin(.digest, name)
        value.append(to: &bytes)
        value.appendText(to: &lines)
        lines.append(Self.newline)
    }

    public mutating func field(_ name: String, bytes value: [UInt8]) {
        begin(.bytes, name)
        count(value.count)
        bytes.append(contentsOf: value)
        if let text = String(validating: value, as: UTF8.self) { quote(text) } else { quote(raw: value) }
        lines.append(Self.newline)
    }

    public mutating func field(_ name: String, _ values: [String]) {
        begin(.list, name)
        count(values.count)
        for value in values { frame(value) }
        lines.append(UInt8(ascii: "["))
        for (index, value) in values.enumerated() {
            if index > 0 { lines.append(contentsOf: [UInt8(ascii: ","), UInt8(ascii: " ")]) }
            quote(value)
        }
        end("]")
    }

    /// The key of all fields so far.
    public func finalize() -> StepKey { StepKey(Digest.of(bytes)) }

    private static let newline = UInt8(ascii: "\n")

    private mutating func begin(_ kind: Kind, _ name: String) {
        bytes.append(kind.rawValue)
        frame(name)
        lines.append(contentsOf: name.utf8)
        lines.append(contentsOf: [UInt8(ascii: " "), UInt8(ascii: "="), UInt8(ascii: " ")])
    }

    private mutating func end(_ value: String) {
        lines.append(contentsOf: value.utf8)
        lines.append(Self.newline)
    }

    private mutating func frame(_ value: String) {
        count(value.utf8.count)
        bytes.append(contentsOf: value.utf8)
    }

    private mutating func count(_ value: Int) {
        withUnsafeBytes(of: UInt64(value).littleEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func quote(_ value: String) {
        lines.append(UInt8(ascii: "\""))
        for byte in value.utf8 { append(byte) }
        lines.append(UInt8(ascii: "\""))
    }

    /// What is no UTF-8: every byte beyond ASCII by its number, so that two names never read the same.
    private mutating func quote(raw value: [UInt8]) {
        lines.append(UInt8(ascii: "\""))
        for byte in value {
            if byte < 0x80 { append(byte) } else { lines.append(contentsOf: "\\x{\(String(byte, radix: 16))}".utf8) }
        }
        lines.append(UInt8(ascii: "\""))
    }

    private mutating func append(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): lines.append(contentsOf: [UInt8(ascii: "\\"), byte])
        case UInt8(ascii: "\n"): lines.append(contentsOf: "\\n".utf8)
        case UInt8(ascii: "\r"): lines.append(contentsOf: "\\r".utf8)
        case UInt8(ascii: "\t"): lines.append(contentsOf: "\\t".utf8)
        case 0..<0x20, 0x7F: lines.append(contentsOf: "\\u{\(String(byte, radix: 16))}".utf8)
        default: lines.append(byte)
        }
    }
}
