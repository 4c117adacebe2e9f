// A report of what a build would take from its context, without building.

import Glibc
import StageContext
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageRunner
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
        try checkContext()
        let inputs = try await inputs()
        let source = inputs.dockerfile
        // What enters does not depend on a time.
        let dockerfile = try parse(source)
        let flow = try epochSource(dockerfile, source) == nil ? self : with(nil)
        let (graph, _) = try await flow.lower(dockerfile, source)
        if let tree = inputs.tree { return try await report(of: tree, graph) }
        let scan: ContextRequest
        do throws(IgnoreError) {
            // Without a COPY or ADD of it nothing enters.
            scan = try contextRequest(
                graph.contextPatterns[""] ?? [], path: request.contextPath, dockerfile: source.path)
        } catch { throw .failed(error.description) }
        let report = try await report(scan)
        guard let last = lastTree else { return BuildContextReport(context: report, changes: nil) }
        let tree: TreeRef
        do throws(ContextError) {
            tree = try await ContextScanner(store: root.store, pool: root.pool).scan(scan).tree
        } catch { throw .failed(error.description) }
        let store = root.store
        let changes = try await root.blocking { () throws(StageRunError) in Self.changes(from: last, to: tree, store) }
        return BuildContextReport(context: report, changes: changes)
    }

    private func report(_ scan: ContextRequest) async throws(StageRunError) -> ContextReport {
        try await root.blocking { () throws(StageRunError) in
            do throws(ContextError) { return try ContextReport.make(scan) } catch { throw .failed(error.description) }
        }
    }

    /// A context that came as an archive or over the network is laid out for the report. No ignore file applies to it.
    private func report(of tree: TreeRef, _ graph: BuildGraph) async throws(StageRunError) -> BuildContextReport {
        let scratch: RunDirectory
        do throws(SystemError) { scratch = try RunDirectory(root: root.path) } catch {
            throw .failed("no place for the context: \(error)")
        }
        let (store, place) = (root.store, scratch.path + "/upper/context")
        try await root.blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                _ = try Checkout(store: store, setsOwners: false).write(tree, to: place)
            }
        }
        let scan = ContextRequest(
            path: place, rules: .none, patterns: graph.contextPatterns[""] ?? [], indexPath: nil, leftOut: nil)
        return BuildContextReport(context: try await report(scan), changes: nil)
    }

    /// How this context is to be scanned.
    ///
    /// - Parameter dockerfile: nil for a context with a name, which has an ignore file of its own alone.
    func contextRequest(
        _ patterns: [String], path: String, dockerfile: String?
    ) throws(IgnoreError) -> ContextRequest {
        var rules = IgnoreRules.none
        if let file = try IgnoreRules.ignoreFile(context: path, dockerfile: dockerfile) {
            rules = try IgnoreRules(text: file.text, file: file.path)
        }
        return ContextRequest(
            path: path, rules: rules, patterns: patterns, indexPath: contextState(path) + ".index",
            leftOut: root.path)
    }

    /// Where what is known of this context lies, without its suffix.
    private func contextState(_ path: String) -> String {
        "\(root.path)/contexts/\(Digest.of(canonicalPath(path)).hex)"
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

    /// Remembers the tree for the next comparison, in a file of its own. A report that lacks it says less; so a failure
    /// is none of the build's.
    func remember(_ tree: TreeRef) {
        let path = lastTreePath
        if lastTree == tree {
            // The file's time says when the context was last used; to the day.
            if let info = try? statEntry(AT_FDCWD, FileName(path)), info.mtime_sec + 86_400 < now().seconds {
                utimensat(AT_FDCWD, path, nil, 0)
            }
            return
        }
        try? replaceFile(path, LastTree(tree: tree, path: canonicalPath(request.contextPath)).encoded)
    }

    /// Of this Dockerfile and target: another one selects other parts of the same context, which is no change of it.
    private var lastTreePath: String {
        let selection = Digest.of("\(request.dockerfile ?? "")\0\(request.target ?? "")").hex.prefix(16)
        return "\(contextState(request.contextPath))-\(selection).tree"
    }

    private var lastTree: TreeRef? { LastTree(file: lastTreePath)?.tree }
}

/// The parts of a report, for who imports only the facade.
public typealias ContextItem = ContextReport.Item
public typealias ContextWarning = ContextReport.Warning
