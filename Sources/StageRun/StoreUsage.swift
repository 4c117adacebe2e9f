// `du`: what uses what, exact against the bytes on the disk.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem

/// What a state directory takes on the disk, and for what. Bytes are those of the blocks that files have, as `du` counts.
public struct StoreUsage: Sendable {
    /// One line of the account. The bytes of all kinds add up to the directory's.
    public struct Kind: Sendable, Hashable {
        public var name: String
        public var count: Int
        public var bytes: UInt64
    }

    public struct Image: Sendable, Hashable {
        public var id: Digest
        /// As people write them; empty when no name leads to it.
        public var names: [String]
        public var bytes: UInt64
        /// What no other image leads to.
        public var exclusive: UInt64
    }

    public struct Step: Sendable, Hashable {
        public var key: Digest
        public var stage: String
        public var title: String
        public var bytes: UInt64
        /// What nothing else leads to: no image, no other step, no context.
        public var exclusive: UInt64
        /// How long it ran.
        public var seconds: Double
        /// Seconds since 1970; the day counts.
        public var lastUsed: Int64
    }

    /// A cache mount, a workspace, or a context.
    public struct Place: Sendable, Hashable {
        public var id: String
        public var label: String
        public var bytes: UInt64
        public var lastUsed: Int64
    }

    public var kinds: [Kind] = []
    public var images: [Image] = []
    public var steps: [Step] = []
    public var caches: [Place] = []
    public var workspaces: [Place] = []
    public var contexts: [Place] = []
    /// All of the directory.
    public var total: UInt64 = 0
}

extension StageRoot {
    /// Measures everything. What is being written meanwhile may be missed.
    public func usage() async throws(StageRunError) -> StoreUsage {
        try await commit()
        let lease = try lease()
        defer { withExtendedLifetime(lease) {} }
        let (store, path) = (store, path)
        return try await blocking { () throws(StageRunError) in
            try onDisk { () throws(SystemError) in try StoreSurvey(store, path) }.usage()
        }
    }
}

/// The census, and the sizes of what lies beside the packs: what accounts and prunes start from.
struct StoreSurvey: Sendable {
    let path: String
    let census: Census
    let contexts: [ContextState]
    private(set) var caches: [StoredPlace] = []
    private(set) var workspaces: [StoredPlace] = []
    /// Bytes of each context's own files.
    private(set) var contextFiles: [UInt64] = []
    private(set) var packs: UInt64 = 0
    private(set) var runs: UInt64 = 0
    private(set) var index: UInt64 = 0
    private(set) var total: UInt64 = 0
    let contextRoots: [Census.Roots]
    /// The last build of each Dockerfile and context.
    let builds: [(item: Census.Item, entry: BuildEntry)]

    init(_ store: Store, _ path: String) throws(SystemError) {
        self.path = path
        contexts = ContextState.all(in: path)
        do throws(StoreError) { census = try store.census(StoredLinks(), and: contexts.flatMap(\.links)) } catch {
            if case .system(let error) = error { throw error }
            throw SystemError("read the index", error.description, errno: EIO)
        }
        let census = census
        contextRoots = contexts.map { census.roots($0.links) }
        builds = census.items.compactMap { item in
            item.table == .builds ? BuildEntry(item.value).map { (item, store.latest($0)) } : nil
        }
        var usage = DiskUsage()
        caches = try StoredPlace.caches(in: path, &usage)
        workspaces = try StoredPlace.workspaces(in: path, &usage)
        for context in contexts {
            var bytes: UInt64 = 0
            for file in context.files(in: path) { bytes += try usage.bytes(at: file) }
            contextFiles.append(bytes)
        }
        packs = try usage.bytes(at: path + "/packs")
        runs = try usage.bytes(at: path + "/runs")
        index = try usage.bytes(at: path + "/index")
        let places = (caches + workspaces).reduce(0) { $0 + $1.bytes }
        total = try places + contextFiles.reduce(0, +) + packs + runs + index + usage.rest(at: path)
    }

    var images: [Census.Item] { census.items.filter { $0.table == .images } }
    var records: [(item: Census.Item, record: StepRecord)] {
        census.items.compactMap { item in
            guard item.table == .records, let record = StepRecord(encoded: item.value, key: item.key) else {
                return nil
            }
            return (item, record)
        }
    }

    func lastUsed(_ record: StepRecord) -> Int64 {
        max(record.created.seconds, Int64(census.uses[record.key.digest.bytes] ?? 0) * 86_400)
    }

    // MARK: The account

    func usage() -> StoreUsage {
        var usage = StoreUsage()
        usage.total = total
        let (images, records) = (images, records)
        let names = census.imageNames
        let imageHoldings = census.holdings(images.map { $0.roots ?? .none })
        for (item, holding) in zip(images, imageHoldings) {
            usage.images.append(
                .init(
                    id: item.digest ?? .zero, names: names[item.key] ?? [],
                    bytes: holding.total, exclusive: holding.exclusive))
        }
        let all = census.holdings(
            records.map { $0.item.roots ?? .none } + (images + builds.map(\.item)).map { $0.roots ?? .none }
                + contextRoots)
        for ((_, record), holding) in zip(records, all) {
            usage.steps.append(
                .init(
                    key: record.key.digest, stage: record.stage, title: record.title, bytes: holding.total,
                    exclusive: holding.exclusive, seconds: Double(record.duration) / 1e9, lastUsed: lastUsed(record)))
        }
        for (index, holding) in all.suffix(contexts.count).enumerated() {
            let context = contexts[index]
            usage.contexts.append(
                .init(
                    id: context.name, label: context.path ?? "", bytes: holding.total + contextFiles[index],
                    lastUsed: context.lastUsed))
        }
        usage.caches = caches.map(Self.place)
        usage.workspaces = workspaces.map(Self.place)
        usage.images.sort { $0.bytes > $1.bytes }
        usage.steps.sort { ($0.exclusive, $0.bytes) > ($1.exclusive, $1.bytes) }
        usage.caches.sort { $0.bytes > $1.bytes }
        usage.contexts.sort { $0.bytes > $1.bytes }
        usage.kinds = kinds(images, records)
        return usage
    }

    private static func place(_ place: StoredPlace) -> StoreUsage.Place {
        .init(id: place.name, label: place.label, bytes: place.bytes, lastUsed: place.lastUsed)
    }

    /// Each byte once: what several kinds lead to counts for the first of them.
    private func kinds(
        _ images: [Census.Item], _ records: [(item: Census.Item, record: StepRecord)]
    ) -> [StoreUsage.Kind] {
        let builds = builds
        let logs = records.compactMap(\.record.log)
        func union(_ sets: [Census.Roots]) -> Census.Roots {
            sets.reduce(into: Census.Roots.none) { $0.add($1) }
        }
        let added = census.bytesAdded(inOrder: [
            union(images.map { $0.roots ?? .none }), census.roots(logs.map { .content($0) }),
            union(records.map { $0.item.roots ?? .none }), union(builds.map { $0.item.roots ?? .none }),
            union(contextRoots),
        ])
        let unreferenced = census.contentBytes - added.reduce(0, +)
        let cacheBytes = caches.reduce(0) { $0 + $1.bytes }
        let workspaceBytes = workspaces.reduce(0) { $0 + $1.bytes }
        let ownFiles = contextFiles.reduce(0, +)
        let packed = census.contentBytes + census.condemnedBytes
        let named = packed + cacheBytes + workspaceBytes + ownFiles + runs + index
        return [
            .init(name: "images", count: images.count, bytes: added[0]),
            .init(name: "steps", count: records.count, bytes: added[2]),
            .init(name: "logs", count: Set(logs).count, bytes: added[1]),
            .init(name: "builds", count: builds.count, bytes: added[3]),
            .init(name: "contexts", count: contexts.count, bytes: added[4] + ownFiles),
            .init(name: "caches", count: caches.count, bytes: cacheBytes),
            .init(name: "workspaces", count: workspaces.count, bytes: workspaceBytes),
            .init(name: "runs", count: 0, bytes: runs),
            .init(name: "unreferenced", count: 0, bytes: unreferenced),
            .init(name: "given up", count: 0, bytes: census.condemnedBytes),
            .init(name: "index", count: census.contentCount, bytes: index),
            // Dead bytes in packs, the rest of last blocks, directories.
            .init(name: "overhead", count: 0, bytes: total > named ? total - named : 0),
        ]
    }
}
