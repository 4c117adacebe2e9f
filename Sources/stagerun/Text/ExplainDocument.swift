// The report of `stagerun explain`, as JSON.

import StageEngine
import StageGraph
import StageHash
import StageRun

extension ExplainText {
    func document(_ explanations: [StepExplanation]) -> JSONText {
        let (end, message): (String, String?) =
            switch build.end {
            case .completed: ("completed", nil)
            case .failed(let message): ("failed", message)
            case .cancelled: ("cancelled", nil)
            }
        return .members([
            "dockerfile": .string(build.subject.file), "context": .string(build.subject.context),
            "target": .string(build.target), "platform": .string(build.platform),
            "started": .string(
                calendarText(seconds: build.started.seconds, nanoseconds: build.started.nanoseconds)),
            "seconds": .seconds(build.seconds), "end": .string(end), "message": .optional(message),
            "steps": .array(explanations.map(document)),
        ])
    }

    private func document(_ explanation: StepExplanation) -> JSONText {
        let step = build.steps[explanation.step]
        return .members([
            "step": .number(Int64(explanation.step)), "stage": .string(step.description.stage),
            "number": .number(Int64(step.description.number)), "kind": .string(step.description.kind),
            "instruction": .string(step.description.title), "source": Self.document(step.description.source),
            "state": .optional(step.state?.rawValue), "seconds": .seconds(step.seconds),
            "reason": .optional(step.reason?.description), "key": .optional(step.key?.description),
            "earlier": explanation.earlier.map { earlier in
                .members([
                    "stage": .string(earlier.stage), "instruction": .string(earlier.title),
                    "key": .string(earlier.key.description),
                    "ran": .string(
                        calendarText(seconds: earlier.created.seconds, nanoseconds: earlier.created.nanoseconds)),
                    "seconds": .seconds(earlier.seconds),
                ])
            } ?? .null,
            "differences": .array(explanation.differences.map(document)),
        ])
    }

    private static func document(_ source: SourceRange?) -> JSONText {
        guard let source else { return .null }
        return .members([
            "file": .string(source.file), "firstLine": .number(Int64(source.firstLine)),
            "lastLine": .number(Int64(source.lastLine)),
        ])
    }

    func document(_ difference: Difference) -> JSONText {
        switch difference {
        case .instruction(let was, let now):
            .members(["kind": .string("instruction"), "was": .string(was), "now": .string(now)])
        case .variable(let name, let isArgument, let was, let now):
            .members([
                "kind": .string(isArgument ? "build argument" : "environment"), "name": .string(name),
                "was": .optional(was), "now": .optional(now),
            ])
        case .field(let name, let was, let now):
            .members(["kind": .string("field"), "name": .string(name), "was": .optional(was), "now": .optional(now)])
        case .base(let step, let was, let now):
            .members([
                "kind": .string("base image"), "step": .number(Int64(step)), "was": .optional(was?.description),
                "now": .optional(now?.description),
            ])
        case .files(let origin, let changes, let total):
            .members([
                "kind": .string("files"), "of": Self.document(origin), "total": .number(Int64(total)),
                "changes": .array(changes.map(document)),
            ])
        case .forgotten(let origin):
            .members(["kind": .string("files"), "of": Self.document(origin), "total": .null, "changes": .null])
        }
    }

    private static func document(_ origin: FileOrigin) -> JSONText {
        switch origin {
        case .filesystem: .string("filesystem")
        case .heredoc: .string("heredoc")
        case .input(let step): .number(Int64(step))
        }
    }

    private func document(_ change: FileChange) -> JSONText {
        .members([
            "path": .string(change.path), "was": Self.document(change.was), "now": Self.document(change.now),
            "broughtBy": change.broughtBy.map { index in
                .members([
                    "step": .number(Int64(index)), "instruction": .string(build.steps[index].description.title),
                    "source": Self.document(build.steps[index].description.source),
                ])
            } ?? .null,
        ])
    }

    private static func document(_ state: FileState?) -> JSONText {
        guard let state else { return .null }
        return .members([
            "type": .string(state.kind.rawValue), "mode": .string(FileChangeText.octal(state.mode)),
            "uid": .number(Int64(state.uid)), "gid": .number(Int64(state.gid)),
            "digest": .optional(state.digest?.description),
            "size": state.size.map { .number(Int64(clamping: $0)) } ?? .null, "link": .optional(state.link),
            "extendedAttributes": .strings(state.attributes), "touchedBy": .optional(state.touch?.description),
            "files": state.contained.map { .number(Int64($0)) } ?? .null,
        ])
    }
}
