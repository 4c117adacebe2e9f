// Two trees, or two files, side by side: what an explanation lists.

import StageHash
import StageStore
import StageSystem

/// Collects the differences of what a step took in.
struct FileComparison {
    private let store: any TreeStore
    private(set) var changes: [FileChange] = []
    private(set) var total = 0
    /// The directory that was added or removed as a whole, while what is in it goes by.
    private var whole: (path: TreePath, index: Int?)?

    /// So many are listed.
    static let limit = 1000

    init(store: any TreeStore) { self.store = store }

    /// Adds what differs between two things at one path.
    mutating func compare(_ old: Entry?, _ new: Entry?, at path: TreePath) throws(StoreError) {
        if let old, let new, old.sameIdentity(as: new) { return }
        guard case .directory(let before)? = old, case .directory(let after)? = new else {
            return add(path, try state(old), try state(new))
        }
        var found: [TreeChange] = []
        try store.difference(from: before, to: after) { found.append($0) }
        for change in found { try add(change, before, at: path) }
    }

    private mutating func add(_ change: TreeChange, _ before: TreeRef, at top: TreePath) throws(StoreError) {
        let path = top.appending(change.path)
        if let whole, path.components.count > whole.path.components.count, path.starts(with: whole.path) {
            if case .node = change, let index = whole.index { changes[index].now?.contained? += 1 }
            return
        }
        whole = nil
        let old = try store.entry(at: change.path, in: before)
        switch change {
        case .node(_, let node): add(path, try state(old), FileState(node))
        case .removed: add(path, try state(old), nil)
        case .directory(_, let attributes, let existed):
            if case .directory(let ref)? = old, existed {
                let was = try store.directory(ref.object).attributes
                if was.sameIdentity(as: attributes) { return }
                return add(path, FileState(directory: was), FileState(directory: attributes))
            }
            whole = (path, changes.count < Self.limit ? changes.count : nil)
            add(path, try state(old), FileState(directory: attributes, contained: 0))
        }
    }

    private mutating func add(_ path: TreePath, _ was: FileState?, _ now: FileState?) {
        total += 1
        guard changes.count < Self.limit else { return }
        changes.append(FileChange(path: String(decoding: path.relativeBytes, as: UTF8.self), was: was, now: now))
    }

    private func state(_ entry: Entry?) throws(StoreError) -> FileState? {
        switch entry {
        case nil: return nil
        case .node(let node): return FileState(node)
        case .directory(let ref):
            let attributes = try store.directory(ref.object).attributes
            return FileState(directory: attributes, contained: try store.size(of: ref).files)
        }
    }
}
