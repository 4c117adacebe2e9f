// A store that is only read: what is put on top lives in memory, and goes with the object. For plans.

import StageHash
import Synchronization

/// Reads from a store; keeps directories that are put in memory, and of contents only the names.
public final class OverlayStore<Base: DirectorySource & ContentSource>: DirectorySink, ContentSink {
    public let base: Base
    private let upper = MemoryStore()
    private let kept = Mutex(0)
    /// Small contents are kept, up to so many bytes together: accounts and scripts may have to be read again.
    private static var keptSize: Int { 64 << 10 }
    private static var keptTotal: Int { 32 << 20 }

    public init(_ base: Base) { self.base = base }

    public func size(of digest: Digest) throws(StoreError) -> UInt64? {
        if let size = try upper.size(of: digest) { return size }
        return try base.size(of: digest)
    }

    public func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        if try upper.size(of: digest) != nil { return try upper.withContent(digest, body) }
        try base.withContent(digest, body)
    }

    public func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest {
        let isKept = kept.withLock { kept in
            guard bytes.count <= Self.keptSize, kept + bytes.count <= Self.keptTotal else { return false }
            kept += bytes.count
            return true
        }
        return isKept ? try upper.put(bytes) : Digest.of(bytes)
    }

    /// A large content: named and let go.
    public func ingest() throws(StoreError) -> any ContentIngest { NameIngest() }

    public func directory(_ object: Digest) throws(StoreError) -> DirectoryObject {
        if try upper.size(of: object) != nil { return try upper.directory(object) }
        return try base.directory(object)
    }

    public func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef { try upper.put(directory) }
}
