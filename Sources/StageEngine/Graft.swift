// COPY, ADD and WORKDIR as operations on trees: no file content is read or written. Specs/copy.md says what is decided.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// Applies copies to one filesystem.
struct Graft {
    private let store: any TreeStore
    private let unpacker: (any ArchiveUnpacker)?
    private var editor: TreeEditor
    /// The tree that the step starts from: where names of accounts are looked up.
    private let base: TreeRef

    init(base: TreeRef, store: any TreeStore, unpacker: (any ArchiveUnpacker)?) {
        self.base = base
        self.store = store
        self.unpacker = unpacker
        editor = TreeEditor(base, store: store)
    }

    /// What `copy` makes of the base.
    mutating func apply(_ copy: Copy, _ selection: CopySelection) throws(CopyFailure) -> TreeRef {
        let changes = try NodeChange(copy, base: base, store: store)
        let intoDirectory = copy.destination.hasSuffix("/") || copy.destination.hasSuffix("/.")
        for (index, source) in selection.sources.enumerated() {
            let destination = try resolved(TreePath(copy.destination))
            let change = changes.copying(source: index, to: destination)
            if source.unpacks ?? copy.unpacksArchives, let tree = try unpacked(source) {
                try merge(directory: tree, at: destination, change: change.unpacking, isTop: true)
            } else {
                try place(source, at: destination, intoDirectory: intoDirectory, change)
            }
        }
        return try commit()
    }

    /// What `WORKDIR` makes of the base.
    mutating func apply(_ make: MakeDirectory) throws(CopyFailure) -> TreeRef {
        var attributes = Attributes(mode: 0o755)
        if let owner = make.owner { (attributes.uid, attributes.gid) = try numbers(owner, base, store) }
        try ensureDirectory(try resolved(TreePath(make.path)), attributes)
        return try commit()
    }

    private mutating func commit() throws(CopyFailure) -> TreeRef {
        do throws(StoreError) { return try editor.commit() } catch { throw .store(error) }
    }

    /// Where `path` leads inside the filesystem as it is now.
    private mutating func resolved(_ path: TreePath) throws(CopyFailure) -> TreePath {
        do throws(StoreError) {
            if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
            let now = try editor.commit()
            if let target = try store.resolve(path, in: now) { return target }
        } catch { throw .store(error) }
        throw .refused(CopyError("too many symlinks on the way to \(path)"))
    }

    private func unpacked(_ source: SelectedSource) throws(CopyFailure) -> TreeRef? {
        guard case .node(let node) = source.entry, let file = node.file, let unpacker else { return nil }
        do throws(StoreError) { return try unpacker.unpack(file.digest) } catch {
            if case .corrupt(let what) = error { throw .refused(CopyError("cannot unpack \(source.title): \(what)")) }
            throw .store(error)
        }
    }

    private mutating func look(_ path: TreePath) throws(CopyFailure) -> TreeEditor.Found? {
        do throws(StoreError) { return try editor.look(path) } catch { throw .store(error) }
    }

    private mutating func place(
        _ source: SelectedSource, at destination: TreePath, intoDirectory: Bool, _ change: NodeChange
    ) throws(CopyFailure) {
        let parents = change.parents
        switch source.entry {
        case .directory(let tree):
            try ensureDirectory(destination, parents)
            try merge(directory: tree, at: destination, change: change, isTop: true)
        case .node(let node):
            var target = destination
            let found = try look(destination)
            var isDirectory = intoDirectory
            if case .directory? = found { isDirectory = true }
            if isDirectory {
                try ensureDirectory(destination, parents)
                guard let name = source.name else { return }
                target = destination.appending(name)
            } else {
                try ensureDirectory(destination.parent, parents)
            }
            var alone = node
            alone.linkGroup = 0
            try put(alone, at: target, change)
        }
    }

    /// Makes `path` and its missing parents; what exists keeps its attributes.
    private mutating func ensureDirectory(_ path: TreePath, _ attributes: Attributes) throws(CopyFailure) {
        switch try look(path) {
        case .directory: return
        case .node: throw .refused(CopyError("\(path) is not a directory"))
        case nil: break
        }
        for depth in 1..<max(1, path.components.count) {
            let parent = TreePath(Array(path.components[..<depth]))
            if case .node? = try look(parent) { throw .refused(CopyError("\(parent) is not a directory")) }
        }
        do throws(StoreError) {
            try editor.putDirectory(attributes, at: path, parents: attributes)
        } catch { throw .store(error) }
    }

    private mutating func put(_ node: Node, at path: TreePath, _ change: NodeChange) throws(CopyFailure) {
        if case .directory? = try look(path), !change.replaces {
            throw .refused(
                CopyError(
                    "\(path) is a directory and a file would replace it",
                    advice: "remove it before, or choose another destination"))
        }
        do throws(StoreError) {
            try editor.put(.node(change.applied(to: node)), at: path, parents: change.parents)
        } catch { throw .store(error) }
    }

    /// Puts a whole directory at `path`, in place of what is there.
    private mutating func graft(
        _ tree: TreeRef, at path: TreePath, _ change: NodeChange
    ) throws(CopyFailure) {
        let changed = try change.applied(to: tree, store)
        do throws(StoreError) {
            try editor.put(.directory(changed), at: path, parents: change.parents)
        } catch { throw .store(error) }
    }

    /// Merges what is in `directory` into `path`. Below the top, a directory that exists takes the source's attributes.
    private mutating func merge(
        directory tree: TreeRef, at path: TreePath, change: NodeChange, isTop: Bool
    ) throws(CopyFailure) {
        if path.components.count > TreePath.depthLimit { throw .store(.tooDeep(path)) }
        let found = try look(path)
        switch found {
        case .node where isTop || !change.replaces:
            throw .refused(CopyError("\(path) is not a directory and a directory would replace it"))
        case .node(let node):
            if case .symlink = node.content {
                let target = try resolved(path)
                if case .directory? = try look(target) {
                    return try merge(directory: tree, at: target, change: change, isTop: true)
                }
            }
            return try graft(tree, at: path, change)
        case nil where !isTop:
            return try graft(tree, at: path, change)
        case nil:
            try ensureDirectory(path, change.parents)
        case .directory: break
        }
        let directory: DirectoryObject
        do throws(StoreError) {
            directory = try store.directory(tree.object)
            if !isTop {
                try editor.putDirectory(change.applied(to: directory.attributes), at: path, parents: change.parents)
            }
        } catch { throw .store(error) }
        for item in directory.items {
            let target = path.appending(item.name)
            switch item.entry {
            case .directory(let child): try merge(directory: child, at: target, change: change, isTop: false)
            case .node(let node): try put(node, at: target, change)
            }
        }
    }
}

private func numbers(
    _ owner: Owner, _ tree: TreeRef, _ store: any TreeStore
) throws(CopyFailure) -> (uid: UInt32, gid: UInt32) {
    if let uid = UInt32(owner.user), owner.group.map({ UInt32($0) != nil }) ?? true {
        return (uid, owner.group.flatMap { UInt32($0) } ?? uid)
    }
    let accounts: Accounts
    do throws(StoreError) { accounts = try Accounts(tree, store: store) } catch { throw .store(error) }
    do throws(Accounts.Unknown) {
        return try accounts.resolve(owner)
    } catch {
        let names = error.kind == "user" ? accounts.users.map(\.name) : accounts.groups.map(\.name)
        let near = Spelling.hint(error.name, among: names)
        let file = error.kind == "user" ? "/etc/passwd" : "/etc/group"
        throw .refused(
            CopyError(
                "the \(error.kind) \(error.name) is not in the image's \(file)",
                advice: near ?? "a number works without an entry"))
    }
}

/// What `--chown` and `--chmod` do to each copied node.
private struct NodeChange {
    let owner: (uid: UInt32, gid: UInt32)?
    let mode: FileModeChange?
    /// Makes the link groups of one copied source its own: names that were one file are one file again, but never the
    /// same one as the source, or as another copy of it.
    private var linkSalt: [UInt8] = []
    /// Whether a file may take the place of a directory, and a directory that of a file.
    private(set) var replaces = false

    init(_ copy: Copy, base: TreeRef, store: any TreeStore) throws(CopyFailure) {
        if let chmod = copy.chmod {
            guard let change = FileModeChange(chmod) else {
                throw .refused(
                    CopyError(
                        "--chmod=\(chmod) is no mode",
                        advice: "write octal digits (755) or a symbolic mode (u=rwX,go=rX)"))
            }
            mode = change
        } else {
            mode = nil
        }
        if let chown = copy.chown { owner = try numbers(chown, base, store) } else { owner = nil }
    }

    private init(owner: (uid: UInt32, gid: UInt32)?, mode: FileModeChange?, linkSalt: [UInt8]) {
        self.owner = owner
        self.mode = mode
        self.linkSalt = linkSalt
    }

    /// For what comes from an archive: it brings its modes, and replaces what is of another kind, as tar does.
    var unpacking: NodeChange {
        var change = NodeChange(owner: owner, mode: nil, linkSalt: linkSalt)
        change.replaces = true
        return change
    }

    /// The change for the source of this number.
    func copying(source: Int, to destination: TreePath) -> NodeChange {
        NodeChange(
            owner: owner, mode: mode, linkSalt: Array("\(source) ".utf8) + destination.relativeBytes)
    }

    /// The attributes of directories that have to be made on the way.
    var parents: Attributes { Attributes(mode: 0o755, uid: owner?.uid ?? 0, gid: owner?.gid ?? 0) }

    func applied(to node: Node) -> Node {
        var node = node
        if case .symlink = node.content {
            if let owner { (node.attributes.uid, node.attributes.gid) = owner }
        } else {
            node.attributes = changed(node.attributes, isDirectory: false)
        }
        if node.linkGroup != 0 { node.linkGroup = regrouped(node.linkGroup) }
        return node
    }

    private func regrouped(_ group: UInt64) -> UInt64 {
        var writer = ByteWriter()
        writer.u64(group)
        writer.raw(linkSalt)
        return max(1, Digest.of(writer.bytes).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    func applied(to attributes: Attributes) -> Attributes { changed(attributes, isDirectory: true) }

    private func changed(_ attributes: Attributes, isDirectory: Bool) -> Attributes {
        var attributes = attributes
        if let owner { (attributes.uid, attributes.gid) = owner }
        if let mode { attributes.mode = mode.applied(to: attributes.mode, isDirectory: isDirectory) }
        return attributes
    }

    /// The subtree with every node changed; the very same one when there is nothing to change.
    func applied(to tree: TreeRef, _ store: any TreeStore) throws(CopyFailure) -> TreeRef {
        do throws(StoreError) { return try rewritten(tree, store, at: TreePath()) } catch { throw .store(error) }
    }

    private func rewritten(
        _ tree: TreeRef, _ store: any TreeStore, at path: TreePath
    ) throws(StoreError) -> TreeRef {
        if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
        let directory = try store.directory(tree.object)
        let attributes = changed(directory.attributes, isDirectory: true)
        var items = directory.items
        var differs = attributes != directory.attributes
        for index in items.indices {
            let entry: Entry
            switch items[index].entry {
            case .directory(let child):
                entry = .directory(try rewritten(child, store, at: path.appending(items[index].name)))
            case .node(let node): entry = .node(applied(to: node))
            }
            if entry == items[index].entry { continue }
            items[index].entry = entry
            differs = true
        }
        return differs ? try store.put(DirectoryObject(attributes: attributes, items: items)) : tree
    }
}
