// The last lines of what a step wrote, fit to be shown on a terminal.

import StageEngine

/// Keeps the newest lines of a log, with control sequences taken out and carriage returns applied.
struct LogTail: Sendable {
    /// How many lines are kept.
    static let capacity = 40
    /// A longer line is cut: nobody reads it, and it would be laid out for every frame.
    static let longestLine = 2000

    private var settled: [String] = []
    private var first = 0
    private var open: [LogStream: OpenLine] = [:]

    private struct OpenLine {
        var filter = ControlFilter()
        var text = String.UnicodeScalarView()
        var count = 0
        /// A carriage return came: the next character starts the line again.
        var returned = false
    }

    init() {}

    /// Takes what the step wrote; `text` may end anywhere.
    mutating func append(_ text: String, stream: LogStream) {
        var line = open[stream] ?? OpenLine()
        for scalar in line.filter.filter(text).unicodeScalars {
            switch scalar {
            case "\n":
                settle(String(line.text))
                line.text = .init()
                line.count = 0
                line.returned = false
            case "\r": line.returned = true
            default:
                if line.returned {
                    line.text = .init()
                    line.count = 0
                    line.returned = false
                }
                Self.extend(&line, by: scalar)
            }
        }
        open[stream] = line
    }

    /// The newest `count` lines, oldest first; unfinished lines are the last.
    func last(_ count: Int) -> [String] {
        let unfinished = [LogStream.output, .error].compactMap { open[$0] }.filter { !$0.text.isEmpty }
        let lines = Array(settled[first...]) + unfinished.map { String($0.text) }
        return Array(lines.suffix(count))
    }

    private static func extend(_ line: inout OpenLine, by scalar: Unicode.Scalar) {
        guard line.count < longestLine else {
            if line.count == longestLine {
                line.text.append("…")
                line.count += 1
            }
            return
        }
        if scalar == "\t" {
            for _ in 0..<(8 - line.count % 8) { line.text.append(" ") }
            line.count += 8 - line.count % 8
        } else {
            line.text.append(scalar)
            line.count += 1
        }
    }

    // Old lines are dropped in bulk: one move for every `capacity` lines.
    private mutating func settle(_ line: String) {
        settled.append(line)
        if settled.count - first > Self.capacity { first += 1 }
        if first >= Self.capacity {
            settled.removeFirst(first)
            first = 0
        }
    }
}
