// A store in memory: for host programs' tests, and the model that the real one is compared with.

import StageHash
import StageSystem
import Synchronization

/// Keeps contents and directories in memory.
public final class MemoryStore: DirectorySink, ContentSink, TableStore {
    private let contents = Mutex<[Digest: [UInt8]]>([:])
    private let values = Mutex<[Table: [[UInt8]: [UInt8]]]>([:])

    public init() {}

    /// How many contents, directories included, are kept.
    public var count: Int { contents.withLock { $0.count } }

    public func size(of digest: Digest) throws(StoreError) -> UInt64? {
        contents.withLock { $0[digest].map { UInt64($0.count) } }
    }

    public func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        guard let bytes = contents.withLock({ $0[digest] }) else { throw .missing(digest) }
        if bytes.isEmpty { return }
        let result: Result<Void, StoreError> = bytes.withUnsafeBytes { buffer in
            do throws(StoreError) { return .success(try body(buffer)) } catch { return .failure(error) }
        }
        try result.get()
    }

    public func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest {
        let digest = Digest.of(bytes)
        contents.withLock { $0[digest] = Array(bytes) }
        return digest
    }

    public func ingest() throws(StoreError) -> any ContentIngest { Ingest(store: self) }

    private struct Ingest: ContentIngest {
        let store: MemoryStore
        var bytes: [UInt8] = []

        mutating func update(_ piece: UnsafeRawBufferPointer) { bytes.append(contentsOf: piece) }

        mutating func finish() throws(StoreError) -> (digest: Digest, size: UInt64) {
            (try store.put(bytes), UInt64(bytes.count))
        }
    }

    public func get(_ table: Table, _ key: [UInt8]) throws(StoreError) -> [UInt8]? {
        values.withLock { $0[table]?[key] }
    }

    public func set(_ table: Table, _ key: [UInt8], _ value: [UInt8]?) {
        values.withLock { $0[table, default: [:]][key] = value }
    }

    /// All pairs of a table, in key order.
    public func all(_ table: Table) -> [(key: [UInt8], value: [UInt8])] {
        values.withLock { ($0[table] ?? [:]).sorted { precedes($0.key, $1.key) }.map { ($0.key, $0.value) } }
    }

    public func directory(_ object: Digest) throws(StoreError) -> DirectoryObject {
        guard let directory = DirectoryObject(encoded: try read(object)) else {
            throw .corrupt("directory \(object) does not decode")
        }
        return directory
    }

    public func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef {
        try directory.checkNames()
        return TreeRef(identity: Digest.of(directory.identityBytes()), object: try put(directory.encoded()))
    }
}
