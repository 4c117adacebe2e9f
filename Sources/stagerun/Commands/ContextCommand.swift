// `stagerun context`

import ArgumentParser
import StageRun

struct ContextCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "context", abstract: "Show what would enter a build, what would not, and why.",
        discussion: "Example:\n  stagerun context --target test .")
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @Option(
        name: [.customShort("f", allowingJoined: true), .long],
        help: ArgumentHelp("The Dockerfile (default: Dockerfile in the context).", valueName: "path"))
    var file: String?

    @Option(help: ArgumentHelp("The stage to build (default: the last).", valueName: "stage"))
    var target: String?

    @Option(
        name: .customLong("build-arg"),
        help: ArgumentHelp(
            "A value for ARG; K alone takes it from the environment; may be repeated.", valueName: "k[=v]"))
    var buildArguments: [String] = []

    @Flag(help: "Print a JSON object.")
    var json = false

    @Argument(help: ArgumentHelp("The directory that COPY and ADD read.", valueName: "context"))
    var context: String

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        if context.isEmpty { throw UsageError("the context is empty; give a directory, such as .") }
        var path = context
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        var request = BuildRequest(contextPath: path)
        request.dockerfile = file == "-" ? "/dev/stdin" : file
        request.target = target
        for text in buildArguments {
            if let pair = try NameValue.inheriting(
                text, option: "--build-arg", environment: surroundings.environment)
            {
                request.buildArguments[pair.name] = pair.value
            }
        }
        let report = try await surroundings.withRoot(root) { root in try await root.contextReport(request) }
        let text = ContextText(
            report: report,
            colours: wantsColours(
                isTerminal: surroundings.output.isTerminal, environment: surroundings.environment))
        try surroundings.output.write(json ? text.document.pretty : text.page)
        return 0
    }
}
