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
    /// What the person should know of how it was done.
    private(set) var notes: [String] = []

    init(base: TreeRef, store: any TreeStore, unpacker: (any ArchiveUnpacker)?) {
        self.base = base
        self.store = store
        self.unpacker = unpacker
        editor = TreeEditor(base, store: store)
    }

    /// What `copy` makes of the base.
    mutating func apply(_ copy: Copy, _ selection: CopySelection) throws(CopyFailure) -> TreeRef {
        let changes = try NodeChange(
            copy, owner: try copy.chown.map { owner throws(CopyFailure) in try numbers(owner) })
        let intoDirectory = copy.destination.hasSuffix("/") || copy.destination.hasSuffix("/.")
        notes += selection.sources.compactMap(\.remark)
        for (index, source) in selection.sources.enumerated() {
            let destination = try resolved(TreePath(copy.destination))
            let change = changes.copying(source: index, to: destination)
            let unpacks = source.unpacks ?? copy.unpacksArchives
            var isDone = false
            if unpacks { isDone = try unpack(source, at: destination, change) }
            if !isDone {
                try place(source, at: destination, intoDirectory: intoDirectory, change)
            }
        }
        return try commit()
    }

    /// What `WORKDIR` makes of the base.
    mutating func apply(_ make: MakeDirectory) throws(CopyFailure) -> TreeRef {
        var attributes = Attributes(mode: 0o755)
        if let owner = make.owner {
            let account = try numbers(owner)
            (attributes.uid, attributes.gid) = (account.uid, account.gid)
        }
        if let time = make.time { attributes.time = Timestamp(seconds: time) }
        try ensureDirectory(
            try resolved(TreePath(make.path)), NewDirectory(attributes: attributes, isOwned: make.owner != nil))
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

    /// Unpacks an archive into the directory `path`, which is made for it. False when it is none.
    private mutating func unpack(
        _ source: SelectedSource, at path: TreePath, _ change: NodeChange
    ) throws(CopyFailure) -> Bool {
        guard case .node(let node) = source.entry, let file = node.file, let unpacker else { return false }
        let unpacked: TreeRef
        do throws(StoreError) {
            let directory: TreeRef
            if case .directory(let found)? = try store.entry(at: path, in: try editor.commit()) {
                directory = found
            } else {
                let attributes = change.archiveParents.attributes(in: try nearestDirectory(above: path))
                directory = try store.put(DirectoryObject(attributes: attributes))
            }
            let unpacking = Unpacking(owner: change.owner, linkSalt: change.linkSalt)
            guard let tree = try unpacker.unpack(file.digest, onto: directory, unpacking) else { return false }
            unpacked = tree
        } catch {
            if case .corrupt(let what) = error { throw .refused(CopyError("cannot unpack \(source.title): \(what)")) }
            throw .store(error)
        }
        if path.isRoot {
            editor = TreeEditor(unpacked, store: store)
            return true
        }
        try ensureDirectory(path, change.archiveParents)
        do throws(StoreError) {
            try editor.put(.directory(unpacked), at: path, parents: change.archiveParents.attributes)
        } catch { throw .store(error) }
        return true
    }

    /// The numbers of an owner. As in docker, a name that the image does not know is 0 - but there has to be an image.
    private mutating func numbers(_ owner: Owner) throws(CopyFailure) -> AccountNumbers {
        if let uid = Accounts.number(owner.user) {
            guard let group = owner.group else { return AccountNumbers(uid: uid, gid: uid) }
            if let gid = Accounts.number(group) { return AccountNumbers(uid: uid, gid: gid) }
        }
        let accounts: Accounts
        let isNothing: Bool
        do throws(StoreError) {
            accounts = try Accounts(base, store: store)
            isNothing = try store.directory(base.object).items.isEmpty
        } catch { throw .store(error) }
        let resolved = accounts.resolveLeniently(owner)
        if let unknown = resolved.unknown.first, isNothing {
            throw .refused(
                CopyError(
                    "the \(unknown.kind) \(unknown.name) cannot be looked up: there is no filesystem yet",
                    advice: "give a number: --link and scratch know no accounts"))
        }
        for unknown in resolved.unknown {
            let file = unknown.kind == "user" ? "/etc/passwd" : "/etc/group"
            let names = unknown.kind == "user" ? accounts.users.map(\.name) : accounts.groups.map(\.name)
            let near = Spelling.closest(unknown.name, among: names).map { " (did you mean \($0)?)" } ?? ""
            notes.append(
                "the \(unknown.kind) \(unknown.name) is not in the image's \(file)\(near): root takes its place")
        }
        return resolved.numbers
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
            try merge(Merged(tree: tree, passages: source.passages), at: destination, change)
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
    private mutating func ensureDirectory(_ path: TreePath, _ new: NewDirectory) throws(CopyFailure) {
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
            let attributes = new.attributes(in: try nearestDirectory(above: path))
            try editor.putDirectory(attributes, at: path, parents: attributes)
        } catch { throw .store(error) }
    }

    /// The attributes of the deepest directory on the way to `path` that is there.
    private mutating func nearestDirectory(above path: TreePath) throws(StoreError) -> Attributes {
        var here = path
        while let _ = here.last {
            here = here.parent
            if case .directory(let attributes)? = try editor.look(here) { return attributes }
        }
        return Attributes(mode: 0o755)
    }

    private mutating func put(_ node: Node, at path: TreePath, _ change: NodeChange) throws(CopyFailure) {
        if case .directory? = try look(path) {
            throw .refused(
                CopyError(
                    "\(path) is a directory and a file would replace it",
                    advice: "remove it before, or choose another destination"))
        }
        do throws(StoreError) {
            try editor.put(.node(change.applied(to: node)), at: path, parents: change.parents.attributes)
        } catch { throw .store(error) }
    }

    /// Puts a whole directory at `path`, in place of what is there.
    private mutating func graft(
        _ tree: TreeRef, at path: TreePath, _ change: NodeChange
    ) throws(CopyFailure) {
        let changed = try change.applied(to: tree, store)
        do throws(StoreError) {
            try editor.put(.directory(changed), at: path, parents: change.parents.attributes)
        } catch { throw .store(error) }
    }

    /// Merges what is in a directory into `path`. Below the top, a directory that exists takes the source's attributes.
    private mutating func merge(_ merged: Merged, at path: TreePath, _ change: NodeChange) throws(CopyFailure) {
        if path.components.count > TreePath.depthLimit { throw .store(.tooDeep(path)) }
        let found = try look(path)
        switch found {
        case .node:
            throw .refused(CopyError("\(path) is not a directory and a directory would replace it"))
        case nil where !merged.isTop:
            return try graft(merged.tree, at: path, change)
        case nil:
            try ensureDirectory(path, change.parents)
        case .directory: break
        }
        let directory: DirectoryObject
        do throws(StoreError) {
            directory = try store.directory(merged.tree.object)
            if !merged.isTop, case .directory(var attributes)? = found {
                if merged.isPassage {
                    attributes.mode = directory.attributes.mode
                } else {
                    attributes = change.applied(to: directory.attributes)
                }
                try editor.putDirectory(attributes, at: path, parents: attributes)
            }
        } catch { throw .store(error) }
        for item in directory.items {
            let target = path.appending(item.name)
            switch item.entry {
            case .directory(let child): try merge(merged.entering(item.name, child), at: target, change)
            case .node(let node): try put(node, at: target, change)
            }
        }
    }
}

/// A directory of a source, and where it lies there.
private struct Merged {
    let tree: TreeRef
    let passages: Set<[UInt8]>
    var path: [UInt8] = []

    var isTop: Bool { path.isEmpty }
    /// Whether it comes along only for what is beneath it. As in BuildKit, one that exists takes nothing but its mode.
    var isPassage: Bool { !passages.isEmpty && passages.contains(path) }

    func entering(_ name: FileName, _ child: TreeRef) -> Merged {
        Merged(
            tree: child, passages: passages, path: path.isEmpty ? name.bytes : path + [UInt8(ascii: "/")] + name.bytes)
    }
}

/// What a directory is like that has to be made.
private struct NewDirectory {
    let attributes: Attributes
    /// Whether the owner was asked for.
    let isOwned: Bool

    /// In a directory with the set-group-ID bit a new one has it too, and the group unless another is asked for: the
    /// kernel does so when BuildKit makes it.
    func attributes(in parent: Attributes) -> Attributes {
        guard parent.mode & 0o2000 != 0 else { return attributes }
        var inherited = attributes
        inherited.mode |= 0o2000
        if !isOwned { inherited.gid = parent.gid }
        return inherited
    }
}

/// What `--chown` and `--chmod` do to each copied node.
private struct NodeChange {
    let owner: AccountNumbers?
    let mode: FileModeChange?
    /// What all that is copied has in place of its own times.
    let time: Timestamp?
    /// Makes the link groups of one copied source its own: names that were one file are one file again, but never the
    /// same one as the source, or as another copy of it.
    let linkSalt: [UInt8]

    init(_ copy: Copy, owner: AccountNumbers?) throws(CopyFailure) {
        self.owner = owner
        time = copy.time.map { Timestamp(seconds: $0) }
        linkSalt = []
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
    }

    private init(_ other: NodeChange, linkSalt: [UInt8]) {
        owner = other.owner
        mode = other.mode
        time = other.time
        self.linkSalt = linkSalt
    }

    /// The change for the source of this number.
    func copying(source: Int, to destination: TreePath) -> NodeChange {
        NodeChange(self, linkSalt: Array("\(source) ".utf8) + destination.relativeBytes)
    }

    /// Directories that have to be made on the way. A mode that is a number is theirs too, as in BuildKit, which makes
    /// them with a umask of 022.
    var parents: NewDirectory { directories(mode: mode?.number.map { $0 & 0o755 } ?? 0o755) }

    /// The same for what is unpacked, which no mode changes.
    var archiveParents: NewDirectory { directories(mode: 0o755) }

    private func directories(mode: UInt16) -> NewDirectory {
        NewDirectory(
            attributes: Attributes(mode: mode, uid: owner?.uid ?? 0, gid: owner?.gid ?? 0, time: time ?? .epoch),
            isOwned: owner != nil)
    }

    /// Whether a node that is no part of a link group stays as it is, whatever it is.
    private var keepsNodes: Bool { owner == nil && time == nil && mode == nil }

    func applied(to node: Node) -> Node {
        var node = node
        if case .symlink = node.content {
            if let owner { (node.attributes.uid, node.attributes.gid) = (owner.uid, owner.gid) }
            if let time { node.attributes.time = time }
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
        if let owner { (attributes.uid, attributes.gid) = (owner.uid, owner.gid) }
        if let time { attributes.time = time }
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
            case .node(let node):
                if keepsNodes && node.linkGroup == 0 { continue }
                entry = .node(applied(to: node))
            }
            if entry == items[index].entry { continue }
            items[index].entry = entry
            differs = true
        }
        return differs ? try store.put(DirectoryObject(attributes: attributes, items: items)) : tree
    }
}
