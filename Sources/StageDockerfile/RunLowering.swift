// `RUN`: the command line, its environment, and what this version cannot run yet.

import StageGraph

extension StageLowering {
    mutating func run(_ run: RunCommand, _ instruction: ParsedInstruction) throws(DockerfileError) {
        try refuseUnsupported(run)
        let arguments = try runArguments(run.line, instruction)
        if let argument = arguments.first(where: { $0.utf8.contains(0) }) {
            throw DockerfileError(
                "the command holds a NUL byte after `\(argument.prefix(20))`", at: instruction.range)
        }
        let operation = Operation.run(
            Run(
                arguments: arguments, environment: state.variables.entries, hiddenEnvironment: scope.proxyEnvironment,
                workingDirectory: state.workingDirectory, user: state.settings.user ?? "",
                network: run.network == .none ? .none : .host))
        let prefix = state.argumentPrefix
        try spend(prefix.utf8.count, at: instruction.range)
        let step = addStep(operation, [state.filesystem], instruction)
        state.record("RUN \(prefix)\(arguments.joined(separator: " ")) # buildkit", step: step)
    }

    private func refuseUnsupported(_ run: RunCommand) throws(DockerfileError) {
        if let mount = run.mounts.first {
            throw DockerfileError(
                "RUN --mount=type=\(mount.kind.rawValue) is not supported by this version", at: mount.range,
                hint: "leave the mount out, or COPY what the command needs")
        }
        if let device = run.devices.first {
            throw DockerfileError("RUN --device is not supported by this version", at: device.range)
        }
    }

    private func runArguments(
        _ line: CommandLine, _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> [String] {
        if case .run(let run) = instruction.command, run.security == .insecure {
            throw DockerfileError(
                "RUN --security=insecure is not supported by this version", at: instruction.range,
                hint: "commands run with docker's default capabilities")
        }
        guard line.usesShell else {
            guard !line.arguments.isEmpty else {
                throw DockerfileError(
                    "RUN [] names no command", at: instruction.range, hint: "write RUN [\"executable\", \"argument\"]")
            }
            return line.arguments
        }
        let heredocs = instruction.syntax.heredocs
        guard let first = heredocs.first, let command = line.arguments.first else { return state.withShell(line) }
        let isHeredocAlone = ((try? HeredocWord(command)) ?? nil) != nil
        guard isHeredocAlone else {
            // The shell reads the heredocs itself.
            let bodies = heredocs.map { "\n" + $0.content + $0.name }.joined()
            return state.withShell([command + bodies])
        }
        let text = first.text
        if text.utf8.starts(with: "#!".utf8) {
            throw DockerfileError(
                "RUN with a heredoc that names its interpreter (`#!`) is not supported by this version",
                at: instruction.syntax.arguments.first?.range ?? instruction.range,
                hint: "COPY the heredoc to a file, or write RUN interpreter <<\(first.name)")
        }
        return state.withShell([text])
    }
}
