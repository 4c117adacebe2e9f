// The report of `stagerun explain`, for people.

import StageEngine
import StageGraph
import StageHash
import StageRun

/// Explanations of a build, rendered.
struct ExplainText {
    let build: BuildRecord
    let colours: Bool
    /// Seconds since 1970, for ages.
    let now: Int64

    /// Files of a difference that are shown; what is beyond is counted.
    static let limit = 10

    private var shown: [StepDescription] { withoutOnlyStage(build.steps.map(\.description)) }

    /// The whole report.
    func page(_ explanations: [StepExplanation]) -> String {
        var text = headline
        let shown = shown
        var before: [Difference] = []
        for explanation in explanations {
            text += "\n" + section(explanation, shown[explanation.step], after: before)
            before = explanation.differences
        }
        if explanations.isEmpty { text += "\nEvery step was a hit: nothing ran, so there is nothing to explain.\n" }
        return text
    }

    /// `Dockerfile, built 2 minutes ago in 4.2s: 6 steps, 3 cached, 3 ran`.
    private var headline: String {
        let numbered = build.steps.filter { $0.description.number > 0 }
        func count(_ states: StepState...) -> Int { numbered.count { $0.state.map(states.contains) ?? false } }
        let file = numbered.lazy.compactMap(\.description.source?.file).first ?? build.subject.file
        let ended =
            switch build.end {
            case .completed: "built"
            case .failed: "failed"
            case .cancelled: "cancelled"
            }
        var parts = [counted(numbered.count, "step")]
        for (number, word) in [
            (count(.hit), "cached"), (count(.ran), "ran"), (count(.ranSameOutcome), "ran with the same outcome"),
            (count(.failed), "failed"), (count(.cancelled), "cancelled"),
            (numbered.count { $0.state == nil }, "not reached"),
        ] where number > 0 {
            parts.append("\(number) \(word)")
        }
        let age = ageText(seconds: max(0, now - build.started.seconds)).lowercased()
        return styled(singleLine(file), .bold, colours: colours)
            + ", \(ended) \(age) in \(durationText(build.seconds)): \(parts.joined(separator: ", "))\n"
    }

    /// - Parameter before: what differed at the step above.
    private func section(
        _ explanation: StepExplanation, _ description: StepDescription, after before: [Difference]
    ) -> String {
        let step = build.steps[explanation.step]
        var text = styled(description.tag, .cyan, colours: colours) + " "
        text += styled(description.heading, .bold, colours: colours) + "\n"
        let place = description.source.map { "\($0.place), " } ?? ""
        text += "  \(place)\(outcome(step))"
        if let earlier = explanation.earlier, !explanation.differences.isEmpty {
            text += "; compared with its run \(age(earlier.created.seconds))"
        } else {
            text += ": \(reason(step))"
        }
        text += "\n"
        for difference in explanation.differences {
            text += before.contains(difference) ? repeated(difference) : lines(difference)
        }
        if step.state == .ranSameOutcome {
            text += "  It left what an earlier run had left, so what follows was not disturbed.\n"
        }
        return text
    }

    /// What was said at the step above already.
    private func repeated(_ difference: Difference) -> String {
        guard case .files(.filesystem, _, let total) = difference else { return lines(difference) }
        return "  The filesystem it starts from differs in the same \(total == 1 ? "file" : "\(total) files").\n"
    }

    /// What differs, a paragraph each.
    func differences(_ explanation: StepExplanation) -> String {
        explanation.differences.map(lines).joined()
    }

    private func age(_ seconds: Int64) -> String { ageText(seconds: max(0, now - seconds)).lowercased() }

    private func outcome(_ step: BuildRecord.Step) -> String {
        switch step.state {
        case .hit: "hit"
        case .ran: "ran in \(durationText(step.seconds))"
        case .ranSameOutcome: "ran in \(durationText(step.seconds)), same outcome"
        case .notNeeded: "not needed"
        case .cancelled: "cancelled after \(durationText(step.seconds))"
        case .failed: "failed after \(durationText(step.seconds))"
        case nil: "not reached"
        }
    }

    /// Where nothing differs, or there is nothing to compare with.
    private func reason(_ step: BuildRecord.Step) -> String {
        switch step.reason {
        case .recorded(let at, let seconds):
            "the same inputs as when it ran \(age(at.seconds)) (\(durationText(seconds)))"
        case .sharedWith(let other): "an equal step of this build ran, \(shown[other].tag) \(shown[other].heading)"
        case .sharedWithAnotherBuild: "another build ran the same step meanwhile"
        case .firstRun, .differs: "no earlier run of it is known"
        case .cacheOff: "nothing differs, but the cache was not to be used"
        case .source: "what comes in is looked at in every build"
        case .failed, .stopped, .failedBefore, nil: unfinished(step)
        }
    }

    private func unfinished(_ step: BuildRecord.Step) -> String {
        if step.state == nil { return "the build ended before it" }
        guard let earlier = step.earlier else { return "no earlier run of it is known" }
        return earlier.failed && earlier.key == step.key
            ? "nothing differs; it failed the last time too, so it ran again" : "no earlier run of it is known any more"
    }

    private func lines(_ difference: Difference) -> String {
        switch difference {
        case .instruction(let was, let now):
            return "  The instruction is another one:\n    was  \(singleLine(was))\n    now  \(singleLine(now))\n"
        case .variable(let name, let isArgument, let was, let now):
            let kind = isArgument ? "Build argument" : "Variable"
            return "  \(kind) \(singleLine(name)): \(value(was)) -> \(value(now))\n"
        case .field(let name, let was, let now):
            return "  \(Self.capitalised(name)): \(value(was)) -> \(value(now))\n"
        case .base(let step, let was, let now):
            let name = singleLine(build.steps[step].description.title).dropPrefix("FROM ")
            return "  The base image \(name) is another one: \(id(was)) -> \(id(now))\n"
        case .files(let origin, let changes, let total): return files(origin, changes, total)
        case .forgotten(let origin):
            return "  \(Self.capitalised(name(origin))) differs; the store does not know any more how it was\n"
        }
    }

    private func files(_ origin: FileOrigin, _ changes: [FileChange], _ total: Int) -> String {
        var text = "  \(Self.capitalised(name(origin))) differs in \(counted(total, "file")):\n"
        let rows = changes.prefix(Self.limit).map(FileChangeText.init)
        let width = rows.map(\.path.columns).max() ?? 0
        for row in rows {
            let padding = String(repeating: " ", count: width - row.path.columns)
            text += "    " + styled(row.word, row.style, colours: colours)
            text += String(repeating: " ", count: 9 - row.word.count) + row.path + padding + "  \(row.facts)\n"
        }
        if total > rows.count { text += "    and \(total - rows.count) more\n" }
        return text + bringers(Array(changes.prefix(Self.limit)))
    }

    /// ``COPY . .` at line 5 brought `README.md``: the instructions that let the files in.
    private func bringers(_ changes: [FileChange]) -> String {
        var order: [Int] = []
        for change in changes {
            if let step = change.broughtBy, !order.contains(step) { order.append(step) }
        }
        var text = ""
        for step in order {
            let description = build.steps[step].description
            let brought = changes.filter { $0.broughtBy == step }
            let names = brought.prefix(3).map { "`\(singleLine($0.path))`" }.joined(separator: ", ")
            let more = brought.count > 3 ? " and \(brought.count - 3) more" : ""
            let place = description.source.map { " at line \($0.firstLine)" } ?? ""
            let verb = brought.allSatisfy { $0.now == nil } ? "took away" : "brought"
            text += "  `\(description.heading)`\(place) \(verb) \(names)\(more)\n"
        }
        return text
    }

    private func name(_ origin: FileOrigin) -> String {
        switch origin {
        case .filesystem: return "the filesystem it starts from"
        case .heredoc: return "the text in the instruction"
        case .input(let index):
            let step = build.steps[index].description
            switch step.kind {
            case "context": return "the context"
            case "image": return "the image \(singleLine(step.title).dropPrefix("FROM "))"
            default: return "the stage \(singleLine(step.stage))"
            }
        }
    }

    private func value(_ text: String?) -> String {
        guard let text else { return "(not set)" }
        let line = singleLine(text)
        return "\"" + (line.count > 120 ? line.prefix(119) + "…" : line) + "\""
    }

    private func id(_ digest: Digest?) -> String { digest.map(\.short) ?? "(none)" }

    private static func capitalised(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }
}

/// One changed file in a row.
struct FileChangeText {
    let word: String
    let style: Style
    let path: String
    let facts: String

    init(_ change: FileChange) {
        let state = change.now ?? change.was
        path = singleLine(change.path) + (state?.kind == .directory ? "/" : "")
        switch (change.was, change.now) {
        case (nil, let now): (word, style, facts) = ("added", .green, now.map(Self.whole) ?? "")
        case (let was?, nil): (word, style, facts) = ("removed", .red, Self.whole(was))
        case (let was?, let now?):
            (word, style) = ("changed", .yellow)
            facts = Self.parts(was, now).joined(separator: ", ")
        }
    }

    private static func whole(_ state: FileState) -> String {
        switch state.kind {
        case .file: [sizeText(state.size ?? 0), state.digest.map(short) ?? ""].joined(separator: ", ")
        case .directory: state.contained.map { counted($0, "file") } ?? "directory"
        case .symlink: "-> \(singleLine(state.link ?? ""))"
        case .fifo, .device: state.kind.rawValue
        }
    }

    /// What of a file is not as it was.
    private static func parts(_ was: FileState, _ now: FileState) -> [String] {
        var parts: [String] = []
        if was.kind != now.kind { parts.append("\(was.kind.rawValue) -> \(now.kind.rawValue)") }
        if let old = was.size, let new = now.size, old != new { parts.append("\(sizeText(old)) -> \(sizeText(new))") }
        if let old = was.digest, let new = now.digest, old != new { parts.append("\(short(old)) -> \(short(new))") }
        if let old = was.link, let new = now.link, old != new {
            parts.append("link to \(singleLine(old)) -> \(singleLine(new))")
        }
        if was.mode != now.mode { parts.append("mode \(octal(was.mode)) -> \(octal(now.mode))") }
        if (was.uid, was.gid) != (now.uid, now.gid) {
            parts.append("owner \(was.uid):\(was.gid) -> \(now.uid):\(now.gid)")
        }
        if was.attributes != now.attributes { parts.append("extended attributes") }
        if was.touch != now.touch { parts.append("touched") }
        return parts.isEmpty ? ["extended attributes"] : parts
    }

    private static func short(_ digest: Digest) -> String { "sha256:\(digest.short)" }

    static func octal(_ mode: UInt16) -> String { String(mode, radix: 8) }
}

extension StringProtocol {
    /// Without `prefix`, where it begins so.
    fileprivate func dropPrefix(_ prefix: String) -> String {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : String(self)
    }
}
