// Layers as blobs: what has to be compressed before a manifest can name it.

import Glibc
import StageHash
import StageStore
import StageSystem

/// A compressed layer in a temporary file that has no name.
public final class LayerBlob: Sendable {
    public let descriptor: Descriptor
    public let diffID: Digest
    private let spool: SpoolFile

    /// Compresses `layer`. Several can be made at once.
    ///
    /// - Parameter directory: where the temporary file takes its room; on one filesystem with the output, copying is free
    ///   where the filesystem shares blocks.
    public init(
        _ layer: StoredLayer, _ compression: Compression = .gzip, from store: any DirectorySource & ContentSource,
        spoolDirectory directory: String
    ) throws(ImageError) {
        guard let mediaType = MediaType.layer(compression) else {
            throw .unsupported("layers are not compressed with \(compression.rawValue): OCI knows gzip and zstd")
        }
        let spool = try SpoolFile(in: directory)
        var hasher = DigestHasher()
        let sink: ByteSink = { piece throws(ImageError) in
            hasher.update(piece)
            try spool.append(piece)
        }
        switch compression {
        case .none, .xz, .bzip2:
            try layer.write(from: store, to: sink)
        case .gzip:
            let writer = GzipWriter(sink)
            try layer.write(from: store) { piece throws(ImageError) in try writer.write(piece) }
            try writer.finish()
        case .zstd:
            let writer = ZstdWriter(sink)
            try layer.write(from: store) { piece throws(ImageError) in try writer.write(piece) }
            try writer.finish()
        }
        self.spool = spool
        diffID = layer.diffID
        descriptor = Descriptor(mediaType: mediaType, digest: hasher.finalize(), size: spool.size)
    }

    /// The compressed bytes.
    public func write(to sink: ByteSink) throws(ImageError) { try spool.source().drain(to: sink) }
}
