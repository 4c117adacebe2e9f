// The physical lines of a Dockerfile, with the limit that each of them has.

import StageGraph

/// One line of the file: `start..<end` without its line ending.
struct PhysicalLine {
    var number: Int
    var start: Int
    var end: Int
    /// Where the next line starts: past the line feed.
    var next: Int
}

struct LineReader {
    /// What docker's scanner takes; a longer line is almost always a file that is no Dockerfile.
    static let longestLine = 65_535

    let bytes: [UInt8]
    let file: String
    let fixedRange: SourceRange?
    private var position = 0
    private(set) var number = 0

    init(bytes: [UInt8], file: String, fixedRange: SourceRange?) {
        self.bytes = bytes
        self.file = file
        self.fixedRange = fixedRange
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    /// How many lines there are.
    var lines: Int { bytes.reduce(into: 1) { if $1 == UInt8(ascii: "\n") { $0 += 1 } } }

    mutating func next() throws(DockerfileError) -> PhysicalLine? {
        guard position < bytes.count else { return nil }
        number += 1
        let start = position
        var end = start
        while end < bytes.count, bytes[end] != UInt8(ascii: "\n") { end += 1 }
        let next = min(end + 1, bytes.count)
        guard end - start <= Self.longestLine else {
            throw DockerfileError(
                "line is \(end - start) bytes long, and the longest allowed has \(Self.longestLine)",
                at: range(line: number),
                hint: "end lines with `\\` to continue them, or move the text into a file")
        }
        while end > start, bytes[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        position = next
        return PhysicalLine(number: number, start: start, end: end, next: next)
    }

    func range(line: Int, columns: ClosedRange<Int> = 1...1) -> SourceRange {
        fixedRange
            ?? SourceRange(
                file: file, firstLine: line, lastLine: line, firstColumn: columns.lowerBound,
                lastColumn: columns.upperBound)
    }
}
