// What every subcommand is given, and what it gives back.

import ArgumentParser
import Glibc
import StageGraph
import StageRun

/// A subcommand.
protocol StageCommand: ParsableCommand, Sendable {
    /// True when a signal lets it tidy up; false when it may end at once.
    static var isCancellable: Bool { get }
    /// The exit status of a failure of stagerun itself.
    static var failureStatus: Int32 { get }

    /// Does it; the exit status.
    func execute(_ surroundings: Surroundings) async throws -> Int32
}

extension StageCommand {
    static var isCancellable: Bool { false }
    static var failureStatus: Int32 { 1 }
}

/// The process around a command: the only way by which it reads variables and writes to the person.
struct Surroundings: Sendable {
    var output = StandardStream.output
    var error = StandardStream.error
    var interruption: Interruption
    var environment: @Sendable (String) -> String? = { environmentVariable($0) }

    /// Whether text on standard error is coloured.
    var colours: Bool { wantsColours(isTerminal: error.isTerminal, environment: environment) }

    func statePath(_ options: RootOption) throws -> String {
        try stateDirectory(option: options.root, isRoot: geteuid() == 0, environment: environment)
    }

    /// Opens the state directory for `body`, and closes it on every path.
    func withRoot<R>(
        _ options: RootOption, jobs: Int? = nil, _ body: (StageRoot) async throws -> R
    ) async throws -> R {
        let path = try statePath(options)
        try makeParents(of: path)
        let root = try StageRoot(path: path, jobs: jobs ?? processorCount())
        let result: R
        do { result = try await body(root) } catch {
            // The first error is the one to tell.
            try? await root.close()
            throw error
        }
        try await root.close()
        return result
    }

    /// One line on standard error, and its coloured prefix.
    func tell(_ prefix: String, _ style: Style, _ message: String) {
        // Nobody left to tell is no reason to fail.
        try? error.write(styled(prefix, style, colours: colours) + displayable(message) + "\n")
    }
}

/// `--root`, which every subcommand takes.
struct RootOption: ParsableArguments, Sendable {
    @Option(help: ArgumentHelp("Where the state lives (or set STAGERUN_ROOT).", valueName: "dir"))
    var root: String?
}

/// Processors that this process may use.
private func processorCount() -> Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

/// Makes the directories above the state directory: a first use needs no preparation.
private func makeParents(of path: String) throws(UsageError) {
    var parent = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/").dropLast() {
        parent += "/" + part
        if mkdir(parent, 0o755) != 0, errno != EEXIST {
            throw UsageError(
                "cannot make \(parent): \(String(cString: strerror(errno))); give another place with --root")
        }
    }
}

/// The reference that `text` names.
func imageReference(_ text: String) throws(UsageError) -> ImageReference {
    do throws(ImageReferenceError) { return try ImageReference(text) } catch { throw UsageError(error.description) }
}
