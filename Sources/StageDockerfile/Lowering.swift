// From a Dockerfile to a build graph: a pure function of the file, the options, and the images it has asked for.

import StageGraph

public struct Lowering: Sendable {
    public let dockerfile: Dockerfile
    public let options: LoweringOptions

    public init(_ dockerfile: Dockerfile, options: LoweringOptions) {
        self.dockerfile = dockerfile
        self.options = options
    }

    /// Lowers what the target needs. Of the other stages only what they are built on and copy from is looked at.
    ///
    /// - Parameter images: what earlier rounds asked for, by `ImageRequest.key`.
    /// - Returns: the graph, or the images that must be resolved before there can be one.
    /// - Throws: the first error on the way, with its place in the file.
    public func lower(images: [String: BaseImage]) throws(DockerfileError) -> LoweringResult {
        var round = try LoweringRound(dockerfile, options, images)
        return try round.run()
    }

    /// Lowers for what it tells: the target, or every stage when none is named, and no graph comes out.
    public func examine(images: [String: BaseImage]) -> Examination {
        var round: LoweringRound
        do throws(DockerfileError) { round = try LoweringRound(dockerfile, options, images) } catch {
            return Examination(warnings: dockerfile.warnings, error: error)
        }
        return round.examine()
    }
}

/// One call of `lower`.
struct LoweringRound {
    private enum Progress {
        case open
        case done
        /// It waits for an image, or for a stage that does.
        case blocked
    }

    let dockerfile: Dockerfile
    let options: LoweringOptions
    private let images: [String: BaseImage]
    let layout: StageLayout
    let scope: GlobalScope
    private var graph = GraphAssembly()
    private(set) var warnings: [DockerfileWarning] = []
    private var allowance = StageLowering.allowance
    private var spelling = VariableSpelling()
    /// What has been lowered, by the stage's number.
    private(set) var states: [StageState?]
    private var progress: [Progress?]
    private(set) var requests: [ImageRequest] = []
    private var requested: Set<String> = []
    private var lowered = 0

    /// Triggers multiply: n of them in a stage that m others start from are n times m instructions.
    private static let mostInstructions = 300_000

    init(_ dockerfile: Dockerfile, _ options: LoweringOptions, _ images: [String: BaseImage]) throws(DockerfileError) {
        self.dockerfile = dockerfile
        self.options = options
        self.images = images
        layout = StageLayout(dockerfile, contexts: options.contexts)
        states = Array(repeating: nil, count: layout.stages.count)
        progress = Array(repeating: nil, count: layout.stages.count)
        scope = try GlobalScope(dockerfile, options)
        warnings = dockerfile.warnings + FromChecks(dockerfile, scope).warnings
    }

    mutating func run() throws(DockerfileError) -> LoweringResult {
        try validateStages()
        let targets = try targets()
        for target in targets { try lower(target) }
        if !requests.isEmpty { return .needs(requests) }
        var graph = try finish(targets[0])
        for target in targets.dropFirst() { graph.siblings.append(try finish(target)) }
        return .graph(graph, warnings: try keptWarnings())
    }

    /// The stages to build, the main one first.
    func targets() throws(DockerfileError) -> [Int] {
        var targets = [try layout.target(options.target)]
        for name in options.furtherTargets { targets.append(try layout.target(name)) }
        guard targets.count > 1 else { return targets }
        // One graph for all of them cannot tell each that it is the target.
        for instruction in dockerfile.instructions {
            guard case .argument(let declarations) = instruction.command,
                let declaration = declarations.first(where: { $0.name == "TARGETSTAGE" })
            else { continue }
            throw DockerfileError(
                "TARGETSTAGE has no one value when several targets are built", at: declaration.range,
                hint: "build the targets one after another")
        }
        return targets
    }

    /// Lowers a stage and all that it needs.
    mutating func lower(_ target: Int) throws(DockerfileError) {
        // What a stage needs comes before it. A list instead of recursion: a file can have ten thousand stages.
        var pending = [target]
        while let index = pending.last {
            let needed = try advance(index)
            if needed.isEmpty { pending.removeLast() } else { pending += needed.reversed() }
        }
    }

    /// Lowers a stage, or says which stages come first.
    private mutating func advance(_ index: Int) throws(DockerfileError) -> [Int] {
        if let state = progress[index], state != .open { return [] }
        let stage = layout.stages[index]
        let base = try self.base(of: stage)
        var needed: [Int] = []
        if case .stage(let parent) = base.reference, progress[parent] == nil { needed.append(parent) }
        if progress[index] == nil {
            progress[index] = .open
            // All that is written out is looked for at once, so that one round asks for as many images as can be.
            let references = try writtenReferences(of: index, base)
            needed += references.filter { progress[$0] == nil && !needed.contains($0) }
            if !needed.isEmpty { return needed }
        }
        guard let start = try start(stage, base) else {
            progress[index] = .blocked
            return []
        }
        let triggers = try triggers(stage, base)
        let instructions = triggers.isEmpty ? stage.instructions : triggers + stage.instructions
        let names =
            triggers.isEmpty ? layout.sourceNames[index] : StageLayout.sourceNames(of: instructions)
        let references = try names.isEmpty ? References() : references(instructions, names, start)
        needed = references.stages.filter { progress[$0] == nil || progress[$0] == .open }
        if !needed.isEmpty { return needed }
        guard references.areThere else {
            progress[index] = .blocked
            return []
        }
        try lower(stage, start, instructions, references.filesystems)
        progress[index] = .done
        return []
    }

    // MARK: Bases

    func base(
        of stage: Stage
    ) throws(DockerfileError) -> (reference: SourceReference, platform: Platform) {
        if let context = layout.replacement(of: stage.index) { return (context, try platform(of: stage)) }
        let name = try expandGlobal(stage.from.base)
        guard !name.isEmpty else {
            throw DockerfileError(
                "base name `\(stage.from.base.text)` is empty after expansion", at: stage.from.base.range,
                hint: "give the ARG a default before the first FROM, or pass --build-arg")
        }
        let platform = try platform(of: stage)
        return (try layout.base(name, in: stage.index, at: stage.from.base.range), platform)
    }

    private func platform(of stage: Stage) throws(DockerfileError) -> Platform {
        guard let word = stage.from.platform, !word.text.isEmpty else { return options.platform }
        let text = try expandGlobal(word)
        guard let parsed = Platform(specifier: text, buildsOn: options.buildPlatform) else {
            throw DockerfileError(
                text.isEmpty ? "empty platform value from expression \(word.text)" : "invalid platform `\(text)`",
                at: word.range, hint: "write linux/amd64, linux/arm64 or linux/arm/v7")
        }
        return parsed
    }

    private func expandGlobal(_ word: Word) throws(DockerfileError) -> String {
        do { return try scope.expansion.expand(word.text, scope.variables).value } catch {
            throw DockerfileError(error.message, at: word.range)
        }
    }

    /// The image, or nil when it must be asked for first.
    private mutating func image(_ name: String, _ platform: Platform, at range: SourceRange) -> (
        key: String, image: BaseImage
    )? {
        let request = ImageRequest(name: name, platform: platform, range: range, buildsFor: options.platform)
        if let image = images[request.key] { return (request.key, image) }
        if requested.insert(request.key).inserted { requests.append(request) }
        return nil
    }

    /// A stage before its first instruction; nil when what it stands on is not there yet.
    private mutating func start(
        _ stage: Stage, _ base: (reference: SourceReference, platform: Platform)
    ) throws(DockerfileError) -> StageState? {
        switch base.reference {
        case .stage(let parent): return states[parent].map { StageState(stage: stage, parent: $0) }
        case .scratch, .context:
            var settings = ImageSettings()
            settings.workingDirectory = "/"
            let filesystem = files(base.reference, stage.range)
            if case .context(let name) = base.reference { graph.takes(".", fromContext: name) }
            // Docker does not ask what nothing is for.
            let platform = base.reference == .scratch ? options.platform : base.platform
            return StageState(stage: stage, platform: platform, filesystem: filesystem, base: nil, settings: settings)
        case .image(let name):
            guard let found = image(name, base.platform, at: stage.from.base.range) else { return nil }
            advisePlatform(name, wanted: base.platform, found: found.image.platform, stage)
            let step = graph.shared(.image(found.key), title: "FROM \(name)", source: stage.range)
            var state = StageState(
                stage: stage, platform: base.platform, filesystem: step, base: found.key, settings: found.image.settings
            )
            state.isBaseUnknown = !found.image.isKnown
            return state
        }
    }

    private mutating func advisePlatform(_ name: String, wanted: Platform, found: Platform, _ stage: Stage) {
        guard wanted.os != found.os || wanted.architecture != found.architecture else { return }
        let quoted = { GoText.quoted($0 as String) }
        var advice: [DockerfileWarning] = []
        advice.add(
            .invalidBaseImagePlatform, name, quoted("\(found)"), quoted("\(wanted)"), at: stage.from.base.range,
            in: stage.fromInstruction)
        for warning in advice where !warnings.contains(warning) { warnings.append(warning) }
    }

    /// Nothing, or a context.
    private mutating func files(_ reference: SourceReference, _ range: SourceRange) -> StepID {
        guard case .context(let name) = reference else {
            return graph.shared(.scratch, title: "FROM scratch", source: range)
        }
        return graph.shared(.context(name), title: "load build context \(name)", source: range)
    }

    /// What the base image or base stage has to run first.
    private func triggers(
        _ stage: Stage, _ base: (reference: SourceReference, platform: Platform)
    ) throws(DockerfileError) -> [ParsedInstruction] {
        let texts: [String]
        if layout.replacement(of: stage.index) != nil { return [] }
        switch base.reference {
        case .stage(let parent): texts = states[parent]?.triggers ?? []
        case .scratch, .context: texts = []
        case .image(let name):
            let request = ImageRequest(
                name: name, platform: base.platform, range: stage.range, buildsFor: options.platform)
            texts = images[request.key]?.settings.onBuild ?? []
        }
        var result: [ParsedInstruction] = []
        for text in texts { result.append(try Dockerfile.trigger(text, at: stage.range)) }
        return result
    }

    // MARK: --from

    /// The stages that `--from` names without variables; images among them are asked for.
    private mutating func writtenReferences(
        of index: Int, _ base: (reference: SourceReference, platform: Platform)
    ) throws(DockerfileError) -> [Int] {
        if case .image(let name) = base.reference {
            _ = image(name, base.platform, at: layout.stages[index].from.base.range)
        }
        var found: [Int] = []
        for from in layout.sourceNames[index] where !from.text.utf8.contains(UInt8(ascii: "$")) {
            let name = try StageLowering.sourceName(from, scope, Variables())
            switch try layout.source(name, in: index, at: from.range) {
            case .stage(let stage): if !found.contains(stage) { found.append(stage) }
            case .scratch, .context: break
            case .image(let name): _ = image(name, options.platform, at: from.range)
            }
        }
        return found
    }

    private struct References {
        var stages: [Int] = []
        var filesystems: [SourceReference: StepID] = [:]
        var areThere = true
    }

    /// Everything that `--from` names, with the variables as they are at each instruction.
    private mutating func references(
        _ instructions: [ParsedInstruction], _ names: [Word], _ start: StageState
    ) throws(DockerfileError) -> References {
        var found = References()
        guard names.contains(where: { $0.text.utf8.contains(UInt8(ascii: "$")) }) else {
            for from in names { try add(from, start.index, start.variables, to: &found) }
            return found
        }
        var rehearsal = StageLowering(
            layout: layout, scope: scope, state: start, graph: GraphAssembly(), warnings: [], allowance: allowance,
            spelling: spelling, filesystems: [:])
        for instruction in instructions {
            switch instruction.command {
            case .argument, .environment: try rehearsal.lower(instruction)
            case .copy, .run:
                for from in instruction.command.sourceNames {
                    try add(from, start.index, rehearsal.state.variables, to: &found)
                }
            default: break
            }
        }
        return found
    }

    private mutating func add(
        _ from: Word, _ stage: Int, _ variables: Variables, to found: inout References
    ) throws(DockerfileError) {
        let name = try StageLowering.sourceName(from, scope, variables)
        try add(try layout.source(name, in: stage, at: from.range), from.range, to: &found)
    }

    private mutating func add(
        _ reference: SourceReference, _ range: SourceRange, to found: inout References
    ) throws(DockerfileError) {
        guard found.filesystems[reference] == nil else { return }
        switch reference {
        case .stage(let index):
            if !found.stages.contains(index) { found.stages.append(index) }
            found.filesystems[reference] = states[index]?.filesystem
            if states[index] == nil { found.areThere = false }
        case .scratch, .context: found.filesystems[reference] = files(reference, range)
        case .image(let name):
            if let image = image(name, options.platform, at: range) {
                found.filesystems[reference] = graph.shared(.image(image.key), title: "FROM \(name)", source: range)
            } else {
                found.areThere = false
            }
        }
    }

    // MARK: Stages

    private mutating func lower(
        _ stage: Stage, _ start: StageState, _ instructions: [ParsedInstruction],
        _ filesystems: [SourceReference: StepID]
    ) throws(DockerfileError) {
        lowered += instructions.count
        guard lowered <= Self.mostInstructions else {
            throw DockerfileError(
                "the build comes to more than \(Self.mostInstructions) instructions", at: stage.range,
                hint: "the ONBUILD triggers of one stage run in each stage that is FROM it")
        }
        var lowering = StageLowering(
            layout: layout, scope: scope, state: start, graph: graph, warnings: warnings, allowance: allowance,
            spelling: spelling, filesystems: filesystems)
        // One owner at a time, or every step added would copy the whole graph.
        graph = GraphAssembly()
        warnings = []
        defer { warnings = lowering.warnings }
        for instruction in instructions { try lowering.lower(instruction) }
        lowering.state.inputs.stages = filesystems.keys.compactMap {
            if case .stage(let index) = $0 { index } else { nil }
        }
        graph = lowering.graph
        lowering.graph = GraphAssembly()
        allowance = lowering.allowance
        spelling = lowering.spelling
        graph.number(lowering.state.steps, afterImage: lowering.state.parent == nil && lowering.state.base != nil)
        states[stage.index] = lowering.state
    }

    private func finish(_ target: Int) throws(DockerfileError) -> BuildGraph {
        guard let state = states[target] else {
            throw DockerfileError("stage `\(layout.stages[target].title)` was not lowered")
        }
        var settings = state.finishedSettings
        settings.labels.merge(options.labels) { _, new in new }
        var chain = [state]
        while let parent = chain.last?.parent, let next = states[parent] { chain.append(next) }
        return BuildGraph(
            steps: graph.steps, target: state.filesystem, config: settings,
            history: chain.reversed().flatMap(\.history), base: state.base, platform: imagePlatform(state.platform),
            skippedStages: layout.stages.filter { states[$0.index] == nil }.map {
                SkippedStage(name: $0.title, instructions: $0.instructions.count, source: $0.range)
            },
            contextPatterns: graph.contextPatterns, author: state.author, epoch: scope.epoch)
    }

    /// What the image says it is for, when its target stage is for `built`.
    private func imagePlatform(_ built: Platform) -> Platform {
        guard options.isPlatformAsked else { return built }
        var platform = options.platform
        let isSame = platform.os == built.os && platform.architecture == built.architecture
        if isSame, platform.variant == nil { platform.variant = built.variant }
        return platform
    }

    /// What is told of a build that succeeds.
    private func keptWarnings() throws(DockerfileError) -> [DockerfileWarning] {
        let unused = scope.unusedArguments(dockerfile).map {
            DockerfileWarning(rule: "", "build argument `\($0)` is not declared by any ARG", at: nil)
        }
        let idle = scope.idleArguments.map {
            DockerfileWarning(rule: "", "build argument `\($0)` has no effect in this version", at: nil)
        }
        let checks = try options.checks(of: dockerfile)
        return (warnings + unused + idle).filter { checks.keeps($0) }
    }
}
