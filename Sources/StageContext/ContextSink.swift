// Where a scan puts what it reads: a store, or nowhere when only names are wanted.

import StageHash
import StageStore

/// Takes contents and directories from a scan. Called from many threads at once.
///
/// What is put is complete in this sense: a directory comes after all that is in it, so whoever holds a directory holds
/// everything beneath it. Scans rely on that: they ask for a directory, not for each of its files.
public protocol ContextSink: Sendable {
    /// Keeps `bytes`, which are valid during the call only, and gives their name.
    func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest

    /// Keeps several contents, as `put` would one after the other: there is less to do when they come together.
    func put(together contents: [UnsafeRawBufferPointer]) throws(StoreError) -> [Digest]

    /// Starts a content that comes in pieces.
    func ingest() throws(StoreError) -> any ContentIngest

    /// Keeps a directory; all that is in it has been put before.
    func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef

    /// For each content or directory object, whether it is held already.
    func holds(_ digests: [Digest]) throws(StoreError) -> [Bool]
}

extension ContextSink {
    public func put(together contents: [UnsafeRawBufferPointer]) throws(StoreError) -> [Digest] {
        var digests: [Digest] = []
        for content in contents { digests.append(try put(content)) }
        return digests
    }
}

extension Store: ContextSink {
    public func holds(_ digests: [Digest]) throws(StoreError) -> [Bool] { try vouches(for: digests) }
}

extension MemoryStore: ContextSink {
    public func holds(_ digests: [Digest]) throws(StoreError) -> [Bool] {
        var held: [Bool] = []
        for digest in digests { held.append(try size(of: digest) != nil) }
        return held
    }
}

/// Names contents and directories, and keeps nothing: for a program that only asks what a context is called.
public struct ContextNames: ContextSink {
    public init() {}

    public func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest { Digest.of(bytes) }

    public func put(together contents: [UnsafeRawBufferPointer]) throws(StoreError) -> [Digest] { Digest.of(contents) }

    public func ingest() throws(StoreError) -> any ContentIngest { NameIngest() }

    public func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef { directory.names() }

    /// What has a name has all that this keeps of it.
    public func holds(_ digests: [Digest]) throws(StoreError) -> [Bool] { digests.map { _ in true } }
}
