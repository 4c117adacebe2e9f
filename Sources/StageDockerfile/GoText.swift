// Texts in the form that Go gives them, which history entries and configs are known by.

enum GoText {
    private static let units: [(name: String, nanoseconds: Double)] = [
        ("ns", 1), ("us", 1e3), ("\u{B5}s", 1e3), ("\u{3BC}s", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9),
        ("h", 3600e9),
    ]

    /// `1h30m`, `1.5s`, `-3ms` in nanoseconds; nil when it is no duration.
    static func duration(_ text: String) -> Int64? {
        var rest = Substring(text).utf8
        var sign = 1.0
        if let first = rest.first, first == UInt8(ascii: "-") || first == UInt8(ascii: "+") {
            if first == UInt8(ascii: "-") { sign = -1 }
            rest = rest.dropFirst()
        }
        if rest.elementsEqual("0".utf8) { return 0 }
        guard !rest.isEmpty else { return nil }
        var total = 0.0
        while !rest.isEmpty {
            let number = rest.prefix { (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") }
            rest = rest.dropFirst(number.count)
            let unit = rest.prefix { !(0x30...0x39).contains($0) && $0 != UInt8(ascii: ".") }
            rest = rest.dropFirst(unit.count)
            guard let digits = String(number), let name = String(unit), digits != ".", !digits.isEmpty,
                let value = Double(
                    digits.hasSuffix(".") ? digits + "0" : digits.hasPrefix(".") ? "0" + digits : digits),
                let scale = units.first(where: { $0.name == name })?.nanoseconds
            else { return nil }
            total += value * scale
        }
        // 2^63 is a double, and what is below it fits.
        guard total < 9.223372036854775e18 else { return nil }
        return Int64((sign * total).rounded(.toNearestOrAwayFromZero))
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
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
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
        return result + "\""
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
