// `stagerun plan`

import ArgumentParser
import StageEngine
import StageRun

struct PlanCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what a build would run and why, without running it.",
        discussion: """
            Nothing is executed, fetched or written. Takes what decides about a build as `stagerun build` does.

            Example:
              stagerun plan --target test .
            """)
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @OptionGroup var sources: SourceOptions

    @Flag(help: "As if every step had to run.")
    var noCache = false

    @Option(
        name: .customLong("no-cache-filter"),
        help: ArgumentHelp("As if every step of these stages had to run; may be repeated.", valueName: "stage,..."))
    var uncachedStages: [String] = []

    @Flag(help: "Print a JSON object.")
    var json = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        var request = try sources.request(surroundings.environment)
        request.useCache = !noCache
        request.uncachedStages = uncachedStages.flatMap { $0.split(separator: ",").map(String.init) }
        let planned = try await surroundings.withRoot(root) { root in try await root.plan(request) }
        let colours = wantsColours(isTerminal: surroundings.output.isTerminal, environment: surroundings.environment)
        let text = PlanText(planned: planned, colours: colours, now: currentSeconds())
        try surroundings.output.write(json ? text.document.pretty : text.page)
        return 0
    }
}
