// What is kept of a step that ran: enough to use its result, and to explain later why the next one differed.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// The record of a step, found by its key.
public struct StepRecord: Sendable, Hashable {
    public var key: StepKey
    /// The walk that made the key: what `explain` compares.
    public var walk: KeyWalk
    /// The instruction as people read it.
    public var title: String
    public var stage: String
    /// The filesystem before; nil for steps that start from nothing.
    public var input: TreeRef?
    /// The filesystem after. The layer of the step is the difference of the two.
    public var result: TreeRef
    /// When it ran.
    public var created: Timestamp
    /// How long it ran, in nanoseconds.
    public var duration: UInt64
    /// Everything it wrote, as a content; nil when it wrote nothing.
    public var log: Digest?
    /// What it took in besides its filesystem: what a COPY selected, what binds showed. May have been pruned since.
    public var sources: [StepSource]

    public init(
        key: StepKey, walk: KeyWalk, title: String, stage: String, input: TreeRef?, result: TreeRef,
        created: Timestamp, duration: UInt64, log: Digest?, sources: [StepSource] = []
    ) {
        self.key = key
        self.walk = walk
        self.title = title
        self.stage = stage
        self.input = input
        self.result = result
        self.created = created
        self.duration = duration
        self.log = log
        self.sources = sources
    }

    /// What a record leads to; nil when the bytes are none.
    public static func links(_ bytes: [UInt8]) -> [Link]? {
        guard let record = StepRecord(key: StepKey(.zero), bytes) else { return nil }
        return [.directory(record.result.object)] + (record.input.map { [.directory($0.object)] } ?? [])
            + (record.log.map { [.content($0)] } ?? [])
    }

    /// The key in `outcomes` under which the first record with this outcome is found.
    public var outcomeKey: [UInt8] { Self.outcomeKey(input, result) }

    /// The same for an outcome that is looked for.
    static func outcomeKey(_ input: TreeRef?, _ result: TreeRef) -> [UInt8] {
        var key = ByteWriter()
        key.bytes.reserveCapacity(64)
        key.digest(input?.identity ?? .zero)
        key.digest(result.identity)
        return key.bytes
    }

    /// The value of `records` under `key`; nil when it does not decode.
    public init?(encoded bytes: [UInt8], key: [UInt8]) {
        guard let digest = key.withUnsafeBytes({ Digest(bytes: $0) }) else { return nil }
        self.init(key: StepKey(digest), bytes)
    }

    /// How the walk is kept says the version: as text until 2, as its encoding since.
    private static let textVersion: UInt8 = 2
    private static let version: UInt8 = 3

    func encoded() -> [UInt8] {
        var out = ByteWriter()
        let encoding = walk.encoding
        let walk = encoding ?? Array(self.walk.text.utf8)[...]
        out.bytes.reserveCapacity(
            Self.fixedSize + (input == nil ? 0 : 64) + (log == nil ? 0 : 32) + walk.count + title.utf8.count
                + stage.utf8.count + 160 * sources.count)
        out.u8(encoding == nil ? Self.textVersion : Self.version)
        out.u32(UInt32(walk.count))
        out.bytes.append(contentsOf: walk)
        out.string(title)
        out.string(stage)
        out.u8((input == nil ? 0 : 1) | (log == nil ? 0 : 2))
        if let input {
            out.digest(input.identity)
            out.digest(input.object)
        }
        out.digest(result.identity)
        out.digest(result.object)
        out.time(created)
        out.u64(duration)
        if let log { out.digest(log) }
        out.sources(sources)
        return out.bytes
    }

    /// Version, lengths, flags, result, times.
    private static let fixedSize = 1 + 4 * 4 + 1 + 64 + 12 + 8

    init?(key: StepKey, _ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let version = reader.u8(), version == Self.version || version == Self.textVersion,
            let walk = reader.frame(), let title = reader.string(),
            let stage = reader.string(), let flags = reader.u8()
        else { return nil }
        var input: TreeRef?
        if flags & 1 != 0 {
            guard let identity = reader.digest(), let object = reader.digest() else { return nil }
            input = TreeRef(identity: identity, object: object)
        }
        guard let identity = reader.digest(), let object = reader.digest(), let created = reader.time(),
            let duration = reader.u64()
        else { return nil }
        var log: Digest?
        if flags & 2 != 0 {
            guard let digest = reader.digest() else { return nil }
            log = digest
        }
        guard let sources = reader.sources(), reader.isAtEnd else { return nil }
        self.init(
            key: key,
            walk: version == Self.version
                ? KeyWalk(encoding: walk) : KeyWalk(text: String(decoding: walk, as: UTF8.self)),
            title: title, stage: stage, input: input,
            result: TreeRef(identity: identity, object: object), created: created, duration: duration, log: log,
            sources: sources)
    }
}

/// One thing that a step took in.
public struct StepSource: Sendable, Hashable {
    /// Which of the step's inputs it came from; 0 for a heredoc.
    public var input: Int
    /// Where it was there, relative; empty for the top.
    public var path: [UInt8]
    public var entry: Entry

    public init(input: Int, path: [UInt8], entry: Entry) {
        self.input = input
        self.path = path
        self.entry = entry
    }
}

/// Where the builder keeps and finds records.
public protocol StepCache: Sendable {
    /// The record of `key`; nil when the step has not run yet.
    func record(_ key: StepKey) throws(StoreError) -> StepRecord?

    /// The record of the step that first led from `input` to `result`, whatever its key was.
    func outcome(from input: TreeRef?, to result: TreeRef) throws(StoreError) -> StepRecord?

    /// Keeps `record`. Its result has to be kept already.
    func keep(_ record: StepRecord) throws(StoreError)

    /// Remembers that the record of `key` was used today. Cheap: what is known already is not written again.
    func markUsed(_ key: StepKey) throws(StoreError)

    /// Claims the work of `key` among all that share the cache.
    func claim(_ key: StepKey) throws(StoreError) -> WorkClaim

    /// Ends a claim once what was kept so far can be seen by the others.
    func endAfterCommit(_ lease: WorkLease)
}

extension StepCache {
    public func markUsed(_ key: StepKey) throws(StoreError) {}
    public func claim(_ key: StepKey) throws(StoreError) -> WorkClaim { .granted(nil) }
    public func endAfterCommit(_ lease: WorkLease) {}
}

extension Store: StepCache {
    public func claim(_ key: StepKey) throws(StoreError) -> WorkClaim { try claim(key.digest) }
    public func markUsed(_ key: StepKey) throws(StoreError) { try markUsed(key.digest) }
}
extension MemoryStore: StepCache {}

extension StepCache where Self: TableStore {
    public func record(_ key: StepKey) throws(StoreError) -> StepRecord? {
        // A record that does not decode counts as none: the step runs again and replaces it.
        try get(.records, key.digest).flatMap { StepRecord(key: key, $0) }
    }

    public func outcome(from input: TreeRef?, to result: TreeRef) throws(StoreError) -> StepRecord? {
        guard let bytes = try get(.outcomes, StepRecord.outcomeKey(input, result)) else { return nil }
        var reader = ByteReader(bytes)
        guard let digest = reader.digest() else { return nil }
        return try record(StepKey(digest))
    }

    public func keep(_ record: StepRecord) throws(StoreError) {
        set(.records, record.key.digest, record.encoded())
        try add(.outcomes, record.outcomeKey, record.key.digest.bytes)
    }
}
