// `stagerun run`

import ArgumentParser
import Glibc
import StageEngine
import StageGraph
import StageRun

struct RunCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run a command in an image; what it changes is thrown away.",
        discussion: """
            The exit status is the command's; 125 when it could not be run, 126 and 127 when the image lacks it.

            Example:
              stagerun run --rm -it -v $PWD:/src -w /src golang:1.22 go test ./...
            """)
    static var isCancellable: Bool { true }
    static var failureStatus: Int32 { 125 }

    @OptionGroup var root: RootOption

    @Flag(name: .customLong("rm"), help: "As always: nothing of the container stays.")
    var remove = false

    @Option(
        name: [.customShort("e", allowingJoined: true), .customLong("env")],
        help: ArgumentHelp("A variable; K alone takes its value from the environment.", valueName: "k[=v]"))
    var environment: [String] = []

    @Option(
        name: [.customShort("w", allowingJoined: true), .customLong("workdir")],
        help: ArgumentHelp("The working directory.", valueName: "dir"))
    var workingDirectory: String?

    @Option(
        name: [.customShort("u", allowingJoined: true), .long],
        help: ArgumentHelp("Who runs it: name or number, with a group after a colon.", valueName: "user"))
    var user: String?

    @Option(
        name: [.customShort("v", allowingJoined: true), .customLong("volume")],
        help: ArgumentHelp("A host path in the container; may be repeated.", valueName: "host:path[:ro]"))
    var volumes: [String] = []

    @Option(help: ArgumentHelp("In place of the image's entrypoint; empty for none.", valueName: "program"))
    var entrypoint: String?

    @Option(help: ArgumentHelp("The container's host name.", valueName: "name"))
    var hostname: String?

    @Flag(name: .shortAndLong, help: "Hand standard input through.")
    var interactive = false

    @Flag(name: .shortAndLong, help: "Give the command a terminal.")
    var tty = false

    @Argument(help: ArgumentHelp("A name or an ID.", valueName: "image"))
    var image: String

    @Argument(
        parsing: .captureForPassthrough, help: ArgumentHelp("In place of the image's command.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        // Arguments are passed through from the first that is not known: a mistyped option would become the image.
        if image.hasPrefix("-") { throw ValidationError(Self.unknownOption(image)) }
    }

    static func unknownOption(_ text: String) -> String {
        let known = [
            "--rm", "--env", "--workdir", "--user", "--volume", "--entrypoint", "--hostname", "--interactive", "--tty",
            "--root", "--help", "-e", "-w", "-u", "-v", "-i", "-t", "-it",
        ]
        let name = String(text.prefix { $0 != "=" })
        return "Unknown option '\(singleLine(name))'"
            + (Spelling.closest(name, among: known).map { ". Did you mean '\($0)'?" } ?? "")
    }

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let interruption = surroundings.interruption
        let input: CInt? = interactive ? STDIN_FILENO : nil
        if tty && interactive && isatty(STDIN_FILENO) != 1 {
            throw UsageError("-t with -i needs a terminal on standard input; leave -t out")
        }
        let size = surroundings.output.size
        let streams: RunStreams =
            tty
            ? .terminal(
                input: input, output: STDOUT_FILENO, rows: UInt16(clamping: size.height),
                columns: UInt16(clamping: size.width))
            : .descriptors(input: input, output: STDOUT_FILENO, error: STDERR_FILENO)
        var request = try request(streams: streams, directory: currentDirectory(), surroundings.environment)
        let output = surroundings.output
        request.started = { control in
            interruption.onForward { control.signal($0) }
            interruption.onResize {
                let size = output.size
                control.resize(rows: UInt16(clamping: size.height), columns: UInt16(clamping: size.width))
            }
        }
        return try await surroundings.withRoot(root) { [request] root in
            let raw = tty && interactive ? RawTerminal(descriptor: STDIN_FILENO) : nil
            interruption.onRestore { raw?.restore() }
            defer {
                raw?.restore()
                interruption.onRestore(nil)
                interruption.onForward(nil)
                interruption.onResize(nil)
            }
            return try await root.run(request).code
        }
    }

    /// What is asked for, from the options. `directory` is where relative host paths start.
    func request(
        streams: RunStreams, directory: String, _ environment: (String) -> String?
    ) throws(UsageError) -> RunRequest {
        var request = RunRequest(image: image, streams: streams)
        request.arguments = command.first == "--" ? Array(command.dropFirst()) : command
        request.entrypoint = entrypoint.map { $0.isEmpty ? [] : [$0] }
        for text in self.environment {
            if let pair = try NameValue.inheriting(text, option: "-e", environment: environment) {
                request.environment.append("\(pair.name)=\(pair.value)")
            }
        }
        if tty, !request.environment.contains(where: { $0.hasPrefix("TERM=") }) {
            request.environment.append("TERM=\(environment("TERM") ?? "xterm")")
        }
        if let workingDirectory {
            guard workingDirectory.hasPrefix("/") else {
                throw UsageError("-w \(workingDirectory): the working directory must be absolute")
            }
            request.workingDirectory = workingDirectory
        }
        request.user = user
        request.hostname = hostname
        for text in volumes {
            let volume = try VolumeOption(parsing: text)
            let source = volume.source.hasPrefix("/") ? volume.source : directory + "/" + volume.source
            request.mounts.append(HostMount(source: source, target: volume.target, readOnly: volume.isReadOnly))
        }
        return request
    }
}
