// The instructions of one stage, one after the other, into steps, config and history.

import StageGraph

/// Looks in a stage's variables first, then in the global arguments.
struct ScopedVariables: VariableSource {
    let inner: Variables
    let outer: Variables

    func value(of name: String) -> String? { inner.value(of: name) ?? outer.value(of: name) }
}

struct StageLowering {
    let layout: StageLayout
    let scope: GlobalScope
    var state: StageState
    var graph: GraphAssembly
    var warnings: [DockerfileWarning]
    /// What expansion may still add before the build is refused, in bytes.
    var allowance: Int
    /// The filesystem of a stage or image that a `--from` names; all of them are there by now.
    let filesystems: [SourceReference: StepID]

    static let allowance = 64 << 20

    mutating func warn(_ rule: String, _ message: String, _ range: SourceRange) {
        warnings.append(DockerfileWarning(rule: rule, message, at: range))
    }

    mutating func lower(_ instruction: ParsedInstruction) throws(DockerfileError) {
        let range = instruction.range
        switch instruction.command {
        case .from: break
        case .argument(let declarations): try argument(declarations)
        case .environment(let pairs): try environment(pairs, range)
        case .label(let pairs): try label(pairs, range)
        case .run(let run): try self.run(run, instruction)
        case .copy(let copy): try self.copy(copy, instruction)
        case .workdir(let path): try workdir(path, instruction)
        case .user(let user):
            let value = try expand(user)
            state.settings.user = value.isEmpty ? nil : value
            state.record("USER \(value)")
        case .command(let line):
            once("CMD", range)
            adviseJSON("CMD", line, range)
            let arguments = state.withShell(line)
            state.settings.command = arguments
            state.settings.argumentsEscaped = true
            state.record("CMD \(GoText.quotedList(arguments))")
        case .entrypoint(let line): entrypoint(line, range)
        case .shell(let arguments):
            state.settings.shell = arguments
            state.record("SHELL \(GoText.list(arguments))")
        case .expose(let words): try expose(words, range)
        case .volume(let words): try volume(words)
        case .stopSignal(let word): try stopSignal(word)
        case .healthcheck(let check):
            once("HEALTHCHECK", range)
            state.settings.healthcheck = check
            state.record("HEALTHCHECK \(check.goDescription)")
        case .onBuild(let text):
            state.settings.onBuild.append(text)
            state.triggers.append(text)
        case .maintainer(let name):
            state.author = name
            state.record("MAINTAINER \(name)")
        }
    }

    // MARK: Expansion

    /// A word with the stage's variables put in.
    mutating func expand(_ word: Word) throws(DockerfileError) -> String {
        try expand(word.text, at: word.range).value
    }

    mutating func expand(_ text: String, at range: SourceRange) throws(DockerfileError) -> Expansion.Result {
        try expand(text, with: scope.expansion, at: range)
    }

    mutating func expand(
        _ text: String, with expansion: Expansion, at range: SourceRange
    ) throws(DockerfileError) -> Expansion.Result {
        let result: Expansion.Result
        do { result = try expansion.expand(text, state.variables) } catch {
            throw DockerfileError(error.message, at: range)
        }
        try spend(result.value.utf8.count - text.utf8.count, at: range)
        for name in result.unmatched where state.argumentPlaces[name] == nil {
            let meant = Spelling.closest(name, among: state.variables.names).map { " (did you mean $\($0)?)" } ?? ""
            warn("UndefinedVar", "Usage of undefined variable '$\(name)'\(meant)", range)
        }
        return result
    }

    /// Each line may be harmless and all of them together not.
    mutating func spend(_ bytes: Int, at range: SourceRange) throws(DockerfileError) {
        allowance -= max(0, bytes)
        guard allowance >= 0 else {
            throw DockerfileError(
                "expanding variables has made more than \(Self.allowance >> 20) MiB of text", at: range,
                hint: "a variable seems to grow with every line")
        }
    }

    // MARK: Variables and labels

    private mutating func argument(_ declarations: [ArgumentDeclaration]) throws(DockerfileError) {
        var texts: [String] = []
        for declaration in declarations {
            adviseSecret("ARG", declaration.name, declaration.range)
            let value = try argumentValue(declaration)
            state.declare(declaration.name, value: value)
            texts.append(declaration.name + (value.map { "=" + $0 } ?? ""))
        }
        state.record("ARG " + texts.joined(separator: " "))
    }

    private mutating func argumentValue(_ declaration: ArgumentDeclaration) throws(DockerfileError) -> String? {
        if let given = scope.options.buildArguments[declaration.name] { return given }
        guard let value = declaration.value else { return scope.variables.value(of: declaration.name) }
        return try expand(value, at: declaration.range).value
    }

    private mutating func environment(_ pairs: [KeyValue], _ range: SourceRange) throws(DockerfileError) {
        let values = try expanded(pairs)
        for (name, value) in values {
            adviseSecret("ENV", name, range)
            state.setEnvironment(name, value)
        }
        state.record("ENV " + values.map { "\($0.0)=\($0.1)" }.joined(separator: " "))
    }

    private mutating func label(_ pairs: [KeyValue], _ range: SourceRange) throws(DockerfileError) {
        let values = try expanded(pairs)
        for (name, value) in values { state.settings.labels[name] = value }
        state.record("LABEL " + values.map { "\($0.0)=\($0.1)" }.joined(separator: " "))
    }

    /// All pairs see the variables from before the instruction.
    private mutating func expanded(_ pairs: [KeyValue]) throws(DockerfileError) -> [(String, String)] {
        var values: [(String, String)] = []
        for pair in pairs { values.append((try expand(pair.key), try expand(pair.value))) }
        return values
    }

    // MARK: Config

    private mutating func entrypoint(_ line: CommandLine, _ range: SourceRange) {
        once("ENTRYPOINT", range)
        adviseJSON("ENTRYPOINT", line, range)
        let arguments = state.withShell(line)
        state.settings.entrypoint = arguments.isEmpty ? nil : arguments
        // What the base image would run says nothing about this entrypoint.
        if !state.seenOnce.contains("CMD") { state.settings.command = nil }
        state.record("ENTRYPOINT \(GoText.quotedList(arguments))")
    }

    private mutating func volume(_ words: [Word]) throws(DockerfileError) {
        var paths: [String] = []
        for word in words {
            let path = try expand(word)
            guard !path.isEmpty else {
                throw DockerfileError("VOLUME specified can not be an empty string", at: word.range)
            }
            paths.append(path)
        }
        state.volumes.formUnion(paths)
        state.record("VOLUME \(GoText.list(paths))")
    }

    private mutating func stopSignal(_ word: Word) throws(DockerfileError) {
        let signal = try expand(word)
        guard StopSignal.isKnown(signal) else {
            throw DockerfileError(
                "invalid signal: `\(signal)`", at: word.range,
                hint: Spelling.hint(signal.uppercased(), among: StopSignal.names))
        }
        state.settings.stopSignal = signal
        state.record("STOPSIGNAL \(signal)")
    }

    private mutating func expose(_ words: [Word], _ range: SourceRange) throws(DockerfileError) {
        var ports: [String] = []
        var splitting = scope.expansion
        splitting.splitsWords = true
        for word in words {
            for text in try expand(word.text, with: splitting, at: word.range).words {
                let specification = try PortSpecification(text, at: word.range)
                if specification.hasHostPart {
                    warn(
                        "ExposeInvalidFormat",
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '\(text)'",
                        range)
                }
                if specification.hasCapitals {
                    warn("ExposeProtoCasing", "EXPOSE protocol '\(text)' should be lowercase", range)
                }
                ports += specification.ports
            }
        }
        state.ports.formUnion(ports)
        try spend(ports.count * 10, at: range)
        state.record("EXPOSE \(GoText.list(ports))")
    }

    private mutating func workdir(_ path: Word, _ instruction: ParsedInstruction) throws(DockerfileError) {
        let text = try expand(path)
        if !state.hasSetWorkdir, text.utf8.first != UInt8(ascii: "/") {
            warn(
                "WorkdirRelativePath",
                "Relative workdir \"\(text)\" can have unexpected results if the base image has a WORKDIR set",
                instruction.range)
        }
        state.hasSetWorkdir = true
        let directory = BuildPath.cleaned(text, in: state.workingDirectory)
        state.settings.workingDirectory = directory
        guard directory != "/" else {
            state.record("WORKDIR /")
            return
        }
        let owner = state.settings.user.map(Owner.init(parsing:))
        let step = addStep(
            .makeDirectory(MakeDirectory(path: directory, owner: owner)), [state.filesystem], instruction)
        state.record("WORKDIR \(directory)", step: step)
    }

    /// A step that changes the stage's filesystem.
    mutating func addStep(_ operation: Operation, _ inputs: [StepID], _ instruction: ParsedInstruction) -> StepID {
        let title = StepTitle.text(instruction.syntax, scope.expansion, state.variables)
        let step = graph.add(operation, inputs: inputs, stage: state.name, title: title, source: instruction.range)
        state.filesystem = step
        state.steps.append(step)
        return step
    }

    // MARK: Advice

    private mutating func once(_ keyword: String, _ range: SourceRange) {
        if !state.seenOnce.insert(keyword).inserted {
            warn(
                "MultipleInstructionsDisallowed",
                "Multiple \(keyword) instructions should not be used in the same stage because only the last one will be used",
                range)
        }
    }

    private mutating func adviseJSON(_ keyword: String, _ line: CommandLine, _ range: SourceRange) {
        guard line.usesShell, (state.settings.shell ?? []).isEmpty else { return }
        warn(
            "JSONArgsRecommended",
            "JSON arguments recommended for \(keyword) to prevent unintended behavior related to OS signals", range)
    }

    private mutating func adviseSecret(_ keyword: String, _ name: String, _ range: SourceRange) {
        let secret: Set<Substring> = [
            "apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token",
        ]
        let words = Set(name.lowercased().split(separator: "_"))
        guard !words.isDisjoint(with: secret), words.isDisjoint(with: ["public", "file", "version"]) else { return }
        warn(
            "SecretsUsedInArgOrEnv",
            "Do not use ARG or ENV instructions for sensitive data (\(keyword) \"\(name)\")", range)
    }
}

extension Owner {
    /// `user` or `user:group`.
    init(parsing text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        self.init(user: String(parts[0]), group: parts.count == 2 && !parts[1].isEmpty ? String(parts[1]) : nil)
    }
}

extension Healthcheck {
    /// As docker's history has it.
    var goDescription: String {
        func time(_ value: Int64?) -> String { GoText.text(nanoseconds: value ?? 0) }
        return "{Test:\(GoText.list(test ?? [])) Interval:\(time(interval)) Timeout:\(time(timeout)) "
            + "StartPeriod:\(time(startPeriod)) StartInterval:\(time(startInterval)) Retries:\(retries ?? 0)}"
    }
}
