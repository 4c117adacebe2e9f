// What a command wrote is hostile to a terminal: escape sequences and control characters are taken out before it is shown.

/// Lets printable text, newlines, carriage returns and tabs through; swallows everything that could steer a terminal.
///
/// Sequences may be cut anywhere between two pieces of text, so the filter remembers where it is.
struct ControlFilter: Sendable {
    private enum State { case ground, escape, intermediate, sequence, string, stringEscape }
    private var state = State.ground

    init() {}

    /// `text` without what steers a terminal.
    mutating func filter(_ text: String) -> String {
        var output = String.UnicodeScalarView()
        for scalar in text.unicodeScalars where passes(scalar) { output.append(scalar) }
        return String(output)
    }

    private mutating func passes(_ scalar: Unicode.Scalar) -> Bool {
        let value = scalar.value
        if state == .ground, (0x20...0x7E).contains(value) { return true }
        // A newline ends whatever sequence was open: a log cannot swallow the lines that follow.
        if value == 0x0A || value == 0x0D || (value == 0x09 && state == .ground) {
            state = .ground
            return true
        }
        switch state {
        case .ground: return passesGround(scalar)
        case .escape: state = Self.afterEscape(value)
        case .intermediate: if !(0x20...0x2F).contains(value) { state = .ground }
        case .sequence:
            if value == 0x1B { state = .escape } else if !(0x20...0x3F).contains(value) { state = .ground }
        case .string:
            if value == 0x07 || value == 0x9C { state = .ground } else if value == 0x1B { state = .stringEscape }
        case .stringEscape: state = value == 0x5C ? .ground : Self.afterEscape(value)
        }
        return false
    }

    private mutating func passesGround(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x1B: state = .escape
        case 0x9B: state = .sequence
        case 0x90, 0x98, 0x9D, 0x9E, 0x9F: state = .string
        case 0..<0x20, 0x7F...0x9F: break
        case 0x200E, 0x200F, 0x061C, 0x2028...0x202E, 0x2060...0x206F, 0xFEFF, 0xFFF9...0xFFFB: break
        case 0xE0000...0xE007F: break
        default: return true
        }
        return false
    }

    private static func afterEscape(_ value: UInt32) -> State {
        switch value {
        case 0x1B: .escape
        case 0x5B: .sequence  // [
        case 0x50, 0x58, 0x5D, 0x5E, 0x5F: .string  // P X ] ^ _
        case 0x20...0x2F: .intermediate
        default: .ground
        }
    }
}

/// `text` on one line, safe to show: control characters out, runs of blanks and newlines to one blank.
func singleLine(_ text: String) -> String {
    var filter = ControlFilter()
    return filter.filter(text).split(whereSeparator: \.isWhitespace).joined(separator: " ")
}

/// `text` safe to show, with its lines kept.
func displayable(_ text: String) -> String {
    var filter = ControlFilter()
    return String(filter.filter(text).filter { $0 != "\r" }.map { $0 == "\r\n" ? "\n" : $0 })
}
