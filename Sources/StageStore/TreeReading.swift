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
        var done: [FileName] = []
        var rest = Array(path.components.reversed())
        var links = 0
        while let name = rest.popLast() {
            if name == ".." {
                _ = done.popLast()
                continue
            }
            done.append(name)
            if rest.isEmpty && !followsLast { break }
            guard case .node(let node)? = try entry(at: TreePath(done), in: tree),
                case .symlink(let target) = node.content
            else { continue }
            links += 1
            if links > 255 { return nil }
            done.removeLast()
            if target.first == 0x2F { done = [] }
            // `..` stays as a component: what it means depends on where the link before it led.
            let parts = target.split(separator: 0x2F).filter { $0 != [0x2E] }
            rest.append(contentsOf: parts.reversed().map { FileName(bytes: $0) })
        }
        return TreePath(done)
    }

    /// Visits every entry beneath `tree` in path order, a directory before what is in it. The root itself is not visited.
    public func walk(
        _ tree: TreeRef, at path: TreePath = TreePath(), _ visit: (TreePath, Entry) throws(StoreError) -> Void
    ) throws(StoreError) {
        if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
        for item in try directory(tree.object).items {
            let itemPath = path.appending(item.name)
            try visit(itemPath, item.entry)
            if case .directory(let ref) = item.entry { try walk(ref, at: itemPath, visit) }
        }
    }

    /// How many regular files and how many bytes of content a tree has; a hard-linked file counts once.
    public func size(of tree: TreeRef) throws(StoreError) -> (files: Int, bytes: UInt64) {
        var files = 0
        var bytes: UInt64 = 0
        var groups = Set<UInt64>()
        try walk(tree) { _, entry in
            guard case .node(let node) = entry, let file = node.file else { return }
            files += 1
            if node.linkGroup == 0 || groups.insert(node.linkGroup).inserted { bytes &+= file.size }
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
        try difference(from: old, to: new, at: TreePath(), visit)
    }

    private func difference(
        from old: TreeRef?, to new: TreeRef, at path: TreePath, _ visit: (TreeChange) throws(StoreError) -> Void
    ) throws(StoreError) {
        if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
        let newDirectory = try directory(new.object)
        try visit(.directory(path, newDirectory.attributes, existed: old != nil))
        let oldItems: [DirectoryObject.Item]
        if let old { oldItems = try directory(old.object).items } else { oldItems = [] }
        var index = 0
        for item in newDirectory.items {
            while index < oldItems.count, oldItems[index].name < item.name {
                try visit(.removed(path.appending(oldItems[index].name)))
                index += 1
            }
            var before: Entry?
            if index < oldItems.count, oldItems[index].name == item.name {
                before = oldItems[index].entry
                index += 1
            }
            if let before, before.sameIdentity(as: item.entry) { continue }
            let itemPath = path.appending(item.name)
            switch item.entry {
            case .node(let node):
                try visit(.node(itemPath, node))
            case .directory(let ref):
                if case .directory(let oldRef)? = before {
                    try difference(from: oldRef, to: ref, at: itemPath, visit)
                } else {
                    try difference(from: nil, to: ref, at: itemPath, visit)
                }
            }
        }
        while index < oldItems.count {
            try visit(.removed(path.appending(oldItems[index].name)))
            index += 1
        }
    }
}
