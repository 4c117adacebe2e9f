// `stagerun context`

import ArgumentParser
import StageRun

struct ContextCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "context", abstract: "Show what would enter a build, what would not, and why.",
        discussion: "Example:\n  stagerun context --target test .")
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption
    @OptionGroup var sources: SourceOptions

    @Flag(help: "Print a JSON object.")
    var json = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let request = try sources.request(surroundings.environment)
        let report = try await surroundings.withRoot(root) { root in try await root.contextReport(request) }
        let text = ContextText(
            report: report,
            colours: wantsColours(
                isTerminal: surroundings.output.isTerminal, environment: surroundings.environment))
        try surroundings.output.write(json ? text.document.pretty : text.page)
        return 0
    }
}
