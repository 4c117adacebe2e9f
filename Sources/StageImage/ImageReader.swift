// Reads images that others wrote: OCI layouts and docker archives, directories and tar, compressed or not. Every digest,
// size and diff ID is compared before an image comes out.

import CLinux
import Glibc
import StageGraph
import StageHash
import StageStore
import StageSystem

/// Loads images into a store.
public struct ImageReader {
    /// An image that was loaded, and the names its archive has for it.
    public struct Loaded: Sendable {
        public let image: StoredImage
        /// As they stand in the archive: docker's `RepoTags`, or the names of an OCI index.
        public let names: [String]
    }

    private let store: any TreeStore
    private let platform: Platform
    private let spoolDirectory: String
    private let limit: UInt64

    /// - Parameters:
    ///   - platform: which image is taken where an index has several.
    ///   - spoolDirectory: where an archive that comes compressed, or through a pipe, is laid down meanwhile, nameless.
    ///   - limit: the most bytes that one archive or layer may have once decompressed.
    public init(store: any TreeStore, platform: Platform, spoolDirectory: String, limit: UInt64 = .max) {
        self.store = store
        self.platform = platform
        self.spoolDirectory = spoolDirectory
        self.limit = limit
    }

    /// Loads all images of the archive or layout directory at `path`.
    public func load(path: String) throws(ImageError) -> [Loaded] {
        let fd = try calling { () throws(SystemError) in try OwnedFD.open(path, O_RDONLY).take() }
        let file = SharedFile(owning: fd)
        let info = try calling { () throws(SystemError) in try statDescriptor(fd, path) }
        if FileType(mode: info.mode) == .directory { return try load(try DirectoryFiles(path)) }
        return try load(fd, info, owner: file, name: path)
    }

    /// The image of a layout directory that a tag or a digest names; without either, the one tagged `latest`, or the only
    /// one.
    public func load(layout path: String, tag: String?, digest: Digest?) throws(ImageError) -> StoredImage {
        let files = try DirectoryFiles(path)
        guard let json = try files.documentIfPresent("index.json") else {
            throw .unknownArchive(name: path, found: "a directory without index.json")
        }
        let index = try JSONDocument.decode(ImageIndex.self, json, name: "index.json")
        let wanted = tag ?? "latest"
        var entries = index.manifests.filter { entry in
            if let digest { return entry.digest == digest }
            let name = entry.annotations?[Annotation.referenceName] ?? ""
            return name == wanted || name.hasSuffix(":" + wanted)
        }
        if entries.isEmpty, digest == nil, tag == nil, index.manifests.count == 1 { entries = index.manifests }
        guard let entry = try entries.isEmpty ? nil : chosen(entries).first else {
            throw .unknownArchive(
                name: path, found: "a layout without \(digest.map(\.description) ?? "an image tagged \(wanted)")")
        }
        let (manifest, _) = try self.manifest(entry, files, depth: 0)
        let config = try blob(manifest.config, files)
        let layers = manifest.layers.map { LoadSession.Layer(path: Self.path($0.digest), blob: $0) }
        var session = LoadSession(store: store, limit: limit)
        return try session.image(config, digest: manifest.config.digest, layers, files)
    }

    /// Loads all images of the archive on `descriptor`, which stays open: standard input, for instance.
    public func load(descriptor: CInt, name: String) throws(ImageError) -> [Loaded] {
        let info = try calling { () throws(SystemError) in try statDescriptor(descriptor, name) }
        // A file's descriptor may stand somewhere in the middle: what counts is from there on, as in a pipe.
        return try load(descriptor, info, owner: nil, name: name)
    }

    private func load(_ fd: CInt, _ info: clinux_stat, owner: SharedFile?, name: String) throws(ImageError) -> [Loaded]
    {
        if let owner, FileType(mode: info.mode) == .file {
            let source = DescriptorSource(fd, offset: 0, size: info.size, name: name)
            if Compression(detecting: try source.peek(Compression.magicLength)) == .none {
                return try load(try TarFiles(fd, size: info.size, owner: owner, name: name))
            }
        }
        let source: any ByteSource =
            owner == nil
            ? DescriptorSource(fd, name: name) : DescriptorSource(fd, offset: 0, size: info.size, name: name)
        let spool = try SpoolFile(in: spoolDirectory)
        try decompressing(source, limit: limit).source.drain { piece throws(ImageError) in try spool.append(piece) }
        return try load(try TarFiles(spool.fd, size: spool.size, owner: spool, name: name))
    }

    private func load(_ files: any ImageFiles) throws(ImageError) -> [Loaded] {
        if let index = try files.documentIfPresent("index.json") { return try loadLayout(index, files) }
        if let manifest = try files.documentIfPresent("manifest.json") { return try loadDockerArchive(manifest, files) }
        let found =
            try files.documentIfPresent("repositories") != nil
            ? "an archive of a docker older than 1.10" : "an archive with neither index.json nor manifest.json"
        throw .unknownArchive(name: files.name, found: found)
    }

    // MARK: OCI

    private func loadLayout(_ json: [UInt8], _ files: any ImageFiles) throws(ImageError) -> [Loaded] {
        let index = try JSONDocument.decode(ImageIndex.self, json, name: "index.json")
        var session = LoadSession(store: store, limit: limit)
        var order: [Digest] = []
        var images: [Digest: StoredImage] = [:]
        var names: [Digest: [String]] = [:]
        for entry in try chosen(index.manifests) {
            let (manifest, digest) = try self.manifest(entry, files, depth: 0)
            if images[digest] == nil {
                let config = try blob(manifest.config, files)
                let layers = manifest.layers.map { LoadSession.Layer(path: Self.path($0.digest), blob: $0) }
                images[digest] = try session.image(config, digest: manifest.config.digest, layers, files)
                order.append(digest)
            }
            names[digest, default: []] += Self.names(entry.annotations)
        }
        return order.compactMap { digest in
            images[digest].map { Loaded(image: $0, names: Self.unique(names[digest] ?? [])) }
        }
    }

    /// The entries that are images to load: of those that say a platform and have no name of their own, only ours.
    private func chosen(_ entries: [Descriptor]) throws(ImageError) -> [Descriptor] {
        let images = entries.filter { entry in
            (MediaType.isIndex(entry.mediaType) || MediaType.isManifest(entry.mediaType))
                && entry.platform?.os != "unknown"
        }
        let differing = Set(images.compactMap(\.platform)).count > 1
        guard differing else {
            if images.isEmpty { throw .noPlatform(wanted: platform, available: []) }
            return images
        }
        let ours = images.filter { $0.platform.map(matches) ?? true }
        guard !ours.isEmpty else {
            throw .noPlatform(wanted: platform, available: images.compactMap { $0.platform?.description })
        }
        return ours
    }

    private func matches(_ other: Platform) -> Bool {
        func variant(_ platform: Platform) -> String? {
            platform.architecture == "arm64" && platform.variant == "v8" ? nil : platform.variant
        }
        return other.os == platform.os && other.architecture == platform.architecture
            && (variant(other) == variant(platform) || variant(platform) == nil)
    }

    /// The manifest that an entry leads to, through further indexes.
    private func manifest(
        _ entry: Descriptor, _ files: any ImageFiles, depth: Int
    ) throws(ImageError) -> (Manifest, Digest) {
        let bytes = try blob(entry, files)
        if MediaType.isManifest(entry.mediaType) {
            return (try JSONDocument.decode(Manifest.self, bytes, name: "manifest \(entry.digest)"), entry.digest)
        }
        guard depth < 4 else { throw .unsupported("\(files.name) has indexes within indexes, too deep") }
        let index = try JSONDocument.decode(ImageIndex.self, bytes, name: "index \(entry.digest)")
        guard let next = try chosen(index.manifests).first else { throw .noPlatform(wanted: platform, available: []) }
        return try manifest(next, files, depth: depth + 1)
    }

    /// A document by its descriptor, verified.
    private func blob(_ descriptor: Descriptor, _ files: any ImageFiles) throws(ImageError) -> [UInt8] {
        let bytes = try files.document(Self.path(descriptor.digest))
        guard UInt64(bytes.count) == descriptor.size else {
            throw .sizeMismatch(
                subject: "blob \(descriptor.digest)", expected: descriptor.size, found: UInt64(bytes.count))
        }
        let found = Digest.of(bytes)
        guard found == descriptor.digest else {
            throw .digestMismatch(subject: "a blob", expected: descriptor.digest, found: found)
        }
        return bytes
    }

    /// Names in an index entry. A bare tag, as some tools write, names no image.
    private static func names(_ annotations: [String: String]?) -> [String] {
        if let name = annotations?[Annotation.containerdName], !name.isEmpty { return [name] }
        guard let name = annotations?[Annotation.referenceName], name.contains(where: { $0 == ":" || $0 == "/" }) else {
            return []
        }
        return [name]
    }

    // MARK: Docker

    private struct ArchiveItem: Decodable {
        let Config: String
        let RepoTags: [String]?
        let Layers: [String]?
    }

    private func loadDockerArchive(_ json: [UInt8], _ files: any ImageFiles) throws(ImageError) -> [Loaded] {
        let items = try JSONDocument.decode([ArchiveItem].self, json, name: "manifest.json")
        var session = LoadSession(store: store, limit: limit)
        var loaded: [Loaded] = []
        for item in items {
            let config = try files.document(item.Config)
            // The file is named by its digest: `HEX.json`, or `blobs/sha256/HEX`.
            let name = item.Config.split(separator: "/").last ?? ""
            let digest = Digest(name.hasSuffix(".json") ? name.dropLast(5) : name)
            let layers = (item.Layers ?? []).map { LoadSession.Layer(path: $0, blob: nil) }
            let image = try session.image(config, digest: digest, layers, files)
            loaded.append(Loaded(image: image, names: Self.unique(item.RepoTags ?? [])))
        }
        if loaded.isEmpty { throw .unknownArchive(name: files.name, found: "an archive without images") }
        return loaded
    }

    private static func unique(_ names: [String]) -> [String] {
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }
    }

    private static func path(_ digest: Digest) -> String { "blobs/sha256/" + digest.hex }
}

/// Images of one archive, which share layers.
private struct LoadSession {
    struct Layer {
        let path: String
        let blob: Descriptor?
    }

    let store: any TreeStore
    let limit: UInt64
    private var images: [StoredImage] = []

    init(store: any TreeStore, limit: UInt64) {
        self.store = store
        self.limit = limit
    }

    mutating func image(
        _ config: [UInt8], digest: Digest?, _ layers: [Layer], _ files: any ImageFiles
    ) throws(ImageError) -> StoredImage {
        let diffIDs = try ImageConfiguration(json: config).rootFilesystem.diffIDs
        // Trees depend on all layers below, so only what starts alike is shared.
        let shared = images.map { $0.sharedLayers(with: diffIDs) }.max { $0.count < $1.count } ?? []
        var inputs = shared.prefix(layers.count).map { LayerInput.stored($0) }
        for layer in layers.dropFirst(inputs.count) {
            guard let file = try files.open(layer.path) else {
                throw .missingPart(name: layer.path, archive: files.name)
            }
            let parsed = try ParsedLayer(blob: layer.blob, from: file.source, into: store, limit: limit)
            inputs.append(.parsed(parsed, blob: layer.blob))
        }
        let image = try StoredImage(config: config, digest: digest, inputs: inputs, in: store)
        images.append(image)
        return image
    }
}
