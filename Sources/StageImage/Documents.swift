// The JSON documents of an image: descriptors, manifests, indexes (OCI image-spec 1.1, and Docker's schema 2, which has
// the same fields). What is written is deterministic: keys sorted, slashes as they are.

import FoundationEssentials
import StageGraph
import StageHash

/// Points at a blob: what it is, its digest, its size.
public struct Descriptor: Hashable, Sendable, Codable {
    public var mediaType: String
    public var digest: Digest
    /// Bytes.
    public var size: UInt64
    public var annotations: [String: String]?
    /// In an index: what the image is for.
    public var platform: Platform?
    public var urls: [String]?

    public init(
        mediaType: String, digest: Digest, size: UInt64, annotations: [String: String]? = nil, platform: Platform? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.annotations = annotations
        self.platform = platform
    }
}

/// The manifest of one image.
public struct Manifest: Hashable, Sendable, Codable {
    public var schemaVersion = 2
    public var mediaType: String?
    public var config: Descriptor
    public var layers: [Descriptor]
    public var annotations: [String: String]?

    public init(config: Descriptor, layers: [Descriptor], annotations: [String: String]? = nil) {
        mediaType = MediaType.manifest
        self.config = config
        self.layers = layers
        self.annotations = annotations
    }
}

/// A list of images, or of further lists.
public struct ImageIndex: Hashable, Sendable, Codable {
    public var schemaVersion = 2
    public var mediaType: String?
    public var manifests: [Descriptor]
    public var annotations: [String: String]?

    public init(manifests: [Descriptor]) {
        mediaType = MediaType.index
        self.manifests = manifests
    }
}

/// Names of annotations that tools look at.
public enum Annotation {
    /// The tag alone, by the letter of the OCI spec; buildah and skopeo also take a whole name.
    public static let referenceName = "org.opencontainers.image.ref.name"
    /// The whole name, for containerd and `docker load`.
    public static let containerdName = "io.containerd.image.name"
    public static let created = "org.opencontainers.image.created"
}

/// Reading and writing of JSON.
enum JSONDocument {
    /// The largest document that is read: manifests and configs are kilobytes.
    static let limit = 16 << 20

    static func encode(_ value: some Encodable) throws(ImageError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do { return Array(try encoder.encode(value)) } catch {
            throw .invalidDocument(name: "\(type(of: value))", reason: "\(error)")
        }
    }

    static func decode<T: Decodable>(_ type: T.Type, _ bytes: [UInt8], name: String) throws(ImageError) -> T {
        do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch let error as DecodingError {
            throw .invalidDocument(name: name, reason: explanation(error))
        } catch {
            throw .invalidDocument(name: name, reason: "\(error)")
        }
    }

    private static func explanation(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            context.codingPath.isEmpty ? "" : " at " + context.codingPath.map(\.stringValue).joined(separator: ".")
        }
        switch error {
        case .keyNotFound(let key, let context): return "'\(key.stringValue)' is missing\(place(context))"
        case .typeMismatch(let type, let context): return "no \(type)\(place(context))"
        case .valueNotFound(let type, let context): return "no \(type)\(place(context))"
        case .dataCorrupted(let context): return context.debugDescription + place(context)
        @unknown default: return "\(error)"
        }
    }
}
