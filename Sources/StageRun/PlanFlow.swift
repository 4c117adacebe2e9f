// What a build would do, without doing it: the way of BuildFlow up to the steps, on a store that is only read.

import StageContext
import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore

/// What a build would do.
public enum PlannedBuild: Sendable {
    case plan(BuildPlan)
    /// Nothing more is known before these images are fetched.
    case needsImages([String])
}

extension StageRoot {
    /// Works out what building `request` would do. Runs nothing, fetches nothing, and writes nothing.
    public func plan(
        _ request: BuildRequest, observe: @escaping @Sendable (BuildEvent) -> Void = { _ in }
    ) async throws(StageRunError) -> PlannedBuild {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        return try await BuildFlow(root: self, request: request, observe: observe).plan()
    }
}

extension BuildFlow {
    func plan() async throws(StageRunError) -> PlannedBuild {
        guard request.isDirectory else {
            throw .failed(
                "a plan looks at a directory, and \(request.contextPath) would have to be fetched",
                advice: "check it out, or unpack it, and plan there")
        }
        try checkContext()
        let source = try readDockerfile()
        let dockerfile = try parse(source)
        guard let epoch = try epochSource(dockerfile, source) else { return try await plan(dockerfile, source) }
        // A directory and an image have no time; what is fetched would have to be, to know its own.
        if case .context = epoch { return try await with(nil).plan(dockerfile, source) }
        if case .named(let name) = epoch, request.contexts[name].map({ $0.hasNoTime }) ?? true {
            return try await with(nil).plan(dockerfile, source)
        }
        throw .failed("SOURCE_DATE_EPOCH names what would have to be fetched", advice: "plan with a number")
    }

    private func plan(_ dockerfile: Dockerfile, _ source: DockerfileSource) async throws(StageRunError) -> PlannedBuild
    {
        let graph: BuildGraph
        let bases: [String: StoredImage]
        switch try lowerWithoutFetching(dockerfile, source) {
        case .success(let lowered): (graph, bases) = lowered
        case .failure(let missing): return .needsImages(missing.names)
        }
        try checkStageNames(graph)
        let overlay = OverlayStore(root.store)
        let patterns = graph.contextPatterns
        do throws(BuildError) {
            let plan = try await builder().plan(
                graph, options: options(graph, bases), overlay: overlay,
                sources: { operation async throws(SourceError) in
                    switch operation {
                    case .image(let key):
                        guard let image = bases[key] else { throw SourceError("the image \(key) was not resolved") }
                        return image.tree
                    case .context(let name):
                        return try await self.look(name, patterns[name] ?? [], source, into: overlay)
                    // Only fetching it would tell.
                    default: return nil
                    }
                })
            return .plan(plan)
        } catch {
            if case .cancelled = error { throw .cancelled }
            throw .build(explained(error, dockerfile: source.path), source: source.bytes)
        }
    }

    private struct MissingImages: Error { var names: [String] }

    private func lowerWithoutFetching(
        _ dockerfile: Dockerfile, _ source: DockerfileSource
    ) throws(StageRunError) -> Result<(BuildGraph, [String: StoredImage]), MissingImages> {
        var bases = ResolvedBases()
        while true {
            switch try lower(dockerfile, source, with: bases) {
            case .graph(let graph, _): return .success((graph, bases.images))
            case .needs(let requests):
                var missing: [String] = []
                for request in requests {
                    guard request.name.layoutSpecification == nil, let image = try root.find(request.name),
                        image.platform.matches(request.platform)
                    else {
                        missing.append(request.name)
                        continue
                    }
                    try bases.add(image, as: request.key, in: root)
                }
                if !missing.isEmpty { return .failure(MissingImages(names: missing)) }
            }
        }
    }

    /// The context's tree, named and not kept.
    private func look(
        _ name: String, _ patterns: [String], _ source: DockerfileSource, into overlay: OverlayStore<Store>
    ) async throws(SourceError) -> TreeRef? {
        var path = request.contextPath
        if !name.isEmpty {
            guard case .directory(let named)? = request.contexts[name] else { return nil }
            path = named
        }
        do {
            var scan = try contextRequest(patterns, path: path, dockerfile: name.isEmpty ? source.path : nil)
            scan.updatesIndex = false
            return try await ContextScanner(sink: overlay, pool: root.pool).scan(scan).tree
        } catch { throw SourceError("\(error)") }
    }
}

extension OverlayStore: ContextSink where Base == Store {
    public func holds(_ digests: [Digest]) throws(StoreError) -> [Bool] {
        var held = try base.holds(digests)
        for index in held.indices where !held[index] { held[index] = try size(of: digests[index]) != nil }
        return held
    }
}
