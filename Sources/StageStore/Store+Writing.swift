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
        try noteLookalike(bytes, digest)
        try put(bytes, named: digest)
        return digest
    }

    /// Keeps several contents: one look-up and one turn at the pack for all of them.
    public func put(together contents: [UnsafeRawBufferPointer]) throws(StoreError) -> [Digest] {
        if contents.contains(where: { $0.count > Block.size }) {
            var digests: [Digest] = []
            for content in contents { digests.append(try put(content)) }
            return digests
        }
        let digests = Digest.of(contents)
        let known = try entries(of: digests)
        let new = contents.indices.filter { known[$0] == nil }
        if new.isEmpty { return digests }
        for place in new { try noteLookalike(contents[place], digests[place]) }
        let room = new.reduce(0) { $0 + Block.header + contents[$1].count }
        let result: Result<Void, StoreError> = withUnsafeTemporaryAllocation(byteCount: room, alignment: 16) { out in
            var blocks: [NamedBlock] = []
            var rest = out
            for place in new {
                let content = contents[place]
                let length = content.isEmpty ? 0 : Block.write(content, to: rest)
                blocks.append(
                    NamedBlock(
                        name: digests[place], bytes: UnsafeRawBufferPointer(rebasing: rest[..<length]),
                        raw: content.count))
                rest = UnsafeMutableRawBufferPointer(rebasing: rest[length...])
            }
            do throws(StoreError) { return .success(try keep(blocks)) } catch { return .failure(error) }
        }
        try result.get()
        return digests
    }

    /// A content as one block, or as nothing when it is empty.
    private struct NamedBlock {
        let name: Digest
        let bytes: UnsafeRawBufferPointer
        let raw: Int
    }

    /// Keeps a content of one block under its name, unless it is here.
    func put(_ bytes: UnsafeRawBufferPointer, named digest: Digest) throws(StoreError) {
        if try entry(of: digest) != nil { return }
        let result: Result<Void, StoreError> = withUnsafeTemporaryAllocation(
            byteCount: Block.header + bytes.count, alignment: 16
        ) { out in
            let length = bytes.isEmpty ? 0 : Block.write(bytes, to: out)
            let block = NamedBlock(
                name: digest, bytes: UnsafeRawBufferPointer(rebasing: out[..<length]), raw: bytes.count)
            do throws(StoreError) { return .success(try keep([block])) } catch { return .failure(error) }
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

    /// Makes new contents known, but for those with which somebody was faster.
    private func keep(_ blocks: [NamedBlock]) throws(StoreError) {
        try withWriter { writer, batch throws(StoreError) in
            for block in blocks where !batch.holds(block.name) {
                let start = try writer.append(block.bytes)
                let location = Location(
                    pack: writer.id, offset: start, stored: UInt64(block.bytes.count), raw: UInt64(block.raw))
                batch.add(block.name, .stored(location))
            }
        }
    }

    /// Calls `body` with the pack that new contents go to, under the lock. Commits the contents when there are many packs.
    func withWriter(
        _ body: (inout PackWriter, inout Waiting) throws(StoreError) -> Void
    ) throws(StoreError) {
        var hasMany = false
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
            hasMany = state.complete.count >= Self.openPacks
        }
        if hasMany { try commitManyPacks() }
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
