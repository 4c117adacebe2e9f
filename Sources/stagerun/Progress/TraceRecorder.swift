// `--trace`: the build's events as a trace in Chrome's format, for chrome://tracing, Perfetto and speedscope.

import StageEngine
import StageGraph

/// Collects events; what runs at once lies in lanes above each other.
struct TraceRecorder: Sendable {
    private enum Subject: Hashable { case step(Int), image(String), export(String) }

    private struct Span {
        var lane: Int
        var start: Double
    }

    private var steps: [Int: StepDescription] = [:]
    private var open: [Subject: Span] = [:]
    private var lanes: [Bool] = []
    private var entries: [JSONText] = []

    init() {}

    /// Takes one event; `now` is seconds since the build began.
    mutating func apply(_ event: BuildEvent, at now: Double) {
        switch event {
        case .planned(let steps, let target, let platform):
            for step in withoutOnlyStage(steps) { self.steps[step.id] = step }
            instant("planned", now, ["target": .string(target), "platform": .string(platform)])
        case .stageNotNeeded(let stage, let instructions):
            instant(
                "stage \(stage) not needed", now, ["instructions": .number(Int64(instructions))])
        case .warning(let message, _): instant("warning", now, ["message": .string(message)])
        case .image(let name, let message, let bytes, _, let done):
            begin(.image(name), now)
            if done {
                end(
                    .image(name), "image \(name)", "image", now,
                    ["message": .string(message), "bytes": .number(Int64(clamping: bytes))])
            }
        case .stepStarted(let step, _): begin(.step(step), now)
        case .stepOutput: break
        case .stepFinished(let step, let state, _, _, let reason): finish(step, state, reason, now)
        case .exporting(let message, _, _, let done):
            begin(.export(message), now)
            if done { end(.export(message), message, "export", now, [:]) }
        case .finished(let image, _, _): instant("finished", now, ["image": .optional(image)])
        case .stopped(let message, _, _, _): instant("stopped", now, ["message": .string(message)])
        }
    }

    /// The whole file.
    var document: String {
        let names = lanes.indices.map { lane in
            JSONText.members([
                "name": .string("thread_name"), "ph": .string("M"), "pid": .number(1), "tid": .number(Int64(lane + 1)),
                "args": .members(["name": .string("place \(lane + 1)")]),
            ])
        }
        let process = JSONText.members([
            "name": .string("process_name"), "ph": .string("M"), "pid": .number(1),
            "args": .members(["name": .string("stagerun build")]),
        ])
        let lines = ([process] + names + entries).map(\.compact).joined(separator: ",\n")
        return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n\(lines)\n]}\n"
    }

    private mutating func finish(_ step: Int, _ state: StepState, _ reason: StepReason, _ now: Double) {
        let description = steps[step]
        var facts: KeyValuePairs<String, JSONText> {
            [
                "state": .string(state.rawValue), "reason": .string(reason.description), "step": .number(Int64(step)),
                "stage": .string(description?.stage ?? ""), "place": .optional(description?.source?.place),
            ]
        }
        let name = description.map { "\($0.tag) \($0.heading)" } ?? "step \(step)"
        guard open[.step(step)] != nil else { return instant(name, now, facts) }
        end(.step(step), name, description?.kind ?? "step", now, facts)
    }

    private mutating func begin(_ subject: Subject, _ now: Double) {
        guard open[subject] == nil else { return }
        let lane = lanes.firstIndex(of: false) ?? lanes.count
        if lane == lanes.count { lanes.append(true) } else { lanes[lane] = true }
        open[subject] = Span(lane: lane, start: now)
    }

    private mutating func end(
        _ subject: Subject, _ name: String, _ category: String, _ now: Double, _ facts: KeyValuePairs<String, JSONText>
    ) {
        guard let span = open.removeValue(forKey: subject) else { return }
        lanes[span.lane] = false
        entries.append(
            .members([
                "name": .string(name), "cat": .string(category), "ph": .string("X"),
                "ts": Self.microseconds(span.start), "dur": Self.microseconds(max(0, now - span.start)),
                "pid": .number(1), "tid": .number(Int64(span.lane + 1)), "args": .members(facts),
            ]))
    }

    private mutating func instant(_ name: String, _ now: Double, _ facts: KeyValuePairs<String, JSONText>) {
        entries.append(
            .members([
                "name": .string(name), "ph": .string("i"), "s": .string("p"), "ts": Self.microseconds(now),
                "pid": .number(1), "tid": .number(0), "args": .members(facts),
            ]))
    }

    private static func microseconds(_ seconds: Double) -> JSONText { .decimal(fixedPoint(seconds * 1e6, digits: 0)) }
}
