// Turns an upper directory into the tree that it makes of the input tree. Specs/runner.md says what counts as a change.

import Glibc
import StageHash
import StageStore
import StageSystem

/// A content that is in the store now.
private struct Kept: Sendable {
    var digest: Digest
    var size: UInt64
}

/// The capture of one `RUN`.
struct Capture: Sendable {
    let store: any TreeStore
    let input: TreeRef
    let key: StepKey
    let privileges: Privileges

    /// The tree that `upper` makes of the input; equal to the input when nothing changed. Contents are kept in the store.
    func tree(upper: String, workers: Int) async throws(StoreError) -> TreeRef {
        let root = try system { () throws(SystemError) in
            SharedDescriptor(try OwnedFD.open(upper, O_RDONLY | O_DIRECTORY))
        }
        var scan = UpperScan(root: root.fd.raw, privileges: privileges)
        defer { scan.relock() }
        let scanned: ScannedDirectory
        do throws(SystemError) { scanned = try scan.scan() } catch { throw .system(error) }
        if let path = scan.tooDeep { throw .tooDeep(TreePath(bytes: path.map { UInt8(bitPattern: $0) })) }
        let digests = try await ingest(scan.files, root, workers: workers)
        var assembly = Assembly(store: store, key: key, digests: digests, privileges: privileges)
        return try assembly.merge(scanned, onto: input, shows: true, path: TreePath())
    }

    /// Reads the files into the store, several at once; their digests in the same order.
    private func ingest(
        _ files: [UpperScan.File], _ root: SharedDescriptor, workers: Int
    ) async throws(StoreError) -> [Kept] {
        let work = SharedWork(
            count: files.count, found: [Kept](repeating: Kept(digest: .zero, size: 0), count: files.count))
        try await work.run(workers: workers) { index throws(StoreError) in
            let kept = try ingest(files[index], root.fd.raw)
            work.add { $0[index] = kept }
        }
        return work.found
    }

    private func ingest(
        _ file: UpperScan.File, _ root: CInt
    ) throws(StoreError) -> Kept {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        let subject = String(decoding: file.path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let fd = try system { () throws(SystemError) in
            OwnedFD(
                owning: try retrying("open", subject) {
                    openat(root, file.path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY)
                })
        }
        var count = try system { () throws(SystemError) in try readFull(fd.raw, buffer, subject) }
        if count < buffer.count {
            return Kept(digest: try store.put(UnsafeRawBufferPointer(rebasing: buffer[..<count])), size: UInt64(count))
        }
        var ingest = try store.ingest()
        while count > 0 {
            try ingest.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            count = try system { () throws(SystemError) in try readFull(fd.raw, buffer, subject) }
        }
        let (digest, size) = try ingest.finish()
        return Kept(digest: digest, size: size)
    }
}

/// Merges scanned directories onto those of the input tree.
private struct Assembly {
    let store: any TreeStore
    let key: StepKey
    let digests: [Kept]
    let privileges: Privileges
    private var linkGroups: [UInt64: UInt64] = [:]

    init(store: any TreeStore, key: StepKey, digests: [Kept], privileges: Privileges) {
        self.store = store
        self.key = key
        self.digests = digests
        self.privileges = privileges
    }

    /// The directory that `scanned` makes of `existing`; `existing` itself when nothing but times of directories differ.
    ///
    /// - Parameter shows: whether entries of `existing` show through; beneath an opaque directory they serve for
    ///   comparison only, so that a file made anew just as it was counts as touched.
    mutating func merge(
        _ scanned: ScannedDirectory, onto existing: TreeRef?, shows: Bool, path: TreePath
    ) throws(StoreError) -> TreeRef {
        var old: DirectoryObject?
        if let existing { old = try store.directory(existing.object) }
        let shows = shows && !scanned.isOpaque
        var items: [FileName: Entry] = [:]
        if let old, shows {
            items.reserveCapacity(old.items.count)
            for item in old.items { items[item.name] = item.entry }
        }
        for (name, entry) in scanned.entries.sorted(by: { $0.name < $1.name }) {
            switch entry {
            case .whiteout:
                items[name] = nil
            case .directory(let directory):
                var before: TreeRef?
                if case .directory(let ref)? = old?[name] { before = ref }
                items[name] = .directory(
                    try merge(directory, onto: before, shows: shows, path: path.appending(name)))
            case .node(let node):
                items[name] = .node(merge(node, onto: old?[name], path: path.appending(name)))
            }
        }
        let attributes = owned(scanned.attributes, old?.attributes)
        if let existing, let old, old.attributes.sameIdentity(as: attributes), old.items.count == items.count,
            old.items.allSatisfy({ items[$0.name] == $0.entry })
        {
            return existing
        }
        return try store.put(
            DirectoryObject(attributes: attributes, items: items.map { .init(name: $0.key, entry: $0.value) }))
    }

    /// An equal node with an equal time is the old one; one with another time was touched by this step.
    private mutating func merge(_ scanned: ScannedNode, onto existing: Entry?, path: TreePath) -> Node {
        let content: Node.Content
        switch scanned.content {
        case .file(let index): content = .file(digests[index].digest, size: digests[index].size)
        case .other(let other): content = other
        }
        var old: Node?
        if case .node(let node)? = existing { old = node }
        var node = Node(attributes: owned(scanned.attributes, old?.attributes), content: content)
        if scanned.sharedInode != 0 { node.linkGroup = group(scanned.sharedInode, path) }
        guard let old, old.content == node.content, old.attributes.sameIdentity(as: node.attributes) else {
            return node
        }
        if old.attributes.time != node.attributes.time {
            node.touch = key.digest
        } else {
            // A name that got a second one is not touched by that, and stays what it was: the new name is a file of its own,
            // in the tree as in the layer, as in BuildKit's images (Specs/runner.md).
            node.touch = old.touch
            node.linkGroup = old.linkGroup
        }
        return node
    }

    /// Without privileges nothing can change an owner, so what was there keeps its own.
    private func owned(_ attributes: Attributes, _ old: Attributes?) -> Attributes {
        guard !privileges.isRoot, let old else { return attributes }
        var result = attributes
        (result.uid, result.gid) = (old.uid, old.gid)
        return result
    }

    /// A number for the names of one inode that another run of the step finds again: from the key and the first name.
    private mutating func group(_ inode: UInt64, _ path: TreePath) -> UInt64 {
        if let known = linkGroups[inode] { return known }
        let digest = Digest.of(key.digest.bytes + path.relativeBytes)
        let number = max(1, digest.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
        linkGroups[inode] = number
        return number
    }
}
