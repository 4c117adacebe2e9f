// Images from elsewhere: compressed layers are read and verified one by one, in any order, then put on top of each other.

import StageGraph
import StageHash
import StageStore

extension ParsedLayer {
    /// Reads a layer as registries and archives have it, compressed or not (by its first bytes), to its end.
    ///
    /// Several can be read at once. Nothing of the blob itself is kept, only files and the recipe.
    /// - Parameters:
    ///   - blob: what the stream has to be; compared once it was read. Nil when only the diff ID is known.
    ///   - limit: the most bytes that may come out of the decompressor.
    public init(
        blob: Descriptor?, from source: any ByteSource, into store: any ContentSink, limit: UInt64 = .max
    ) throws(ImageError) {
        if let blob, !MediaType.isLayer(blob.mediaType) {
            throw .unsupported("a layer of the type '\(blob.mediaType)' is not read: only archives of files are")
        }
        let measured = MeasuredSource(source)
        let plain = try decompressing(measured, limit: limit).source
        do throws(ImageError) {
            try self.init(reading: plain, into: store)
        } catch {
            // A blob that is not what was promised is the better explanation for an archive that does not read.
            try Self.verify(measured, blob)
            throw error
        }
        try Self.verify(measured, blob)
    }

    private static func verify(_ measured: MeasuredSource, _ blob: Descriptor?) throws(ImageError) {
        guard let blob else { return }
        try measured.drain { _ in }
        guard measured.count == blob.size else {
            throw .sizeMismatch(subject: "layer \(blob.digest)", expected: blob.size, found: measured.count)
        }
        let found = measured.digest
        guard found == blob.digest else {
            throw .digestMismatch(subject: "a layer", expected: blob.digest, found: found)
        }
    }
}

/// One layer for an image being put together.
public enum LayerInput: Sendable {
    /// A layer that another image in the store has on top of the same layers.
    case stored(StoredLayer)
    /// A layer that was just read.
    case parsed(ParsedLayer, blob: Descriptor?)

    public var diffID: Digest {
        switch self {
        case .stored(let layer): layer.diffID
        case .parsed(let layer, _): layer.diffID
        }
    }
}

extension StoredImage {
    /// Puts an image together: the config's bytes stay as they are, and each layer has to be the one the config names.
    ///
    /// - Parameters:
    ///   - config: JSON.
    ///   - digest: what `config` has to hash to; nil when nothing says.
    ///   - inputs: the lowest first; `.stored` ones only below all `.parsed` ones.
    public init(
        config: [UInt8], digest: Digest? = nil, inputs: [LayerInput], in store: any TreeStore
    ) throws(ImageError) {
        if let digest {
            let found = Digest.of(config)
            guard found == digest else {
                throw .digestMismatch(subject: "the image config", expected: digest, found: found)
            }
        }
        let expected = try ImageConfiguration(json: config).rootFilesystem.diffIDs
        guard expected.count == inputs.count else {
            throw .invalidDocument(
                name: "the image config", reason: "it names \(expected.count) layers, and there are \(inputs.count)")
        }
        var layers: [StoredLayer] = []
        for (input, diffID) in zip(inputs, expected) {
            guard input.diffID == diffID else {
                throw .digestMismatch(subject: "layer \(layers.count + 1)", expected: diffID, found: input.diffID)
            }
            switch input {
            case .stored(let layer):
                layers.append(layer)
            case .parsed(let parsed, let blob):
                layers.append(try parsed.stored(on: layers.last?.tree, blob: blob, in: store))
            }
        }
        try self.init(config: config, layers: layers, in: store)
    }

    /// The layers that an image with these diff IDs has in common with this one, from the lowest up.
    public func sharedLayers(with diffIDs: [Digest]) -> [StoredLayer] {
        Array(zip(layers, diffIDs).prefix { $0.diffID == $1 }.map(\.0))
    }

    /// A root filesystem's archive as an image of one layer, as `docker import` makes it.
    ///
    /// - Parameters:
    ///   - source: a tar archive, plain, gzip or zstd.
    ///   - created: goes into the config and its history.
    public static func importing(
        _ source: any ByteSource, platform: Platform, settings: ImageSettings = ImageSettings(), created: Timestamp,
        comment: String, into store: any TreeStore, limit: UInt64 = .max
    ) throws(ImageError) -> StoredImage {
        let parsed = try ParsedLayer(blob: nil, from: source, into: store, limit: limit)
        let layer = try parsed.stored(on: nil, blob: nil, in: store)
        let history = ImageConfiguration.History(created: created, comment: comment)
        let configuration = ImageConfiguration(
            platform: platform, settings: settings, diffIDs: [layer.diffID], history: [history], created: created)
        return try StoredImage(configuration: configuration, layers: [layer], in: store)
    }
}

extension ParsedLayer {
    /// This layer on top of `base`.
    public func stored(on base: TreeRef?, blob: Descriptor?, in store: any TreeStore) throws(ImageError) -> StoredLayer
    {
        let tree = try apply(to: base, in: store)
        // Without a recipe, the archive as we would write it is all there is.
        guard let recipe else { return try StoredLayer(from: base, to: tree, in: store) }
        return StoredLayer(
            diffID: diffID, size: size, tree: tree, source: .recipe(recipe), blobs: blob.map { [$0] } ?? [])
    }
}
