// Images out of the store and into it: the outputs of a build, save, load and import.

import Glibc
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem

extension BuildFlow {
    /// Writes what the request asked for. Gives the digest of the manifest when one was written.
    func export(
        _ image: StoredImage, names: [ImageReference], to outputs: [ImageOutput]
    ) async throws(StageRunError) -> Digest? {
        var manifest: Digest?
        for output in outputs {
            let message = "writing \(output)"
            let start = elapsed
            observe(.exporting(message: message, at: start, seconds: 0, done: false))
            let written = try await root.write([NamedImage(image, names: names)], to: output)
            manifest = written ?? manifest
            observe(.exporting(message: message, at: elapsed, seconds: elapsed - start, done: true))
        }
        return manifest
    }
}

extension ImageOutput: CustomStringConvertible {
    public var description: String {
        switch self {
        case .oci(let destination, let asTar): "OCI \(asTar ? "archive" : "layout") \(destination)"
        case .docker(let destination): "docker archive \(destination)"
        case .tar(let destination): "root filesystem archive \(destination)"
        case .local(let path): "root filesystem \(path)"
        }
    }
}

extension Destination: CustomStringConvertible {
    public var description: String {
        switch self {
        case .path(let path): path
        case .descriptor: "to standard output"
        }
    }

    fileprivate var archive: ArchiveDestination {
        switch self {
        case .path(let path): .file(path)
        case .descriptor(let fd): .descriptor(fd)
        }
    }
}

extension StageRoot {
    /// Writes the images that `names` mean, each under the names it was asked for by.
    public func save(_ names: [String], to output: ImageOutput) async throws(StageRunError) {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        var images: [NamedImage] = []
        for name in names {
            let image = try require(name)
            let reference = try? ImageReference(name)
            let isName =
                try reference.map { reference throws(StageRunError) in try leads(reference, to: image) } ?? false
            let given = isName ? [reference].compactMap { $0 } : []
            if let index = images.firstIndex(where: { $0.image.id == image.id }) {
                images[index].names += given
            } else {
                images.append(NamedImage(image, names: given))
            }
        }
        _ = try await write(images, to: output)
    }

    private func leads(_ name: ImageReference, to image: StoredImage) throws(StageRunError) -> Bool {
        do throws(StoreError) { return try store.get(.tags, Self.tagKey(name)) == image.id.bytes } catch {
            throw .store(error)
        }
    }

    /// Gives the digest of the first image's manifest, where the form has one.
    func write(_ images: [NamedImage], to output: ImageOutput) async throws(StageRunError) -> Digest? {
        var blobs: [Digest: LayerBlob] = [:]
        if case .oci = output { blobs = try await compress(images) }
        let (store, ready) = (store, blobs)
        return try await blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                let writer = ImageWriter(store: store)
                switch output {
                case .oci(.path(let path), asTar: false):
                    try writer.writeLayout(images, blobs: ready, to: path)
                    return try images.first.map { image throws(ImageError) in
                        try writer.manifest(of: image.image, blobs: ready).digest
                    }
                case .oci(let destination, _):
                    try writer.writeLayoutArchive(images, blobs: ready, to: destination.archive)
                    return try images.first.map { image throws(ImageError) in
                        try writer.manifest(of: image.image, blobs: ready).digest
                    }
                case .docker(let destination):
                    try writer.writeDockerArchive(images, to: destination.archive)
                case .tar(let destination):
                    if let image = images.first { try writer.writeRootfs(image.image.tree, to: destination.archive) }
                case .local(let path):
                    if let image = images.first {
                        _ = try Checkout(store: store, setsOwners: geteuid() == 0).write(image.image.tree, to: path)
                    }
                }
                return nil
            }
        }
    }

    /// All layers as blobs, compressed at once on all cores.
    private func compress(_ images: [NamedImage]) async throws(StageRunError) -> [Digest: LayerBlob] {
        var layers: [Digest: StoredLayer] = [:]
        for layer in images.flatMap(\.image.layers) { layers[layer.diffID] = layer }
        let (store, pool, directory) = (store, pool, path + "/tmp")
        let results = await withTaskGroup(of: Result<LayerBlob, ImageError>.self) { group in
            for layer in layers.values {
                group.addTask(executorPreference: pool) {
                    do throws(ImageError) {
                        return .success(try LayerBlob(layer, .gzip, from: store, spoolDirectory: directory))
                    } catch { return .failure(error) }
                }
            }
            var results: [Result<LayerBlob, ImageError>] = []
            for await result in group { results.append(result) }
            return results
        }
        var blobs: [Digest: LayerBlob] = [:]
        for result in results {
            let blob = try imaging { () throws(ImageError) in try result.get() }
            blobs[blob.diffID] = blob
        }
        return blobs
    }

    // MARK: Into the store

    /// Loads the images of a docker archive, an OCI archive or an OCI layout directory.
    ///
    /// - Returns: their names as people write them; the ID of an image without a name.
    public func load(path: String) async throws(StageRunError) -> [String] {
        try await load { reader throws(ImageError) in try reader.load(path: path) }
    }

    /// The same from an open descriptor, which may be a pipe.
    public func load(descriptor: CInt) async throws(StageRunError) -> [String] {
        try await load { reader throws(ImageError) in try reader.load(descriptor: descriptor, name: "standard input") }
    }

    private func load(
        _ read: @escaping @Sendable (ImageReader) throws(ImageError) -> [ImageReader.Loaded]
    ) async throws(StageRunError) -> [String] {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        let (store, directory) = (store, path + "/tmp")
        let loaded = try await blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                try read(ImageReader(store: store, platform: .host, spoolDirectory: directory))
            }
        }
        var names: [String] = []
        for item in loaded {
            let references = item.names.compactMap { try? ImageReference($0) }
            try keep(item.image, names: references, origin: .archive)
            names += references.isEmpty ? [item.image.id.description] : references.map(\.familiar)
        }
        try await commit()
        return names
    }

    /// Makes an image of one layer from the archive of a root filesystem.
    ///
    /// - Returns: the image ID.
    public func importRootfs(path: String, name: ImageReference?) async throws(StageRunError) -> Digest {
        let fd: CInt
        do throws(SystemError) { fd = try OwnedFD.open(path, O_RDONLY).take() } catch {
            throw .failed("cannot read \(path): \(error.reason)")
        }
        defer { Glibc.close(fd) }
        return try await importRootfs(descriptor: fd, subject: path, name: name)
    }

    /// The same from an open descriptor, which may be a pipe.
    public func importRootfs(
        descriptor: CInt, subject: String = "standard input", name: ImageReference?
    ) async throws(StageRunError) -> Digest {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        let store = store
        let image = try await blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                try StoredImage.importing(
                    DescriptorSource(descriptor, name: subject), platform: .host, created: now(),
                    comment: "imported from \(subject)", into: store)
            }
        }
        try keep(image, names: name.map { [$0] } ?? [], origin: .archive)
        try await commit()
        return image.id
    }
}
