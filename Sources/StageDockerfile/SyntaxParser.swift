// From the bytes of a Dockerfile to its instructions as they are written. One pass, linear in the file.

import StageGraph

struct SyntaxParser {
    private(set) var directives = Directives()
    private(set) var warnings: [DockerfileWarning] = []
    private var reader: LineReader
    private var comments: [String] = []
    /// The line before, for its room.
    private var spare: LogicalLine?
    private let isClean: Bool
    private let takesAnyBytes: Bool

    /// - Parameters:
    ///   - fixedRange: where everything is said to stand, for text that stands in no file.
    ///   - takesAnyBytes: NUL and what is no UTF-8 are taken as docker's parser takes them, for who only looks.
    init(bytes: [UInt8], file: String, fixedRange: SourceRange? = nil, takesAnyBytes: Bool = false) {
        reader = LineReader(bytes: bytes, file: file, fixedRange: fixedRange)
        self.takesAnyBytes = takesAnyBytes
        isClean = takesAnyBytes || String(validating: bytes, as: UTF8.self) != nil && !bytes.contains(0)
    }

    mutating func parse() throws(DockerfileError) -> [Instruction] {
        var instructions: [Instruction] = []
        instructions.reserveCapacity(min(reader.lines, 1 << 14))
        while let first = try reader.next() {
            if let instruction = try instruction(startingAt: first) { instructions.append(instruction) }
        }
        guard !instructions.isEmpty else {
            throw DockerfileError(
                reader.bytes.isEmpty ? "the Dockerfile is empty" : "the Dockerfile has no instructions",
                at: reader.range(line: max(reader.number, 1)), hint: "it needs at least a `FROM`")
        }
        return instructions
    }

    private mutating func instruction(startingAt first: PhysicalLine) throws(DockerfileError) -> Instruction? {
        var content = first.start..<first.end
        while !content.isEmpty {
            let blank = Blank.length(reader.bytes, at: content.lowerBound, end: content.upperBound)
            if blank == 0 { break }
            content = content.lowerBound + blank..<content.upperBound
        }
        let isDirective = try directives.take(
            reader.bytes[content], isIndented: content.lowerBound > first.start,
            at: reader.range(line: first.number, columns: 1...max(1, first.end - first.start)))
        if isDirective { return nil }
        if isComment(content) {
            note(content)
            return nil
        }
        if content.isEmpty { return nil }

        var line = spare.take() ?? LogicalLine(file: reader.file, fixedRange: reader.fixedRange)
        line.clear()
        let joined = try join(&line, first, content)
        if joined.hasEmptyLine {
            var last = line.wholeRange
            if reader.fixedRange == nil { (last.firstLine, last.firstColumn) = (line.lastLine, 1) }
            warnings.add(.noEmptyContinuation, [], at: last, lines: last, comments: comments)
        }
        try check(line)
        var instruction = try InstructionSyntax(line: line, escape: directives.escape).parse(line.all, depth: 0)
        if canHaveHeredocs(instruction), line.bytes.contains(UInt8(ascii: "<")) {
            let heredocs = try heredocs(of: &line)
            instruction.heredocs = heredocs
            if !instruction.trigger.isEmpty { instruction.trigger[0].heredocs = heredocs }
        }
        instruction.range = line.wholeRange
        instruction.comments = comments
        comments = []
        spare = line
        return instruction
    }

    private func isComment(_ range: Range<Int>) -> Bool {
        !range.isEmpty && reader.bytes[range.lowerBound] == UInt8(ascii: "#")
    }

    /// Keeps a comment for the instruction below it; an empty one starts over.
    private mutating func note(_ range: Range<Int>) {
        let text = Blank.trimmed(reader.bytes, range.lowerBound + 1..<range.upperBound)
        if text.isEmpty {
            comments = []
        } else {
            comments.append(String(decoding: reader.bytes[text], as: UTF8.self))
        }
    }

    /// Adds the first line and those that continue it. Says whether an empty line was among them.
    private mutating func join(
        _ line: inout LogicalLine, _ first: PhysicalLine, _ content: Range<Int>
    ) throws(DockerfileError) -> (hasEmptyLine: Bool, Void) {
        var hasEmptyLine = false
        var continues = add(content, of: first, to: &line)
        while continues, let next = try reader.next() {
            line.lastLine = next.number
            let trimmed = Blank.trimmed(reader.bytes, next.start..<next.end)
            if isComment(trimmed) { continue }
            if trimmed.isEmpty {
                hasEmptyLine = true
                continue
            }
            continues = add(next.start..<next.end, of: next, to: &line)
        }
        return (hasEmptyLine, ())
    }

    /// Adds a line without its continuation mark; true when it has one.
    private func add(_ content: Range<Int>, of physical: PhysicalLine, to line: inout LogicalLine) -> Bool {
        let end = continuationMark(content)
        line.append(
            reader.bytes[content.lowerBound..<(end ?? content.upperBound)], line: physical.number,
            column: content.lowerBound - physical.start + 1)
        return end != nil
    }

    /// Where the escape character stands that continues the line: the last before blanks, itself not escaped.
    private func continuationMark(_ content: Range<Int>) -> Int? {
        var end = content.upperBound
        while end > content.lowerBound, Self.isTabOrSpace(reader.bytes[end - 1]) { end -= 1 }
        guard end > content.lowerBound, reader.bytes[end - 1] == directives.escape else { return nil }
        if end - 1 > content.lowerBound, reader.bytes[end - 2] == directives.escape { return nil }
        return end - 1
    }

    private static func isTabOrSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// Nothing that is built from text can hold a NUL, and text that is no UTF-8 would be changed on the way.
    private func check(_ line: LogicalLine) throws(DockerfileError) {
        if isClean { return }
        if let zero = line.bytes.firstIndex(of: 0) {
            throw DockerfileError("the line holds a NUL byte", at: line.range(zero..<zero + 1))
        }
        if String(validating: line.bytes, as: UTF8.self) == nil {
            throw DockerfileError(
                "the line is not valid UTF-8", at: line.range(line.all), hint: "save the file as UTF-8")
        }
    }

    private func canHaveHeredocs(_ instruction: Instruction) -> Bool {
        let inner = instruction.trigger.first ?? instruction
        return !inner.isJSON && inner.known?.takesHeredocs == true
    }

    private mutating func heredocs(of line: inout LogicalLine) throws(DockerfileError) -> [Heredoc] {
        var heredocs: [Heredoc] = []
        for word in HeredocWord.all(in: line.text(line.all)) {
            let opening: HeredocWord?
            do { opening = try HeredocWord(word) } catch {
                throw DockerfileError("heredoc `\(word)`: \(error.message)", at: line.range(line.all))
            }
            guard let opening else { continue }
            heredocs.append(try body(of: opening, &line))
        }
        return heredocs
    }

    private mutating func body(of opening: HeredocWord, _ line: inout LogicalLine) throws(DockerfileError) -> Heredoc {
        let terminator = Array(opening.name.utf8)
        var content: [UInt8] = []
        while let next = try reader.next() {
            var start = next.start
            if opening.chomps { while start < next.end, reader.bytes[start] == UInt8(ascii: "\t") { start += 1 } }
            if reader.bytes[start..<next.end].elementsEqual(terminator) {
                line.lastLine = next.number
                let text = String(decoding: content, as: UTF8.self)
                guard takesAnyBytes || text.utf8.elementsEqual(content) else {
                    throw DockerfileError("heredoc `\(opening.name)` is not valid UTF-8", at: line.wholeRange)
                }
                return Heredoc(
                    name: opening.name, content: text, expands: opening.expands, chomps: opening.chomps,
                    descriptor: opening.descriptor)
            }
            content.append(contentsOf: reader.bytes[next.start..<next.next])
        }
        throw DockerfileError(
            "unterminated heredoc `\(opening.name)`", at: line.range(line.all),
            hint: "end it with a line that holds only `\(opening.name)`")
    }
}
