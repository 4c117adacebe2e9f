// The report of `stagerun plan`, for people and as JSON.

import StageEngine
import StageGraph
import StageRun

/// A plan, rendered.
struct PlanText {
    let planned: PlannedBuild
    let colours: Bool
    /// Seconds since 1970, for ages.
    let now: Int64

    var page: String {
        switch planned {
        case .needsImages(let names):
            let list = names.map { styled(singleLine($0), .bold, colours: colours) }.joined(separator: ", ")
            return "\(list) would be fetched first; what would run after that is known once "
                + "\(names.count == 1 ? "it is" : "they are") here.\n"
        case .plan(let plan): return page(plan)
        }
    }

    private func page(_ plan: BuildPlan) -> String {
        let steps = withoutOnlyStage(plan.build.steps.map(\.description))
        let explained = ExplainText(build: plan.build, colours: colours, now: now)
        var text = headline(plan) + "\n"
        let width = steps.filter { $0.number > 0 }.map { $0.tag.columns }.max() ?? 0
        for (index, step) in steps.enumerated() where step.number > 0 {
            let (word, style) = Self.word(plan.expectations[index])
            let padding = String(repeating: " ", count: width - step.tag.columns)
            text += styled(word, style, colours: colours) + String(repeating: " ", count: 5 - word.count)
            text += styled(step.tag, .cyan, colours: colours) + "\(padding) \(step.heading)\n"
            if let reason = reason(plan, index, steps) { text += "       \(reason)\n" }
            if let explanation = plan.explanations.first(where: { $0.step == index }) {
                text += explained.differences(explanation).split(separator: "\n").map { "     \($0)\n" }.joined()
            }
        }
        for stage in plan.build.skippedStages {
            text += styled("-", .dim, colours: colours) + "    stage \(singleLine(stage.name)) is not needed\n"
        }
        return text
    }

    /// `Dockerfile, target app for linux/amd64: 6 steps, 3 hits, 2 run, 1 may run; these took 4.2s last time`.
    private func headline(_ plan: BuildPlan) -> String {
        let numbered = plan.build.steps.indices.filter { plan.build.steps[$0].description.number > 0 }
        func count(_ matches: (Expectation) -> Bool) -> Int { numbered.count { matches(plan.expectations[$0]) } }
        var parts = [counted(numbered.count, "step")]
        let hits = count { $0 == .hit }
        let runs = count { if case .runs = $0 { true } else if case .shared = $0 { true } else { false } }
        let mayRun = count { if case .follows = $0 { true } else { false } }
        let fails = count { if case .fails = $0 { true } else { false } }
        if hits > 0 { parts.append("\(hits) cached") }
        if runs > 0 { parts.append("\(runs) would run") }
        if mayRun > 0 { parts.append("\(mayRun) may run") }
        if fails > 0 { parts.append("\(fails) would fail") }
        let seconds = numbered.compactMap { Self.seconds(plan, $0) }.reduce(0, +)
        let file = numbered.lazy.compactMap { plan.build.steps[$0].description.source?.file }.first ?? ""
        let last = seconds > 0 ? "; those took \(durationText(seconds)) last time" : ""
        return styled(singleLine(file), .bold, colours: colours)
            + " for \(singleLine(plan.build.platform)): \(parts.joined(separator: ", "))\(last)\n"
    }

    /// How long what would or may run took last time.
    private static func seconds(_ plan: BuildPlan, _ index: Int) -> Double? {
        switch plan.expectations[index] {
        case .runs, .follows: plan.build.steps[index].earlier?.seconds
        case .looks, .hit, .shared, .fails: nil
        }
    }

    private static func word(_ expectation: Expectation) -> (String, Style) {
        switch expectation {
        case .looks: ("look", .dim)
        case .hit: ("hit", .dim)
        case .shared: ("same", .dim)
        case .runs: ("run", .green)
        case .follows: ("may", .yellow)
        case .fails: ("fail", .red)
        }
    }

    private func reason(_ plan: BuildPlan, _ index: Int, _ steps: [StepDescription]) -> String? {
        let last = Self.seconds(plan, index).map { "; \(durationText($0)) last time" } ?? ""
        switch plan.expectations[index] {
        case .looks, .hit: return nil
        case .shared(let other): return "an equal step of this build, \(steps[other].tag), does for both"
        case .follows(let other) where plan.build.steps[index].earlier == nil:
            return "after \(Self.name(steps[other])); no earlier run of it is known"
        case .follows(let other): return "unless \(Self.name(steps[other])) leaves what it left before\(last)"
        case .fails(let message): return singleLine(message)
        case .runs:
            let step = plan.build.steps[index]
            guard let earlier = step.earlier else { return "no earlier run of it is known" }
            if earlier.key == step.key {
                return (earlier.failed ? "it failed the last time" : "the cache is not to be used") + last
            }
            let explained = plan.explanations.first { $0.step == index }
            return explained?.earlier == nil
                ? "no earlier run of it is known any more" : "differs from its earlier run\(last)"
        }
    }

    /// What has no number has nothing but its title.
    private static func name(_ step: StepDescription) -> String { step.number > 0 ? step.tag : step.heading }

    // MARK: JSON

    var document: JSONText {
        switch planned {
        case .needsImages(let names): .members(["needsImages": .strings(names)])
        case .plan(let plan): document(plan)
        }
    }

    private func document(_ plan: BuildPlan) -> JSONText {
        let explained = ExplainText(build: plan.build, colours: false, now: now)
        let steps = plan.build.steps.enumerated().map { index, step in
            let explanation = plan.explanations.first { $0.step == index }
            return JSONText.members([
                "step": .number(Int64(index)), "stage": .string(step.description.stage),
                "number": .number(Int64(step.description.number)), "kind": .string(step.description.kind),
                "instruction": .string(step.description.title),
                "expectation": .string(Self.name(plan.expectations[index])),
                "because": Self.because(plan.expectations[index]), "key": .optional(step.key?.description),
                "secondsLastTime": step.earlier.map { .seconds($0.seconds) } ?? .null,
                "differences": .array(explanation?.differences.map(explained.document) ?? []),
            ])
        }
        return .members([
            "dockerfile": .string(plan.build.subject.file), "target": .string(plan.build.target),
            "platform": .string(plan.build.platform), "steps": .array(steps),
            "stagesNotNeeded": .strings(plan.build.skippedStages.map(\.name)),
        ])
    }

    private static func name(_ expectation: Expectation) -> String {
        switch expectation {
        case .looks: "looks"
        case .hit: "hit"
        case .shared: "shared"
        case .runs: "runs"
        case .follows: "may run"
        case .fails: "fails"
        }
    }

    private static func because(_ expectation: Expectation) -> JSONText {
        switch expectation {
        case .looks, .hit, .runs: .null
        case .shared(let step), .follows(let step): .number(Int64(step))
        case .fails(let message): .string(message)
        }
    }
}
