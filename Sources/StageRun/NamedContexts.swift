// The contexts of a build while its steps run: the main one and those with names, each scanned, unpacked or fetched when a step
// takes something of it.

import StageContext
import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore

extension BuildRequest {
    /// What lowering has to know of `--build-context`.
    var namedContexts: [String: NamedContext] {
        contexts.mapValues { source in
            switch source {
            case .image("scratch"): .scratch
            case .image(let name): .image(name)
            case .layout(let specification): .image(String.layoutScheme + specification)
            case .directory, .archive, .descriptor, .remote: .files
            }
        }
    }
}

extension BuildFlow {
    /// The tree of a context; the main one's name is empty.
    func context(
        _ name: String, _ patterns: [String], _ inputs: BuildInputs
    ) async throws(SourceError) -> TreeRef {
        if name.isEmpty {
            if let tree = inputs.tree { return tree }
            let tree = try await scan(request.contextPath, patterns, dockerfile: inputs.dockerfile.path)
            remember(tree)
            return tree
        }
        switch request.contexts[name] {
        case .directory(let path): return try await scan(path, patterns, dockerfile: nil)
        case .archive(let path): return try await unpacked(path)
        case .remote(.git(let source)): return try await root.remotes(request).checkOut(source)
        case .remote(.web(let file)): return try await root.remotes(request).fetch(file)
        case .descriptor, .layout, .image, nil: throw SourceError("the context \(name) holds no files")
        }
    }

    private func scan(
        _ path: String, _ patterns: [String], dockerfile: String?
    ) async throws(SourceError) -> TreeRef {
        do {
            let scan = try await ContextScanner(store: root.store, pool: root.pool).scan(
                contextRequest(patterns, path: path, dockerfile: dockerfile))
            for event in scan.events { observe(.warning(message: event.description, source: nil)) }
            return scan.tree
        } catch { throw SourceError("\(error)") }
    }

    private func unpacked(_ path: String) async throws(SourceError) -> TreeRef {
        let (store, directory) = (root.store, root.path + "/tmp")
        do {
            let tree = try await root.blocking { () throws(StageRunError) in
                try imaging(path) { () throws(ImageError) in
                    try ArchiveReader.tree(
                        of: SpoolFile(copying: path, in: directory), named: path, in: store)
                }
            }
            guard let tree else { throw SourceError("\(path) is neither a directory nor a tar archive") }
            return tree
        } catch let error as SourceError { throw error } catch { throw SourceError("\(error)") }
    }

    // MARK: OCI layouts

    /// `DIR`, `DIR:TAG` or `DIR@DIGEST`.
    func load(layout text: String, platform: Platform) async throws(StageRunError) -> StoredImage {
        let parts = text.split(separator: "@", maxSplits: 1).map(String.init)
        var (path, tag) = (parts.first ?? "", String?.none)
        if let colon = path.lastIndex(of: ":"), !path[colon...].contains("/") {
            tag = String(path[path.index(after: colon)...])
            path = String(path[..<colon])
        }
        let digest = parts.count == 2 ? Digest(parts[1]) : nil
        if parts.count == 2, digest == nil { throw .failed("\(parts[1]) is no digest: write sha256: and 64 digits") }
        let (store, directory, place, name) = (root.store, self.root.path + "/tmp", path, tag)
        return try await root.blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                try ImageReader(store: store, platform: platform, spoolDirectory: directory).load(
                    layout: place, tag: name, digest: digest)
            }
        }
    }
}

extension String {
    static let layoutScheme = "oci-layout://"

    /// What stands behind `oci-layout://`.
    var layoutSpecification: String? {
        hasPrefix(Self.layoutScheme) ? String(dropFirst(Self.layoutScheme.utf8.count)) : nil
    }
}
