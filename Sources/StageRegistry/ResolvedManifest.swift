// What a name leads to: the manifest of one image, checked, with its config and layers.

import StageGraph
import StageHash

/// A piece of content in a registry: what it is, its name, its length.
public struct BlobDescriptor: Hashable, Sendable {
    public var mediaType: String
    public var digest: Digest
    /// Bytes. Declared by the manifest; a fetch never brings more and fails on less.
    public var size: Int64

    public init(mediaType: String, digest: Digest, size: Int64) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
    }
}

/// One image's manifest, as the registry has it.
public struct ResolvedManifest: Hashable, Sendable {
    /// Of `bytes`.
    public let digest: Digest
    public let mediaType: String
    /// Byte for byte what the digest names.
    public let bytes: [UInt8]
    public let config: BlobDescriptor
    /// The lowest first.
    public let layers: [BlobDescriptor]
    /// As the index says; nil when the name leads to a manifest without an index, or the index says nothing. The
    /// config's own platform counts then.
    public let platform: Platform?
    /// The digest of the index that the name leads to, when it leads to one.
    public let index: Digest?
}

/// The media types that are known.
enum MediaType {
    static let ociManifest = "application/vnd.oci.image.manifest.v1+json"
    static let ociIndex = "application/vnd.oci.image.index.v1+json"
    static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    static let dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
    static let dockerSchema1 = [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ]
    static let configs = [
        "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json",
    ]

    /// What manifest requests accept.
    static let accepted = [ociIndex, ociManifest, dockerList, dockerManifest]

    static func isIndex(_ type: String) -> Bool { type == ociIndex || type == dockerList }
    static func isManifest(_ type: String) -> Bool { type == ociManifest || type == dockerManifest }

    /// `type/subtype` of a Content-Type header, in lower case.
    static func essence(of header: String) -> String {
        let type = header.prefix { $0 != ";" }
        return type.filter { $0 != " " && $0 != "\t" }.lowercased()
    }
}
