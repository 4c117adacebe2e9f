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
/// different walks give the same bytes. The text is read from those bytes: a line a field.
public struct KeyEncoder: Sendable {
    /// The canonical encoding of all fields so far.
    public private(set) var bytes: [UInt8] = []

    /// `name = value` lines, in the order of the walk. Values are escaped; a field never takes two lines, and two
    /// different walks never give the same text.
    public var text: String { Self.text(of: bytes) }

    fileprivate enum Kind: UInt8 {
        case string = 1
        case integer = 2
        case digest = 3
        case boolean = 4
        case list = 5
        case bytes = 6
    }

    /// - Parameter format: names the encoding's version and purpose; the first field of every key.
    public init(format: String) {
        bytes.reserveCapacity(256)
        field("format", format)
    }

    public mutating func field(_ name: String, _ value: String) {
        begin(.string, name)
        frame(value)
    }

    public mutating func field(_ name: String, _ value: Int64) {
        begin(.integer, name)
        count(Int(value))
    }

    public mutating func field(_ name: String, _ value: Bool) {
        begin(.boolean, name)
        bytes.append(value ? 1 : 0)
    }

    public mutating func field(_ name: String, _ value: Digest) {
        begin(.digest, name)
        value.append(to: &bytes)
    }

    public mutating func field(_ name: String, bytes value: [UInt8]) {
        begin(.bytes, name)
        count(value.count)
        bytes.append(contentsOf: value)
    }

    public mutating func field(_ name: String, _ values: [String]) {
        begin(.list, name)
        count(values.count)
        for value in values { frame(value) }
    }

    /// The key of all fields so far.
    public func finalize() -> StepKey { StepKey(Digest.of(bytes)) }

    private mutating func begin(_ kind: Kind, _ name: String) {
        bytes.append(kind.rawValue)
        frame(name)
    }

    private mutating func frame(_ value: String) {
        count(value.utf8.count)
        bytes.append(contentsOf: value.utf8)
    }

    private mutating func count(_ value: Int) {
        withUnsafeBytes(of: Int64(value).littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// The text of what an encoder's `bytes` are.
    public static func text(of encoding: [UInt8]) -> String {
        var lines = KeyLines(capacity: encoding.count)
        encoding.withUnsafeBytes { lines.read($0) }
        return String(decoding: lines.text, as: UTF8.self)
    }
}

/// Reads an encoding, and writes it as text.
private struct KeyLines {
    private(set) var text: [UInt8] = []

    /// - Parameter capacity: how long the encoding is: the text is about as long.
    init(capacity: Int) { text.reserveCapacity(capacity + capacity / 4) }

    mutating func read(_ encoding: UnsafeRawBufferPointer) {
        var rest = encoding[...]
        while let byte = rest.popFirst(), let kind = KeyEncoder.Kind(rawValue: byte) {
            text.append(contentsOf: frame(&rest))
            text.append(contentsOf: [UInt8(ascii: " "), UInt8(ascii: "="), UInt8(ascii: " ")])
            value(kind, &rest)
            text.append(UInt8(ascii: "\n"))
        }
    }

    private mutating func value(_ kind: KeyEncoder.Kind, _ rest: inout Slice<UnsafeRawBufferPointer>) {
        switch kind {
        case .string: quote(frame(&rest))
        case .integer: text.append(contentsOf: String(integer(&rest)).utf8)
        case .digest: Digest(bytes: UnsafeRawBufferPointer(rebasing: take(32, &rest)))?.appendText(to: &text)
        case .boolean: text.append(contentsOf: (rest.popFirst() == 1 ? "true" : "false").utf8)
        case .list:
            text.append(UInt8(ascii: "["))
            for index in 0..<max(0, integer(&rest)) {
                if rest.isEmpty { break }
                if index > 0 { text.append(contentsOf: [UInt8(ascii: ","), UInt8(ascii: " ")]) }
                quote(frame(&rest))
            }
            text.append(UInt8(ascii: "]"))
        case .bytes:
            let value = frame(&rest)
            quote(value, isText: String(validating: value, as: UTF8.self) != nil)
        }
    }

    private func take(
        _ count: Int, _ rest: inout Slice<UnsafeRawBufferPointer>
    ) -> Slice<UnsafeRawBufferPointer> {
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    private func integer(_ rest: inout Slice<UnsafeRawBufferPointer>) -> Int64 {
        let bytes = UnsafeRawBufferPointer(rebasing: take(8, &rest))
        return bytes.count == 8 ? Int64(littleEndian: bytes.loadUnaligned(as: Int64.self)) : 0
    }

    private func frame(_ rest: inout Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
        take(max(0, Int(integer(&rest))), &rest)
    }

    /// - Parameter isText: false for what is no UTF-8: then every byte beyond ASCII is written by its number, so that two names
    ///   never read the same.
    private mutating func quote(_ value: Slice<UnsafeRawBufferPointer>, isText: Bool = true) {
        text.append(UInt8(ascii: "\""))
        for byte in value {
            if byte >= 0x80 && !isText {
                text.append(contentsOf: "\\x{\(String(byte, radix: 16))}".utf8)
            } else {
                append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }

    private mutating func append(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): text.append(contentsOf: [UInt8(ascii: "\\"), byte])
        case UInt8(ascii: "\n"): text.append(contentsOf: "\\n".utf8)
        case UInt8(ascii: "\r"): text.append(contentsOf: "\\r".utf8)
        case UInt8(ascii: "\t"): text.append(contentsOf: "\\t".utf8)
        case 0..<0x20, 0x7F: text.append(contentsOf: "\\u{\(String(byte, radix: 16))}".utf8)
        default: text.append(byte)
        }
    }
}
