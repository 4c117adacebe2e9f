// A build that failed, for a person: what went wrong, where it stands in the Dockerfile, and the last lines of the log.

import StageEngine
import StageGraph

/// Lines of a text file around a place, the place itself marked.
func excerpt(of lines: [String], around range: SourceRange, context: Int = 2, colours: Bool) -> String {
    guard range.firstLine >= 1, range.firstLine <= lines.count else { return "" }
    let last = min(max(range.lastLine, range.firstLine), lines.count)
    let from = max(1, range.firstLine - context)
    let to = min(lines.count, last + context)
    let digits = String(to).count
    var text = styled("\(range.place)", .bold, colours: colours) + "\n"
    for number in from...to {
        let isMarked = (range.firstLine...last).contains(number)
        let label = String(repeating: " ", count: digits - String(number).count) + String(number)
        var filter = ControlFilter()
        let source = filter.filter(lines[number - 1]).filter { $0 != "\r" }
        let line = "\(isMarked ? ">" : " ") \(label) | \(source)"
        text += (isMarked ? styled(line, .red, colours: colours) : styled(line, .dim, colours: colours)) + "\n"
    }
    return text
}

/// What a failed step shows below its one-line error: its place in the Dockerfile and the end of its log.
func failureText(step: BuildModel.StepRecord, source: [String]?, colours: Bool, tail: Int = 20) -> String {
    var text = ""
    if let range = step.description.source, let source {
        let shown = excerpt(of: source, around: range, colours: colours)
        if !shown.isEmpty { text += "\n" + shown }
    }
    let lines = step.log.last(tail)
    if !lines.isEmpty {
        text += "\n" + styled("Last lines of its log:", .bold, colours: colours) + "\n"
        for line in lines { text += "  " + line + "\n" }
    }
    return text
}
