// `stagerun explain`

import ArgumentParser
import StageEngine
import StageRun

struct ExplainCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Say why the steps of the last build ran.",
        discussion: """
            Each step that ran is compared with its nearest earlier run, down to the file.

            Examples:
              stagerun explain
              stagerun explain builder
              stagerun explain builder/4
              stagerun explain :12 --json
            """)

    @OptionGroup var root: RootOption
    @OptionGroup var choice: BuildChoice

    @Flag(help: "Print a JSON object.")
    var json = false

    @Argument(
        help: ArgumentHelp(
            "A stage, a step of it (builder/4), an instruction by its line (:12) or by its text (default: all that ran).",
            valueName: "step"))
    var step: String?

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let (build, explanations) = try await surroundings.withRoot(root) { root in
            let build = try choice.build(in: root)
            return (build, try root.explain(build, step: step))
        }
        let text = ExplainText(
            build: build,
            colours: wantsColours(
                isTerminal: surroundings.output.isTerminal, environment: surroundings.environment),
            now: currentSeconds())
        try surroundings.output.write(json ? text.document(explanations).pretty : text.page(explanations))
        return 0
    }
}
