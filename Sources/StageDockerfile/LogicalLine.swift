// A line of a Dockerfile with its continuations joined, which still knows where each of its bytes stands in the file.

import StageGraph

/// A word of an instruction, and where it is written.
public struct Word: Sendable, Hashable {
    /// Without the quotes and escapes that only the line's own syntax needs.
    public var text: String
    public var range: SourceRange

    public init(_ text: String, at range: SourceRange) {
        self.text = text
        self.range = range
    }
}

struct LogicalLine {
    /// A run of bytes that come from one physical line.
    private struct Piece {
        var offset: Int
        var line: Int
        var column: Int
    }

    let file: String
    private(set) var bytes: [UInt8] = []
    private var pieces: [Piece] = []
    private(set) var firstLine = 0
    /// Also counts what belongs to the line without being in it: comments, blank lines and heredocs.
    var lastLine = 0
    /// Set for text that stands in no file, such as a base image's trigger: everything is then located here.
    let fixedRange: SourceRange?

    init(file: String, fixedRange: SourceRange? = nil) {
        self.file = file
        self.fixedRange = fixedRange
    }

    /// Makes it an empty line, with the room that it has.
    mutating func clear() {
        bytes.removeAll(keepingCapacity: true)
        pieces.removeAll(keepingCapacity: true)
        (firstLine, lastLine) = (0, 0)
    }

    /// Adds bytes that stand in `line` from `column` on, both counted from 1.
    mutating func append(_ part: ArraySlice<UInt8>, line: Int, column: Int) {
        if pieces.isEmpty { firstLine = line }
        lastLine = line
        pieces.append(Piece(offset: bytes.count, line: line, column: column))
        bytes.append(contentsOf: part)
    }

    var all: Range<Int> { 0..<bytes.count }

    func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    func word(_ range: Range<Int>) -> Word { Word(text(range), at: self.range(range)) }

    /// Where a part of the line stands.
    func range(_ part: Range<Int>) -> SourceRange {
        if let fixedRange { return fixedRange }
        let first = place(part.lowerBound)
        let last = place(max(part.lowerBound, part.upperBound - 1))
        return SourceRange(
            file: file, firstLine: first.line, lastLine: last.line, firstColumn: first.column, lastColumn: last.column)
    }

    /// Where the whole line stands, heredocs and all.
    var wholeRange: SourceRange {
        var whole = range(all)
        if fixedRange == nil, firstLine < whole.firstLine {
            whole.firstLine = firstLine
            whole.firstColumn = 1
        }
        if fixedRange == nil, lastLine > whole.lastLine {
            whole.lastLine = lastLine
            whole.lastColumn = 1
        }
        return whole
    }

    private func place(_ offset: Int) -> (line: Int, column: Int) {
        var low = 0
        var high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].offset <= offset { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return (max(firstLine, 1), 1) }
        let piece = pieces[low - 1]
        return (piece.line, piece.column + offset - piece.offset)
    }
}
