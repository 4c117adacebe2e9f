// The parts of one logical line: keyword, flags, and the arguments in the form that the instruction has.

import StageGraph

struct InstructionSyntax {
    let line: LogicalLine
    let escape: UInt8
    private var bytes: [UInt8] { line.bytes }

    init(line: LogicalLine, escape: UInt8) {
        self.line = line
        self.escape = escape
    }

    func parse(_ part: Range<Int>, depth: Int) throws(DockerfileError) -> Instruction {
        let whole = Blank.trimmed(bytes, part)
        var keywordEnd = whole.lowerBound
        while keywordEnd < whole.upperBound, !Blank.separates(bytes[keywordEnd]) { keywordEnd += 1 }
        let keyword = line.word(whole.lowerBound..<keywordEnd)
        var rest = keywordEnd..<whole.upperBound
        while !rest.isEmpty, Blank.separates(bytes[rest.lowerBound]) { rest = rest.lowerBound + 1..<rest.upperBound }

        let name = keyword.text.lowercased()
        var instruction = Instruction(
            keyword: keyword, name: name, known: Keyword(named: name), flags: [], arguments: [], isJSON: false,
            heredocs: [], trigger: [], comments: [], original: line.text(whole.lowerBound..<part.upperBound),
            range: line.range(whole)
        )
        instruction.flags = flags(&rest)
        rest = Blank.trimmed(bytes, rest)
        guard let known = instruction.known else { return instruction }
        try parseArguments(known, rest, &instruction, depth: depth)
        return instruction
    }

    private func parseArguments(
        _ keyword: Keyword, _ rest: Range<Int>, _ instruction: inout Instruction, depth: Int
    ) throws(DockerfileError) {
        switch keyword {
        case .add, .copy, .volume:
            if try parseJSON(rest, &instruction) { return }
            instruction.arguments = blankSeparated(rest)
        case .cmd, .entrypoint, .run, .shell:
            if try parseJSON(rest, &instruction) { return }
            if !rest.isEmpty { instruction.arguments = [line.word(rest)] }
        case .expose, .from: instruction.arguments = blankSeparated(rest)
        case .maintainer, .stopsignal, .user, .workdir:
            if !rest.isEmpty { instruction.arguments = [line.word(rest)] }
        case .arg: instruction.arguments = words(rest).map { line.word($0.source, text: $0.text) }
        case .env, .label: instruction.arguments = try pairs(rest, keyword.rawValue.uppercased())
        case .healthcheck: try parseHealthcheck(rest, &instruction)
        case .onbuild:
            if rest.isEmpty { return }
            guard depth < 100 else {
                throw DockerfileError("`ONBUILD` inside `ONBUILD` isn't allowed", at: line.range(rest))
            }
            instruction.trigger = [try parse(rest, depth: depth + 1)]
        }
    }

    private func parseHealthcheck(_ rest: Range<Int>, _ instruction: inout Instruction) throws(DockerfileError) {
        var end = rest.lowerBound
        while end < rest.upperBound, Blank.length(bytes, at: end, end: rest.upperBound) == 0 { end += 1 }
        guard end > rest.lowerBound else { return }
        let kind = line.word(rest.lowerBound..<end)
        let command = Blank.trimmed(bytes, end..<rest.upperBound)
        if try !parseJSON(command, &instruction), !command.isEmpty { instruction.arguments = [line.word(command)] }
        instruction.arguments.insert(kind, at: 0)
    }

    /// A JSON array of strings; false when it is none, and then the text is taken as a shell's.
    private func parseJSON(_ rest: Range<Int>, _ instruction: inout Instruction) throws(DockerfileError) -> Bool {
        guard !rest.isEmpty, bytes[rest.lowerBound] == UInt8(ascii: "[") else { return false }
        var reader = JSONArrayReader(bytes: bytes, range: rest)
        guard let elements = reader.read() else { return false }
        for element in elements {
            guard let text = element.text else {
                throw DockerfileError(
                    "when using JSON array syntax, arrays must be comprised of strings only",
                    at: line.range(element.source), hint: "put it in double quotes")
            }
            instruction.arguments.append(Word(text, at: line.range(element.source)))
        }
        instruction.isJSON = true
        return true
    }

    private func blankSeparated(_ rest: Range<Int>) -> [Word] {
        var words: [Word] = []
        words.reserveCapacity(min(64, 1 + bytes[rest].reduce(0) { $0 + (Blank.separates($1) ? 1 : 0) }))
        var start = rest.lowerBound
        while start < rest.upperBound {
            var end = start
            while end < rest.upperBound, !Blank.separates(bytes[end]) { end += 1 }
            words.append(line.word(start..<end))
            start = end
            while start < rest.upperBound, Blank.separates(bytes[start]) { start += 1 }
        }
        return words
    }

    /// Words with their quotes and escapes kept; blanks inside quotes do not end a word.
    private func words(_ rest: Range<Int>) -> [(text: [UInt8], source: Range<Int>)] {
        var words: [(text: [UInt8], source: Range<Int>)] = []
        var word: [UInt8] = []
        var start = rest.lowerBound
        var quote: UInt8?
        var position = rest.lowerBound
        func isBlank(_ index: Int) -> Int { Blank.length(bytes, at: index, end: rest.upperBound) }
        while position < rest.upperBound {
            let byte = bytes[position]
            let blank = quote == nil ? isBlank(position) : 0
            if blank > 0 {
                if !word.isEmpty { words.append((word, start..<position)) }
                word = []
                position += blank
                start = position
                continue
            }
            if quote == nil, byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                quote = byte
            } else if byte == quote {
                quote = nil
            } else if byte == escape, quote != UInt8(ascii: "'") {
                // An escape character at the very end says nothing.
                if position + 1 == rest.upperBound { break }
                word.append(byte)
                position += 1
                word.append(bytes[position])
                position += 1
                continue
            }
            word.append(byte)
            position += 1
        }
        if !word.isEmpty { words.append((word, start..<rest.upperBound)) }
        return words
    }

    /// `KEY=value ...`, or the old `KEY rest of the line`.
    private func pairs(_ rest: Range<Int>, _ keyword: String) throws(DockerfileError) -> [Word] {
        let words = words(rest)
        guard let first = words.first else { return [] }
        let equals = UInt8(ascii: "=")
        guard first.text.contains(equals) else {
            var end = rest.lowerBound
            while end < rest.upperBound, !Blank.separates(bytes[end]) { end += 1 }
            var start = end
            while start < rest.upperBound, Blank.separates(bytes[start]) { start += 1 }
            guard end < rest.upperBound else {
                throw DockerfileError(
                    "\(keyword) must have two arguments", at: line.range(rest),
                    hint: "write `\(keyword) \(line.text(rest))=value`")
            }
            let value = line.word(start..<rest.upperBound)
            return [line.word(rest.lowerBound..<end), value, Word("", at: value.range)]
        }
        var result: [Word] = []
        for word in words {
            guard let index = word.text.firstIndex(of: equals) else {
                throw DockerfileError(
                    "can't find = in `\(String(decoding: word.text, as: UTF8.self))`; it must be of the form name=value",
                    at: line.range(word.source), hint: "put a value that has blanks in it in quotes")
            }
            let range = line.range(word.source)
            result.append(Word(String(decoding: word.text[..<index], as: UTF8.self), at: range))
            result.append(Word(String(decoding: word.text[(index + 1)...], as: UTF8.self), at: range))
            result.append(Word("=", at: range))
        }
        return result
    }

    /// Takes the words that start with `--` from the front. Their quotes and escapes are used up here. Docker reads flags
    /// byte by byte, so that only ASCII blanks end them; that it spoils other characters on the way is not repeated.
    private func flags(_ rest: inout Range<Int>) -> [Word] {
        var flags: [Word] = []
        var position = rest.lowerBound
        let end = rest.upperBound
        let dash = UInt8(ascii: "-")
        while position < end {
            if Blank.isASCII(bytes[position]) {
                position += 1
                continue
            }
            guard bytes[position] == dash, position + 1 < end, bytes[position + 1] == dash else { break }
            let start = position
            let text = flag(&position, end)
            if text.elementsEqual("--".utf8) { break }
            flags.append(line.word(start..<position, text: text))
        }
        rest = position..<end
        return flags
    }

    private func flag(_ position: inout Int, _ end: Int) -> [UInt8] {
        var text: [UInt8] = []
        var quote: UInt8?
        while position < end {
            let byte = bytes[position]
            if quote == nil, Blank.isASCII(byte) { break }
            position += 1
            if quote == nil, byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                quote = byte
            } else if byte == quote {
                quote = nil
            } else if byte == escape {
                guard position < end else { break }
                text.append(bytes[position])
                position += 1
            } else {
                text.append(byte)
            }
        }
        return text
    }
}

extension LogicalLine {
    /// A word that reads otherwise than it is written.
    func word(_ source: Range<Int>, text: [UInt8]) -> Word {
        Word(String(decoding: text, as: UTF8.self), at: range(source))
    }
}
