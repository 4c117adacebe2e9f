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
    /// `name = value` lines, in the order of the walk. Values are escaped; a field never takes two lines.
    public private(set) var text = ""

    private enum Kind: UInt8 {
        case string = 1
        case integer = 2
        case digest = 3
        case boolean = 4
        case list = 5
        case bytes = 6
    }

    /// - Parameter format: names the encoding's version and purpose; the first field of every key.
    public init(format: String) { field("format", format) }

    public mutating func field(_ name: String, _ value: String) {
        begin(.string, name)
        frame(Array(value.utf8))
        line(name, quoted(value))
    }

    public mutating func field(_ name: String, _ value: Int64) {
        begin(.integer, name)
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        line(name, String(value))
    }

    public mutating func field(_ name: String, _ value: Bool) {
        begin(.boolean, name)
        bytes.append(value ? 1 : 0)
        line(name, value ? "true" : "false")
    }

    public mutating func field(_ name: String, _ value: Digest) {
        begin(.digest, name)
        value.append(to: &bytes)
        line(name, value.description)
    }

    public mutating func field(_ name: String, bytes value: [UInt8]) {
        begin(.bytes, name)
        frame(value)
        line(name, quoted(String(decoding: value, as: UTF8.self)))
    }

    public mutating func field(_ name: String, _ values: [String]) {
        begin(.list, name)
        count(values.count)
        for value in values { frame(Array(value.utf8)) }
        line(name, "[" + values.map(quoted).joined(separator: ", ") + "]")
    }

    /// The key of all fields so far.
    public func finalize() -> StepKey { StepKey(Digest.of(bytes)) }

    private mutating func begin(_ kind: Kind, _ name: String) {
        bytes.append(kind.rawValue)
        frame(Array(name.utf8))
    }

    private mutating func frame(_ value: [UInt8]) {
        count(value.count)
        bytes.append(contentsOf: value)
    }

    private mutating func count(_ value: Int) {
        withUnsafeBytes(of: UInt64(value).littleEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func line(_ name: String, _ value: String) { text += "\(name) = \(value)\n" }

    private func quoted(_ value: String) -> String {
        var out = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F: out += "\\u{\(String(scalar.value, radix: 16))}"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}
