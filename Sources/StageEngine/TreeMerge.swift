// `COPY --link`: one tree laid over another, each as it is. Nothing of the lower one decides what the upper one means: a symlink
// where the upper has a directory gives way to the directory. Specs/copy.md, "Link".

import StageStore
import StageSystem

struct TreeMerge {
    let store: any TreeStore

    /// `upper` over `lower`. Directories that both have take the attributes of the upper one, the root apart; anything else
    /// takes the place of what was there.
    func merged(_ upper: TreeRef, over lower: TreeRef) throws(StoreError) -> TreeRef {
        try merged(upper, over: lower, at: TreePath())
    }

    private func merged(_ upper: TreeRef, over lower: TreeRef, at path: TreePath) throws(StoreError) -> TreeRef {
        if upper.object == lower.object { return lower }
        if path.components.count > TreePath.depthLimit { throw .tooDeep(path) }
        let (top, base) = (try store.directory(upper.object), try store.directory(lower.object))
        var items: [DirectoryObject.Item] = []
        var (over, under) = (top.items[...], base.items[...])
        // Both lists are in the order of their names.
        while let next = over.first ?? under.first {
            if let item = under.first, over.first.map({ item.name < $0.name }) ?? true {
                items.append(under.removeFirst())
                continue
            }
            if let other = under.first, other.name == next.name {
                under.removeFirst()
                items.append(try merged(next, over: other, path))
            } else {
                items.append(next)
            }
            over.removeFirst()
        }
        return try store.put(
            DirectoryObject(attributes: path.isRoot ? base.attributes : top.attributes, items: items))
    }

    private func merged(
        _ upper: DirectoryObject.Item, over lower: DirectoryObject.Item, _ path: TreePath
    ) throws(StoreError) -> DirectoryObject.Item {
        guard case .directory(let tree) = upper.entry, case .directory(let base) = lower.entry else { return upper }
        var item = upper
        item.entry = .directory(try merged(tree, over: base, at: path.appending(upper.name)))
        return item
    }
}
