// An instruction as people read it in a progress view.

import StageGraph

enum StepTitle {
    private static let longest = 512

    /// `RUN go build -o server .`: one line, variables put in where they are set.
    static func text(_ instruction: Instruction, _ expansion: Expansion, _ variables: Variables) -> String {
        var reader = expansion
        reader.keepsQuotes = true
        reader.keepsEscapes = true
        reader.keepsUnset = true
        let rest = instruction.original.utf8.dropFirst(instruction.keyword.text.utf8.count)
        var title = instruction.name.uppercased() + " "
        if let plain = plain(rest, escape: expansion.escape) {
            title += plain
        } else {
            let written = String(rest) ?? ""
            title += oneLine((try? reader.expand(written, variables).value) ?? written)
        }
        if instruction.name == "run", let summary = instruction.heredocs.first?.summary { title += " (\(summary))" }
        return title.utf8.count <= longest ? title : String(title.prefix(longest)) + "..."
    }

    /// Text in which there is nothing to fill in and nothing to join, as most is, without the blanks around it; else nil.
    private static func plain(_ text: Substring.UTF8View, escape: Unicode.Scalar) -> Substring? {
        var last: UInt8 = 0
        for byte in text {
            guard (0x20...0x7E).contains(byte), byte != UInt8(ascii: "$"), UInt32(byte) != escape.value,
                byte != 0x20 || last != 0x20
            else { return nil }
            last = byte
        }
        var text = text
        if text.first == 0x20 { text.removeFirst() }
        if text.last == 0x20 { text.removeLast() }
        return Substring(text)
    }

    /// Joined lines bring their indentation along; blanks in quotes stay.
    private static func oneLine(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        var quote: Unicode.Scalar?
        var isAfterBlank = true
        for scalar in text.unicodeScalars {
            let isBlank = Blank.contains(scalar)
            if isBlank, quote == nil {
                if !isAfterBlank { result.append(" ") }
            } else {
                result.append(scalar)
            }
            isAfterBlank = isBlank
            if scalar == quote { quote = nil } else if quote == nil, scalar == "'" || scalar == "\"" { quote = scalar }
        }
        if result.last == " " { result.removeLast() }
        return String(result)
    }
}

extension Heredoc {
    /// Its first line, to recognise it by.
    fileprivate var summary: String {
        let lines = Blank.trimmed(content).utf8.split(separator: UInt8(ascii: "\n"), maxSplits: 1)
        let first = lines.first.map { Blank.trimmed(String(Substring($0))) } ?? ""
        return first + (lines.count > 1 ? "..." : "")
    }
}
