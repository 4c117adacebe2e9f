// What a COPY or ADD takes: its sources looked up in their trees. The selection makes the key; the graft applies it.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// Why a copy cannot be done, in the words of the person who wrote it.
public struct CopyError: Error, Hashable, Sendable {
    public let message: String
    public let advice: String?

    init(_ message: String, advice: String? = nil) {
        self.message = message
        self.advice = advice
    }
}

/// Either kind of failure of a copy.
enum CopyFailure: Error {
    case refused(CopyError)
    case store(StoreError)
}

/// One thing that is copied.
struct SelectedSource: Sendable {
    /// The base name it was selected by: its name in a destination directory.
    let name: FileName?
    let entry: Entry
    /// What to call it in messages.
    let title: String
    /// Whether an archive is unpacked, where the source has its own rule for that.
    var unpacks: Bool?
    /// Which input it is from, and where it lies there.
    let input: Int
    let path: TreePath
    /// Directories in it, by their paths, that a filter leaves for what is beneath them alone.
    var passages: Set<[UInt8]> = []
    /// What the person should know of it.
    var remark: String?

    var source: StepSource { StepSource(input: input, path: path.relativeBytes, entry: entry) }

    var identity: Digest { entry.identity }

    var isDirectory: Bool {
        if case .directory = entry { return true }
        return false
    }
}

extension Entry {
    /// The name of what it is, for keys.
    var identity: Digest {
        switch self {
        case .directory(let ref): ref.identity
        case .node(let node): Digest.of(node.identityBytes())
        }
    }
}

/// Looks the sources of `copy` up.
struct CopySelection: Sendable {
    let sources: [SelectedSource]

    /// - Parameter inputs: the step's inputs; sources name them by index, 0 is the destination.
    init(_ copy: Copy, inputs: [TreeRef], store: any TreeStore) throws(CopyFailure) {
        var sources: [SelectedSource] = []
        for source in copy.sources {
            switch source {
            case .text(let name, let content):
                sources.append(try Self.heredoc(name, content, store))
            case .fetched(let input, let unpacks):
                sources.append(try Self.onlyFile(of: (input, inputs[input]), unpacks: unpacks, store))
            case .path(let input, let pattern):
                sources += try Self.select(pattern, copy, from: (input, inputs[input]), store)
            case .parents(let input, let pivot, let pattern):
                sources += try Self.select(pivot, copy, below: pattern, from: (input, inputs[input]), store)
            }
        }
        self.sources = sources
    }

    private static func heredoc(
        _ name: String, _ content: String, _ store: any TreeStore
    ) throws(CopyFailure) -> SelectedSource {
        do throws(StoreError) {
            let bytes = Array(content.utf8)
            let node = Node(
                attributes: Attributes(mode: 0o644), content: .file(try store.put(bytes), size: UInt64(bytes.count)))
            return SelectedSource(
                name: FileName(name), entry: .node(node), title: "<<\(name)", input: 0,
                path: TreePath(name))
        } catch { throw .store(error) }
    }

    private static func onlyFile(
        of origin: (input: Int, tree: TreeRef), unpacks: Bool, _ store: any TreeStore
    ) throws(CopyFailure) -> SelectedSource {
        do throws(StoreError) {
            guard let item = try store.directory(origin.tree.object).items.first else {
                throw .corrupt("what was fetched is not there")
            }
            return SelectedSource(
                name: item.name, entry: item.entry, title: item.name.description, unpacks: unpacks, input: origin.input,
                path: TreePath([item.name]))
        } catch { throw .store(error) }
    }

    /// - Parameter pattern: with `--parents`, what is taken of the directory `source`, with the way to it.
    private static func select(
        _ source: String, _ copy: Copy, below pattern: String? = nil, from origin: (input: Int, tree: TreeRef),
        _ store: any TreeStore
    ) throws(CopyFailure) -> [SelectedSource] {
        let filter = CopyFilter(
            included: try pattern == "." ? nil : pattern.map { text throws(CopyFailure) in try PathRules([text]) },
            excluded: try PathRules(copy.excludes))
        let found: Result<[SelectedSource], CopyError>
        do throws(StoreError) { found = try look(source, from: origin, store) } catch { throw .store(error) }
        var sources: [SelectedSource]
        switch found {
        case .success(let selected): sources = selected
        case .failure(let error): throw .refused(error)
        }
        for index in sources.indices {
            let one = sources[index]
            guard case .directory(let ref) = one.entry else {
                // BuildKit holds the patterns of --exclude against what is in a source, not against the source itself.
                guard pattern != nil else { continue }
                throw .refused(CopyError("\(source) is not a directory", advice: "what stands before /./ is one"))
            }
            let remark = try pattern.flatMap { text throws(CopyFailure) in try missed(text, below: ref, store) }
            do throws(StoreError) {
                let left = try filter.applied(to: ref, store)
                sources[index] = SelectedSource(
                    name: one.name, entry: .directory(left.tree), title: one.title, input: one.input, path: one.path,
                    passages: left.passages, remark: remark)
            } catch { throw .store(error) }
        }
        return sources
    }

    /// What to say of a path without wildcards that is not there: as in BuildKit, `--parents` takes nothing then. Symlinks on
    /// the way are not followed: what is behind one would not be where the copy has the link.
    private static func missed(
        _ pattern: String, below tree: TreeRef, _ store: any TreeStore
    ) throws(CopyFailure) -> String? {
        let bytes = Array(pattern.utf8)
        if Glob.hasWildcard(bytes) || bytes.contains(UInt8(ascii: "\\")) || pattern == "." { return nil }
        let path = TreePath(bytes: bytes)
        do throws(StoreError) {
            if try store.entry(at: path, in: tree) != nil { return nil }
            var known = TreePath()
            for name in path.components {
                known = known.appending(name)
                guard case .node(let node)? = try store.entry(at: known, in: tree), case .symlink = node.content else {
                    continue
                }
                return "--parents takes nothing for \(pattern): \(known.relative) is a symlink, which is not followed"
            }
            return "--parents takes nothing for \(pattern): \(try missing(pattern, path, tree, store).message)"
        } catch { throw .store(error) }
    }

    private static func look(
        _ pattern: String, from origin: (input: Int, tree: TreeRef), _ store: any TreeStore
    ) throws(StoreError) -> Result<[SelectedSource], CopyError> {
        let tree = origin.tree
        let parsed = PathPattern(pattern)
        guard let paths = try parsed.matches(in: tree, store: store) else {
            return .failure(
                CopyError(
                    "the pattern \(pattern) is malformed", advice: "a [ needs its ]; write \\[ for the character itself"
                ))
        }
        var sources: [SelectedSource] = []
        for path in paths {
            guard let entry = try store.find(path, in: tree)?.entry else {
                // A wildcard may match nothing (`COPY go.su[m] ./`), but not a link that leads nowhere.
                return .failure(try missing(parsed.hasWildcard ? path.relative : pattern, path, tree, store))
            }
            sources.append(
                SelectedSource(
                    name: path.last, entry: entry, title: pattern, input: origin.input, path: path))
        }
        return .success(sources)
    }

    /// What a bind shows: the path with its symlinks followed.
    static func entry(
        at source: String, in tree: TreeRef, _ store: any TreeStore
    ) throws(CopyFailure) -> Entry {
        let path = TreePath(source)
        let error: CopyError
        do throws(StoreError) {
            if let entry = try store.find(path, in: tree)?.entry { return entry }
            error = try missing(source, path, tree, store)
        } catch { throw .store(error) }
        throw .refused(error)
    }

    /// The error for a path that is not there, with the nearest name beside it.
    private static func missing(
        _ pattern: String, _ path: TreePath, _ tree: TreeRef, _ store: any TreeStore
    ) throws(StoreError) -> CopyError {
        var known = TreePath()
        for name in path.components {
            guard try store.find(known.appending(name), in: tree)?.entry != nil else {
                let parent = try store.resolve(known, in: tree) ?? known
                if case .node(let node)? = try store.entry(at: parent.appending(name), in: tree),
                    case .symlink(let link) = node.content
                {
                    let target = String(decoding: link, as: UTF8.self)
                    return CopyError("\(pattern) is a symlink that leads nowhere: \(name) -> \(target)")
                }
                var advice: String?
                if case .directory(let ref)? = try store.entry(at: parent, in: tree) {
                    let names = try store.directory(ref.object).items.map(\.name.description)
                    if let near = Spelling.closest(name.description, among: names) {
                        advice = "did you mean `\(TreePath(known.components + [FileName(near)]).relative)`?"
                    } else if names.isEmpty && known.isRoot {
                        advice =
                            "what it is taken from is empty: is the context right, and does an ignore file exclude it?"
                    }
                }
                return CopyError("\(pattern) is not there: no \(name) in \(known)", advice: advice)
            }
            known = known.appending(name)
        }
        return CopyError("\(pattern) is a symlink that leads nowhere")
    }
}

extension TreePath {
    /// As text, without a leading slash.
    var relative: String { String(decoding: relativeBytes, as: UTF8.self) }
}
