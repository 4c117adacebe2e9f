// Writes images for others to take: OCI layouts, as directory or tar, and docker archives.

import StageGraph
import StageHash
import StageStore

/// An image and the names it goes by.
public struct NamedImage: Sendable {
    public var image: StoredImage
    public var names: [ImageReference]

    public init(_ image: StoredImage, names: [ImageReference]) {
        self.image = image
        self.names = names
    }
}

/// Writes images out of a store. Everything is deterministic: the same images and names give the same bytes.
public struct ImageWriter {
    private let store: any DirectorySource & ContentSource

    public init(store: any DirectorySource & ContentSource) { self.store = store }

    // MARK: OCI

    /// Writes an OCI layout as a directory, which must not exist or be empty.
    ///
    /// - Parameter blobs: the layers' compressed forms, by diff ID; see `LayerBlob`.
    public func writeLayout(_ images: [NamedImage], blobs: [Digest: LayerBlob], to directory: String) throws(ImageError)
    {
        try writeLayout(images, blobs, DirectoryOutput(directory))
    }

    /// Writes an OCI layout as a tar archive.
    public func writeLayoutArchive(
        _ images: [NamedImage], blobs: [Digest: LayerBlob], to destination: ArchiveDestination
    ) throws(ImageError) {
        try writing(to: destination) { sink throws(ImageError) in try writeLayout(images, blobs, ArchiveOutput(sink)) }
    }

    private func writeLayout(
        _ images: [NamedImage], _ blobs: [Digest: LayerBlob], _ output: any ImageOutput
    ) throws(ImageError) {
        var written: Set<Digest> = []
        var index = ImageIndex(manifests: [])
        try output.add("oci-layout", Self.layoutMarker)
        for named in images {
            for layer in named.image.layers {
                let blob = try Self.blob(of: layer, in: blobs)
                guard written.insert(blob.descriptor.digest).inserted else { continue }
                try output.add(Self.path(blob.descriptor.digest), size: blob.descriptor.size) {
                    sink throws(ImageError) in
                    try blob.write(to: sink)
                }
            }
            try add(named, try manifest(of: named.image, blobs: blobs), to: output, &index, &written)
        }
        try output.add("index.json", try JSONDocument.encode(index))
        try output.finish()
    }

    /// The manifest of `image` with its layers as they are in `blobs`.
    public func manifest(
        of image: StoredImage, blobs: [Digest: LayerBlob]
    ) throws(ImageError) -> (bytes: [UInt8], digest: Digest) {
        var layers: [Descriptor] = []
        for layer in image.layers { layers.append(try Self.blob(of: layer, in: blobs).descriptor) }
        return try manifest(of: image, layers)
    }

    private func manifest(
        of image: StoredImage, _ layers: [Descriptor]
    ) throws(ImageError) -> (bytes: [UInt8], digest: Digest) {
        let size = UInt64(try image.config(from: store).count)
        let config = Descriptor(mediaType: MediaType.config, digest: image.id, size: size)
        let bytes = try JSONDocument.encode(Manifest(config: config, layers: layers))
        return (bytes, Digest.of(bytes))
    }

    private static func blob(of layer: StoredLayer, in blobs: [Digest: LayerBlob]) throws(ImageError) -> LayerBlob {
        guard let blob = blobs[layer.diffID] else {
            throw .missingPart(name: "layer \(layer.diffID)", archive: "the image")
        }
        return blob
    }

    /// Writes config and manifest of an image, and its entries in the index.
    private func add(
        _ named: NamedImage, _ manifest: (bytes: [UInt8], digest: Digest), to output: any ImageOutput,
        _ index: inout ImageIndex, _ written: inout Set<Digest>
    ) throws(ImageError) {
        let image = named.image
        if written.insert(image.id).inserted { try output.add(Self.path(image.id), try image.config(from: store)) }
        if written.insert(manifest.digest).inserted { try output.add(Self.path(manifest.digest), manifest.bytes) }
        var entry = Descriptor(
            mediaType: MediaType.manifest, digest: manifest.digest, size: UInt64(manifest.bytes.count))
        entry.platform = image.platform
        if named.names.isEmpty { index.manifests.append(entry) }
        for name in named.names {
            entry.annotations = [Annotation.referenceName: name.canonical, Annotation.containerdName: name.canonical]
            index.manifests.append(entry)
        }
    }

    // MARK: Docker

    private struct ArchiveItem: Encodable {
        let Config: String
        let RepoTags: [String]
        let Layers: [String]
    }

    /// Writes what `docker save` writes: layers uncompressed, with docker's `manifest.json` and an OCI index beside it.
    public func writeDockerArchive(_ images: [NamedImage], to destination: ArchiveDestination) throws(ImageError) {
        try writing(to: destination) { sink throws(ImageError) in try writeDockerArchive(images, ArchiveOutput(sink)) }
    }

    private func writeDockerArchive(_ images: [NamedImage], _ output: any ImageOutput) throws(ImageError) {
        var written: Set<Digest> = []
        var index = ImageIndex(manifests: [])
        var items: [ArchiveItem] = []
        try output.add("oci-layout", Self.layoutMarker)
        for named in images {
            var layers: [Descriptor] = []
            for layer in named.image.layers {
                layers.append(Descriptor(mediaType: MediaType.layer, digest: layer.diffID, size: layer.size))
                guard written.insert(layer.diffID).inserted else { continue }
                try output.add(Self.path(layer.diffID), size: layer.size) { sink throws(ImageError) in
                    try withoutActuallyEscaping(sink) { sink throws(ImageError) in
                        try layer.write(from: store, to: sink)
                    }
                }
            }
            try add(named, try manifest(of: named.image, layers), to: output, &index, &written)
            items.append(
                ArchiveItem(
                    Config: Self.path(named.image.id), RepoTags: named.names.map(\.familiar),
                    Layers: layers.map { Self.path($0.digest) }))
        }
        try output.add("index.json", try JSONDocument.encode(index))
        try output.add("manifest.json", try JSONDocument.encode(items))
        try output.finish()
    }

    // MARK: Root filesystems

    /// Writes a root filesystem as one plain tar archive.
    public func writeRootfs(_ tree: TreeRef, to destination: ArchiveDestination) throws(ImageError) {
        try writing(to: destination) { sink throws(ImageError) in
            try LayerWriter(store: store).writeWhole(tree, to: sink)
        }
    }

    private static let layoutMarker = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

    private static func path(_ digest: Digest) -> String { "blobs/sha256/" + digest.hex }
}

extension LayerBlob {
    /// The blobs of all layers of `images`, each once, one after the other.
    public static func all(
        of images: [NamedImage], _ compression: Compression = .gzip, from store: any DirectorySource & ContentSource,
        spoolDirectory: String
    ) throws(ImageError) -> [Digest: LayerBlob] {
        var blobs: [Digest: LayerBlob] = [:]
        for layer in images.flatMap(\.image.layers) where blobs[layer.diffID] == nil {
            blobs[layer.diffID] = try LayerBlob(layer, compression, from: store, spoolDirectory: spoolDirectory)
        }
        return blobs
    }
}
