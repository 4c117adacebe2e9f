// From the outcomes of the steps to an image: layers by difference, history with the times of the records, the config.

import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem

extension BuildFlow {
    /// The image of a finished build. All of it comes from records, so the same outcomes give the same image ID.
    func assemble(
        _ graph: BuildGraph, _ bases: [String: StoredImage], _ outcomes: [StepOutcome]
    ) async throws(StageRunError) -> StoredImage {
        let base = graph.base.flatMap { bases[$0] }
        let layered = graph.history.compactMap { entry in entry.step.map { outcomes[$0.index] } }
        let layers = (base?.layers ?? []) + (try await root.layers(layered))
        var configuration = ImageConfiguration(
            platform: graph.platform, settings: graph.config, diffIDs: layers.map(\.diffID), history: [],
            author: graph.author)
        let inherited = try base.map { image throws(StageRunError) in try root.configuration(of: image) }
        history(of: graph, outcomes, inherited, into: &configuration)
        return try await root.image(configuration, layers)
    }

    /// What docker knows the history of a Dockerfile by.
    private static let historyComment = "buildkit.dockerfile.v0"

    /// The base's entries, then ours: each layer has the time its step ran, an entry without one that of the entry before.
    private func history(
        of graph: BuildGraph, _ outcomes: [StepOutcome], _ inherited: ImageConfiguration?,
        into configuration: inout ImageConfiguration
    ) {
        let epoch = graph.epoch.map { Timestamp(seconds: $0) }
        let times = graph.history.map { entry in epoch ?? entry.step.flatMap { outcomes[$0.index].record?.created } }
        var latest = inherited?.creationTime ?? times.lazy.compactMap { $0 }.first ?? .epoch
        var entries = inherited?.history ?? []
        for (entry, time) in zip(graph.history, times) {
            latest = time ?? latest
            entries.append(
                ImageConfiguration.History(
                    created: latest, createdBy: entry.createdBy, comment: Self.historyComment,
                    emptyLayer: entry.step == nil))
        }
        if let epoch {
            // What the base brings is not younger than what is made of it.
            for index in entries.indices
            where entries[index].created.flatMap(RFC3339.parse).map({ $0 > epoch }) ?? false {
                entries[index].created = RFC3339.format(epoch)
            }
            latest = epoch
        }
        configuration.history = entries
        configuration.created = RFC3339.format(latest)
        if configuration.author == nil { configuration.author = inherited?.author }
    }
}

extension StageRoot {
    /// The layers of steps, each the difference that its record names. Known ones are looked up, new ones are made at once.
    func layers(_ outcomes: [StepOutcome]) async throws(StageRunError) -> [StoredLayer] {
        var layers = [StoredLayer?](repeating: nil, count: outcomes.count)
        var missing: [Int] = []
        for (index, outcome) in outcomes.enumerated() {
            layers[index] = try known(from: outcome.record?.input, to: outcome.tree)
            if layers[index] == nil { missing.append(index) }
        }
        if !missing.isEmpty {
            let made = try await make(missing.map { ($0, outcomes[$0]) })
            for (index, layer) in made { layers[index] = layer }
        }
        return layers.compactMap { $0 }
    }

    private static func layerKey(_ from: TreeRef?, _ to: TreeRef) -> [UInt8] {
        (from?.object ?? .zero).bytes + to.object.bytes
    }

    private func known(from: TreeRef?, to: TreeRef) throws(StageRunError) -> StoredLayer? {
        do throws(StoreError) {
            guard let bytes = try store.get(.layers, Self.layerKey(from, to)) else { return nil }
            var reader = ByteReader(bytes)
            guard let diffID = reader.digest(), let size = reader.u64() else { return nil }
            return StoredLayer(diffID: diffID, size: size, tree: to, source: .derived(from: from))
        } catch { throw .store(error) }
    }

    private func make(_ work: [(Int, StepOutcome)]) async throws(StageRunError) -> [(Int, StoredLayer)] {
        let (store, pool) = (store, pool)
        let results = await withTaskGroup(of: Result<(Int, StoredLayer), ImageError>.self) { group in
            for (index, outcome) in work {
                group.addTask(executorPreference: pool) {
                    do throws(ImageError) {
                        let layer = try StoredLayer(from: outcome.record?.input, to: outcome.tree, in: store)
                        var value = ByteWriter()
                        value.digest(layer.diffID)
                        value.u64(layer.size)
                        store.set(.layers, Self.layerKey(outcome.record?.input, outcome.tree), value.bytes)
                        return .success((index, layer))
                    } catch { return .failure(error) }
                }
            }
            var results: [Result<(Int, StoredLayer), ImageError>] = []
            for await result in group { results.append(result) }
            return results
        }
        var layers: [(Int, StoredLayer)] = []
        for result in results { layers.append(try imaging { () throws(ImageError) in try result.get() }) }
        return layers
    }

    /// The image of that config: the one in the store if it is there.
    func image(_ configuration: ImageConfiguration, _ layers: [StoredLayer]) async throws(StageRunError) -> StoredImage
    {
        let encoded = try imaging { () throws(ImageError) in try configuration.encoded() }
        if let known = try image(Digest.of(encoded)) { return known }
        let store = store
        return try await blocking { () throws(StageRunError) in
            try imaging { () throws(ImageError) in
                try StoredImage(configuration: configuration, layers: layers, in: store)
            }
        }
    }
}

/// Lets an image error out as one of the facade, with the name of what it is about.
func imaging<R>(_ subject: String? = nil, _ body: () throws(ImageError) -> R) throws(StageRunError) -> R {
    do throws(ImageError) { return try body() } catch {
        if case .store(let error) = error { throw .store(error) }
        throw .failed(subject.map { "\($0): \(error)" } ?? error.description)
    }
}

/// Unpacks for `ADD`.
struct LayerArchives: ArchiveUnpacker {
    let store: Store

    func unpack(_ digest: Digest, onto base: TreeRef, _ unpacking: Unpacking) throws(StoreError) -> TreeRef? {
        do throws(ImageError) {
            let owner = unpacking.owner.map { (uid: $0.uid, gid: $0.gid) }
            return try ArchiveReader.unpack(
                digest, onto: base, in: store, owner: owner, linkSalt: unpacking.linkSalt)
        } catch {
            if case .store(let error) = error { throw error }
            throw .corrupt(error.description)
        }
    }
}
