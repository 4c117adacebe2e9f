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
    var spelling: VariableSpelling
    /// The filesystem of a stage or image that a `--from` names; all of them are there by now.
    let filesystems: [SourceReference: StepID]

    /// The instruction that is being lowered, for warnings.
    private(set) var current: Instruction

    static let allowance = 64 << 20

    init(
        layout: StageLayout, scope: GlobalScope, state: StageState, graph: GraphAssembly,
        warnings: [DockerfileWarning], allowance: Int, spelling: VariableSpelling,
        filesystems: [SourceReference: StepID]
    ) {
        self.layout = layout
        self.scope = scope
        self.state = state
        self.graph = graph
        self.warnings = warnings
        self.allowance = allowance
        self.spelling = spelling
        self.filesystems = filesystems
        current = layout.stages[state.index].fromInstruction
    }

    mutating func warn(_ rule: CheckRule, _ arguments: String..., at word: SourceRange? = nil) {
        warnings.add(
            rule, arguments, at: word ?? current.range, lines: current.range, comments: current.comments)
    }

    mutating func lower(_ instruction: ParsedInstruction) throws(DockerfileError) {
        current = instruction.syntax
        switch instruction.command {
        case .from: break
        case .argument(let declarations): try argument(declarations)
        case .environment(let pairs): try environment(pairs)
        case .label(let pairs): try label(pairs)
        case .run(let run):
            if let fault = run.mountFault { throw fault }
            try outline(run.mounts)
            try self.run(run, instruction)
        case .copy(let copy): try self.copy(copy, instruction)
        case .workdir(let path): try workdir(path, instruction)
        case .user(let user):
            let value = try expand(user)
            state.settings.user = value.isEmpty ? nil : value
            state.record("USER \(value)")
        case .command(let line):
            once()
            adviseJSON(line)
            let arguments = state.withShell(line)
            state.settings.command = arguments
            state.settings.argumentsEscaped = true
            state.record("CMD \(GoText.quotedList(arguments))")
        case .entrypoint(let line): entrypoint(line)
        case .shell(let arguments):
            state.settings.shell = arguments
            state.record("SHELL \(GoText.list(arguments))")
        case .expose(let words): try expose(words, instruction.range)
        case .volume(let words): try volume(words)
        case .stopSignal(let word): try stopSignal(word)
        case .healthcheck(let check):
            once()
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
        _ text: String, with expansion: Expansion, at range: SourceRange, isAdvised: Bool = true
    ) throws(DockerfileError) -> Expansion.Result {
        let result: Expansion.Result
        do { result = try expansion.expand(text, state.variables) } catch {
            if isAdvised, !state.isBaseUnknown { adviseUndefined(error.unmatched, at: range) }
            throw DockerfileError(error.message, at: range)
        }
        try spend(result.value.utf8.count - text.utf8.count, at: range)
        // Docker says nothing about the variables of EXPOSE.
        if isAdvised, !state.isBaseUnknown { adviseUndefined(result.unmatched, at: range) }
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
            outline(declaration, value)
            texts.append(declaration.name + (value.map { "=" + $0 } ?? ""))
        }
        state.record("ARG " + texts.joined(separator: " "))
    }

    private mutating func argumentValue(_ declaration: ArgumentDeclaration) throws(DockerfileError) -> String? {
        if let given = scope.options.buildArguments[declaration.name] { return given }
        guard let value = declaration.value else { return scope.variables.value(of: declaration.name) }
        return try expand(value, at: declaration.range).value
    }

    private mutating func environment(_ pairs: [KeyValue]) throws(DockerfileError) {
        let values = try expanded(pairs)
        for ((name, value), pair) in zip(values, pairs) {
            adviseLegacy(pair)
            adviseSecret("ENV", name, pair.key.range)
            state.setEnvironment(name, value)
        }
        state.record("ENV " + values.map { "\($0.0)=\($0.1)" }.joined(separator: " "))
    }

    private mutating func label(_ pairs: [KeyValue]) throws(DockerfileError) {
        let values = try expanded(pairs)
        for pair in pairs { adviseLegacy(pair) }
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

    private mutating func entrypoint(_ line: CommandLine) {
        once()
        adviseJSON(line)
        let arguments = state.withShell(line)
        state.settings.entrypoint = arguments.isEmpty ? nil : arguments
        // What the base image would run says nothing about this entrypoint.
        if state.seenOnce["cmd"] == nil { state.settings.command = nil }
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
            for text in try expand(word.text, with: splitting, at: word.range, isAdvised: false).words {
                let specification = try PortSpecification(text, at: word.range)
                if specification.hasHostPart { warn(.exposeInvalidFormat, text, at: word.range) }
                if specification.hasCapitals { warn(.exposeProtoCasing, text, at: word.range) }
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
            warn(.workdirRelativePath, GoText.quoted(text), at: path.range)
        }
        state.hasSetWorkdir = true
        let written = BuildPath.workingDirectory(text, after: state.settings.workingDirectory ?? "/")
        state.settings.workingDirectory = written
        guard written != "/" else {
            state.record("WORKDIR /")
            return
        }
        let owner = state.settings.user.map(Owner.init(parsing:))
        let step = addStep(
            .makeDirectory(MakeDirectory(path: state.workingDirectory, owner: owner, time: scope.epoch)),
            [state.filesystem], instruction)
        state.record("WORKDIR \(written)", step: step)
    }

    /// A step that changes the stage's filesystem.
    mutating func addStep(_ operation: Operation, _ inputs: [StepID], _ instruction: ParsedInstruction) -> StepID {
        let title = StepTitle.text(instruction.syntax, scope.expansion, state.variables)
        let step = graph.add(operation, inputs: inputs, stage: state.name, title: title, source: instruction.range)
        state.filesystem = step
        state.steps.append(step)
        return step
    }
}

extension Owner {
    /// `user` or `user:group`.
    init(parsing text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        self.init(user: String(parts[0]), group: parts.count == 2 ? String(parts[1]) : nil)
    }
}

extension Healthcheck {
    /// As docker's history has it: Go's `%q` of a pointer to the struct, with which the retries become a character.
    var goDescription: String {
        let times = [interval, timeout, startPeriod, startInterval].map {
            GoText.quoted(GoText.text(nanoseconds: $0 ?? 0))
        }
        let count = GoText.quotedCharacter(retries ?? 0)
        return "&{\(GoText.quotedList(test ?? [])) \(times.joined(separator: " ")) \(count)}"
    }
}
