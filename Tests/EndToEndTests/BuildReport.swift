// What `build --progress json` said, as the tests ask about it.

import Foundation
import Testing

/// The steps of one build and what became of each.
struct BuildReport {
    struct Step {
        var number: Int
        var stage: String
        var title: String
        var state: String
    }

    var steps: [Step] = []
    var unneededStages: [String] = []
    var image: String?
    /// Every line, in order.
    var events: [[String: Any]] = []

    /// Each line of `text` has to be one JSON object.
    init(_ text: String) throws {
        var numbers: [Int: Int] = [:]
        for line in text.split(separator: "\n") {
            guard let event = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else {
                throw LabFailure("not a JSON object: \(line)")
            }
            events.append(event)
            // One kind each: `{"stepFinished": {...}}`.
            guard event.count == 1, let (kind, value) = event.first, let fields = value as? [String: Any] else {
                throw LabFailure("not one event: \(line)")
            }
            switch kind {
            case "planned":
                for step in fields["steps"] as? [[String: Any]] ?? [] {
                    numbers[step["id"] as? Int ?? -1] = steps.count
                    steps.append(
                        Step(
                            number: step["number"] as? Int ?? 0, stage: step["stage"] as? String ?? "",
                            title: step["title"] as? String ?? "", state: "?"))
                }
            case "stepFinished":
                guard let index = numbers[fields["step"] as? Int ?? -1] else {
                    throw LabFailure("a step finished that was not planned: \(line)")
                }
                steps[index].state = fields["state"] as? String ?? "?"
            case "stageNotNeeded": unneededStages.append(fields["stage"] as? String ?? "?")
            case "finished": image = fields["image"] as? String
            default: break
            }
        }
        // Number 0 is no instruction of its own, such as the look at the context, which every build takes.
        steps.removeAll { $0.number == 0 }
    }

    /// The titles of the steps that are in this state, in the order of the plan.
    func titles(_ states: String...) -> [String] { steps.filter { states.contains($0.state) }.map(\.title) }

    /// Steps that were executed, whatever they left.
    var ran: [String] { titles("ran", "ran, same outcome") }
    var stages: Set<String> { Set(steps.map(\.stage)) }
}

extension Lab {
    /// Builds on the shared store and reads the events.
    static func build(_ arguments: String..., atMost limit: Duration = .seconds(600)) async throws -> BuildReport {
        let outcome = try await start(["build", "--progress", "json"] + arguments).wait(atMost: limit)
        guard outcome.succeeded else { throw LabFailure("the build failed", outcome) }
        return try BuildReport(outcome.output)
    }

    /// Builds and returns the image ID.
    static func imageID(_ arguments: String...) async throws -> String {
        let file = try scratchDirectory("iid") + "/id"
        let outcome = try await start(["build", "--iidfile", file] + arguments).wait()
        guard outcome.succeeded else { throw LabFailure("the build failed", outcome) }
        return try String(contentsOfFile: file, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// `images --json`: the size in bytes by name and tag.
    static func imageSizes() async throws -> [String: Int] {
        let outcome = try await stagerun("images", "--json")
        guard outcome.succeeded,
            let images = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [[String: Any]]
        else { throw LabFailure("no array", outcome) }
        var sizes: [String: Int] = [:]
        for image in images {
            for name in image["RepoTags"] as? [String] ?? [] { sizes[name] = image["Size"] as? Int }
        }
        return sizes
    }
}
