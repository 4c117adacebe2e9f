// `--progress plain`: every event as text, in the form of docker's plain log; nothing of what a command wrote is lost.

import StageEngine
import StageGraph

/// Turns events into lines. Each thing that happens has a number; output of several at once is told apart by it.
struct PlainProgress: Sendable {
    private enum Subject: Hashable { case step(Int), image(String), export }

    private struct Entry {
        var number: Int
        var heading: String
        var started: Double
        var message = ""
        var told = -Double.infinity
        var open: [LogStream: String] = [:]
        var isDone = false
    }

    /// A line without an end is broken here: a log without newlines must not grow in memory.
    private static let longestLine = 64 * 1024

    private let sanitizes: Bool
    private var entries: [Subject: Entry] = [:]
    private var filters: [Subject: ControlFilter] = [:]
    private var steps: [Int: StepDescription] = [:]
    /// The text so far ends with an empty line, or there is none.
    private var endsParagraph = true

    /// - Parameter sanitizes: true where the text goes to a terminal, which a hostile log must not steer.
    init(sanitizes: Bool) { self.sanitizes = sanitizes }

    /// The text for one event; `now` is seconds since the build began.
    mutating func text(for event: BuildEvent, at now: Double) -> String {
        let text = lines(for: event, at: now)
        if !text.isEmpty { endsParagraph = text.hasSuffix("\n\n") }
        return text
    }

    private mutating func lines(for event: BuildEvent, at now: Double) -> String {
        switch event {
        case .planned(let steps, let target, let platform):
            for step in withoutOnlyStage(steps) { self.steps[step.id] = step }
            let name = target.isEmpty ? "" : " \(singleLine(target))"
            let count = counted(steps.count { $0.number > 0 }, "step")
            return remark("building\(name) for \(singleLine(platform)), \(count)")
        case .stageNotNeeded(let stage, let instructions):
            return remark("stage \(singleLine(stage)) is not needed (\(counted(instructions, "instruction")))")
        case .warning(let message, let source):
            return remark("WARNING: \(warningText(message, source))")
        case .image(let name, let message, let bytes, let total, let done):
            return image(name, message, bytes, total, done, now)
        case .stepStarted(let step, _): return enter(.step(step), now)
        case .stepOutput(let step, let stream, let text): return log(.step(step), stream, text, now)
        case .stepFinished(let step, let state, _, let seconds, let reason):
            return finish(step, state, seconds, reason, now)
        case .exporting(let message, _, let seconds, let done):
            return enter(.export, now)
                + "#\(number(.export)) \(singleLine(message))\(done ? " \(fixedPoint(seconds, digits: 1))s done" : "")\n"
        case .finished(let image, let names, _): return finished(image, names, now)
        // The command tells what went wrong, with its place in the Dockerfile.
        case .stopped: return ""
        }
    }

    private func number(_ subject: Subject) -> Int { entries[subject]?.number ?? 0 }

    private func heading(_ subject: Subject) -> String {
        switch subject {
        case .step(let id): steps[id].map { "\($0.tag) \($0.heading)" } ?? "step \(id + 1)"
        case .image(let name): "[image] \(singleLine(name))"
        case .export: "exporting to image"
        }
    }

    /// Gives `subject` a number and a heading, the first time it is heard of.
    ///
    /// Docker's log repeats the heading whenever lines of another step came between, which makes it four times as long
    /// when steps run at once. Every line has its number; that tells them apart, and greps.
    private mutating func enter(_ subject: Subject, _ now: Double) -> String {
        guard entries[subject] == nil else { return "" }
        let entry = Entry(number: entries.count + 1, heading: heading(subject), started: now)
        entries[subject] = entry
        return (endsParagraph ? "" : "\n") + "#\(entry.number) \(entry.heading)\n"
    }

    private mutating func close(_ subject: Subject, _ line: String, _ now: Double) -> String {
        let text = enter(subject, now) + flush(subject, now) + "#\(number(subject)) \(line)\n\n"
        entries[subject]?.isDone = true
        return text
    }

    /// A paragraph about the build as a whole.
    private func remark(_ text: String) -> String { (endsParagraph ? "" : "\n") + "#0 \(text)\n\n" }

    private mutating func log(_ subject: Subject, _ stream: LogStream, _ text: String, _ now: Double) -> String {
        let text = sanitizes ? (filters[subject, default: ControlFilter()].filter(text)) : text
        var bytes = Array((entries[subject]?.open[stream] ?? "").utf8)[...] + Array(text.utf8)
        var output = ""
        while !bytes.isEmpty {
            let newline = bytes.firstIndex(of: 0x0A)
            guard newline != nil || bytes.count > Self.longestLine else { break }
            if output.isEmpty { output = enter(subject, now) }
            let end = newline ?? Self.boundary(in: bytes)
            output += line(subject, bytes[..<end], now)
            bytes = bytes[(newline == nil ? end : end + 1)...]
        }
        if entries[subject] == nil { output += enter(subject, now) }
        entries[subject]?.open[stream] = String(decoding: bytes, as: UTF8.self)
        return output
    }

    /// Where a line that is too long is broken: not inside a character.
    private static func boundary(in bytes: ArraySlice<UInt8>) -> Int {
        var end = bytes.startIndex + longestLine
        while end > bytes.startIndex + 1, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        return end
    }

    private func line(_ subject: Subject, _ bytes: some Sequence<UInt8>, _ now: Double) -> String {
        let started = entries[subject]?.started ?? now
        let text = String(decoding: Array(bytes), as: UTF8.self)
        return "#\(number(subject)) \(fixedPoint(now - started, digits: 3)) \(text)\n"
    }

    private mutating func flush(_ subject: Subject, _ now: Double) -> String {
        var text = ""
        for stream in [LogStream.output, .error] {
            guard let rest = entries[subject]?.open[stream], !rest.isEmpty else { continue }
            text += line(subject, rest.utf8, now)
        }
        entries[subject]?.open = [:]
        return text
    }

    private mutating func finish(
        _ step: Int, _ state: StepState, _ seconds: Double, _ reason: StepReason, _ now: Double
    ) -> String {
        // It takes no time and says nothing.
        if steps[step]?.kind == "scratch" { return "" }
        let line: String
        switch state {
        case .notNeeded: return ""
        case .hit: line = "CACHED"
        case .ran: line = "DONE \(fixedPoint(seconds, digits: 1))s"
        case .ranSameOutcome: line = "DONE \(fixedPoint(seconds, digits: 1))s (same outcome as an earlier run)"
        case .cancelled: line = "CANCELED"
        case .failed: line = "ERROR: \(withoutTitle(reason.description, step))"
        }
        return close(.step(step), line, now)
    }

    /// The heading has the title already.
    private func withoutTitle(_ reason: String, _ step: Int) -> String {
        guard let title = steps[step]?.title, reason.hasPrefix(title + ": ") else { return singleLine(reason) }
        return singleLine(String(reason.dropFirst(title.count + 2)))
    }

    private mutating func image(
        _ name: String, _ message: String, _ bytes: UInt64, _ total: UInt64, _ done: Bool, _ now: Double
    ) -> String {
        let subject = Subject.image(name)
        var text = entries[subject] == nil ? enter(subject, now) : ""
        guard let entry = entries[subject], !entry.isDone else { return text }
        // Bytes come many times a second; a log wants them once a second.
        if message != entry.message || now - entry.told >= 1 {
            entries[subject]?.message = message
            entries[subject]?.told = now
            let amount = total > 0 ? " \(sizeText(bytes)) / \(sizeText(total))" : bytes > 0 ? " \(sizeText(bytes))" : ""
            if !message.isEmpty || !amount.isEmpty { text += "#\(entry.number) \(singleLine(message))\(amount)\n" }
        }
        return done ? text + close(subject, "DONE \(fixedPoint(now - entry.started, digits: 1))s", now) : text
    }

    private mutating func finished(_ image: String?, _ names: [String], _ now: Double) -> String {
        guard let image else { return "" }
        var text = enter(.export, now)
        let number = number(.export)
        text += "#\(number) image \(singleLine(image))\n"
        for name in names { text += "#\(number) naming to \(singleLine(name))\n" }
        let started = entries[.export]?.started ?? now
        return text + close(.export, "DONE \(fixedPoint(now - started, digits: 1))s", now)
    }
}
