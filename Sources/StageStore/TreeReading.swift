// Reading trees: look-ups by path with and without symlinks, walks, and the difference of two trees.

import StageHash
import StageSystem

extension DirectorySource {
    /// What `path` leads to, literally: a symlink on the way or at the end is not followed.
    public func entry(at path: TreePath, in tree: TreeRef) throws(StoreError) -> Entry? {
        var here = Entry.directory(tree)
        for name in path.components {
            guard case .directory(let ref) = here, let next = try directory(ref.object)[name] else { return nil }
            here = next
        }
        return here
    }

    /// Where `path` leads once symlinks are followed inside the tree, as the kernel would with the tree as root.
    /// What is missing is taken literally, so the result may not exist. Nil when more than 255 links are met.
    ///
    /// - Parameter followsLast: whether a symlink in the last place is followed too.
    public func resolve(_ path: TreePath, in tree: TreeRef, followsLast: Bool = true) throws(StoreError) -> TreePath? {
        try find(path, in: tree, followsLast: followsLast)?.path
    }

    /// As `resolve`, with what is there; nil for an entry that does not exist.
    public func find(
        _ path: TreePath, in tree: TreeRef, followsLast: Bool = true
    ) throws(StoreError) -> (path: TreePath, entry: Entry?)? {
        var done: [FileName] = []
        // What is at the root and at each name of `done`.
        var way: [Entry?] = [.directory(tree)]
        var rest = Array(path.components.reversed())
        var links = 0
        while let name = rest.popLast() {
            if name == ".." {
                if done.popLast() != nil { way.removeLast() }
                continue
            }
            var next: Entry?
            if case .directory(let ref)?? = way.last { next = try directory(ref.object)[name] }
            if !rest.isEmpty || followsLast, case .node(let node)? = next, case .symlink(let target) = node.content {
                links += 1
                if links > 255 { return nil }
                if target.first == 0x2F {
                    done = []
                    way.removeLast(way.count - 1)
                }
                // `..` stays as a component: what it means depends on where the link before it led.
                let parts = target.split(separator: 0x2F).filter { $0 != [0x2E] }
                rest.append(contentsOf: parts.reversed().map { FileName(bytes: $0) })
                continue
            }
            done.append(name)
            way.append(next)
        }
        return (TreePath(done), way.last ?? nil)
    }

    /// Visits every entry beneath `tree` in path order, a directory before what is in it. The root itself is not visited.
    public func walk(
        _ tree: TreeRef, at path: TreePath = TreePath(), _ visit: (TreePath, Entry) throws(StoreError) -> Void
    ) throws(StoreError) {
        // By a list, not by recursion: threads have small stacks, and trees any depth.
        var levels = [(path: path, items: try directory(tree.object).items[...])]
        while let top = levels.indices.last {
            guard let item = levels[top].items.popFirst() else {
                levels.removeLast()
                continue
            }
            let itemPath = levels[top].path.appending(item.name)
            try visit(itemPath, item.entry)
            if case .directory(let ref) = item.entry {
                if itemPath.components.count > TreePath.depthLimit { throw .tooDeep(itemPath) }
                levels.append((itemPath, try directory(ref.object).items[...]))
            }
        }
    }

    /// How many regular files and how many bytes of content a tree has; a hard-linked file counts once.
    public func size(of tree: TreeRef) throws(StoreError) -> (files: Int, bytes: UInt64) {
        var files = 0
        var bytes: UInt64 = 0
        var groups = Set<UInt64>()
        // Which order does not matter, and no path is asked for: directories wait in a list, with their depth.
        var waiting = [(tree: tree, depth: 0)]
        while let next = waiting.popLast() {
            if next.depth > TreePath.depthLimit { throw .tooDeep(TreePath()) }
            for item in try directory(next.tree.object).items {
                switch item.entry {
                case .directory(let child): waiting.append((child, next.depth + 1))
                case .node(let node):
                    guard let file = node.file else { continue }
                    files += 1
                    if node.linkGroup == 0 || groups.insert(node.linkGroup).inserted { bytes &+= file.size }
                }
            }
        }
        return (files, bytes)
    }
}

/// One difference between two trees.
public enum TreeChange: Sendable, Hashable {
    /// A directory that is new, or whose attributes or entries differ. What differs inside follows.
    case directory(TreePath, Attributes, existed: Bool)
    /// A node that is new or differs; it replaces whatever was there.
    case node(TreePath, Node)
    /// Something that is no longer there.
    case removed(TreePath)

    public var path: TreePath {
        switch self {
        case .directory(let path, _, _), .node(let path, _), .removed(let path): path
        }
    }
}

extension DirectorySource {
    /// What makes `new` out of `old` (nil: nothing), in path order, a directory before what is in it.
    ///
    /// Subtrees of one identity are not looked into: a difference of times alone is none. Every directory above a
    /// difference is reported. A directory that took the place of a node is reported with `existed: false`.
    public func difference(
        from old: TreeRef?, to new: TreeRef, _ visit: (TreeChange) throws(StoreError) -> Void
    ) throws(StoreError) {
        if old?.identity == new.identity { return }
        var levels = [try begin(from: old, to: new, at: TreePath(), visit)]
        while let top = levels.indices.last {
            let path = levels[top].path
            guard let item = levels[top].new.first else {
                for gone in levels[top].old { try visit(.removed(path.appending(gone.name))) }
                levels.removeLast()
                continue
            }
            if let gone = levels[top].old.first, gone.name < item.name {
                levels[top].old.removeFirst()
                try visit(.removed(path.appending(gone.name)))
                continue
            }
            levels[top].new.removeFirst()
            var before: Entry?
            if levels[top].old.first?.name == item.name { before = levels[top].old.removeFirst().entry }
            if let before, before.sameIdentity(as: item.entry) { continue }
            let itemPath = path.appending(item.name)
            switch item.entry {
            case .node(let node):
                try visit(.node(itemPath, node))
            case .directory(let ref):
                var oldRef: TreeRef?
                if case .directory(let ref)? = before { oldRef = ref }
                levels.append(try begin(from: oldRef, to: ref, at: itemPath, visit))
            }
        }
    }

    private func begin(
        from old: TreeRef?, to new: TreeRef, at path: TreePath, _ visit: (TreeChange) throws(StoreError) -> Void
    ) throws(StoreError) -> ComparedDirectories {
        if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
        let newDirectory = try directory(new.object)
        try visit(.directory(path, newDirectory.attributes, existed: old != nil))
        var compared = ComparedDirectories(path: path, old: [], new: newDirectory.items[...])
        if let old { compared.old = try directory(old.object).items[...] }
        return compared
    }
}

/// Two directories at one path, and what of them is still to be compared.
private struct ComparedDirectories {
    let path: TreePath
    var old: ArraySlice<DirectoryObject.Item>
    var new: ArraySlice<DirectoryObject.Item>
}
