// One record of comma-separated values, as the values of `--mount` and `--device` are written, and what `--device` holds.

import StageGraph

enum CommaSeparatedRecord {
    /// The fields; a quoted one may hold commas, and quotes that are doubled.
    static func fields(_ word: Word, of flag: String) throws(DockerfileError) -> [String] {
        let bytes = Array(word.text.utf8)
        let (quote, comma) = (UInt8(ascii: "\""), UInt8(ascii: ","))
        func fault(_ what: String) -> DockerfileError {
            DockerfileError("\(flag) \(what)", at: word.range, hint: "quote a whole field, and double the quotes in it")
        }
        guard !bytes.isEmpty else { throw DockerfileError("\(flag) is empty", at: word.range) }
        var fields: [String] = []
        var index = 0
        while true {
            var field: [UInt8] = []
            if index < bytes.count, bytes[index] == quote {
                index += 1
                while true {
                    guard index < bytes.count else { throw fault("has a quote that is not closed") }
                    if bytes[index] == quote {
                        index += 1
                        guard index < bytes.count, bytes[index] == quote else { break }
                    }
                    field.append(bytes[index])
                    index += 1
                }
                guard index == bytes.count || bytes[index] == comma else {
                    throw fault("has text behind a quoted field")
                }
            } else {
                while index < bytes.count, bytes[index] != comma {
                    if bytes[index] == quote { throw fault("has a quote inside a field") }
                    field.append(bytes[index])
                    index += 1
                }
            }
            fields.append(String(decoding: field, as: UTF8.self))
            guard index < bytes.count else { return fields }
            index += 1
        }
    }
}

extension Device {
    /// `NAME[,required[=BOOL]]`; a device's own name may hold an equals sign: `vendor/class=name`.
    init(_ word: Word) throws(DockerfileError) {
        self.init(name: "", isRequired: false, range: word.range)
        for field in try CommaSeparatedRecord.fields(word, of: "--device") {
            let pair = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let value = pair.count == 2 ? pair[1] : nil
            switch (pair[0].lowercased(), value) {
            case ("required", nil): isRequired = true
            case ("required", let value?):
                guard let flag = FlagValue.boolean(value) else { throw unfit(field) }
                isRequired = flag
            case ("name", let value?) where name.isEmpty: name = value
            case (let key, _) where name.isEmpty && (key != "name" || value == nil): name = field
            default: throw unfit(field)
            }
        }
    }

    private func unfit(_ field: String) -> DockerfileError {
        DockerfileError("invalid field `\(field)` in --device", at: range, hint: "write --device=NAME[,required]")
    }

    /// Whether it says whose device of which class it is, without which there is nothing to look for.
    var isQualified: Bool {
        let kind = name.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
        let parts = kind.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        return parts.count == 2 && parts.allSatisfy(Self.isName)
    }

    /// A letter, then letters, digits and `_-.`, which do not end it.
    private static func isName(_ text: Substring) -> Bool {
        func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) }
        func isLetterOrDigit(_ byte: UInt8) -> Bool { isLetter(byte) || (0x30...0x39).contains(byte) }
        guard let first = text.utf8.first, let last = text.utf8.last, isLetter(first), isLetterOrDigit(last) else {
            return false
        }
        return text.utf8.allSatisfy { isLetterOrDigit($0) || "_-.".utf8.contains($0) }
    }
}
