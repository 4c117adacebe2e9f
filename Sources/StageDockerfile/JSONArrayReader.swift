// The JSON form of an instruction's arguments. Strict: what is not JSON is left to the shell form.

struct JSONArrayReader {
    /// One element of the outer array: its text when it is a string.
    struct Element {
        var text: String?
        var source: Range<Int>
    }

    private let bytes: [UInt8]
    private var position: Int
    private let end: Int

    init(bytes: [UInt8], range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    /// The elements, or nil when the text is not one JSON array and nothing else.
    mutating func read() -> [Element]? {
        guard take("[") else { return nil }
        var elements: [Element] = []
        skipBlanks()
        if take("]") { return isAtEnd ? elements : nil }
        while true {
            skipBlanks()
            let start = position
            if peek == UInt8(ascii: "\"") {
                guard let text = string() else { return nil }
                elements.append(Element(text: text, source: start..<position))
            } else {
                guard skipValue() else { return nil }
                elements.append(Element(text: nil, source: start..<position))
            }
            skipBlanks()
            if take("]") { return isAtEnd ? elements : nil }
            guard take(",") else { return nil }
        }
    }

    private var peek: UInt8? { position < end ? bytes[position] : nil }

    private var isAtEnd: Bool {
        mutating get {
            skipBlanks()
            return position == end
        }
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: scalar) else { return false }
        position += 1
        return true
    }

    private mutating func skipBlanks() {
        while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
    }

    private mutating func string() -> String? {
        guard take("\"") else { return nil }
        var result: [UInt8] = []
        while let byte = peek {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: result, as: UTF8.self)
            case UInt8(ascii: "\\"): guard escape(into: &result) else { return nil }
            case 0..<0x20: return nil
            default: result.append(byte)
            }
        }
        return nil
    }

    private mutating func escape(into result: inout [UInt8]) -> Bool {
        guard let byte = peek else { return false }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"):
            guard let scalar = unicodeEscape() else { return false }
            result.append(contentsOf: String(scalar).utf8)
        default: return false
        }
        return true
    }

    /// After `\u`. Half a surrogate pair is U+FFFD.
    private mutating func unicodeEscape() -> Unicode.Scalar? {
        guard let unit = hexadecimal() else { return nil }
        if let scalar = Unicode.Scalar(unit) { return scalar }
        let mark = position
        if (0xD800..<0xDC00).contains(unit), take("\\"), take("u"), let low = hexadecimal(),
            (0xDC00..<0xE000).contains(low)
        {
            return Unicode.Scalar(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        }
        position = mark
        return "\u{FFFD}"
    }

    private mutating func hexadecimal() -> UInt32? {
        guard position + 4 <= end else { return nil }
        var value: UInt32 = 0
        for byte in bytes[position..<position + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
            value = value << 4 | UInt32(digit)
        }
        position += 4
        return value
    }

    /// Any value. Nesting is kept on a list, not on the stack.
    private mutating func skipValue() -> Bool {
        var open: [UInt8] = []
        repeat {
            skipBlanks()
            guard let byte = peek else { return false }
            if byte == UInt8(ascii: "[") || byte == UInt8(ascii: "{") {
                position += 1
                skipBlanks()
                let close = byte + 2
                if peek == close {
                    position += 1
                } else {
                    // Go's decoder gives up here, and so the text is no JSON.
                    guard open.count < 9_999 else { return false }
                    open.append(close)
                    if close == UInt8(ascii: "}"), !skipKey() { return false }
                    continue
                }
            } else if !skipScalar() {
                return false
            }
            guard closeOrContinue(&open) else { return false }
        } while !open.isEmpty
        return true
    }

    /// After a value inside containers: closes those that end here, or goes past a comma.
    private mutating func closeOrContinue(_ open: inout [UInt8]) -> Bool {
        while let close = open.last {
            skipBlanks()
            if peek == close {
                position += 1
                open.removeLast()
            } else if take(",") {
                skipBlanks()
                return close == UInt8(ascii: "}") ? skipKey() : true
            } else {
                return false
            }
        }
        return true
    }

    private mutating func skipKey() -> Bool {
        skipBlanks()
        guard string() != nil else { return false }
        skipBlanks()
        return take(":")
    }

    private mutating func skipScalar() -> Bool {
        if peek == UInt8(ascii: "\"") { return string() != nil }
        for literal in ["true", "false", "null"] where bytes[position..<end].starts(with: literal.utf8) {
            position += literal.utf8.count
            return true
        }
        return skipNumber()
    }

    /// A number that is too large for a double is none.
    private mutating func skipNumber() -> Bool {
        let start = position
        _ = take("-")
        if !take("0"), !skipDigits() { return false }
        if take("."), !skipDigits() { return false }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            if !skipDigits() { return false }
        }
        return Double(String(decoding: bytes[start..<position], as: UTF8.self))?.isFinite ?? false
    }

    private mutating func skipDigits() -> Bool {
        let start = position
        while let byte = peek, (0x30...0x39).contains(byte) { position += 1 }
        return position > start
    }
}
