// `stagerun du`

import ArgumentParser
import StageRun

struct DiskUsageCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "du", abstract: "Show what takes room in the store, and for what.",
        discussion: "Example:\n  stagerun du -v")

    @OptionGroup var root: RootOption

    @Flag(name: .shortAndLong, help: "List every step, workspace and context.")
    var verbose = false

    @Flag(help: "Print a JSON object.")
    var json = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let usage = try await surroundings.withRoot(root) { root in try await root.usage() }
        let text = UsageText(usage: usage, now: currentSeconds())
        try surroundings.output.write(json ? text.document.pretty : text.page(verbose: verbose))
        return 0
    }
}
