// `stagerun logs`

import ArgumentParser
import StageEngine
import StageRun
import StageStore

struct LogsCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Print all that a step of the last build wrote.",
        discussion: """
            Of a step that was a hit, what it wrote when it ran. Without a step, which steps wrote how much.

            Examples:
              stagerun logs
              stagerun logs builder/4
              stagerun logs "go test"
            """)

    @OptionGroup var root: RootOption
    @OptionGroup var choice: BuildChoice

    @Argument(
        help: ArgumentHelp(
            "A step (builder/4), an instruction by its line (:12) or by its text, or a stage.", valueName: "step"))
    var step: String?

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        try await surroundings.withRoot(root) { root in
            let build = try choice.build(in: root)
            guard let step else { return try surroundings.output.write(table(build, root)) }
            let steps = try root.select(step, of: build).map { build.steps[$0] }
            for step in steps { try print(step, root, surroundings) }
            try surroundings.error.write(silence(of: steps))
        }
        return 0
    }

    /// What to say of steps that wrote nothing at all; empty when one of them wrote something.
    func silence(of steps: [BuildRecord.Step]) -> String {
        if steps.contains(where: { $0.log != nil }) { return "" }
        return steps.map { step in
            let what = step.state == nil ? "the build did not come to it" : "it wrote nothing"
            return "\(singleLine(step.tag)) \(singleLine(step.description.heading)): \(what)\n"
        }.joined()
    }

    private func print(_ step: BuildRecord.Step, _ root: StageRoot, _ surroundings: Surroundings) throws {
        // A log may steer a terminal; into a file or a pipe it goes as it is.
        var filter = ControlFilter()
        let isTerminal = surroundings.output.isTerminal
        var stream = UTF8Stream()
        var failure: StandardStream.WriteFailure?
        let isKept = try root.withLog(of: step) { piece in
            guard failure == nil else { return }
            do throws(StandardStream.WriteFailure) {
                if isTerminal {
                    try surroundings.output.write(filter.filter(stream.decode(Array(piece))))
                } else {
                    try surroundings.output.write(bytes: piece)
                }
            } catch { failure = error }
        }
        if let failure { throw failure }
        if isTerminal { try surroundings.output.write(filter.filter(stream.rest)) }
        if !isKept { throw StageRunError.failed("the log of \(step.tag) was pruned", advice: "build it again") }
    }

    private func table(_ build: BuildRecord, _ root: StageRoot) throws -> String {
        var rows: [[String]] = []
        for step in build.steps where step.description.number > 0 {
            let size = try root.logSize(of: step)
            rows.append([
                singleLine(step.tag), step.state?.rawValue ?? "not reached", size.map(sizeText) ?? "pruned",
                step.description.heading,
            ])
        }
        return tableText(header: ["STEP", "STATE", "LOG", "INSTRUCTION"], rows: rows)
    }
}
