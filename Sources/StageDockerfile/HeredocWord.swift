// `<<EOF`, `3<<-"EOF"`: which words of a line open a heredoc.

struct HeredocWord {
    var name: String
    var expands: Bool
    var chomps: Bool
    var descriptor: UInt

    /// The words of a line as a shell would see them, quotes and all; none when its quotes do not match.
    static func all(in line: String) -> [String] {
        var expansion = Expansion()
        expansion.keepsQuotes = true
        expansion.keepsEscapes = true
        expansion.keepsUnset = true
        let words = (try? expansion.expand(line, [:] as [String: String]).words) ?? []
        return words.filter { $0.contains("<<") }
    }

    /// Nil when the word opens no heredoc.
    init?(_ word: String) throws(ExpansionError) {
        let digits = word.utf8.prefix { (0x30...0x39).contains($0) }
        var rest = word.utf8.dropFirst(digits.count)
        guard rest.starts(with: "<<".utf8) else { return nil }
        rest = rest.dropFirst(2)
        descriptor = UInt(String(digits) ?? "") ?? 0
        chomps = rest.first == UInt8(ascii: "-")
        if chomps { rest = rest.dropFirst() }
        let delimiter = String(Substring(rest).unicodeScalars.drop { Blank.contains($0) })
        guard !delimiter.isEmpty, !delimiter.utf8.contains(UInt8(ascii: "<")) else { return nil }

        var expansion = Expansion()
        expansion.keepsUnset = true
        let plain = try expansion.expand(delimiter, [:] as [String: String]).words
        expansion.keepsQuotes = true
        let quoted = try expansion.expand(delimiter, [:] as [String: String]).words
        guard plain.count == 1, quoted.count == 1 else { return nil }
        name = plain[0]
        expands = Self.quotes(plain[0]) == Self.quotes(quoted[0])
    }

    private static func quotes(_ text: String) -> Int {
        text.utf8.count { $0 == UInt8(ascii: "'") || $0 == UInt8(ascii: "\"") }
    }
}
