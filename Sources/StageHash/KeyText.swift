// The text of a key, read back: fields by name, in order, so that two keys can be compared field by field.

/// What `KeyEncoder.text` says.
public struct KeyText: Sendable, Hashable {
    /// One field of a key.
    public struct Field: Sendable, Hashable {
        public var name: String
        /// As it is written: quoted, a list in brackets, or bare.
        public var raw: String

        /// The value without quotes and escapes; a list, a number or a digest as it is written.
        public var value: String { KeyText.strings(raw)?.first ?? raw }

        /// The elements of a list; a single value as one.
        public var values: [String] { KeyText.strings(raw) ?? [raw] }

        /// Byte for byte: Swift would take two spellings of one character for the same.
        public static func == (a: Field, b: Field) -> Bool {
            a.name.utf8.elementsEqual(b.name.utf8) && a.raw.utf8.elementsEqual(b.raw.utf8)
        }

        public func hash(into hasher: inout Hasher) {
            for byte in raw.utf8 { hasher.combine(byte) }
        }
    }

    public var fields: [Field]

    public init(_ text: String) {
        let mark = Array(" = ".utf8)
        fields = text.utf8.split(separator: UInt8(ascii: "\n")).map { line in
            let bytes = Array(line)
            let cut = bytes.indices.first { bytes[$0...].starts(with: mark) } ?? bytes.count
            return Field(
                name: String(decoding: bytes[..<cut], as: UTF8.self),
                raw: String(decoding: bytes.dropFirst(cut + mark.count), as: UTF8.self))
        }
    }

    /// The first field of that name.
    public subscript(name: String) -> Field? { fields.first { $0.name == name } }

    /// The quoted strings of a value; nil when it is no string and no list.
    private static func strings(_ raw: String) -> [String]? {
        guard let first = raw.utf8.first, first == UInt8(ascii: "\"") || first == UInt8(ascii: "[") else { return nil }
        var result: [String] = []
        var rest = Array(raw.utf8)[...]
        while let start = rest.firstIndex(of: UInt8(ascii: "\"")) {
            rest = rest[(start + 1)...]
            var text: [UInt8] = []
            while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
                if byte == UInt8(ascii: "\\") { text += escape(&rest) } else { text.append(byte) }
            }
            result.append(String(decoding: text, as: UTF8.self))
        }
        return result
    }

    private static func escape(_ rest: inout ArraySlice<UInt8>) -> [UInt8] {
        guard let kind = rest.popFirst() else { return [] }
        switch kind {
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"), UInt8(ascii: "x"):
            guard rest.first == UInt8(ascii: "{"), let close = rest.firstIndex(of: UInt8(ascii: "}")),
                let value = UInt8(
                    String(decoding: rest[rest.index(after: rest.startIndex)..<close], as: UTF8.self), radix: 16)
            else { return [kind] }
            rest = rest[rest.index(after: close)...]
            return [value]
        default: return [kind]
        }
    }
}
