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
        let written = String(rest) ?? ""
        let filled = (try? reader.expand(written, variables).value) ?? written
        var title = instruction.name.uppercased() + " " + oneLine(filled)
        if instruction.name == "run", let summary = instruction.heredocs.first?.summary { title += " (\(summary))" }
        return title.utf8.count <= longest ? title : String(title.prefix(longest)) + "..."
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
