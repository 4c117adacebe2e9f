// What a layer says, entry by entry, with file contents already in the store.

import StageHash
import StageStore
import StageSystem

/// One statement of a layer.
public struct LayerEntry: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case directory
        case node(Node.Content)
        /// Another name for what is at this path once the layer got here.
        case hardLink(TreePath)
        /// What the layers below have at the path is gone.
        case removal
        /// What the layers below have in the directory at the path is gone.
        case opaque
    }

    /// Cleaned; symlinks in it are resolved when the entry is applied.
    public let path: TreePath
    public let kind: Kind
    public let attributes: Attributes

    public init(path: TreePath, kind: Kind, attributes: Attributes) {
        self.path = path
        self.kind = kind
        self.attributes = attributes
    }
}

/// The limits of paths: what the kernel takes in one call, and a depth that no recursion minds.
enum PathLimit {
    static let bytes = 4095
    static let depth = TreePath.depthLimit
}

extension LayerEntry {
    static let whiteoutPrefix: [UInt8] = Array(".wh.".utf8)
    static let whiteoutMetaPrefix: [UInt8] = Array(".wh..wh.".utf8)
    static let opaqueName: [UInt8] = Array(".wh..wh..opq".utf8)

    /// The entry that `member` stands for, where `file` is its stored content; nil for bookkeeping of aufs.
    init?(_ member: TarMember, file: Digest?, whiteouts: Bool) throws(ImageError) {
        let path = try Self.cleaned(member.path, of: member)
        let attributes = Attributes(
            mode: member.kind == .symlink ? 0o777 : member.mode, uid: member.uid, gid: member.gid,
            xattrs: member.xattrs.filter(Self.isKept), time: member.time)
        if whiteouts, let name = path.last, name.bytes.starts(with: Self.whiteoutPrefix) {
            guard let entry = try Self.whiteout(path, name, attributes, member) else { return nil }
            self = entry
            return
        }
        if whiteouts, path.components.contains(where: { $0.bytes.starts(with: Self.whiteoutMetaPrefix) }) { return nil }
        let kind: Kind
        switch member.kind {
        case .directory: kind = .directory
        case .file: kind = .node(.file(file ?? Digest.of([]), size: member.size))
        case .symlink:
            let target = member.linkTarget
            guard !target.isEmpty, target.count <= PathLimit.bytes, !target.contains(0) else {
                throw Self.refused(member, "its link target is empty or longer than \(PathLimit.bytes) bytes")
            }
            kind = .node(.symlink(target))
        case .hardLink: kind = .hardLink(try Self.cleaned(member.linkTarget, of: member))
        case .fifo: kind = .node(.fifo)
        case .characterDevice(let major, let minor): kind = .node(.characterDevice(major: major, minor: minor))
        case .blockDevice(let major, let minor): kind = .node(.blockDevice(major: major, minor: minor))
        }
        if path.isRoot, kind != .directory { throw Self.refused(member, "it would replace the root directory") }
        self.init(path: path, kind: kind, attributes: attributes)
    }

    private static func whiteout(
        _ path: TreePath, _ name: FileName, _ attributes: Attributes, _ member: TarMember
    ) throws(ImageError) -> LayerEntry? {
        if name.bytes == opaqueName { return LayerEntry(path: path.parent, kind: .opaque, attributes: attributes) }
        if name.bytes.starts(with: whiteoutMetaPrefix) { return nil }
        let removed = FileName(bytes: name.bytes.dropFirst(whiteoutPrefix.count))
        guard removed.isValid else { throw refused(member, "it removes an entry with no usable name") }
        return LayerEntry(path: path.parent.appending(removed), kind: .removal, attributes: attributes)
    }

    /// Extended attributes that mean the same on every machine. The others (SELinux labels, overlayfs' own) belong to
    /// the machine that made the archive.
    private static func isKept(_ xattr: XAttr) -> Bool {
        xattr.name == Array("security.capability".utf8) || xattr.name.starts(with: Array("user.".utf8))
    }

    private static func refused(_ member: TarMember, _ reason: String) -> ImageError {
        .refusedMember(name: printable(member.path), reason: reason)
    }

    /// `bytes` as a path beneath the root. A leading `/` means the root; a `..` that would leave it is refused.
    private static func cleaned(_ bytes: [UInt8], of member: TarMember) throws(ImageError) -> TreePath {
        guard bytes.count <= PathLimit.bytes + 1 else { throw refused(member, "its path is longer than 4095 bytes") }
        if bytes.contains(0) { throw refused(member, "its path has a NUL byte") }
        var components: [FileName] = []
        for part in bytes.split(separator: 0x2F) where part != [0x2E] {
            if part == [0x2E, 0x2E] {
                guard components.popLast() != nil else {
                    throw refused(member, "'\(printable(bytes))' points outside the root; archives may not")
                }
                continue
            }
            guard part.count <= 255 else { throw refused(member, "a name in its path is longer than 255 bytes") }
            components.append(FileName(bytes: part))
        }
        guard components.count <= PathLimit.depth else {
            throw refused(member, "its path is deeper than \(PathLimit.depth) directories")
        }
        return TreePath(components)
    }
}

/// A layer that was read: its entries, and the recipe by which its very bytes can be written again.
public struct ParsedLayer: Sendable {
    /// The SHA-256 of the uncompressed archive.
    public let diffID: Digest
    /// The length of the uncompressed archive.
    public let size: UInt64
    /// The content that holds the encoded `LayerRecipe`; nil when none was asked for.
    public let recipe: Digest?
    /// In the order of the archive.
    public let entries: [LayerEntry]
    /// The bytes of all regular files.
    public let contentSize: UInt64

    /// Reads an uncompressed tar archive to its end. Files go into `store`; the tree comes with `apply`.
    ///
    /// - Parameters:
    ///   - keepsRecipe: whether the archive's exact bytes are to be had again.
    ///   - whiteouts: whether names that begin with `.wh.` are removals, as in layers, or plain names.
    public init(
        reading source: any ByteSource, into store: any ContentSink, keepsRecipe: Bool = true, whiteouts: Bool = true
    ) throws(ImageError) {
        let reader = TarReader(source, measured: true)
        var recorder = RecipeRecorder(store: store)
        if keepsRecipe { reader.literal = { piece throws(ImageError) in try recorder.literal(piece) } }
        var entries: [LayerEntry] = []
        var contentSize: UInt64 = 0
        while let member = try reader.next() {
            var file: Digest?
            if member.kind == .file {
                let digest = try Self.keepContent(of: member, reader, store)
                file = digest
                contentSize += member.size
                if keepsRecipe, member.size > 0 { recorder.file(digest, size: member.size) }
            }
            if let entry = try LayerEntry(member, file: file, whiteouts: whiteouts) { entries.append(entry) }
        }
        reader.literal = nil
        diffID = reader.digest ?? .zero
        size = reader.size
        self.entries = entries
        self.contentSize = contentSize
        recipe = keepsRecipe ? try recorder.finish(diffID: diffID, size: size) : nil
    }

    private static func keepContent(
        of member: TarMember, _ reader: TarReader, _ store: any ContentSink
    ) throws(ImageError) -> Digest {
        if let whole = try reader.contiguousContent() {
            return try storing { () throws(StoreError) in try store.put(whole) }
        }
        var ingest = try storing { () throws(StoreError) in try store.ingest() }
        try reader.content { piece throws(ImageError) in
            try storing { () throws(StoreError) in try ingest.update(piece) }
        }
        let kept = try storing { () throws(StoreError) in try ingest.finish() }
        guard kept.size == member.size else {
            throw .sizeMismatch(subject: printable(member.path), expected: member.size, found: kept.size)
        }
        return kept.digest
    }
}
