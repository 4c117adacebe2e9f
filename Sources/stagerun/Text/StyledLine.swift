// One line of a terminal: spans with a style each, cut by display width, so that colours never count as columns.

/// How a span looks.
enum Style: Sendable, Hashable {
    case plain, bold, dim, red, green, yellow, cyan

    fileprivate var code: String? {
        switch self {
        case .plain: nil
        case .bold: "1"
        case .dim: "2"
        case .red: "31"
        case .green: "32"
        case .yellow: "33"
        case .cyan: "36"
        }
    }
}

/// `text` in `style` when `colours` is on.
func styled(_ text: String, _ style: Style, colours: Bool) -> String {
    guard colours, let code = style.code, !text.isEmpty else { return text }
    return "\u{1B}[\(code)m\(text)\u{1B}[0m"
}

/// A line to be shown: a left part that may be cut, and a right part that is kept.
struct StyledLine: Sendable, Hashable {
    struct Span: Sendable, Hashable {
        var text: String
        var style: Style
    }

    var left: [Span]
    var right: [Span]

    init(_ left: [(String, Style)], right: [(String, Style)] = []) {
        self.left = left.map { Span(text: $0.0, style: $0.1) }
        self.right = right.map { Span(text: $0.0, style: $0.1) }
    }

    /// The text for a terminal of `width` columns, at most `width - 1` of them used: a full last column makes some
    /// terminals wrap. The right part ends at column 100 on wide terminals, so that the eye finds it.
    func text(width: Int, colours: Bool, ellipsis: Character = "…") -> String {
        let room = max(1, width - 1)
        let rightColumns = right.reduce(0) { $0 + $1.text.columns }
        guard rightColumns > 0 else { return Self.cut(left, to: room, colours: colours, ellipsis: ellipsis).text }
        let edge = min(room, 100)
        guard edge >= rightColumns + 8 else {
            return Self.cut(left, to: room, colours: colours, ellipsis: ellipsis).text
        }
        let (text, used) = Self.cut(left, to: edge - rightColumns - 2, colours: colours, ellipsis: ellipsis)
        let gap = String(repeating: " ", count: edge - rightColumns - used)
        return text + gap + right.map { styled($0.text, $0.style, colours: colours) }.joined()
    }

    private static func cut(
        _ spans: [Span], to room: Int, colours: Bool, ellipsis: Character
    ) -> (text: String, columns: Int) {
        let total = spans.reduce(0) { $0 + $1.text.columns }
        var left = total <= room ? room : room - 1
        var text = ""
        var used = 0
        for span in spans {
            var kept = ""
            for character in span.text {
                let columns = character.columns
                guard columns <= left else {
                    left = -1
                    break
                }
                kept.append(character)
                left -= columns
                used += columns
            }
            text += styled(kept, span.style, colours: colours)
            if left < 0 { break }
        }
        if total > room {
            text.append(ellipsis)
            used += 1
        }
        return (text, used)
    }
}
