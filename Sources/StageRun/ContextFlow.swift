// A report of what a build would take from its context, without building.

import Glibc
import StageContext
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem

/// What would enter a build, and how that differs from the last one.
public struct BuildContextReport: Sendable {
    public enum Change: Sendable, Hashable {
        case added(TreePath)
        case changed(TreePath)
        case removed(TreePath)
    }

    public var context: ContextReport
    /// In path order; nil when no build of this context is known. Times alone are no change.
    public var changes: [Change]?
}

extension StageRoot {
    /// Looks at the context that `request` would build from.
    ///
    /// The walk reads no contents. For the comparison with the last build, what changed since then is read, as the next
    /// build would. No image and no record is written. Base images that the Dockerfile names may have to be fetched, to
    /// know which stages and paths it needs.
    public func contextReport(
        _ request: BuildRequest, observe: @escaping @Sendable (BuildEvent) -> Void = { _ in }
    ) async throws(StageRunError) -> BuildContextReport {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        return try await BuildFlow(root: self, request: request, observe: observe).contextReport()
    }
}

extension BuildFlow {
    func contextReport() async throws(StageRunError) -> BuildContextReport {
        let source = try readDockerfile()
        let dockerfile = try parse(source)
        try checkContext()
        let (graph, _) = try await lower(dockerfile, source)
        let scan: ContextRequest
        do throws(IgnoreError) {
            // A Dockerfile names one local context; without a COPY or ADD of it nothing enters.
            scan = try contextRequest(graph.contextPatterns.values.flatMap { $0 }, dockerfile: source.path)
        } catch { throw .failed(error.description) }
        let report = try await root.blocking { () throws(StageRunError) in
            do throws(ContextError) { return try ContextReport.make(scan) } catch { throw .failed(error.description) }
        }
        guard let last = lastTree else { return BuildContextReport(context: report, changes: nil) }
        let tree: TreeRef
        do throws(ContextError) {
            tree = try await ContextScanner(store: root.store, pool: root.pool).scan(scan).tree
        } catch { throw .failed(error.description) }
        let store = root.store
        let changes = try await root.blocking { () throws(StageRunError) in Self.changes(from: last, to: tree, store) }
        return BuildContextReport(context: report, changes: changes)
    }

    /// How this context is to be scanned.
    func contextRequest(_ patterns: [String], dockerfile: String) throws(IgnoreError) -> ContextRequest {
        var rules = IgnoreRules.none
        if let file = try IgnoreRules.ignoreFile(context: request.contextPath, dockerfile: dockerfile) {
            rules = try IgnoreRules(text: file.text, file: file.path)
        }
        return ContextRequest(
            path: request.contextPath, rules: rules, patterns: patterns, indexPath: contextState + ".index",
            leftOut: root.path)
    }

    /// Where what is known of this context lies, without its suffix.
    private var contextState: String {
        "\(root.path)/contexts/\(Digest.of(canonicalPath(request.contextPath)).hex)"
    }

    /// Nil when what remains of the last build's tree does not tell.
    private static func changes(from old: TreeRef, to new: TreeRef, _ store: Store) -> [BuildContextReport.Change]? {
        var changes: [BuildContextReport.Change] = []
        do throws(StoreError) {
            try store.difference(from: old, to: new) { change throws(StoreError) in
                switch change {
                case .directory(let path, _, let existed): if !existed { changes.append(.added(path)) }
                case .removed(let path): changes.append(.removed(path))
                case .node(let path, _):
                    let existed = try store.entry(at: path, in: old) != nil
                    changes.append(existed ? .changed(path) : .added(path))
                }
            }
        } catch { return nil }
        return changes
    }

    // MARK: The last build's tree

    /// Remembers the tree for the next comparison: two digests in a file of their own. A report that lacks it says less;
    /// so a failure is none of the build's.
    func remember(_ tree: TreeRef) {
        if lastTree == tree { return }
        let path = contextState + ".tree"
        let partial = "\(path).\(getpid())"
        let text = Array("\(tree.identity.hex) \(tree.object.hex)\n".utf8)
        do {
            let file = try OwnedFD.open(partial, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
            try text.withUnsafeBytes { try writeAll(file.raw, $0) }
            if rename(partial, path) != 0 { unlink(partial) }
        } catch { unlink(partial) }
    }

    private var lastTree: TreeRef? {
        guard let bytes = try? readFile(contextState + ".tree", limit: 4096) else { return nil }
        let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard words.count == 2, let identity = Digest(String(words[0])), let object = Digest(String(words[1]))
        else { return nil }
        return TreeRef(identity: identity, object: object)
    }
}

/// The parts of a report, for who imports only the facade.
public typealias ContextItem = ContextReport.Item
public typealias ContextWarning = ContextReport.Warning
