// What the store keeps of an image: names of its config, layers and trees. The bytes of a layer are made again on demand,
// from two trees or from its recipe, and compared with the diff ID on the way out.

import StageGraph
import StageHash
import StageStore

/// One layer of an image in the store.
public struct StoredLayer: Hashable, Sendable, Decodable {
    /// Where its bytes come from.
    public enum Source: Hashable, Sendable, Decodable {
        /// The difference from this tree (nil: nothing) to the layer's `tree`.
        case derived(from: TreeRef?)
        /// The content that holds a `LayerRecipe`.
        case recipe(Digest)
    }

    /// The SHA-256 of the uncompressed archive.
    public let diffID: Digest
    /// The length of the uncompressed archive.
    public let size: UInt64
    /// The root filesystem with this layer and all below it.
    public let tree: TreeRef
    public let source: Source
    /// Compressed forms that are known to exist, in registries for instance.
    public var blobs: [Descriptor]

    public init(diffID: Digest, size: UInt64, tree: TreeRef, source: Source, blobs: [Descriptor] = []) {
        self.diffID = diffID
        self.size = size
        self.tree = tree
        self.source = source
        self.blobs = blobs
    }

    /// The layer that makes `new` out of `old`. Goes through all of its bytes once for the diff ID.
    public init(
        from old: TreeRef?, to new: TreeRef, in store: any DirectorySource & ContentSource
    ) throws(ImageError) {
        let summary = try LayerWriter(store: store).write(from: old, to: new)
        self.init(diffID: summary.diffID, size: summary.size, tree: new, source: .derived(from: old))
    }

    /// Writes the uncompressed archive. What comes out is compared with `diffID`: `.digestMismatch` at the end, when the
    /// store no longer holds what it held.
    public func write(from store: any DirectorySource & ContentSource, to sink: @escaping ByteSink) throws(ImageError) {
        switch source {
        case .derived(let old):
            let summary = try LayerWriter(store: store).write(from: old, to: tree, to: sink)
            guard summary.diffID == diffID else {
                throw .digestMismatch(subject: "a layer", expected: diffID, found: summary.diffID)
            }
        case .recipe(let digest):
            let recipe = try LayerRecipe(digest, from: store)
            guard recipe.diffID == diffID else {
                throw .digestMismatch(subject: "a layer's recipe", expected: diffID, found: recipe.diffID)
            }
            try recipe.write(from: store, to: sink)
        }
    }
}

/// An image in the store.
public struct StoredImage: Hashable, Sendable, Decodable {
    /// How an image came to be in a store.
    public enum Origin: String, Sendable, Decodable {
        case build, pull
        /// Loaded or imported, from a file that the store knows nothing of.
        case archive
    }

    /// The digest of the config, which is kept as a content: the image ID.
    public let id: Digest
    public let platform: Platform
    public let created: Timestamp?
    /// The lowest first.
    public let layers: [StoredLayer]
    /// The root filesystem, all layers applied.
    public let tree: TreeRef
    /// The bytes of all regular files in `tree`; a hard-linked file counts once.
    public let contentSize: UInt64
    /// Nil when nobody said.
    public var origin: Origin?
}

extension StoredImage {
    /// An image whose config is `config`, byte for byte.
    ///
    /// - Throws: `.invalidDocument` when the config's diff IDs are not those of `layers`.
    public init(config: [UInt8], layers: [StoredLayer], in store: any TreeStore) throws(ImageError) {
        let configuration = try ImageConfiguration(json: config)
        let diffIDs = configuration.rootFilesystem.diffIDs
        guard diffIDs == layers.map(\.diffID) else {
            throw .invalidDocument(
                name: "the image config", reason: "its diff_ids are not those of the image's \(layers.count) layers")
        }
        try self.init(verified: config, configuration, layers, store)
    }

    /// An image made here: the config is encoded, and kept as a content.
    ///
    /// - Parameter configuration: its diff IDs are replaced by those of `layers`.
    public init(
        configuration: ImageConfiguration, layers: [StoredLayer], in store: any TreeStore
    ) throws(ImageError) {
        var configuration = configuration
        configuration.rootFilesystem = ImageConfiguration.RootFilesystem(diffIDs: layers.map(\.diffID))
        try self.init(verified: try configuration.encoded(), configuration, layers, store)
    }

    private init(
        verified config: [UInt8], _ configuration: ImageConfiguration, _ layers: [StoredLayer], _ store: any TreeStore
    ) throws(ImageError) {
        let top = layers.last?.tree
        let (id, tree, size) = try storing {
            () throws(StoreError) -> (Digest, TreeRef, UInt64) in
            // An image without layers has an empty root.
            var empty = TreeEditor(nil, store: store)
            let tree = if let top { top } else { try empty.commit() }
            return (try store.put(config), tree, try store.size(of: tree).bytes)
        }
        self.init(
            id: id, platform: configuration.platform, created: configuration.creationTime, layers: layers, tree: tree,
            contentSize: size)
    }

    /// The config's own bytes.
    public func config(from store: any ContentSource) throws(ImageError) -> [UInt8] {
        let id = self.id
        return try storing { () throws(StoreError) in try store.read(id) }
    }

    /// The config, decoded.
    public func configuration(from store: any ContentSource) throws(ImageError) -> ImageConfiguration {
        try ImageConfiguration(json: try config(from: store))
    }
}
