// The bytes of an image record. A build that changes nothing reads one, and spends more on it as JSON than on all its layers'
// keys: so it is a list of fields. Specs/image.md, "The image record", draws it.

import StageGraph
import StageHash
import StageStore

extension StoredImage {
    private static let magic: [UInt8] = Array("SIM1".utf8)

    /// The record as bytes: the same for the same image.
    public func encoded() throws(ImageError) -> [UInt8] {
        var out = ByteWriter()
        out.bytes.reserveCapacity(256 + layers.count * 192)
        out.raw(Self.magic)
        out.digest(id)
        out.string(platform.os)
        out.string(platform.architecture)
        out.string(platform.variant ?? "")
        out.u8(created == nil ? 0 : 1)
        if let created { out.time(created) }
        out.string(origin?.rawValue ?? "")
        out.tree(tree)
        out.u64(contentSize)
        out.u32(UInt32(layers.count))
        for layer in layers { try out.layer(layer) }
        return out.bytes
    }

    /// Reads what `encoded()` gave, now or when it was JSON.
    public init(encoded bytes: [UInt8]) throws(ImageError) {
        if bytes.first == UInt8(ascii: "{") {
            self = try JSONDocument.decode(StoredImage.self, bytes, name: "the image record")
            return
        }
        var reader = ByteReader(bytes)
        guard reader.raw(4) == Self.magic[...], let image = try reader.image(), reader.isAtEnd else {
            throw .invalidDocument(name: "the image record", reason: "its \(bytes.count) bytes do not hold")
        }
        self = image
    }
}

extension ByteWriter {
    fileprivate mutating func layer(_ layer: StoredLayer) throws(ImageError) {
        digest(layer.diffID)
        u64(layer.size)
        tree(layer.tree)
        switch layer.source {
        case .derived(nil): u8(0)
        case .derived(let old?):
            u8(1)
            tree(old)
        case .recipe(let recipe):
            u8(2)
            digest(recipe)
        }
        u32(UInt32(layer.blobs.count))
        for blob in layer.blobs {
            let plain = Descriptor(mediaType: blob.mediaType, digest: blob.digest, size: blob.size)
            string(blob.mediaType)
            digest(blob.digest)
            u64(blob.size)
            // What few have stands there as it came.
            frame(blob == plain ? [] : try JSONDocument.encode(blob))
        }
    }
}

extension ByteReader {
    /// What follows the magic; nil when it does not hold.
    fileprivate mutating func image() throws(ImageError) -> StoredImage? {
        guard let id = digest(), let os = string(), let architecture = string(), let variant = string(),
            let hasTime = u8(), hasTime <= 1
        else { return nil }
        let created = hasTime == 1 ? time() : nil
        guard hasTime == 0 || created != nil, let originName = string(),
            let origin = originName.isEmpty ? .some(nil) : StoredImage.Origin(rawValue: originName).map(Optional.some),
            let tree = tree(), let contentSize = u64(), let count = u32()
        else { return nil }
        var layers: [StoredLayer] = []
        layers.reserveCapacity(min(Int(count), 1 << 10))
        for _ in 0..<count {
            guard let layer = try layer() else { return nil }
            layers.append(layer)
        }
        return StoredImage(
            id: id, platform: Platform(os: os, architecture: architecture, variant: variant.isEmpty ? nil : variant),
            created: created, layers: layers, tree: tree, contentSize: contentSize, origin: origin)
    }

    private mutating func layer() throws(ImageError) -> StoredLayer? {
        guard let diffID = digest(), let size = u64(), let tree = tree(), let source = source(), let count = u32()
        else { return nil }
        var blobs: [Descriptor] = []
        for _ in 0..<count {
            guard let mediaType = string(), let digest = digest(), let size = u64(), let whole = frame() else {
                return nil
            }
            blobs.append(
                whole.isEmpty
                    ? Descriptor(mediaType: mediaType, digest: digest, size: size)
                    : try JSONDocument.decode(Descriptor.self, Array(whole), name: "the image record"))
        }
        return StoredLayer(diffID: diffID, size: size, tree: tree, source: source, blobs: blobs)
    }

    private mutating func source() -> StoredLayer.Source? {
        switch u8() {
        case 0: .derived(from: nil)
        case 1: tree().map { .derived(from: $0) }
        case 2: digest().map { .recipe($0) }
        default: nil
        }
    }
}
