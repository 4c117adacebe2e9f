// Images from registries: resolved, downloaded a few layers at a time, verified, and read into trees.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageRegistry
import StageStore
import StageSystem
import Synchronization

extension StageRoot {
    /// Fetches an image from its registry and keeps it under its name.
    ///
    /// - Parameter platform: which one of a multi-platform image; nil is this machine's.
    /// - Returns: the image ID.
    public func pull(
        _ name: String, platform: Platform?, observe: @escaping @Sendable (BuildEvent) -> Void
    ) async throws(StageRunError) -> Digest {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        let image = try await fetch(name, platform: platform ?? .host, observe: observe)
        try await commit()
        return image.id
    }

    func fetch(
        _ name: String, platform: Platform, observe: @escaping @Sendable (BuildEvent) -> Void
    ) async throws(StageRunError) -> StoredImage {
        let reference: ImageReference
        do throws(ImageReferenceError) { reference = try ImageReference(name) } catch {
            throw .failed(error.description)
        }
        let fetch = ImageFetch(
            root: self, reference: reference, platform: platform, progress: FetchProgress(name, observe))
        let image = try await fetch.run()
        try keep(image, names: [reference], origin: .pull)
        return image
    }
}

/// Sums up the bytes of parallel downloads for the events.
final class FetchProgress: Sendable {
    private struct State {
        var bytes: UInt64 = 0
        var total: UInt64 = 0
        var told: UInt64 = 0
    }

    private let name: String
    private let observe: @Sendable (BuildEvent) -> Void
    private let state = Mutex(State())

    init(_ name: String, _ observe: @escaping @Sendable (BuildEvent) -> Void) {
        self.name = name
        self.observe = observe
    }

    func tell(_ message: String, done: Bool = false) {
        state.withLock { state in
            observe(.image(name: name, message: message, bytes: state.bytes, total: state.total, done: done))
        }
    }

    func expect(_ total: UInt64) { state.withLock { $0.total = total } }

    func add(_ count: Int) {
        state.withLock { state in
            state.bytes += UInt64(count)
            // A step of a percent or a megabyte, whichever is more: enough for an eye.
            guard state.bytes - state.told >= max(state.total / 100, 1 << 20) || state.bytes == state.total else {
                return
            }
            state.told = state.bytes
            observe(.image(name: name, message: "downloading", bytes: state.bytes, total: state.total, done: false))
        }
    }
}

private struct ImageFetch: Sendable {
    /// Layers that are downloaded and read at once.
    private static let parallelLayers = 4

    let root: StageRoot
    let reference: ImageReference
    let platform: Platform
    let progress: FetchProgress

    func run() async throws(StageRunError) -> StoredImage {
        progress.tell("resolving")
        let client = root.registry()
        let manifest: ResolvedManifest
        let config: [UInt8]
        do throws(RegistryError) {
            manifest = try await client.resolve(reference, platform: platform)
            config = try await client.readBlob(manifest.config, from: reference)
        } catch { throw failure(error) }
        let configuration = try imaging { () throws(ImageError) in try ImageConfiguration(json: config) }
        let diffIDs = configuration.rootFilesystem.diffIDs
        guard diffIDs.count == manifest.layers.count else {
            throw .failed(
                "\(reference): its config names \(diffIDs.count) layers, its manifest \(manifest.layers.count)")
        }
        let shared = try sharedLayers(diffIDs)
        let parsed = try await read(Array(manifest.layers.dropFirst(shared.count)))
        let store = root.store
        let image = try await root.blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                try StoredImage(
                    config: config, digest: manifest.config.digest,
                    inputs: shared.map(LayerInput.stored) + parsed.map { .parsed($0.layer, blob: $0.blob) }, in: store)
            }
        }
        progress.tell("pulled \(manifest.digest.description)", done: true)
        return image
    }

    private func failure(_ error: RegistryError) -> StageRunError {
        Task.isCancelled ? .cancelled : .failed(error.description)
    }

    /// The layers from the lowest up that an image in the store has already.
    private func sharedLayers(_ diffIDs: [Digest]) throws(StageRunError) -> [StoredLayer] {
        var best: [StoredLayer] = []
        for summary in try root.images() {
            guard let image = try root.image(summary.id) else { continue }
            let shared = image.sharedLayers(with: diffIDs)
            if shared.count > best.count { best = shared }
        }
        return best
    }

    private typealias Read = (layer: ParsedLayer, blob: Descriptor)

    private func read(_ blobs: [BlobDescriptor]) async throws(StageRunError) -> [Read] {
        progress.expect(blobs.reduce(0) { $0 &+ UInt64(max(0, $1.size)) })
        var layers = [Read?](repeating: nil, count: blobs.count)
        let result: Result<[(Int, Read)], StageRunError> = await withTaskGroup(
            of: Result<(Int, Read), StageRunError>.self
        ) { group in
            var next = 0
            func start() {
                guard next < blobs.count else { return }
                let (index, blob) = (next, blobs[next])
                next += 1
                group.addTask {
                    do throws(StageRunError) { return .success((index, try await self.read(blob))) } catch {
                        return .failure(error)
                    }
                }
            }
            for _ in 0..<Self.parallelLayers { start() }
            var done: [(Int, Read)] = []
            while let result = await group.next() {
                switch result {
                case .success(let layer): done.append(layer)
                case .failure(let error):
                    group.cancelAll()
                    await group.waitForAll()
                    return .failure(error)
                }
                start()
            }
            return .success(done)
        }
        for (index, layer) in try result.get() { layers[index] = layer }
        return layers.compactMap { $0 }
    }

    /// Downloads a layer into a file without a name, so that nothing stays behind however this ends, and reads it.
    private func read(_ blob: BlobDescriptor) async throws(StageRunError) -> Read {
        let file: SpoolFile
        do throws(ImageError) { file = try SpoolFile(in: root.path + "/tmp") } catch { throw spoolFailure(error) }
        do {
            try await root.registry().fetchBlob(blob, from: reference) { piece in
                try piece.withUnsafeBytes { try file.append($0) }
                progress.add(piece.count)
            }
        } catch let error as RegistryError {
            throw failure(error)
        } catch let error as ImageError {
            throw spoolFailure(error)
        } catch {
            throw .cancelled
        }
        let descriptor = Descriptor(mediaType: blob.mediaType, digest: blob.digest, size: UInt64(blob.size))
        let store = root.store
        let layer = try await root.blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                let source = DescriptorSource(
                    file.fd, offset: 0, size: descriptor.size, name: blob.digest.description)
                return try ParsedLayer(blob: descriptor, from: source, into: store)
            }
        }
        return (layer, descriptor)
    }

    /// The download lies in the store's directory: a full disk there is the store's to explain.
    private func spoolFailure(_ error: ImageError) -> StageRunError {
        if case .system(let error) = error { return .store(.system(error)) }
        return .failed(error.description)
    }
}
