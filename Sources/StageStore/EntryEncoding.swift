// One entry of a tree by itself, for records that name what a step took in.

import StageSystem

extension ByteWriter {
    /// The entry with its times, as directory objects hold it.
    public mutating func entry(_ entry: Entry) {
        switch entry {
        case .directory(let ref):
            u8(FileType.directory.rawValue)
            tree(ref)
        case .node(let node):
            u8(node.kind.rawValue)
            self.node(node, identityOnly: false)
        }
    }

    /// Both names of a tree.
    public mutating func tree(_ tree: TreeRef) {
        digest(tree.identity)
        digest(tree.object)
    }
}

extension ByteReader {
    public mutating func entry() -> Entry? {
        guard let raw = u8(), let kind = FileType(rawValue: raw) else { return nil }
        if kind == .directory { return tree().map { .directory($0) } }
        return node(kind).map { .node($0) }
    }

    public mutating func tree() -> TreeRef? {
        guard let identity = digest(), let object = digest() else { return nil }
        return TreeRef(identity: identity, object: object)
    }
}
