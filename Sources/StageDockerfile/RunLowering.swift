// `RUN`: the command line, its environment, its heredocs, and the rights that it asks for.

import StageGraph

extension StageLowering {
    mutating func run(_ run: RunCommand, _ instruction: ParsedInstruction) throws(DockerfileError) {
        try checkRights(run, instruction)
        let arguments = try runArguments(run.line, instruction)
        if let argument = arguments.first(where: { $0.utf8.contains(0) }) {
            throw DockerfileError(
                "the command holds a NUL byte after `\(argument.prefix(20))`", at: instruction.range)
        }
        var inputs = [state.filesystem]
        let mounts = try self.mounts(run.mounts, &inputs, instruction)
        let script = script(run.line, instruction)
        let defaults = scope.options.run
        let network = run.network == .default ? defaults.network : run.network
        var command = Run(
            arguments: arguments, environment: runEnvironment(mounts), hiddenEnvironment: scope.proxyEnvironment,
            workingDirectory: state.workingDirectory, user: state.settings.user ?? "",
            network: network == .none ? .none : .host, mounts: mounts, script: script)
        command.isPrivileged = run.security == .insecure
        command.extraHosts = defaults.extraHosts
        command.sharedMemory = defaults.sharedMemory
        command.limits = defaults.limits
        command.hostname = scope.options.buildArguments["BUILDKIT_SANDBOX_HOSTNAME"].flatMap { $0.isEmpty ? nil : $0 }
        command.argumentNames = state.exportedArguments
        let operation = Operation.run(command)
        let prefix = state.argumentPrefix
        try spend(prefix.utf8.count, at: instruction.range)
        let step = addStep(operation, inputs, instruction)
        state.record("RUN \(prefix)\(arguments.joined(separator: " ")) # buildkit", step: step)
    }

    /// The variables, and where the first agent's socket is unless they say so themselves.
    private func runEnvironment(_ mounts: [RunMount]) -> [String] {
        let entries = state.variables.entries
        let sockets = mounts.filter { if case .agent = $0.kind { true } else { false } }
        guard let socket = sockets.first?.target, state.variables.value(of: "SSH_AUTH_SOCK") == nil else {
            return entries
        }
        return entries + ["SSH_AUTH_SOCK=\(socket)"]
    }

    /// Asking for a right that was not given is an error before anything runs.
    private mutating func checkRights(
        _ run: RunCommand, _ instruction: ParsedInstruction
    ) throws(DockerfileError) {
        func require(_ right: Entitlement, _ flag: String) throws(DockerfileError) {
            guard !scope.options.entitlements.contains(right) else { return }
            let place = instruction.syntax.flags.first { $0.text.hasPrefix("--\(flag)=") }?.range
            throw DockerfileError(
                "\(right.rawValue) is not allowed", at: place ?? instruction.range,
                hint: "give the right to the build with --allow \(right.rawValue)")
        }
        if run.network == .host { try require(.hostNetwork, "network") }
        if run.security == .insecure { try require(.insecure, "security") }
        for device in run.devices { try checkDevice(device) }
    }

    /// No device is registered here; so one that is required cannot be had, and one that is not is left out, as BuildKit
    /// leaves out what it does not know.
    private mutating func checkDevice(_ device: Device) throws(DockerfileError) {
        guard device.isQualified else {
            throw DockerfileError(
                "invalid device `\(device.name)`", at: device.range, hint: "write vendor/class or vendor/class=name")
        }
        guard !device.isRequired else {
            throw DockerfileError(
                "required device `\(device.name)` is not registered", at: device.range,
                hint: "stagerun gives commands no CDI devices; --security=insecure has the machine's kvm, fuse and tun")
        }
        warnings.append(
            DockerfileWarning(
                rule: "", "device `\(device.name)` is not registered: the command runs without it", at: device.range))
    }

    private func runArguments(
        _ line: CommandLine, _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> [String] {
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

    /// A heredoc alone that names its interpreter is a program of its own, where BuildKit puts it. With tabs before the name
    /// it is the shell's, even where `<<-` takes them away.
    private func script(_ line: CommandLine, _ instruction: ParsedInstruction) -> RunScript? {
        guard line.usesShell, let first = instruction.syntax.heredocs.first, let command = line.arguments.first,
            isHeredocAlone(command), first.content.utf8.starts(with: "#!".utf8)
        else { return nil }
        return RunScript(path: BuildPath.cleaned(first.name, in: "/dev/pipes"), text: first.text)
    }
}
