// `SOURCE_DATE_EPOCH=context`, or the name of another source: the time that what is built from has.

import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem

extension BuildFlow {
    /// The build with the time in the place of the name; without `SOURCE_DATE_EPOCH` where no time is known, as of a directory.
    func timed(_ dockerfile: Dockerfile, _ inputs: BuildInputs) async throws(StageRunError) -> BuildFlow {
        guard let source = try epochSource(dockerfile, inputs.dockerfile) else { return self }
        let time: Timestamp?
        switch source {
        case .context: time = try await timeOfContext(inputs)
        case .named(let name):
            switch request.contexts[name] {
            case .remote(let remote): time = try await self.time(of: remote)
            case .archive:
                time = try await newest(in: fetching { () throws(SourceError) in try await context(name, [], inputs) })
            case .directory, .descriptor, .layout, .image, nil: time = nil
            }
        case .remote(let remote): time = try await self.time(of: remote)
        }
        return with(time)
    }

    /// What it names; nil where it is a number, or nothing.
    func epochSource(
        _ dockerfile: Dockerfile, _ source: DockerfileSource
    ) throws(StageRunError) -> EpochSource? {
        do throws(DockerfileError) { return try dockerfile.epochSource(loweringOptions(source)) } catch {
            throw .dockerfile(error, rendered: error.rendered(source: source.bytes))
        }
    }

    /// The build with that time, or with none.
    func with(_ time: Timestamp?) -> BuildFlow {
        var flow = self
        flow.request.buildArguments["SOURCE_DATE_EPOCH"] = time.map { String($0.seconds) } ?? ""
        return flow
    }

    private func fetching(
        _ body: () async throws(SourceError) -> TreeRef
    ) async throws(StageRunError) -> TreeRef {
        do throws(SourceError) { return try await body() } catch {
            if Task.isCancelled { throw .cancelled }
            throw .failed(error.message)
        }
    }

    private func timeOfContext(_ inputs: BuildInputs) async throws(StageRunError) -> Timestamp? {
        switch request.context {
        case .remote(let remote): return try await time(of: remote)
        case .archive, .descriptor:
            guard let tree = inputs.tree else { return nil }
            return try await newest(in: tree)
        case .directory, .layout, .image, nil: return nil
        }
    }

    /// A repository's commit, what the server says of a file, or the newest file of an archive.
    private func time(of remote: RemoteSource) async throws(StageRunError) -> Timestamp? {
        let tree = try await fetching { () throws(SourceError) in try await root.remotes(request).tree(of: remote) }
        guard case .web(let address) = remote else {
            do throws(StoreError) { return try root.store.directory(tree.object).attributes.time } catch {
                throw .store(error)
            }
        }
        guard let node = try root.onlyFile(of: tree), let file = node.file else { return nil }
        if node.attributes.time != .epoch { return node.attributes.time }
        let store = root.store
        // What is no archive has no time. One that breaks off would have another than it says.
        let unpacked = try await root.blocking { () throws(StageRunError) in
            try imaging("\(address.shown), which SOURCE_DATE_EPOCH takes its time from") { () throws(ImageError) in
                try ArchiveReader.tree(of: file.digest, in: store)
            }
        }
        guard let unpacked else { return nil }
        return try await newest(in: unpacked)
    }

    private func newest(in tree: TreeRef) async throws(StageRunError) -> Timestamp? {
        let store = root.store
        return try await root.blocking { () throws(StageRunError) in
            do throws(StoreError) { return try store.newestFile(in: tree, depth: 0) } catch { throw .store(error) }
        }
    }
}

extension ContextSource {
    /// Whether `SOURCE_DATE_EPOCH` that names it means none.
    var hasNoTime: Bool {
        switch self {
        case .directory, .layout, .image: true
        case .archive, .descriptor, .remote: false
        }
    }
}

extension Store {
    fileprivate func newestFile(in tree: TreeRef, depth: Int) throws(StoreError) -> Timestamp? {
        if depth > TreePath.depthLimit { throw .tooDeep(TreePath()) }
        var newest: Timestamp?
        for item in try directory(tree.object).items {
            let time: Timestamp?
            switch item.entry {
            case .directory(let child): time = try newestFile(in: child, depth: depth + 1)
            case .node(let node): time = node.file == nil ? nil : node.attributes.time
            }
            if let time {
                newest =
                    newest.map { ($0.seconds, $0.nanoseconds) < (time.seconds, time.nanoseconds) ? time : $0 } ?? time
            }
        }
        return newest
    }
}
