// Manifests and indexes as JSON from outside: decoded, held against their media type, nothing in them believed.

import FoundationEssentials
import StageGraph
import StageHash

/// A manifest or index that was read and follows the rules of its type.
enum ManifestDocument: Sendable {
    case image(config: BlobDescriptor, layers: [BlobDescriptor])
    case index([IndexEntry])

    /// More layers than any image has; a longer list only costs memory.
    static let layerLimit = 4096

    /// - Parameter mediaType: the Content-Type's essence.
    /// - Returns: the type that the document is of, and the document.
    static func parse(_ bytes: [UInt8], mediaType: String) throws(RegistryError.Problem) -> (String, ManifestDocument) {
        if MediaType.dockerSchema1.contains(mediaType) { throw .schema1 }
        // Some registries send everything as JSON; the document must then say itself what it is.
        let isGeneric = mediaType == "application/json"
        guard MediaType.accepted.contains(mediaType) || isGeneric else {
            throw .unexpectedContentType(RegistryError.printable(mediaType))
        }
        let wire: WireManifest
        do {
            wire = try JSONDecoder().decode(WireManifest.self, from: Data(bytes))
        } catch {
            throw .invalidManifest(detail: "it is not JSON of that form")
        }
        if wire.schemaVersion == 1 { throw .schema1 }
        guard wire.schemaVersion == 2 else { throw .invalidManifest(detail: "its schemaVersion is not 2") }
        if isGeneric, wire.mediaType == nil { throw .unexpectedContentType(mediaType) }
        let type = isGeneric ? wire.mediaType ?? "" : mediaType
        guard MediaType.accepted.contains(type) else { throw .unexpectedContentType(RegistryError.printable(type)) }
        if let own = wire.mediaType, own != type {
            throw .invalidManifest(detail: "it calls itself \(RegistryError.printable(own)) and was sent as \(type)")
        }
        return (type, MediaType.isIndex(type) ? try wire.index() : try wire.image())
    }
}

extension RegistryError.Problem: Error {}

/// One line of an index.
struct IndexEntry: Hashable, Sendable {
    var descriptor: BlobDescriptor
    /// nil when the index does not say.
    var platform: Platform?
}

private struct WireManifest: Decodable {
    var schemaVersion: Int?
    var mediaType: String?
    var config: WireDescriptor?
    var layers: [WireDescriptor]?
    var manifests: [WireDescriptor]?

    /// A document that reads as an index too could be taken for different images by different tools.
    func image() throws(RegistryError.Problem) -> ManifestDocument {
        if manifests != nil { throw .invalidManifest(detail: "it is an image manifest and lists manifests") }
        guard let config, let layers else {
            throw .invalidManifest(detail: "it has no \(self.config == nil ? "config" : "layers")")
        }
        if !MediaType.configs.contains(config.mediaType ?? "") {
            throw .notAnImage(mediaType: RegistryError.printable(config.mediaType ?? "\"\""))
        }
        if layers.count > ManifestDocument.layerLimit {
            throw .invalidManifest(
                detail: "it has \(layers.count) layers, at most \(ManifestDocument.layerLimit) are read")
        }
        var checked: [BlobDescriptor] = []
        for layer in layers { checked.append(try layer.checked()) }
        return .image(config: try config.checked(), layers: checked)
    }

    func index() throws(RegistryError.Problem) -> ManifestDocument {
        if config != nil || layers != nil {
            throw .invalidManifest(detail: "it is an index and has a config or layers")
        }
        guard let manifests else { throw .invalidManifest(detail: "it is an index without a list of manifests") }
        var entries: [IndexEntry] = []
        for entry in manifests {
            // Artifacts for other tools are no candidates.
            guard let type = entry.mediaType, MediaType.accepted.contains(type) else { continue }
            entries.append(IndexEntry(descriptor: try entry.checked(), platform: entry.platform?.value))
        }
        return .index(entries)
    }
}

private struct WireDescriptor: Decodable {
    var mediaType: String?
    var digest: String?
    var size: Int64?
    var platform: WirePlatform?

    func checked() throws(RegistryError.Problem) -> BlobDescriptor {
        guard let digest, let size, let mediaType, !mediaType.isEmpty else {
            throw .invalidManifest(detail: "a descriptor lacks its mediaType, digest or size")
        }
        if size < 0 { throw .invalidManifest(detail: "a descriptor has the size \(size)") }
        return BlobDescriptor(mediaType: mediaType, digest: try Digest.parse(wire: digest), size: size)
    }
}

private struct WirePlatform: Decodable {
    var os: String?
    var architecture: String?
    var variant: String?

    var value: Platform? {
        guard let os, let architecture, !os.isEmpty, !architecture.isEmpty else { return nil }
        return Platform(os: os, architecture: architecture, variant: variant.flatMap { $0.isEmpty ? nil : $0 })
    }
}

extension Digest {
    /// A digest as it stands in a manifest or header: `sha256:` and 64 lower-case hex digits, nothing else.
    static func parse(wire text: String) throws(RegistryError.Problem) -> Digest {
        guard text.hasPrefix("sha256:") else { throw .unsupportedDigest(RegistryError.printable(text)) }
        guard let digest = Digest(text) else {
            throw .invalidManifest(detail: "\(RegistryError.printable(text)) is not a digest")
        }
        return digest
    }
}
