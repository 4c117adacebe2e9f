// Derives a layer from two trees: the archive of what makes the second out of the first, in one deterministic form.

import StageHash
import StageStore
import StageSystem
import Synchronization

/// Writes archives of trees.
public struct LayerWriter {
    /// What was written.
    public struct Summary: Hashable, Sendable, Codable {
        /// The SHA-256 of the archive.
        public let diffID: Digest
        /// The length of the archive.
        public let size: UInt64
    }

    private let store: any DirectorySource & ContentSource

    public init(store: any DirectorySource & ContentSource) { self.store = store }

    /// Writes the layer that makes `new` out of `old` (nil: nothing). No difference gives an archive without members.
    ///
    /// - Parameter sink: gets the archive in order; for the digest alone, one that does nothing.
    @discardableResult
    public func write(
        from old: TreeRef?, to new: TreeRef, to sink: @escaping ByteSink = { _ in }
    ) throws(ImageError) -> Summary {
        try write(old, new, whiteouts: true, sink)
    }

    /// Writes all of `tree` as a plain archive, in which no name has a special meaning.
    @discardableResult
    public func writeWhole(_ tree: TreeRef, to sink: @escaping ByteSink) throws(ImageError) -> Summary {
        try write(nil, tree, whiteouts: false, sink)
    }

    private func write(
        _ old: TreeRef?, _ new: TreeRef, whiteouts: Bool, _ sink: @escaping ByteSink
    ) throws(ImageError) -> Summary {
        let hasher = ArchiveHasher()
        var rootBefore = Attributes(mode: 0o755)
        if let old {
            rootBefore = try storing { () throws(StoreError) in try store.directory(old.object).attributes }
        }
        var session = Session(store: store, whiteouts: whiteouts, rootBefore: rootBefore) { piece throws(ImageError) in
            hasher.update(piece)
            try sink(piece)
        }
        var failure: ImageError?
        do throws(StoreError) {
            try store.difference(from: old, to: new) { change throws(StoreError) in
                do throws(ImageError) { try session.add(change) } catch {
                    failure = error
                    throw StoreError.corrupt("writing stopped")
                }
            }
        } catch {
            throw failure ?? .store(error)
        }
        let size = try session.finish()
        return Summary(diffID: hasher.finish(), size: size)
    }
}

/// One archive being written.
private struct Session: ~Copyable {
    private let store: any ContentSource
    private let whiteouts: Bool
    private let rootBefore: Attributes
    private var writer: TarWriter
    /// Members that are not written yet: the contents of several files are read at once.
    private var waiting = MemberBatch()
    private var waitingBytes: UInt64 = 0
    /// What was collected before those. Its contents are looked up by the scout, while the batch before it is read.
    private var scouted: MemberBatch?
    private var scout: Companion?
    /// The first member of each group of hard links, and what it is.
    private var firstOfGroup: [UInt64: (path: [UInt8], node: Node)] = [:]

    init(store: any ContentSource, whiteouts: Bool, rootBefore: Attributes, _ sink: @escaping ByteSink) {
        self.store = store
        self.whiteouts = whiteouts
        self.rootBefore = rootBefore
        writer = TarWriter(sink)
    }

    /// So many members wait at most, or so many bytes of contents.
    private static let batch = (members: 1024, bytes: 4 << 20)

    deinit { scout?.close() }

    mutating func finish() throws(ImageError) -> UInt64 {
        scout?.wait()
        if let scouted { try write(scouted) }
        scouted = nil
        waiting.lookUp(in: store)
        try write(waiting)
        try writer.finish()
        return writer.size
    }

    mutating func add(_ change: TreeChange) throws(ImageError) {
        if whiteouts, let name = change.path.last, name.bytes.starts(with: LayerEntry.whiteoutPrefix) {
            throw .unrepresentable(
                path: change.path.description, reason: "in a layer, names that begin with .wh. mean removals; rename it"
            )
        }
        switch change {
        case .removed(let path):
            guard let name = path.last else { return }
            let marker = path.parent.appending(FileName(bytes: LayerEntry.whiteoutPrefix + name.bytes))
            try add(TarMember(path: marker.relativeBytes, kind: .file))
        case .directory(let path, let attributes, _):
            if path.isRoot {
                if attributes.sameIdentity(as: rootBefore) { return }
                try begin([0x2E, 0x2F], .directory, attributes)
            } else {
                try begin(path.relativeBytes + [0x2F], .directory, attributes)
            }
        case .node(let path, let node):
            try add(node, at: path.relativeBytes)
        }
    }

    private mutating func add(_ node: Node, at path: [UInt8]) throws(ImageError) {
        if node.linkGroup != 0 {
            if let first = firstOfGroup[node.linkGroup] {
                // Nodes that differ are not one file, whatever their group says.
                if first.node.isOneFile(with: node) {
                    return try begin(path, .hardLink, node.attributes, linkTarget: first.path)
                }
            } else {
                firstOfGroup[node.linkGroup] = (path, node)
            }
        }
        switch node.content {
        case .file(let digest, let size):
            try begin(path, .file, node.attributes, size: size, content: size > 0 ? digest : nil)
        case .symlink(let target): try begin(path, .symlink, node.attributes, linkTarget: target)
        case .fifo: try begin(path, .fifo, node.attributes)
        case .characterDevice(let major, let minor):
            try begin(path, .characterDevice(major: major, minor: minor), node.attributes)
        case .blockDevice(let major, let minor):
            try begin(path, .blockDevice(major: major, minor: minor), node.attributes)
        }
    }

    private mutating func begin(
        _ path: [UInt8], _ kind: TarMember.Kind, _ attributes: Attributes, size: UInt64 = 0, linkTarget: [UInt8] = [],
        content: Digest? = nil
    ) throws(ImageError) {
        var member = TarMember(path: path, kind: kind, size: size, linkTarget: linkTarget)
        member.mode = attributes.mode
        member.uid = attributes.uid
        member.gid = attributes.gid
        // Whole seconds, as docker, BuildKit and buildah write layers.
        member.time = Timestamp(seconds: attributes.time.seconds)
        member.xattrs = kind == .hardLink ? [] : attributes.xattrs
        try add(member, content)
    }

    private mutating func add(_ member: TarMember, _ content: Digest? = nil) throws(ImageError) {
        waiting.members.append(member)
        if let content {
            waiting.places.append(waiting.members.count - 1)
            waiting.contents.append(content)
            waitingBytes = min(.max - member.size, waitingBytes) + member.size
        }
        if waiting.members.count >= Self.batch.members || waitingBytes >= Self.batch.bytes { try scoutWaiting() }
    }

    /// Has the contents that wait looked up, and writes the batch before, which was looked up meanwhile.
    private mutating func scoutWaiting() throws(ImageError) {
        let (batch, store) = (waiting, store)
        waiting = MemberBatch()
        waitingBytes = 0
        let scout = scout ?? Companion()
        self.scout = scout
        // Waits for the look-up before.
        scout.start { batch.lookUp(in: store) }
        if let scouted { try write(scouted) }
        scouted = batch
    }

    /// Writes a batch whose contents were looked up.
    private mutating func write(_ batch: MemberBatch) throws(ImageError) {
        let members = batch.members
        let contents = try batch.found()
        var next = 0
        // A non-copyable value cannot be captured for change by a closure: it goes through an exclusive pointer.
        try withUnsafeMutablePointer(to: &writer) { writer throws(ImageError) in
            try contents.stream { number, piece throws(ImageError) in
                while next <= batch.places[number] {
                    try writer.pointee.begin(members[next])
                    next += 1
                }
                try writer.pointee.write(piece)
            }
            while next < members.count {
                try writer.pointee.begin(members[next])
                next += 1
            }
        }
    }
}

/// Members of an archive that are written together.
private struct MemberBatch: Sendable {
    var members: [TarMember] = []
    /// The contents of files, and which members those are.
    var contents: [Digest] = []
    var places: [Int] = []
    private let result = LookUpResult()

    /// Looks the contents up, on any thread.
    func lookUp(in store: any ContentSource) {
        let found: Result<any ContentBatch, StoreError>
        do throws(StoreError) { found = .success(try store.lookUp(contents)) } catch { found = .failure(error) }
        result.value.withLock { $0 = found }
    }

    /// What was looked up.
    func found() throws(ImageError) -> any ContentBatch {
        let found = result.value.withLock { $0 }
        guard let found else { throw .store(.corrupt("contents were not looked up")) }
        return try storing { () throws(StoreError) in try found.get() }
    }
}

private final class LookUpResult: Sendable {
    let value = Mutex<Result<any ContentBatch, StoreError>?>(nil)
}
