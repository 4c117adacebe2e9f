// A build that failed, for a person: what went wrong, where it stands in the Dockerfile, and the last lines of the log.

import StageEngine
import StageGraph
import StageRun

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

/// A failed build: one line that says what failed, its place in the Dockerfile, and the end of its log.
func failureText(_ error: StageRunError, colours: Bool) -> String {
    let prefix = styled("error:", .red, colours: colours) + " "
    guard case .build(let build, let source) = error else { return prefix + ended(displayable(error.description)) }
    let (headline, advice, tail) = facts(build)
    var text = prefix + styled(ended(displayable(headline)), .bold, colours: colours)
    if let advice { text += ended(displayable(advice)) }
    if let range = build.step?.source {
        let shown = excerpt(of: lines(source), around: range, colours: colours)
        if !shown.isEmpty { text += "\n" + shown }
    }
    if !tail.isEmpty {
        text += "\n" + styled("Last lines of its log:", .bold, colours: colours) + "\n"
        for line in tail { text += "  " + line + "\n" }
    }
    return text
}

private func facts(_ error: BuildError) -> (headline: String, advice: String?, tail: [String]) {
    switch error {
    case .commandFailed(let step, let exit, let logTail):
        var log = LogTail()
        for line in logTail { log.append(line + "\n", stream: .output) }
        return ("\(shortTitle(step)) failed: \(exit)", nil, log.last(20))
    case .stepFailed(let step, let message, let advice): return ("\(shortTitle(step)): \(message)", advice, [])
    case .sourceFailed, .store, .cancelled: return (error.description, nil, [])
    }
}

/// The excerpt below shows the whole of it.
private func shortTitle(_ step: Step) -> String {
    let title = singleLine(step.title)
    return title.count <= 72 ? title : title.prefix(71) + "…"
}

private func ended(_ text: String) -> String { text.hasSuffix("\n") ? text : text + "\n" }

private func lines(_ source: [UInt8]) -> [String] {
    source.split(separator: 0x0A, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
}
