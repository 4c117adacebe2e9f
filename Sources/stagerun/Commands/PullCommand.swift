// `stagerun pull`

import ArgumentParser
import Glibc
import StageGraph
import StageRun

struct PullCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull", abstract: "Fetch an image from a registry.",
        discussion: "Example:\n  stagerun pull alpine:3.19")
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @Flag(name: .shortAndLong, help: "Print the name and nothing else.")
    var quiet = false

    @Option(help: ArgumentHelp("auto, tty, plain, json or quiet.", valueName: "form"))
    var progress: ProgressMode = .auto

    @Option(help: ArgumentHelp("The platform to fetch, such as linux/arm64.", valueName: "os/arch"))
    var platform: String?

    @Argument(help: ArgumentHelp("The image's name.", valueName: "name"))
    var name: String

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let reference = try imageReference(name)
        var wanted: Platform?
        if let platform { wanted = try Platform(option: platform) }
        let mode = progress.resolved(
            quiet: quiet, isTerminal: surroundings.error.isTerminal, terminalType: surroundings.environment("TERM"))
        let interruption = surroundings.interruption
        let display = ProgressDisplay(
            mode: mode, subject: "Pulling " + reference.familiar,
            stream: mode == .json ? surroundings.output : surroundings.error, colours: surroundings.colours,
            glyphs: glyphs(environment: surroundings.environment), onBrokenPipe: { interruption.cancel() })
        interruption.onRestore { display.close() }
        interruption.onNotice { display.tellCancelling() }
        defer { interruption.onRestore(nil) }
        do {
            let id = try await surroundings.withRoot(root) { [wanted] root in
                try await root.pull(name, platform: wanted) { display.observe($0) }
            }
            _ = display.finish()
            switch mode {
            case .json: break
            case .quiet: try surroundings.output.write(reference.canonical + "\n")
            case .auto, .tty, .plain: try surroundings.output.write("\(reference.canonical)\n\(id)\n")
            }
            return 0
        } catch {
            _ = display.finish()
            if display.isBroken { return exitStatus(ofSignal: SIGPIPE) }
            throw error
        }
    }
}
