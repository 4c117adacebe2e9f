// Texts in the form that Go gives them, which history entries and configs are known by.

enum GoText {
    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("ns", 1), ("us", 1_000), ("\u{B5}s", 1_000), ("\u{3BC}s", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000),
        ("m", 60_000_000_000), ("h", 3_600_000_000_000),
    ]

    /// `1h30m`, `1.5s`, `-3ms` in nanoseconds, what is below one cut off; nil when it is no duration.
    static func duration(_ text: String) -> Int64? {
        var rest = Substring(text).utf8
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
        if rest.elementsEqual("0".utf8) { return 0 }
        guard !rest.isEmpty else { return nil }
        var total: UInt64 = 0
        while !rest.isEmpty {
            guard let part = durationPart(&rest) else { return nil }
            let (sum, overflows) = total.addingReportingOverflow(part)
            guard !overflows, sum <= 1 << 63 else { return nil }
            total = sum
        }
        if isNegative { return Int64(truncatingIfNeeded: 0 &- total) }
        return Int64(exactly: total)
    }

    /// A number and its unit.
    private static func durationPart(_ rest: inout Substring.UTF8View) -> UInt64? {
        func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
        let whole = rest.prefix(while: isDigit)
        rest = rest.dropFirst(whole.count)
        var fraction = rest.prefix(0)
        if rest.first == UInt8(ascii: ".") {
            rest = rest.dropFirst()
            fraction = rest.prefix(while: isDigit)
            rest = rest.dropFirst(fraction.count)
        }
        guard !whole.isEmpty || !fraction.isEmpty else { return nil }
        let unit = rest.prefix { !isDigit($0) && $0 != UInt8(ascii: ".") }
        rest = rest.dropFirst(unit.count)
        guard let scale = units.first(where: { $0.name.utf8.elementsEqual(unit) })?.nanoseconds else { return nil }
        guard let number = whole.isEmpty ? 0 : String(whole).flatMap({ UInt64($0) }) else { return nil }
        let (value, overflows) = number.multipliedReportingOverflow(by: scale)
        guard !overflows, value <= 1 << 63 else { return nil }
        // What is beyond a double's digits says nothing.
        let digits = fraction.prefix(18)
        guard let part = String(digits).flatMap({ UInt64($0) }), part > 0 else { return value }
        var divisor = 1.0
        for _ in digits { divisor *= 10 }
        return value + UInt64(Double(part) * (Double(scale) / divisor))
    }

    /// Nanoseconds as `1h30m0s`, `1.5s`, `100ms`.
    static func text(nanoseconds: Int64) -> String {
        if nanoseconds == 0 { return "0s" }
        let sign = nanoseconds < 0 ? "-" : ""
        let value = nanoseconds.magnitude
        if value < 1_000 { return "\(sign)\(value)ns" }
        if value < 1_000_000 { return sign + decimal(value, 1_000) + "\u{B5}s" }
        if value < 1_000_000_000 { return sign + decimal(value, 1_000_000) + "ms" }
        let minutes = value / 60_000_000_000
        let seconds = decimal(value % 60_000_000_000, 1_000_000_000) + "s"
        if minutes == 0 { return sign + seconds }
        if minutes < 60 { return "\(sign)\(minutes)m\(seconds)" }
        return "\(sign)\(minutes / 60)h\(minutes % 60)m\(seconds)"
    }

    private static func decimal(_ value: UInt64, _ unit: UInt64) -> String {
        let fraction = value % unit
        if fraction == 0 { return String(value / unit) }
        let width = String(unit).utf8.count - 1
        let digits = String(fraction)
        var padded = String(repeating: "0", count: width - digits.utf8.count) + digits
        while padded.hasSuffix("0") { padded.removeLast() }
        return "\(value / unit).\(padded)"
    }

    /// A list as `%v` prints it: `[a b]`.
    static func list(_ items: [String]) -> String { "[" + items.joined(separator: " ") + "]" }

    /// A list as `%q` prints it: `["a" "b"]`.
    static func quotedList(_ items: [String]) -> String { list(items.map(quoted)) }

    /// A string as `%q` prints it.
    static func quoted(_ text: String) -> String {
        "\"" + quoted(text, mark: "\"") + "\""
    }

    /// A number as `%q` prints it, which takes it for a character.
    static func quotedCharacter(_ number: Int) -> String {
        let scalar = UInt32(exactly: number).flatMap(Unicode.Scalar.init) ?? "\u{FFFD}"
        return "'" + quoted(String(scalar), mark: "'") + "'"
    }

    private static func quoted(_ text: String, mark: Unicode.Scalar) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case mark: result += "\\" + String(mark)
            case "\\": result += "\\\\"
            case "\u{07}": result += "\\a"
            case "\u{08}": result += "\\b"
            case "\u{0C}": result += "\\f"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{0B}": result += "\\v"
            default: result += isPrintable(scalar) ? String(scalar) : escaped(scalar)
            }
        }
        return result
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return (0x20..<0x7F).contains(scalar.value) }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            return false
        default: return true
        }
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        func padded(_ width: Int) -> String { String(repeating: "0", count: max(0, width - digits.count)) + digits }
        if scalar.value < 0x80 { return "\\x" + padded(2) }
        return scalar.value < 0x10000 ? "\\u" + padded(4) : "\\U" + padded(8)
    }
}
