// How contents enter the store: up to a block whole and in a shared pack, larger ones in chunks (StoreIngest.swift).

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

extension Store {
    public func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest {
        if bytes.count > Block.size {
            let ingest = StoreIngest(store: self)
            try ingest.update(bytes)
            return try ingest.finish().digest
        }
        let digest = Digest.of(bytes)
        try put(bytes, named: digest)
        return digest
    }

    /// Keeps two contents, as `put` would one after the other.
    public func put(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer
    ) throws(StoreError) -> (first: Digest, second: Digest) {
        if max(first.count, second.count) > Block.size { return (try put(first), try put(second)) }
        let digests = Digest.of(first, second)
        try put(first, named: digests.first)
        try put(second, named: digests.second)
        return digests
    }

    /// Keeps a content of one block under its name, unless it is here.
    func put(_ bytes: UnsafeRawBufferPointer, named digest: Digest) throws(StoreError) {
        if try entry(of: digest) != nil { return }
        let result: Result<Void, StoreError> = withUnsafeTemporaryAllocation(
            byteCount: Block.header + bytes.count, alignment: 16
        ) { out in
            let length = bytes.isEmpty ? 0 : Block.write(bytes, to: out)
            do throws(StoreError) {
                return .success(
                    try keep(digest, block: UnsafeRawBufferPointer(rebasing: out[..<length]), raw: bytes.count))
            } catch { return .failure(error) }
        }
        try result.get()
    }

    public func ingest() throws(StoreError) -> any ContentIngest { StoreIngest(store: self) }

    /// Keeps the regular file behind `fd`, from its start.
    public func ingest(descriptor fd: CInt, _ subject: String = "") throws(StoreError) -> (digest: Digest, size: UInt64)
    {
        let ingest = StoreIngest(store: self)
        try ingest.update(from: fd, subject)
        return try ingest.finish()
    }

    /// Makes a new content known, unless somebody was faster.
    private func keep(_ digest: Digest, block: UnsafeRawBufferPointer, raw: Int) throws(StoreError) {
        try withWriter { writer, batch throws(StoreError) in
            if batch.holds(digest) { return }
            let start = try writer.append(block)
            batch.add(
                digest,
                .stored(Location(pack: writer.id, offset: start, stored: UInt64(block.count), raw: UInt64(raw))))
        }
        try commitManyPacks()
    }

    /// Calls `body` with the pack that new contents go to, under the lock.
    func withWriter(
        _ body: (inout PackWriter, inout Waiting) throws(StoreError) -> Void
    ) throws(StoreError) {
        try withState { state throws(StoreError) in
            if var full = state.writer, full.end >= PackWriter.fullSize {
                state.writer = nil
                do throws(StoreError) { try full.flush() } catch {
                    state.writer = full
                    throw error
                }
                state.complete.append(full)
            }
            var writer: PackWriter
            if let current = state.writer.take() { writer = current } else { writer = try acquirePack() }
            defer { state.writer = writer }
            try body(&writer, &state.waiting)
        }
    }

    /// How much of a pack the index knows; nil when it does not know the pack.
    func committedEnd(_ id: UInt64) throws(StoreError) -> UInt64? {
        try database.read { transaction throws(StoreError) in
            try transaction.value(.facts, PackWriter.factKey(id)) {
                $0.count == 8 ? UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) : nil
            } ?? nil
        }
    }

    private func acquirePack() throws(StoreError) -> PackWriter {
        let writer = try PackWriter.acquire(in: packs.fd.raw) { id throws(StoreError) in try committedEnd(id) }
        remember(writer.file, writer.id)
        return writer
    }

    /// A new pack, for one content.
    func createPack() throws(StoreError) -> PackWriter {
        do throws(SystemError) { return try PackWriter.create(in: packs.fd.raw) } catch { throw .system(error) }
    }

    /// Makes a content with packs of its own known; false when it is known already.
    func publish(
        _ packs: [PackWriter], _ places: [Digest: Location], _ digest: Digest, _ entry: ContentEntry
    ) -> Bool {
        let isNew = state.withLock { state in
            if state.waiting.holds(digest) { return false }
            state.waiting.add(places, digest, entry)
            state.complete += packs
            return true
        }
        if isNew { for pack in packs { remember(pack.file, pack.id) } }
        return isNew
    }

    func dropPack(_ writer: PackWriter) { unlinkat(packs.fd.raw, PackWriter.name(writer.id), 0) }

    /// Keeps a pack open for reading.
    func remember(_ file: SharedFile, _ pack: UInt64) {
        files.withLock { files in
            if files.count >= Self.openPacks { files.removeAll(keepingCapacity: true) }
            files[pack] = file
        }
    }
}
