// What has to be written to disk for a tree, or for the difference of two: a job per directory.

import StageHash
import StageStore
import StageSystem

/// The directories to make, parents first, and what goes directly into each.
struct CheckoutPlan: Sendable {
    struct Job: Sendable {
        /// Relative to the checkout's root, NUL-terminated; just the NUL for the root.
        var path: [CChar]
        var attributes: Attributes
        /// The directory hides what lower directories have at its place.
        var isOpaque: Bool
        var nodes: [(name: FileName, node: Node)] = []
        /// Names that lower directories have and the tree has not.
        var whiteouts: [FileName] = []
    }

    private(set) var jobs: [Job] = []

    /// Everything in `tree`.
    init(full tree: TreeRef, from source: any DirectorySource) throws(StoreError) {
        try add(old: nil, new: tree, path: [0], depth: 0, isOpaque: false, source)
    }

    /// What makes `new` out of `old`, in overlayfs' form.
    init(from old: TreeRef, to new: TreeRef, source: any DirectorySource) throws(StoreError) {
        try add(old: old, new: new, path: [0], depth: 0, isOpaque: false, source)
    }

    private mutating func add(
        old: TreeRef?, new: TreeRef, path: [CChar], depth: Int, isOpaque: Bool, _ source: any DirectorySource
    ) throws(StoreError) {
        if depth > TreePath.depthLimit {
            throw .tooDeep(TreePath(bytes: path.dropLast().map { UInt8(bitPattern: $0) }))
        }
        let directory = try source.directory(new.object)
        var before: DirectoryObject?
        if let old { before = try source.directory(old.object) }
        let index = jobs.count
        jobs.append(Job(path: path, attributes: directory.attributes, isOpaque: isOpaque))
        for item in directory.items {
            let earlier = before?[item.name]
            if let earlier, earlier.sameIdentity(as: item.entry) { continue }
            switch (item.entry, earlier) {
            case (.node(let node), _):
                jobs[index].nodes.append((item.name, node))
            case (.directory(let ref), .directory(let oldRef)?):
                try add(
                    old: oldRef, new: ref, path: Self.join(path, item.name), depth: depth + 1, isOpaque: false, source)
            case (.directory(let ref), let earlier):
                // Over a node the directory starts afresh. Where nothing was it need not be opaque, and must not be:
                // it would hide the mount points that lie in the bottom-most directory.
                try add(
                    old: nil, new: ref, path: Self.join(path, item.name), depth: depth + 1, isOpaque: earlier != nil,
                    source)
            }
        }
        for item in before?.items ?? [] where directory[item.name] == nil { jobs[index].whiteouts.append(item.name) }
    }

    private static func join(_ path: [CChar], _ name: FileName) -> [CChar] {
        var joined = Array(path.dropLast())
        if !joined.isEmpty { joined.append(0x2F) }
        joined.append(contentsOf: name.bytes.map { CChar(bitPattern: $0) })
        joined.append(0)
        return joined
    }
}
