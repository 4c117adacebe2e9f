// JSON that keeps the order in which it was made, so that documents read as docker's do.

/// A JSON value.
indirect enum JSONText: Sendable, Hashable {
    case null
    case bool(Bool)
    case number(Int64)
    /// A number as it is to be written.
    case decimal(String)
    case string(String)
    case array([JSONText])
    case object([Member])

    struct Member: Sendable, Hashable {
        var key: String
        var value: JSONText
    }

    static func members(_ pairs: KeyValuePairs<String, JSONText>) -> JSONText {
        .object(pairs.map { Member(key: $0.key, value: $0.value) })
    }

    /// A time in seconds, to the microsecond.
    static func seconds(_ value: Double) -> JSONText { .decimal(fixedPoint(value, digits: 6)) }

    static func strings(_ strings: some Sequence<String>) -> JSONText { .array(strings.map { .string($0) }) }

    static func optional(_ string: String?) -> JSONText { string.map { .string($0) } ?? .null }

    /// One line without blanks.
    var compact: String {
        var text = ""
        write(to: &text, indent: nil)
        return text
    }

    /// A line for each member, four blanks a level, a newline at the end.
    var pretty: String {
        var text = ""
        write(to: &text, indent: 0)
        return text + "\n"
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let value): text += String(value)
        case .decimal(let value): text += value
        case .string(let value): Self.quote(value, to: &text)
        case .array(let values):
            Self.writeList(values, "[", "]", to: &text, indent: indent) { value, text, indent in
                value.write(to: &text, indent: indent)
            }
        case .object(let members):
            Self.writeList(members, "{", "}", to: &text, indent: indent) { member, text, indent in
                Self.quote(member.key, to: &text)
                text += indent == nil ? ":" : ": "
                member.value.write(to: &text, indent: indent)
            }
        }
    }

    private static func writeList<T>(
        _ items: [T], _ open: String, _ close: String, to text: inout String, indent: Int?,
        _ write: (T, inout String, Int?) -> Void
    ) {
        text += open
        for (index, item) in items.enumerated() {
            if index > 0 { text += "," }
            if let indent { text += "\n" + String(repeating: "    ", count: indent + 1) }
            write(item, &text, indent.map { $0 + 1 })
        }
        if let indent, !items.isEmpty { text += "\n" + String(repeating: "    ", count: indent) }
        text += close
    }

    private static func quote(_ string: String, to text: inout String) {
        let hex = Array("0123456789abcdef")
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            // C1 controls are legal JSON, but would steer a terminal that shows it.
            case _ where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value):
                text += "\\u00" + String([hex[Int(scalar.value >> 4)], hex[Int(scalar.value & 15)]])
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
