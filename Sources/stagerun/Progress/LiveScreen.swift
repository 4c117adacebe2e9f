// Puts frames on a terminal without flicker: one write a frame, lines are overwritten in place and never cleared first.

/// Remembers what the last frame left on the screen, and makes the bytes that turn it into the next.
struct LiveScreen: Sendable {
    private let colours: Bool
    private let ellipsis: Character
    /// Columns that each live line takes now.
    private var painted: [Int] = []
    private var width = 80
    private var isOpen = false

    init(colours: Bool, ellipsis: Character = "…") {
        self.colours = colours
        self.ellipsis = ellipsis
    }

    /// The bytes that show `frame` on a terminal of `width` columns.
    mutating func paint(_ frame: Frame, width: Int) -> String {
        if frame.settled.isEmpty, frame.live.isEmpty, painted.isEmpty { return "" }
        // Terminals that know synchronized updates show the whole frame at once; others ignore the marks.
        var output = "\u{1B}[?2026h"
        if !isOpen {
            output += "\u{1B}[?25l"
            isOpen = true
        }
        self.width = max(1, width)
        output += "\r" + rewind()
        for line in frame.settled {
            output += line.text(width: width, colours: colours, ellipsis: ellipsis) + "\u{1B}[K\n"
        }
        painted = []
        for line in frame.live {
            let text = line.text(width: width, colours: false, ellipsis: ellipsis)
            painted.append(text.columns)
            output += line.text(width: width, colours: colours, ellipsis: ellipsis) + "\u{1B}[K\n"
        }
        return output + "\u{1B}[J\u{1B}[?2026l"
    }

    /// The bytes that give the terminal back, with nothing live left on it.
    mutating func close() -> String {
        guard isOpen else { return "" }
        isOpen = false
        let output = "\r" + rewind() + "\u{1B}[J\u{1B}[?25h"
        painted = []
        return output
    }

    /// Up to the first live line. A terminal that became narrower has wrapped what was painted wider.
    private func rewind() -> String {
        let rows = painted.reduce(0) { $0 + max(1, ($1 + width - 1) / width) }
        return rows > 0 ? "\u{1B}[\(rows)A" : ""
    }
}
