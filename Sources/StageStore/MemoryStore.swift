// A store in memory: for host programs' tests, and the model that the real one is compared with.

import StageHash
import StageSystem
import Synchronization

/// Keeps contents and directories in memory.
public final class MemoryStore: DirectorySink, ContentSink, TableStore, NoteStore {
    private let contents = Mutex<[Digest: [UInt8]]>([:])
    private let values = Mutex([[TableKey: [UInt8]]](repeating: [:], count: Table.allCases.count))

    private let noted = Mutex<[Digest: [UInt8]]>([:])

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

    public func read(_ digest: Digest) throws(StoreError) -> [UInt8] {
        guard let bytes = contents.withLock({ $0[digest] }) else { throw .missing(digest) }
        return bytes
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
        values.withLock { $0[table.place][TableKey(key)] }
    }

    public func get(_ table: Table, _ key: Digest) throws(StoreError) -> [UInt8]? {
        values.withLock { $0[table.place][.digest(key)] }
    }

    public func set(_ table: Table, _ key: [UInt8], _ value: [UInt8]?) {
        values.withLock { $0[table.place][TableKey(key)] = value }
    }

    public func set(_ table: Table, _ key: Digest, _ value: [UInt8]?) {
        values.withLock { $0[table.place][.digest(key)] = value }
    }

    public func add(_ table: Table, _ key: [UInt8], _ value: [UInt8]) throws(StoreError) {
        values.withLock { values in
            // One look-up, not two: nothing else is done with the value.
            func keep(_ present: inout [UInt8]?) { if present == nil { present = value } }
            keep(&values[table.place][TableKey(key)])
        }
    }

    /// All pairs of a table, in key order.
    public func all(_ table: Table) -> [(key: [UInt8], value: [UInt8])] {
        let pairs = values.withLock { $0[table.place].map { (key: $0.key.bytes, value: $0.value) } }
        return pairs.sorted { precedes($0.key, $1.key) }
    }

    public func note(_ name: Digest) -> [UInt8]? { noted.withLock { $0[name] } }

    public func setNote(_ name: Digest, _ note: [UInt8]?) -> Bool {
        noted.withLock { $0[name] = note }
        return true
    }

    public func notes() -> [Digest] { noted.withLock { Array($0.keys) } }

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

/// A key as it is compared fastest: most are a digest or two.
private enum TableKey: Hashable {
    case digest(Digest)
    case pair(Digest, Digest)
    case other([UInt8])

    init(_ bytes: [UInt8]) {
        self = bytes.withUnsafeBytes { raw in
            if raw.count == 32, let digest = Digest(bytes: raw) { return .digest(digest) }
            if raw.count == 64, let first = Digest(bytes: raw),
                let second = Digest(bytes: UnsafeRawBufferPointer(rebasing: raw[32...]))
            {
                return .pair(first, second)
            }
            return .other(bytes)
        }
    }

    /// Without the case: the keys of one table are nearly all of one.
    func hash(into hasher: inout Hasher) {
        switch self {
        case .digest(let digest): hasher.combine(digest)
        case .pair(let first, let second):
            hasher.combine(first)
            hasher.combine(second)
        case .other(let bytes): hasher.combine(bytes)
        }
    }

    var bytes: [UInt8] {
        switch self {
        case .digest(let digest): digest.bytes
        case .pair(let first, let second): first.bytes + second.bytes
        case .other(let bytes): bytes
        }
    }
}
