// A build from the Dockerfile to the image: parse, resolve bases, lower, build the steps, assemble the image, write outputs.

import Glibc
import StageContext
import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem
import Synchronization

extension StageRoot {
    /// Builds, and keeps the image under its names.
    ///
    /// - Parameter observe: called in order, never by two threads at once; it should return soon.
    public func build(
        _ request: BuildRequest, observe: @escaping @Sendable (BuildEvent) -> Void
    ) async throws(StageRunError) -> BuildReport {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        let serial = SerialObserver(observe)
        var request = request
        let agents = try await lendKeys(to: &request)
        defer { withExtendedLifetime(agents) {} }
        let flow = BuildFlow(root: self, request: request, observe: { serial.tell($0) })
        do throws(StageRunError) {
            let report = try await flow.run()
            try await commit()
            return report
        } catch {
            flow.tell(error)
            // What was finished is kept, so that the next build goes on from there.
            try? await commit()
            throw error
        }
    }
}

/// One build.
struct BuildFlow: Sendable {
    let root: StageRoot
    var request: BuildRequest
    let observe: @Sendable (BuildEvent) -> Void
    let begin = ContinuousClock.now

    var elapsed: Double { (ContinuousClock.now - begin) / .seconds(1) }

    /// Ends the events of a build that did not come to its end.
    func tell(_ error: StageRunError) {
        var step: Int?
        if case .build(let error, _) = error { step = error.step?.id.index }
        var cancelled = false
        if case .cancelled = error { cancelled = true }
        observe(.stopped(message: error.description, step: step, cancelled: cancelled, at: elapsed))
    }

    func run() async throws(StageRunError) -> BuildReport {
        try checkContext()
        let inputs = try await inputs()
        let (flow, graph, bases) = try await lowered(inputs)
        return try await flow.run(graph, bases, inputs)
    }

    /// The graph, and what it was made with. What was read of the Dockerfile takes more room than the graph: it is let go of
    /// before the steps begin.
    private func lowered(
        _ inputs: BuildInputs
    ) async throws(StageRunError) -> (BuildFlow, BuildGraph, [String: StoredImage]) {
        let dockerfile = try parse(inputs.dockerfile)
        try checkLoans()
        let flow = try await timed(dockerfile, inputs)
        let (graph, bases) = try await flow.lower(dockerfile, inputs.dockerfile)
        return (flow, graph, bases)
    }

    private func run(
        _ graph: BuildGraph, _ bases: [String: StoredImage], _ inputs: BuildInputs
    ) async throws(StageRunError) -> BuildReport {
        try checkStageNames(graph)
        announce(graph)
        let outcomes = try await build(graph, bases, inputs)
        var images = [try await assemble(graph, bases, outcomes)]
        for sibling in graph.siblings { images.append(try await assemble(sibling, bases, outcomes)) }
        let image = images[0]
        try root.keep(image, names: request.names, origin: .build)
        for (target, image) in zip(request.furtherTargets, images.dropFirst()) {
            try root.keep(image, names: target.names, origin: .build)
        }
        try await root.commit()
        let manifest = try await export(image, names: request.names, to: request.outputs)
        var further: [TargetReport] = []
        for (target, image) in zip(request.furtherTargets, images.dropFirst()) {
            further.append(
                TargetReport(
                    target: target.target, imageID: image.id,
                    manifestDigest: try await export(image, names: target.names, to: target.outputs),
                    names: target.names, size: image.size))
        }
        for target in further {
            let names = ([target.imageID.description] + target.names.map(\.familiar)).joined(separator: " ")
            observe(.exporting(message: "target \(target.target): image \(names)", at: elapsed, seconds: 0, done: true))
        }
        observe(.finished(image: image.id.description, names: request.names.map(\.familiar), at: elapsed))
        var states: [StepState: Int] = [:]
        for (step, outcome) in zip(graph.steps, outcomes) where step.number > 0 {
            states[outcome.state, default: 0] += 1
        }
        if !graph.skippedStages.isEmpty { states[.notNeeded] = graph.skippedStages.count }
        return BuildReport(
            imageID: image.id, manifestDigest: manifest, names: request.names, size: image.size, states: states,
            seconds: elapsed, furtherTargets: further)
    }

    // MARK: The Dockerfile

    func readDockerfile() throws(StageRunError) -> DockerfileSource { try DockerfileSource(request) }

    func parse(_ source: DockerfileSource) throws(StageRunError) -> Dockerfile {
        do throws(DockerfileError) { return try Dockerfile.parse(source.bytes, file: source.name) } catch {
            throw .dockerfile(error, rendered: error.rendered(source: source.bytes))
        }
    }

    func checkContext() throws(StageRunError) { try request.checkContext() }

    func loweringOptions(_ source: DockerfileSource) -> LoweringOptions {
        var options = request.loweringOptions(dockerfile: source.path)
        options.contexts = request.namedContexts
        options.entitlements = request.entitlements
        options.run = request.run
        return options
    }

    /// Lowers, fetching the base images that reachable stages ask for, until none is missing.
    func lower(
        _ dockerfile: Dockerfile, _ source: DockerfileSource
    ) async throws(StageRunError) -> (BuildGraph, [String: StoredImage]) {
        var bases = ResolvedBases()
        while true {
            switch try lower(dockerfile, source, with: bases) {
            case .graph(let graph, _): return (graph, bases.images)
            case .needs(let requests):
                for (key, image) in try await resolve(requests, dockerfile, source) {
                    try bases.add(image, as: key, in: root)
                }
            }
        }
    }

    /// One round: the graph, with its warnings told, or the base images that are missing.
    func lower(
        _ dockerfile: Dockerfile, _ source: DockerfileSource, with bases: ResolvedBases
    ) throws(StageRunError) -> LoweringResult {
        let result: LoweringResult
        do throws(DockerfileError) {
            result = try Lowering(dockerfile, options: loweringOptions(source)).lower(images: bases.settings)
        } catch {
            throw .dockerfile(error, rendered: error.rendered(source: source.bytes))
        }
        if case .graph(_, let warnings) = result {
            for warning in warnings { observe(.warning(message: warning.description, source: warning.range)) }
            try refuseViolations(warnings, dockerfile)
        }
        return result
    }

    /// The images that a round of lowering asks for, all at once.
    private func resolve(
        _ requests: [ImageRequest], _ dockerfile: Dockerfile, _ source: DockerfileSource
    ) async throws(StageRunError) -> [(String, StoredImage)] {
        let results = await withTaskGroup(of: (ImageRequest, Result<StoredImage, StageRunError>).self) { group in
            for request in requests {
                group.addTask {
                    do throws(StageRunError) { return (request, .success(try await self.resolve(request))) } catch {
                        return (request, .failure(error))
                    }
                }
            }
            var results: [(ImageRequest, Result<StoredImage, StageRunError>)] = []
            for await result in group {
                results.append(result)
                if case .failure = result.1 { group.cancelAll() }
            }
            return results
        }
        var found: [(String, StoredImage)] = []
        // The first failure is what went wrong; those it cancelled say no more than that.
        for (request, result) in results {
            do throws(StageRunError) { found.append((request.key, try result.get())) } catch {
                if case .cancelled = error { throw error }
                let meant = Spelling.closest(request.name, among: dockerfile.stages.compactMap(\.name))
                let located = DockerfileError(
                    "image \(request.name): \(error.description)", at: request.range,
                    hint: meant.map { "did you mean the stage `\($0)`?" })
                throw .dockerfile(located, rendered: located.rendered(source: source.bytes))
            }
        }
        return found
    }

    private func resolve(_ request: ImageRequest) async throws(StageRunError) -> StoredImage {
        if let layout = request.name.layoutSpecification {
            return try await load(layout: layout, platform: request.platform)
        }
        if let image = try root.find(request.name), image.platform.matches(request.platform) { return image }
        return try await root.fetch(request.name, platform: request.platform, observe: observe)
    }

    /// A name that leads to no stage would silently do nothing.
    func checkStageNames(_ graph: BuildGraph) throws(StageRunError) {
        if request.uncachedStages.isEmpty { return }
        let known = Set(graph.steps.map(\.stage) + graph.skippedStages.map(\.name)).subtracting([""])
        for name in request.uncachedStages where !known.contains(name.lowercased()) {
            let near = Spelling.hint(name.lowercased(), among: known.sorted())
            throw .failed(
                "--no-cache-filter \(name): there is no such stage",
                advice: near ?? "the stages are \(known.sorted().joined(separator: ", "))")
        }
    }

    private func announce(_ graph: BuildGraph) {
        let target = graph.steps[graph.target.index].stage
        observe(
            .planned(steps: graph.steps.map(StepDescription.init), target: target, platform: graph.platform.description)
        )
        for stage in graph.skippedStages {
            observe(.stageNotNeeded(stage: stage.name, instructions: stage.instructions))
        }
    }

    // MARK: The steps

    func builder() -> Builder {
        let root = root
        return Builder(
            store: root.store, executor: DeferredExecutor(root: root), unpacker: LayerArchives(store: root.store),
            loans: request.loans, flights: root.flights, history: root.store, pool: root.pool, jobs: root.jobs,
            clock: now,
            checkpoint: { root.checkpoint() })
    }

    private func build(
        _ graph: BuildGraph, _ bases: [String: StoredImage], _ inputs: BuildInputs
    ) async throws(StageRunError) -> [StepOutcome] {
        let root = root
        let patterns = graph.contextPatterns
        let remotes = root.remotes(request)
        do throws(BuildError) {
            return try await builder().build(
                graph, options: options(graph, bases),
                sources: { operation async throws(SourceError) in
                    switch operation {
                    case .image(let key):
                        guard let image = bases[key] else { throw SourceError("the image \(key) was not resolved") }
                        return image.tree
                    case .context(let name):
                        return try await self.context(name, patterns[name] ?? [], inputs)
                    case .remote(let source): return try await remotes.tree(of: source)
                    case .scratch, .makeDirectory, .copy, .merge, .run, .own:
                        throw SourceError("not a source")
                    }
                }, observe: observe)
        } catch {
            if case .cancelled = error { throw .cancelled }
            let path = inputs.dockerfile.path
            throw .build(
                request.isDirectory ? explained(error, dockerfile: path) : error, source: inputs.dockerfile.bytes)
        }
    }

    func options(
        _ graph: BuildGraph, _ bases: [String: StoredImage]
    ) -> BuildOptions {
        var options = BuildOptions()
        options.begin = begin
        if !request.useCache {
            options.cache = .ignore
        } else if !request.uncachedStages.isEmpty {
            options.cache = .ignoreStages(Set(request.uncachedStages.map { $0.lowercased() }))
        }
        options.subject = subject
        for step in graph.steps {
            if case .image(let key) = step.operation { options.origins[step.id.index] = bases[key]?.id }
        }
        return options
    }

    /// What this build is a build of. What comes on standard input has no place of its own: builds of it follow each other.
    var subject: BuildSubject {
        var file = request.dockerfile ?? request.contextPath + "/Dockerfile"
        if request.dockerfile == nil, request.isDirectory, access(file, F_OK) != 0 {
            file = request.contextPath + "/dockerfile"
        }
        if file == "/dev/stdin" {
            file = "-"
        } else if request.isDirectory, !WebFile.isAddress(file) {
            file = canonicalPath(file)
        }
        switch request.context {
        case nil, .directory, .archive:
            return BuildSubject(file: file, context: canonicalPath(request.contextPath))
        case .descriptor, .remote, .layout, .image: return BuildSubject(file: file, context: request.contextPath)
        }
    }
}

/// The base images that a lowering has been given so far, by the keys that it asked with.
struct ResolvedBases {
    private(set) var images: [String: StoredImage] = [:]
    private(set) var settings: [String: BaseImage] = [:]

    mutating func add(_ image: StoredImage, as key: String, in root: StageRoot) throws(StageRunError) {
        images[key] = image
        settings[key] = BaseImage(
            settings: try root.configuration(of: image).config ?? ImageSettings(), platform: image.platform)
    }
}

/// Lets one event through at a time: steps, scans and fetches tell at once.
private final class SerialObserver: Sendable {
    private let lock = Mutex(())
    private let observe: @Sendable (BuildEvent) -> Void

    init(_ observe: @escaping @Sendable (BuildEvent) -> Void) { self.observe = observe }

    func tell(_ event: BuildEvent) { lock.withLock { _ in observe(event) } }
}

/// The time of day.
@Sendable func now() -> Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
}

extension Platform {
    /// Whether an image of this platform can stand for `wanted`.
    func matches(_ wanted: Platform) -> Bool {
        os == wanted.os && architecture == wanted.architecture
            && (wanted.variant == nil || variant == nil || variant == wanted.variant)
    }
}
