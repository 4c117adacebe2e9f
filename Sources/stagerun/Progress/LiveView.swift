// `--progress tty`: what the person sees while it builds. Finished steps become lines that stay; below them, the running
// steps with the last lines they wrote, and one line that sums up.

import StageEngine
import StageGraph

/// The signs of the view; ASCII for terminals that say they know nothing else.
struct Glyphs: Sendable {
    var done: String
    var cached: String
    var same: String
    var failed: String
    var cancelled: String
    var notNeeded: String
    var warning: String
    var bar: String
    var separator: String
    var ellipsis: Character
    var spinner: [String]

    static let unicode = Glyphs(
        done: "✓", cached: "·", same: "=", failed: "✗", cancelled: "-", notNeeded: "○", warning: "!", bar: "│",
        separator: " · ", ellipsis: "…", spinner: ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"])
    static let ascii = Glyphs(
        done: "+", cached: ".", same: "=", failed: "x", cancelled: "-", notNeeded: "o", warning: "!", bar: "|",
        separator: ", ", ellipsis: "~", spinner: ["|", "/", "-", "\\"])
}

/// What is to be on the screen: lines that are final, and the lines below them that the next frame replaces.
struct Frame: Sendable, Hashable {
    var settled: [StyledLine]
    var live: [StyledLine]
}

/// Makes frames from a `BuildModel` and the events that settle a line.
struct LiveView: Sendable {
    /// A running step shows at most this many lines of its log.
    static let longestLog = 6

    private let glyphs: Glyphs
    private let subject: String
    private var settled: [StyledLine] = []
    /// A signal asked to stop, and running steps are being ended.
    var isCancelling = false

    /// - Parameter subject: what goes on, for the line that sums up: "Building app:1".
    init(subject: String, glyphs: Glyphs = .unicode) {
        self.subject = singleLine(subject)
        self.glyphs = glyphs
    }

    /// Takes one event in, after the model did.
    mutating func apply(_ event: BuildEvent, model: BuildModel, at now: Double) {
        switch event {
        case .stageNotNeeded(let stage, let instructions):
            settled.append(
                StyledLine(
                    [("\(glyphs.notNeeded) ", .dim), ("[\(singleLine(stage))]", .dim), (" not needed", .dim)],
                    right: [(counted(instructions, "step"), .dim)]))
        case .warning(let message, let source):
            settled.append(
                StyledLine([("\(glyphs.warning) ", .yellow), (warningText(message, source), .yellow)]))
        case .image(let name, _, let bytes, _, true) where bytes > 0:
            // An image that was there already is not news.
            let started = model.images.first { $0.name == name }?.started ?? now
            settled.append(
                StyledLine(
                    [("\(glyphs.done) ", .green), ("[image] ", .cyan), (singleLine(name), .plain)],
                    right: [(sizeText(bytes), .dim), ("  " + durationText(now - started), .plain)]))
        case .stepFinished(let id, let state, _, _, _):
            if let step = model.steps[id], let line = line(for: step, state) { settled.append(line) }
        case .exporting(let message, _, let seconds, true) where seconds >= 0.05:
            settled.append(
                StyledLine(
                    [("\(glyphs.done) ", .green), (singleLine(message), .plain)],
                    right: [(durationText(seconds), .plain)]))
        default: break
        }
    }

    /// The frame for now; what is settled is handed out once.
    mutating func frame(model: BuildModel, at now: Double, height: Int) -> Frame {
        defer { settled = [] }
        return Frame(settled: settled, live: model.isFinished ? [] : live(model, now, height))
    }

    private func line(for step: BuildModel.StepRecord, _ state: StepState) -> StyledLine? {
        let took = [(durationText(step.seconds), Style.plain)]
        switch state {
        case .hit:
            // What only feeds instructions is no news when it was known.
            guard step.isInstruction else { return nil }
            return heading(step, (glyphs.cached, .dim), title: .dim, right: [("cached", .dim)])
        case .ran:
            // Nor when it was known again before anyone could look.
            guard step.isInstruction || step.seconds >= 0.2 else { return nil }
            return heading(step, (glyphs.done, .green), right: took)
        case .ranSameOutcome:
            return heading(step, (glyphs.same, .green), right: [("same outcome  ", .dim)] + took)
        case .failed: return heading(step, (glyphs.failed, .red), right: took)
        case .cancelled:
            return heading(step, (glyphs.cancelled, .yellow), title: .dim, right: [("cancelled", .yellow)])
        case .notNeeded: return nil
        }
    }

    private func heading(
        _ step: BuildModel.StepRecord, _ sign: (String, Style), title: Style = .plain, right: [(String, Style)]
    ) -> StyledLine {
        StyledLine(
            [
                (sign.0, sign.1), (" ", .plain), (step.description.tag, title == .dim ? .dim : .cyan), (" ", .plain),
                (step.description.heading, title),
            ], right: right)
    }

    private func live(_ model: BuildModel, _ now: Double, _ height: Int) -> [StyledLine] {
        let spinner = glyphs.spinner[Int(max(0, now) * 10) % glyphs.spinner.count]
        // The cursor's own line and the summing line are taken.
        let room = max(1, height - 2)
        let activities = activityLines(model, spinner, now)
        let running = model.running
        var lines = Array(activities.prefix(max(1, room - 1)))
        let shown = min(running.count, max(0, room - lines.count))
        let hidden = running.count - shown
        let spare = max(0, room - lines.count - shown - (hidden > 0 ? 1 : 0))
        let each = shown == 0 ? 0 : min(Self.longestLog, spare / shown)
        for step in running.prefix(shown) {
            let started = step.started ?? now
            lines.append(heading(step, (spinner, .cyan), right: [(durationText(now - started), .plain)]))
            for text in step.log.last(each) {
                lines.append(StyledLine([("  \(glyphs.bar) ", .dim), (text, .dim)]))
            }
        }
        return lines.prefix(room) + [summary(model, hidden: hidden, now)]
    }

    private func activityLines(_ model: BuildModel, _ spinner: String, _ now: Double) -> [StyledLine] {
        let images = model.images.filter { $0.finished == nil }.map { image in
            let amount = image.total > 0 ? "\(sizeText(image.bytes)) / \(sizeText(image.total))  " : ""
            return StyledLine(
                [
                    ("\(spinner) ", .cyan), ("[image] ", .cyan), (singleLine(image.name), .plain),
                    (" " + singleLine(image.message), .dim),
                ], right: [(amount, .dim), (durationText(now - image.started), .plain)])
        }
        let exports = model.exports.filter { $0.finished == nil }.map { export in
            StyledLine(
                [("\(spinner) ", .cyan), (singleLine(export.message), .plain)],
                right: [(durationText(now - export.started), .plain)])
        }
        return images + exports
    }

    private func summary(_ model: BuildModel, hidden: Int, _ now: Double) -> StyledLine {
        let total = model.instructions
        let done = model.count(.hit, .ran, .ranSameOutcome, .failed, .cancelled, .notNeeded)
        var parts = total > 0 ? ["\(done)/\(total) steps"] : []
        let cached = model.count(.hit)
        if cached > 0 { parts.append("\(cached) cached") }
        let running = model.running.count
        if running > 1 { parts.append("\(running) at once" + (hidden > 0 ? " (\(hidden) not shown)" : "")) }
        return StyledLine(
            [
                ("  " + (isCancelling ? "Cancelling" : subject), .bold),
                (parts.isEmpty ? "" : "  " + parts.joined(separator: glyphs.separator), .dim),
            ], right: [(durationText(now), .bold)])
    }
}
