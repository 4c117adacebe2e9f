// The permissions a part of the program has on contents, split as small protocols: most only read.

import StageHash
import StageSystem

/// Where contents are read from. Blocking: call on a `BlockingPool`, not on the cooperative threads.
public protocol ContentSource: Sendable {
    /// The size of the content in bytes; nil when it is not here.
    func size(of digest: Digest) throws(StoreError) -> UInt64?

    /// Hands out the content in order, in pieces; none for an empty one. The pieces are valid during the call only.
    func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError)

    /// The whole content, in memory.
    func read(_ digest: Digest) throws(StoreError) -> [UInt8]

    /// Looks up many contents that are to be read one after the other. Costs less than one by one where they were kept
    /// together; and another thread may look up what comes next while one reads. What is missing is an error of the
    /// reading, in its turn.
    func lookUp(_ digests: [Digest]) throws(StoreError) -> any ContentBatch
}

/// Contents that were looked up.
public protocol ContentBatch: Sendable {
    /// Hands them out in order: `body` gets the place of a content among those that were looked up, with each of its pieces.
    func read(_ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void) throws(StoreError)
}

/// Where a look-up ahead of the reading gains nothing.
private struct PlainBatch<Source: ContentSource>: ContentBatch {
    let source: Source
    let digests: [Digest]

    func read(_ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void) throws(StoreError) {
        for (place, digest) in digests.enumerated() {
            try source.withContent(digest) { piece throws(StoreError) in try body(place, piece) }
        }
    }
}

extension ContentSource {
    public func lookUp(_ digests: [Digest]) throws(StoreError) -> any ContentBatch {
        PlainBatch(source: self, digests: digests)
    }

    /// Looks up `digests`, and reads them.
    public func withContents(
        _ digests: [Digest], _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) { try lookUp(digests).read(body) }

    public func read(_ digest: Digest) throws(StoreError) -> [UInt8] {
        var bytes: [UInt8] = []
        if let size = try size(of: digest) { bytes.reserveCapacity(Int(clamping: min(size, 1 << 30))) }
        try withContent(digest) { piece in bytes.append(contentsOf: piece) }
        return bytes
    }
}

/// Takes one content in pieces. Without `finish()` nothing is kept.
public protocol ContentIngest {
    mutating func update(_ bytes: UnsafeRawBufferPointer) throws(StoreError)

    /// Keeps what was fed and gives its name and size. Call it once, last.
    mutating func finish() throws(StoreError) -> (digest: Digest, size: UInt64)
}

/// Where contents are written to.
public protocol ContentSink: ContentSource {
    /// Keeps `bytes`; the same content is kept once.
    func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest

    /// Starts a content whose size is not known.
    func ingest() throws(StoreError) -> any ContentIngest
}

extension ContentSink {
    public func put(_ bytes: [UInt8]) throws(StoreError) -> Digest {
        let result: Result<Digest, StoreError> = bytes.withUnsafeBytes { buffer in
            do throws(StoreError) { return .success(try put(buffer)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}

/// All that trees and their contents need.
public typealias TreeStore = DirectorySink & ContentSink

/// Small values by key, a table a purpose.
public protocol TableStore: Sendable {
    /// The value of `key`; nil when there is none.
    func get(_ table: Table, _ key: [UInt8]) throws(StoreError) -> [UInt8]?

    /// The same for a key that is a digest.
    func get(_ table: Table, _ key: Digest) throws(StoreError) -> [UInt8]?

    /// Keeps `value`; nil takes the key away.
    func set(_ table: Table, _ key: [UInt8], _ value: [UInt8]?)

    /// The same for a key that is a digest.
    func set(_ table: Table, _ key: Digest, _ value: [UInt8]?)

    /// Keeps `value` unless there is one already.
    func add(_ table: Table, _ key: [UInt8], _ value: [UInt8]) throws(StoreError)
}

extension TableStore {
    public func get(_ table: Table, _ key: Digest) throws(StoreError) -> [UInt8]? { try get(table, key.bytes) }

    public func set(_ table: Table, _ key: Digest, _ value: [UInt8]?) { set(table, key.bytes, value) }

    public func add(_ table: Table, _ key: [UInt8], _ value: [UInt8]) throws(StoreError) {
        if try get(table, key) == nil { set(table, key, value) }
    }
}
