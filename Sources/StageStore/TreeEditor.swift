// Changes a tree by paths and commits the result: only the directories above a change are made again.

import StageHash
import StageSystem

/// A tree being changed. Directories are read when a path first goes through them.
///
/// Paths name entries literally: symlinks are never followed here (see `DirectorySource.resolve`).
public struct TreeEditor {
    fileprivate final class Branch {
        var attributes: Attributes
        var children: [FileName: Child]

        init(attributes: Attributes, children: [FileName: Child] = [:]) {
            self.attributes = attributes
            self.children = children
        }

        /// Takes deep trees apart step by step: left to itself, each level would release the next on the same stack.
        deinit {
            var rest = children.values.compactMap(\.branch)
            children = [:]
            while var branch = rest.popLast() {
                guard isKnownUniquelyReferenced(&branch) else { continue }
                rest += branch.children.values.compactMap(\.branch)
                branch.children = [:]
            }
        }
    }

    fileprivate enum Child {
        case kept(Entry)
        case changed(Branch)

        var branch: Branch? {
            if case .changed(let branch) = self { return branch }
            return nil
        }
    }

    private let store: any DirectorySink
    private var root: Child

    /// Starts from `tree`; nil starts from an empty root directory, mode 0755, owned by 0:0.
    public init(_ tree: TreeRef?, store: any DirectorySink) {
        self.store = store
        root = tree.map { .kept(.directory($0)) } ?? .changed(Branch(attributes: Attributes(mode: 0o755)))
    }

    /// What `path` leads to, and the attributes when that is a directory.
    public mutating func look(_ path: TreePath) throws(StoreError) -> Found? {
        var here = root
        for name in path.components {
            switch here {
            case .changed(let branch):
                guard let next = branch.children[name] else { return nil }
                here = next
            case .kept(.directory(let ref)):
                guard let next = try store.directory(ref.object)[name] else { return nil }
                here = .kept(next)
            case .kept(.node):
                return nil
            }
        }
        switch here {
        case .changed(let branch): return .directory(branch.attributes)
        case .kept(.directory(let ref)): return .directory(try store.directory(ref.object).attributes)
        case .kept(.node(let node)): return .node(node)
        }
    }

    public enum Found: Sendable, Hashable {
        case directory(Attributes)
        case node(Node)
    }

    /// The names in the directory at `path`; empty when there is none.
    public mutating func names(in path: TreePath) throws(StoreError) -> [FileName] {
        guard let branch = try open(path, creating: nil) else { return [] }
        return Array(branch.children.keys)
    }

    /// Puts `entry` at `path`, in place of whatever was there. Missing parents are made with `parents`' attributes.
    /// A parent that is not a directory is replaced by one.
    public mutating func put(_ entry: Entry, at path: TreePath, parents: Attributes) throws(StoreError) {
        guard let name = path.last else {
            if case .directory = entry { root = .kept(entry) }
            return
        }
        try open(path.parent, creating: parents)?.children[name] = .kept(entry)
    }

    /// Makes sure that a directory is at `path`: an existing one gets `attributes` and keeps its entries; anything else is replaced.
    public mutating func putDirectory(
        _ attributes: Attributes, at path: TreePath, parents: Attributes
    ) throws(StoreError) {
        guard let name = path.last else {
            try open(path, creating: parents)?.attributes = attributes
            return
        }
        guard let parent = try open(path.parent, creating: parents) else { return }
        if let branch = try branch(of: parent.children[name]) {
            branch.attributes = attributes
            parent.children[name] = .changed(branch)
        } else {
            parent.children[name] = .changed(Branch(attributes: attributes))
        }
    }

    /// Takes away what is at `path`; says whether there was something.
    @discardableResult
    public mutating func remove(_ path: TreePath) throws(StoreError) -> Bool {
        guard let name = path.last, let parent = try open(path.parent, creating: nil) else { return false }
        return parent.children.removeValue(forKey: name) != nil
    }

    /// Takes away everything in the directory at `path` and keeps the directory.
    public mutating func removeContents(of path: TreePath) throws(StoreError) {
        try open(path, creating: nil)?.children = [:]
    }

    /// Writes what changed and gives the tree's names. The editor can go on from there.
    public mutating func commit() throws(StoreError) -> TreeRef {
        let ref = try commit(root)
        root = .kept(.directory(ref))
        return ref
    }

    private struct Level {
        let name: FileName?
        let branch: Branch
        var items: [DirectoryObject.Item] = []
        /// Changed subdirectories that are still to be written.
        var pending: [(name: FileName, branch: Branch)] = []

        init(_ name: FileName?, _ branch: Branch) {
            self.name = name
            self.branch = branch
            items.reserveCapacity(branch.children.count)
            for (name, child) in branch.children {
                switch child {
                case .kept(let entry): items.append(.init(name: name, entry: entry))
                case .changed(let branch): pending.append((name, branch))
                }
            }
        }
    }

    /// Writes the deepest first. By a list of levels, not by recursion: threads have small stacks, and trees any depth.
    private func commit(_ child: Child) throws(StoreError) -> TreeRef {
        var levels: [Level] = []
        switch child {
        case .kept(.directory(let ref)): return ref
        // The root is always a directory: `put` refuses anything else there.
        case .kept(.node): throw StoreError.corrupt("the root of a tree is not a directory")
        case .changed(let branch): levels.append(Level(nil, branch))
        }
        while true {
            if let next = levels[levels.count - 1].pending.popLast() {
                levels.append(Level(next.name, next.branch))
                continue
            }
            let done = levels.removeLast()
            let ref = try store.put(DirectoryObject(attributes: done.branch.attributes, items: done.items))
            guard let name = done.name, let above = levels.indices.last else { return ref }
            levels[above].items.append(.init(name: name, entry: .directory(ref)))
            levels[above].branch.children[name] = .kept(.directory(ref))
        }
    }

    /// A branch for `child` if it is a directory.
    private func branch(of child: Child?) throws(StoreError) -> Branch? {
        switch child {
        case .changed(let branch): return branch
        case .kept(.directory(let ref)):
            let directory = try store.directory(ref.object)
            var children: [FileName: Child] = [:]
            children.reserveCapacity(directory.items.count)
            for item in directory.items { children[item.name] = .kept(item.entry) }
            return Branch(attributes: directory.attributes, children: children)
        case .kept(.node), nil: return nil
        }
    }

    /// The directory at `path`, opened for change; made (in place of what is no directory) when `creating` is given.
    private mutating func open(_ path: TreePath, creating: Attributes?) throws(StoreError) -> Branch? {
        if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
        guard var here = try branch(of: root) else { return nil }
        root = .changed(here)
        for name in path.components {
            if let next = try branch(of: here.children[name]) {
                here.children[name] = .changed(next)
                here = next
            } else if let creating {
                let next = Branch(attributes: creating)
                here.children[name] = .changed(next)
                here = next
            } else {
                return nil
            }
        }
        return here
    }
}
