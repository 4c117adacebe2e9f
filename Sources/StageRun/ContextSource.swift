// Where a build's files come from: the main context, and those that --build-context names.

import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem

/// A context.
public enum ContextSource: Sendable, Hashable {
    /// A directory of this machine, scanned as narrow as the Dockerfile asks, its ignore file applied.
    case directory(String)
    /// A tar archive, plain or compressed. As the main context it may also be a Dockerfile.
    case archive(String)
    /// The same on an open descriptor: standard input.
    case descriptor(CInt)
    /// A repository, or the address of a tar archive or a Dockerfile.
    case remote(RemoteSource)
    /// An image in an OCI layout directory, as `DIR[:TAG|@DIGEST]`. Not for the main context.
    case layout(String)
    /// An image of the store or of a registry. Not for the main context.
    case image(String)
}

/// What the steps and the Dockerfile are read from.
struct BuildInputs: Sendable {
    var dockerfile: DockerfileSource
    /// The main context, where it is no directory of this machine.
    var tree: TreeRef?
}

extension BuildFlow {
    /// Reads the Dockerfile, and the context whole where it is no directory.
    func inputs() async throws(StageRunError) -> BuildInputs {
        switch request.context {
        case nil, .directory:
            if let fetched = try await fetchedDockerfile() { return BuildInputs(dockerfile: fetched, tree: nil) }
            return BuildInputs(dockerfile: try readDockerfile(), tree: nil)
        case .archive(let path):
            let spool = try await spooled(path: path)
            return try await inputs(from: spool, name: path)
        case .descriptor(let fd):
            let spool = try await spooled(descriptor: fd, name: "standard input")
            return try await inputs(from: spool, name: "standard input")
        case .remote(.git(let source)):
            let tree = try await remote { () throws(SourceError) in try await root.remotes(request).checkOut(source) }
            return try await inputs(in: tree, name: source.shown)
        case .remote(.web(let file)):
            let tree = try await remote { () throws(SourceError) in try await root.remotes(request).fetch(file) }
            return try await inputs(fetched: tree, name: file.shown)
        case .layout, .image:
            throw .failed("an image is no build context", advice: "name it with --build-context, or use FROM")
        }
    }

    private func remote(
        _ body: () async throws(SourceError) -> TreeRef
    ) async throws(StageRunError) -> TreeRef {
        do throws(SourceError) { return try await body() } catch {
            if Task.isCancelled { throw .cancelled }
            throw .failed(error.message)
        }
    }

    // MARK: Archives

    private func spooled(path: String) async throws(StageRunError) -> SpoolFile {
        try await root.blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in try SpoolFile(copying: path, in: root.path + "/tmp") }
        }
    }

    private func spooled(descriptor: CInt, name: String) async throws(StageRunError) -> SpoolFile {
        try await root.blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                try SpoolFile(draining: descriptor, name: name, in: root.path + "/tmp")
            }
        }
    }

    /// A tar archive is the context; anything else is the Dockerfile of an empty one.
    private func inputs(from spool: SpoolFile, name: String) async throws(StageRunError) -> BuildInputs {
        let store = root.store
        let tree = try await root.blocking { () throws(StageRunError) in
            try imaging(name) { () throws(ImageError) in try ArchiveReader.tree(of: spool, named: name, in: store) }
        }
        if let tree { return try await inputs(in: tree, name: name) }
        guard request.dockerfile == nil else {
            throw .failed(
                "\(name) is no tar archive, and a Dockerfile is given already",
                advice: "leave out -f to read the Dockerfile from there")
        }
        let bytes = try imaging { () throws(ImageError) in try spool.bytes(limit: Self.largestDockerfile) }
        return BuildInputs(dockerfile: DockerfileSource(named: "Dockerfile", bytes), tree: try emptyTree())
    }

    private func inputs(fetched tree: TreeRef, name: String) async throws(StageRunError) -> BuildInputs {
        let store = root.store
        let unpacked = try await root.blocking { () throws(StageRunError) in
            guard let file = try self.root.onlyFile(of: tree)?.file else {
                throw .store(.corrupt("what was fetched is not there"))
            }
            // An archive that breaks off is no Dockerfile: what is wrong with it is said.
            return (
                file.digest,
                try imaging(name) { () throws(ImageError) in try ArchiveReader.tree(of: file.digest, in: store) }
            )
        }
        if let context = unpacked.1 { return try await inputs(in: context, name: name) }
        let bytes: [UInt8]
        do throws(StoreError) { bytes = try store.read(unpacked.0) } catch { throw .store(error) }
        return BuildInputs(
            dockerfile: try await outerDockerfile() ?? DockerfileSource(named: "Dockerfile", bytes), tree: tree)
    }

    private func emptyTree() throws(StageRunError) -> TreeRef {
        do throws(StoreError) {
            return try root.store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
        } catch { throw .store(error) }
    }

    // MARK: The Dockerfile of a context that is a tree

    static let largestDockerfile = 64 << 20

    /// `-f -` and an absolute `-f` are on this machine, whatever the context is, and an address is in the web.
    private func outerDockerfile() async throws(StageRunError) -> DockerfileSource? {
        if let fetched = try await fetchedDockerfile() { return fetched }
        guard let path = request.dockerfile, path.hasPrefix("/") else { return nil }
        return try readDockerfile()
    }

    /// `-f URL`.
    private func fetchedDockerfile() async throws(StageRunError) -> DockerfileSource? {
        guard let address = request.dockerfile, WebFile.isAddress(address) else { return nil }
        let file = WebFile(url: address, name: "Dockerfile")
        let tree = try await remote { () throws(SourceError) in try await root.remotes(request).fetch(file) }
        guard let node = try root.onlyFile(of: tree), let content = node.file else { return nil }
        guard content.size <= UInt64(Self.largestDockerfile) else {
            throw .failed("\(file.shown) is too large for a Dockerfile")
        }
        do throws(StoreError) { return DockerfileSource(named: file.shown, try root.store.read(content.digest)) } catch
        {
            throw .store(error)
        }
    }

    private func inputs(in tree: TreeRef, name: String) async throws(StageRunError) -> BuildInputs {
        if let outer = try await outerDockerfile() { return BuildInputs(dockerfile: outer, tree: tree) }
        let names = request.dockerfile.map { [$0] } ?? ["Dockerfile", "dockerfile"]
        let store = root.store
        do throws(StoreError) {
            for path in names {
                guard case .node(let node)? = try store.find(TreePath(path), in: tree)?.entry, let file = node.file
                else { continue }
                guard file.size <= UInt64(Self.largestDockerfile) else {
                    throw .corrupt("\(path) of \(name) is too large for a Dockerfile")
                }
                return BuildInputs(
                    dockerfile: DockerfileSource(named: path, try store.read(file.digest)), tree: tree)
            }
        } catch { throw .store(error) }
        throw .failed(
            "no \(names[0]) in \(name)", advice: "name it with -f FILE, relative to the top of the context")
    }
}

extension StageRoot {
    /// What a fetch of the web came to.
    func onlyFile(of tree: TreeRef) throws(StageRunError) -> Node? {
        do throws(StoreError) {
            guard case .node(let node)? = try store.directory(tree.object).items.first?.entry else { return nil }
            return node
        } catch { throw .store(error) }
    }

    /// What fetches for one build.
    func remotes(_ request: BuildRequest) -> RemoteFetch {
        RemoteFetch(root: self, loans: request.loans, tools: request.tools)
    }
}
