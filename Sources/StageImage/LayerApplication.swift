// Applies a layer to a tree. Trees have no links that lead out of them, so symlinks in the middle of a path are followed
// within the tree, as a kernel would with the tree as root: real layers put `lib/x` where an earlier one made `lib -> usr/lib`.

import StageHash
import StageStore
import StageSystem

extension ParsedLayer {
    /// The tree that comes of this layer on top of `base` (nil: nothing).
    ///
    /// What the layer removes goes first, whatever its place in the archive: removals speak of the layers below only.
    /// Then entries in order, so that of two for one path the last counts. Missing parents are made, 0755 and 0:0.
    public func apply(to base: TreeRef?, in store: any DirectorySink) throws(ImageError) -> TreeRef {
        var application = LayerApplication(base, store: store, salt: diffID)
        try application.removals(entries)
        for entry in entries { try application.add(entry) }
        return try application.commit()
    }
}

extension ParsedLayer {
    /// This archive unpacked into `base`, as docker does it: directories that it does not name keep what they have, one that
    /// it does name takes the place of a symlink, and its entry for the top says nothing.
    func unpack(
        onto base: TreeRef, owner: (uid: UInt32, gid: UInt32)?, linkSalt: [UInt8], in store: any DirectorySink
    ) throws(ImageError) -> TreeRef {
        var application = LayerApplication(base, store: store, salt: Digest.of(diffID.bytes + linkSalt))
        for entry in entries where !entry.path.isRoot {
            var attributes = entry.attributes
            if let owner { (attributes.uid, attributes.gid) = owner }
            try application.add(LayerEntry(path: entry.path, kind: entry.kind, attributes: attributes))
        }
        return try application.commit()
    }
}

/// A tree while a layer goes onto it.
private struct LayerApplication {
    private var editor: TreeEditor
    private let salt: Digest
    /// Directories by the paths that were used for them.
    private var resolved: [TreePath: TreePath] = [:]

    private static let parents = Attributes(mode: 0o755)

    init(_ base: TreeRef?, store: any DirectorySink, salt: Digest) {
        editor = TreeEditor(base, store: store)
        self.salt = salt
    }

    mutating func commit() throws(ImageError) -> TreeRef {
        try storing { () throws(StoreError) in try editor.commit() }
    }

    mutating func removals(_ entries: [LayerEntry]) throws(ImageError) {
        for entry in entries {
            switch entry.kind {
            case .removal:
                guard let name = entry.path.last else { continue }
                let path = try directory(entry.path.parent, for: entry).appending(name)
                let removed = try storing { () throws(StoreError) in try editor.remove(path) }
                if removed { resolved = [:] }
            case .opaque:
                let path = try directory(entry.path, for: entry)
                try storing { () throws(StoreError) in try editor.removeContents(of: path) }
                resolved = [:]
            default:
                continue
            }
        }
        // Directories that were only looked for may be missing; what is added next may make something else of them.
        resolved = [:]
    }

    mutating func add(_ entry: LayerEntry) throws(ImageError) {
        switch entry.kind {
        case .removal, .opaque:
            return
        case .directory:
            let path = try place(entry)
            if case .node(let old)? = try look(path), case .symlink = old.content { resolved = [:] }
            try storing { () throws(StoreError) in
                try editor.putDirectory(entry.attributes, at: path, parents: Self.parents)
            }
        case .node(let content):
            try put(Node(attributes: entry.attributes, content: content), at: try place(entry))
        case .hardLink(let target):
            try link(entry, to: target)
        }
    }

    private mutating func link(_ entry: LayerEntry, to target: TreePath) throws(ImageError) {
        guard let name = target.last else { throw refused(entry, "it is a hard link to the root directory") }
        let targetPath = try directory(target.parent, for: entry).appending(name)
        let path = try place(entry)
        switch try look(targetPath) {
        case .node(var node)?:
            if targetPath == path { return }
            if node.linkGroup == 0 {
                node.linkGroup = group(of: targetPath)
                try put(node, at: targetPath)
            }
            try put(node, at: path)
        case .directory?:
            throw refused(entry, "it is a hard link to the directory \(target)")
        case nil:
            throw refused(entry, "it is a hard link to \(target), which is not there")
        }
    }

    /// A number that all names of one file share: from the layer and the first name, so that it is the same every time.
    private func group(of path: TreePath) -> UInt64 {
        var hasher = DigestHasher()
        hasher.update(salt.bytes)
        hasher.update(path.relativeBytes)
        let number = hasher.finalize().bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return number == 0 ? 1 : number
    }

    private mutating func put(_ node: Node, at path: TreePath) throws(ImageError) {
        switch try look(path) {
        case .directory?: resolved = [:]
        case .node(let old)?: if case .symlink = old.content { resolved = [:] }
        case nil: break
        }
        try storing { () throws(StoreError) in try editor.put(.node(node), at: path, parents: Self.parents) }
    }

    private mutating func look(_ path: TreePath) throws(ImageError) -> TreeEditor.Found? {
        try storing { () throws(StoreError) in try editor.look(path) }
    }

    // MARK: Paths

    /// Where the entry goes: its parent resolved, its own name as it stands.
    private mutating func place(_ entry: LayerEntry) throws(ImageError) -> TreePath {
        guard let name = entry.path.last else { return TreePath() }
        return try directory(entry.path.parent, for: entry).appending(name)
    }

    /// The directory that `path` leads to once symlinks are followed; what is missing is taken literally.
    private mutating func directory(_ path: TreePath, for entry: LayerEntry) throws(ImageError) -> TreePath {
        if path.isRoot { return path }
        if let known = resolved[path] { return known }
        var done: [FileName] = []
        var rest = Array(path.components.reversed())
        var links = 0
        while let name = rest.popLast() {
            // Only links bring `..`: members' own were cleaned away.
            if name == ".." {
                _ = done.popLast()
                continue
            }
            done.append(name)
            guard case .node(let node)? = try look(TreePath(done)) else { continue }
            guard case .symlink(let target) = node.content else {
                throw refused(entry, "\(TreePath(done)), which it lies in, is not a directory")
            }
            links += 1
            if links > 255 { throw refused(entry, "too many symbolic links lead to it") }
            done.removeLast()
            if target.first == 0x2F { done = [] }
            let parts = target.split(separator: 0x2F).filter { $0 != [0x2E] }
            guard parts.allSatisfy({ $0.count <= 255 }), rest.count + parts.count <= 4 * PathLimit.bytes else {
                throw refused(entry, "a symbolic link that leads to it has too long a target")
            }
            rest.append(contentsOf: parts.reversed().map { FileName(bytes: $0) })
        }
        guard done.count < PathLimit.depth, done.reduce(0, { $0 + $1.bytes.count + 1 }) <= PathLimit.bytes else {
            throw refused(
                entry, "it lies too deep: at most \(PathLimit.depth) directories and \(PathLimit.bytes) bytes")
        }
        let result = TreePath(done)
        resolved[path] = result
        return result
    }

    private func refused(_ entry: LayerEntry, _ reason: String) -> ImageError {
        .refusedMember(name: printable(entry.path.relativeBytes), reason: reason)
    }
}
