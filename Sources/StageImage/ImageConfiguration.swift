// The config of an image: its platform, what runs, its layers by diff ID, and its history (OCI image-spec config.md).

import StageGraph
import StageHash
import StageStore

/// An image's config. A pulled image's own bytes are kept beside it and never written again from this.
public struct ImageConfiguration: Hashable, Sendable, Codable {
    public struct RootFilesystem: Hashable, Sendable, Codable {
        /// `layers`, always.
        public var type: String
        /// SHA-256 of each uncompressed layer, the lowest first.
        public var diffIDs: [Digest]

        public init(diffIDs: [Digest]) {
            type = "layers"
            self.diffIDs = diffIDs
        }

        enum CodingKeys: String, CodingKey {
            case type
            case diffIDs = "diff_ids"
        }
    }

    /// How a layer came about.
    public struct History: Hashable, Sendable, Codable {
        /// RFC 3339.
        public var created: String?
        public var createdBy: String?
        public var author: String?
        public var comment: String?
        /// True when no layer belongs to it.
        public var emptyLayer: Bool?

        public init(
            created: Timestamp? = nil, createdBy: String? = nil, author: String? = nil, comment: String? = nil,
            emptyLayer: Bool = false
        ) {
            self.created = created.map(RFC3339.format)
            self.createdBy = createdBy
            self.author = author
            self.comment = comment
            self.emptyLayer = emptyLayer ? true : nil
        }

        enum CodingKeys: String, CodingKey {
            case created
            case createdBy = "created_by"
            case author
            case comment
            case emptyLayer = "empty_layer"
        }
    }

    public var architecture: String
    public var os: String
    public var variant: String?
    public var osVersion: String?
    public var osFeatures: [String]?
    /// RFC 3339.
    public var created: String?
    public var author: String?
    public var config: ImageSettings?
    public var rootFilesystem: RootFilesystem
    public var history: [History]?

    public init(
        platform: Platform, settings: ImageSettings, diffIDs: [Digest], history: [History], created: Timestamp? = nil,
        author: String? = nil
    ) {
        architecture = platform.architecture
        os = platform.os
        variant = platform.variant
        self.created = created.map(RFC3339.format)
        self.author = author
        config = settings
        rootFilesystem = RootFilesystem(diffIDs: diffIDs)
        self.history = history
    }

    enum CodingKeys: String, CodingKey {
        case architecture
        case os
        case variant
        case osVersion = "os.version"
        case osFeatures = "os.features"
        case created
        case author
        case config
        case rootFilesystem = "rootfs"
        case history
    }

    /// The JSON of an image's config; `.invalidDocument` for anything else.
    public init(json bytes: [UInt8]) throws(ImageError) {
        self = try JSONDocument.decode(ImageConfiguration.self, bytes, name: "the image config")
    }

    /// The same for the same config, always.
    public func encoded() throws(ImageError) -> [UInt8] { try JSONDocument.encode(self) }

    public var platform: Platform {
        Platform(os: os, architecture: architecture, variant: variant.flatMap { $0.isEmpty ? nil : $0 })
    }

    /// When the image was made; nil when the config does not say, or not in RFC 3339.
    public var creationTime: Timestamp? { created.flatMap(RFC3339.parse) }
}
