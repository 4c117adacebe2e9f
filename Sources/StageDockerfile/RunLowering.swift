// `RUN`: the command line, its environment, its heredocs, and what this version cannot run yet.

import StageGraph

extension StageLowering {
    mutating func run(_ run: RunCommand, _ instruction: ParsedInstruction) throws(DockerfileError) {
        try refuseUnsupported(run)
        let arguments = try runArguments(run.line, instruction)
        if let argument = arguments.first(where: { $0.utf8.contains(0) }) {
            throw DockerfileError(
                "the command holds a NUL byte after `\(argument.prefix(20))`", at: instruction.range)
        }
        var inputs = [state.filesystem]
        let mounts = try self.mounts(run.mounts, &inputs, instruction)
        let script = script(run.line, instruction)
        let operation = Operation.run(
            Run(
                arguments: arguments, environment: state.variables.entries, hiddenEnvironment: scope.proxyEnvironment,
                workingDirectory: state.workingDirectory, user: state.settings.user ?? "",
                network: run.network == .none ? .none : .host, mounts: mounts, script: script))
        let prefix = state.argumentPrefix
        try spend(prefix.utf8.count, at: instruction.range)
        let step = addStep(operation, inputs, instruction)
        state.record("RUN \(prefix)\(arguments.joined(separator: " ")) # buildkit", step: step)
    }

    private func refuseUnsupported(_ run: RunCommand) throws(DockerfileError) {
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
        guard isHeredocAlone(command) else {
            // The shell reads the heredocs itself.
            let bodies = heredocs.map { "\n" + $0.content + $0.name }.joined()
            return state.withShell([command + bodies])
        }
        if let script = script(line, instruction) { return state.withShell([script.path]) }
        return state.withShell([first.text])
    }

    private func isHeredocAlone(_ command: String) -> Bool { ((try? HeredocWord(command)) ?? nil) != nil }

    /// A heredoc alone that names its interpreter is a program of its own, where BuildKit puts it.
    private func script(_ line: CommandLine, _ instruction: ParsedInstruction) -> RunScript? {
        guard line.usesShell, let first = instruction.syntax.heredocs.first, let command = line.arguments.first,
            isHeredocAlone(command), first.text.utf8.starts(with: "#!".utf8)
        else { return nil }
        return RunScript(path: BuildPath.cleaned(first.name, in: "/dev/pipes"), text: first.text)
    }
}
