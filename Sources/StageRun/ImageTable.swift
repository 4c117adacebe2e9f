// The images of a store: their names, look-up by name or ID, tagging and removal.

import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore

extension StageRoot {
    // MARK: Keeping and finding

    /// Keeps `image`, and lets `names` lead to it.
    ///
    /// - Parameter origin: where it comes from; nil for one that is here already.
    func keep(
        _ image: StoredImage, names: [ImageReference], origin: StoredImage.Origin?
    ) throws(StageRunError) {
        let id = image.id.bytes
        do throws(StoreError) {
            let known = try store.get(.images, id)
            var kept = try known.map { bytes throws(StoreError) in
                try imagingStore { () throws(ImageError) in try StoredImage(encoded: bytes) }
            }
            // Of one that came from a file and is built or pulled now, too, the file is not needed any more.
            let isNews = origin.map { kept?.origin == nil || (kept?.origin == .archive && $0 != .archive) } ?? false
            if kept == nil { kept = image }
            if isNews { kept?.origin = origin }
            var new: [ImageReference] = []
            for name in names where try store.get(.tags, Self.tagKey(name)) != id { new.append(name) }
            // With each new name: without one until now, it could go at any moment.
            if known == nil || isNews || !new.isEmpty {
                try store.require(.imageRecords)
                store.set(.images, id, try imagingStore { () throws(ImageError) in try (kept ?? image).encoded() })
            }
            for name in new { store.set(.tags, Self.tagKey(name), id) }
        } catch { throw .store(error) }
    }

    private func imagingStore<R>(_ body: () throws(ImageError) -> R) throws(StoreError) -> R {
        do throws(ImageError) { return try body() } catch { throw .corrupt(error.description) }
    }

    static func tagKey(_ name: ImageReference) -> [UInt8] { Array(name.canonical.utf8) }

    /// The image of that ID; nil when it is not here.
    func image(_ id: Digest) throws(StageRunError) -> StoredImage? {
        do throws(StoreError) {
            guard let bytes = try store.get(.images, id.bytes) else { return nil }
            return try imagingStore { () throws(ImageError) in try StoredImage(encoded: bytes) }
        } catch { throw .store(error) }
    }

    /// The image that `name` means: a reference, or an ID or the beginning of one. Nil when there is none.
    func find(_ name: String) throws(StageRunError) -> StoredImage? {
        if let reference = try? ImageReference(name) {
            let tag: [UInt8]?
            do throws(StoreError) { tag = try store.get(.tags, Self.tagKey(reference)) } catch { throw .store(error) }
            if let id = tag.flatMap(digest) { return try image(id) }
        }
        guard let prefix = hexPrefix(name) else { return nil }
        if let id = Digest(prefix) { return try image(id) }
        let matches = try table(.images).compactMap { digest($0.key) }.filter { $0.hex.hasPrefix(prefix) }
        if matches.count > 1 {
            throw .failed(
                "\(name) is the beginning of \(matches.count) image IDs",
                advice: matches.map(\.short).joined(separator: ", "))
        }
        return try matches.first.flatMap { id throws(StageRunError) in try image(id) }
    }

    private func hexPrefix(_ name: String) -> String? {
        let hex = name.hasPrefix("sha256:") ? String(name.dropFirst(7)) : name
        guard (2...64).contains(hex.utf8.count),
            hex.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return nil }
        return hex
    }

    private func digest(_ bytes: [UInt8]) -> Digest? { bytes.withUnsafeBytes { Digest(bytes: $0) } }

    private func table(_ table: Table) throws(StageRunError) -> [(key: [UInt8], value: [UInt8])] {
        do throws(StoreError) { return try store.all(table) } catch { throw .store(error) }
    }

    /// The same, with an error that names the nearest image.
    func require(_ name: String) throws(StageRunError) -> StoredImage {
        if let image = try find(name) { return image }
        // A name that is not even well-formed deserves to hear why.
        do throws(ImageReferenceError) { _ = try ImageReference(name) } catch { throw .failed(error.description) }
        let names = try tags().map(\.name.familiar)
        throw .noSuchImage(
            name, didYouMean: Spelling.closest(name, among: names) ?? Spelling.closest(name + ":latest", among: names))
    }

    func configuration(of image: StoredImage) throws(StageRunError) -> ImageConfiguration {
        try imaging { () throws(ImageError) in try image.configuration(from: store) }
    }

    private func tags() throws(StageRunError) -> [(name: ImageReference, id: Digest)] {
        try table(.tags).compactMap { pair in
            guard let name = try? ImageReference(String(decoding: pair.key, as: UTF8.self)), let id = digest(pair.value)
            else { return nil }
            return (name, id)
        }
    }

    // MARK: Lists

    /// All images, newest first.
    public func images() throws(StageRunError) -> [ImageSummary] {
        let names = Dictionary(grouping: try tags(), by: \.id).mapValues { $0.map(\.name).sorted() }
        var summaries: [ImageSummary] = []
        for (key, value) in try table(.images) {
            guard let id = digest(key) else { continue }
            let image = try imaging { () throws(ImageError) in try StoredImage(encoded: value) }
            summaries.append(
                ImageSummary(id: id, names: names[id] ?? [], created: image.created ?? .epoch, size: image.size))
        }
        return summaries.sorted { ($1.created, $0.id) < ($0.created, $1.id) }
    }

    /// All about the image that `name` means.
    public func inspect(_ name: String) throws(StageRunError) -> ImageDetails {
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        let image = try require(name)
        let bytes = try imaging { () throws(ImageError) in try image.config(from: store) }
        let configuration = try imaging { () throws(ImageError) in try ImageConfiguration(json: bytes) }
        var sizes = image.layers.map(\.size)[...]
        let history = (configuration.history ?? []).map { entry in
            ImageDetails.History(
                created: entry.created.flatMap(RFC3339.parse), createdBy: entry.createdBy ?? "",
                comment: entry.comment ?? "",
                layerSize: entry.emptyLayer == true ? nil : sizes.popFirst())
        }
        return ImageDetails(
            id: image.id, names: try tags().filter { $0.id == image.id }.map(\.name).sorted(), configuration: bytes,
            settings: configuration.config ?? ImageSettings(), platform: image.platform, author: configuration.author,
            layers: image.layers.map { .init(diffID: $0.diffID, size: $0.size) }, history: history, size: image.size,
            created: image.created ?? .epoch)
    }

    // MARK: Names

    /// Lets `name` lead to the image that `source` means.
    public func tag(_ source: String, as name: ImageReference) throws(StageRunError) {
        try leaseUntilCommit()
        try keep(try require(source), names: [name], origin: nil)
    }

    /// Takes a name away, and the image with its last name; by an ID, the image with its name.
    ///
    /// - Parameter force: by an ID, takes all its names away.
    public func remove(_ name: String, force: Bool) throws(StageRunError) -> [RemovedItem] {
        try leaseUntilCommit()
        let image = try require(name)
        let names = try tags().filter { $0.id == image.id }.map(\.name).sorted()
        var removed: [RemovedItem] = []
        if let reference = try? ImageReference(name), names.contains(reference) {
            store.set(.tags, Self.tagKey(reference), nil)
            removed.append(.untagged(reference))
            if names.count > 1 { return removed }
        } else {
            if names.count > 1 && !force {
                throw .failed(
                    "\(image.id.short) has \(names.count) names: \(names.map(\.familiar).joined(separator: ", "))",
                    advice: "remove it by one of them, or all of them with --force")
            }
            for name in names {
                store.set(.tags, Self.tagKey(name), nil)
                removed.append(.untagged(name))
            }
        }
        store.set(.images, image.id.bytes, nil)
        removed.append(.deleted(image.id))
        return removed
    }
}

extension StoredImage {
    /// Bytes of all layers, uncompressed.
    var size: UInt64 { layers.reduce(0) { $0 &+ $1.size } }
}
