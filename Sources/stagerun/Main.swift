// The command: reads the command line, runs the subcommand beside a thread that waits for signals, and exits.

import ArgumentParser
import CLinux
import Glibc
import StageGraph
import StageRun

/// What `--version` prints.
let stagerunVersion = "0.1.0"

/// As docker: 125 says that the command line was not understood.
let usageStatus: Int32 = 125

struct Stagerun: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stagerun", abstract: "Build and run container images, without a daemon.",
        discussion: "Example:\n  stagerun build -t app:1 . && stagerun run --rm app:1",
        version: "stagerun \(stagerunVersion)",
        subcommands: [
            BuildCommand.self, ImagesCommand.self, RunCommand.self, PullCommand.self, LoadCommand.self,
            SaveCommand.self,
            ImportCommand.self, TagCommand.self, RemoveCommand.self, InspectCommand.self, HistoryCommand.self,
            ContextCommand.self, CheckCommand.self, PlanCommand.self, ExplainCommand.self, LogsCommand.self,
            DiskUsageCommand.self, PruneCommand.self, VerifyCommand.self,
            DebugCommand.self,
        ])
}

@main struct Main {
    static func main() {
        // The allocator would keep an arena a thread, each as large as the largest thing that its thread ever did. Small
        // things come from lists that each thread has of its own, so that one arena is enough.
        clinux_limit_arenas(1)
        // What is large goes back at once: between small things it would leave holes.
        clinux_map_allocations_from(512 << 10)
        // With a limit of our own the allocator does not find one by itself any more: it would give back and take again.
        clinux_keep_freed(8 << 20, 1 << 20)
        Interruption.block()
        let interruption = Interruption()
        let command = parsed(Array(CommandLine.arguments.dropFirst()))
        let surroundings = Surroundings(interruption: interruption)
        let failureStatus = type(of: command).failureStatus
        StageRoot.whenIndexIsHopeless { error in
            surroundings.tell("error: ", .red, "\(error)")
            _exit(failureStatus)
        }
        let task = Task.detached {
            let status = await run(command, surroundings)
            exit(status)
        }
        if type(of: command).isCancellable { interruption.onCancel { task.cancel() } }
        interruption.wait()
    }

    /// The subcommand; what is no subcommand (help, the version, a mistake) is answered here, and ends the process.
    private static func parsed(_ arguments: [String]) -> any StageCommand {
        do {
            let arguments = normalized(arguments)
            if let command = parsedAlone(arguments) { return command }
            try checkName(arguments)
            var command = try Stagerun.parseAsRoot(arguments)
            if let command = command as? any StageCommand { return command }
            // Help and the bare name: ArgumentParser's own commands, which throw what is to be shown.
            try command.run()
            exit(0)
        } catch {
            let isSuccess = Stagerun.exitCode(for: error).isSuccess
            var text = (error as? UsageError).map { "Error: \($0.message)" } ?? Stagerun.fullMessage(for: error)
            if !text.isEmpty, !text.hasSuffix("\n") { text += "\n" }
            try? (isSuccess ? StandardStream.output : .error).write(text)
            exit(isSuccess ? 0 : usageStatus)
        }
    }

    /// The subcommand, read by itself and not as a branch of the tree of all commands: a fraction of the work, and enough for a
    /// command line that is right. Nil for any other, which the whole tree then has to answer.
    static func parsedAlone(_ arguments: [String]) -> (any StageCommand)? {
        let kinds = Stagerun.configuration.subcommands
        guard let name = arguments.first, let kind = kinds.first(where: { $0.configuration.commandName == name })
        else { return nil }
        return try? kind.parseAsRoot(Array(arguments.dropFirst())) as? any StageCommand
    }

    private static func checkName(_ arguments: [String]) throws(UsageError) {
        guard let name = arguments.first, !name.hasPrefix("-"), name != "help" else { return }
        let names = Stagerun.configuration.subcommands.compactMap { $0.configuration.commandName }
        if names.contains(name) { return }
        let nearest = Spelling.closest(name, among: names).map { "did you mean `stagerun \($0)`?" }
        throw UsageError("there is no command \(singleLine(name)); \(nearest ?? "see `stagerun --help`")")
    }

    private static func run(_ command: any StageCommand, _ surroundings: Surroundings) async -> Int32 {
        let kind = type(of: command)
        do {
            return try await command.execute(surroundings)
        } catch let failure as StandardStream.WriteFailure {
            // As if SIGPIPE had ended it.
            if failure.isClosedPipe { return exitStatus(ofSignal: SIGPIPE) }
            surroundings.tell("error: ", .red, "cannot write the output: \(String(cString: strerror(failure.errno)))")
            return kind.failureStatus
        } catch {
            if let status = surroundings.interruption.requestedExit { return status }
            // Whatever failed, an archive that nobody takes is why.
            if surroundings.output.hasNoReader { return exitStatus(ofSignal: SIGPIPE) }
            if let reported = error as? ReportedFailure { return reported.status }
            surroundings.tell("error: ", .red, "\(error)")
            if case .notExecutable(_, _, let status) = error as? StageRunError { return status }
            if error is UsageError {
                let name = kind.configuration.commandName ?? ""
                surroundings.tell("", .plain, "See `stagerun \(name) --help`.")
                return usageStatus
            }
            return kind.failureStatus
        }
    }
}

/// A failure that the person was told of already.
struct ReportedFailure: Error { let status: Int32 }
