// How contents enter the store: small ones share a pack, large ones get one each.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

extension Store {
    public func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest {
        if bytes.count > Self.smallLimit {
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
        if max(first.count, second.count) > Self.smallLimit { return (try put(first), try put(second)) }
        let digests = Digest.of(first, second)
        try put(first, named: digests.first)
        try put(second, named: digests.second)
        return digests
    }

    /// Keeps a small content of that name, unless it is here.
    private func put(_ bytes: UnsafeRawBufferPointer, named digest: Digest) throws(StoreError) {
        if try locate(digest) != nil { return }
        var blocks: [UInt8] = []
        blocks.reserveCapacity(bytes.count / 2 + 64)
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, Block.size)
            Block.append(UnsafeRawBufferPointer(rebasing: rest[..<count]), to: &blocks)
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
        try keep(digest, blocks: blocks, raw: UInt64(bytes.count))
    }

    public func ingest() throws(StoreError) -> any ContentIngest { StoreIngest(store: self) }

    /// Keeps the regular file behind `fd`, from its start.
    public func ingest(descriptor fd: CInt, _ subject: String = "") throws(StoreError) -> (digest: Digest, size: UInt64)
    {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Block.size, alignment: 64)
        defer { buffer.deallocate() }
        var count: Int
        do throws(SystemError) { count = try readFull(fd, buffer, subject) } catch { throw .system(error) }
        if count < buffer.count {
            return (try put(UnsafeRawBufferPointer(rebasing: buffer[..<count])), UInt64(count))
        }
        let ingest = StoreIngest(store: self)
        while count > 0 {
            try ingest.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            do throws(SystemError) { count = try readFull(fd, buffer, subject) } catch { throw .system(error) }
        }
        return try ingest.finish()
    }

    /// Makes a new content known, unless somebody was faster.
    func keep(_ digest: Digest, blocks: [UInt8], raw: UInt64) throws(StoreError) {
        try withState { state throws(StoreError) in
            if state.pending.contents[digest] != nil || state.inFlight.contents[digest] != nil { return }
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
            state.pending.contents[digest] = try appendBytes(blocks, raw: raw, to: &writer)
        }
        try commitManyPacks()
    }

    private func acquirePack() throws(StoreError) -> PackWriter {
        let writer = try PackWriter.acquire(in: packs.fd.raw) { id throws(StoreError) in
            try self.database.read { transaction throws(StoreError) in
                try transaction.value(.facts, PackWriter.factKey(id)) {
                    $0.count == 8 ? UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) : nil
                } ?? nil
            }
        }
        remember(writer.file, writer.id)
        return writer
    }

    func appendBytes(
        _ blocks: [UInt8], raw: UInt64, to writer: inout PackWriter
    ) throws(StoreError) -> Location {
        let result: Result<Location, StoreError> = blocks.withUnsafeBytes { bytes in
            do throws(StoreError) { return .success(try writer.append(bytes, raw: raw)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    func createLargePack() throws(StoreError) -> PackWriter {
        do throws(SystemError) { return try PackWriter.create(in: packs.fd.raw) } catch { throw .system(error) }
    }

    /// Makes a content that fills a flushed pack of its own known; false when it is known already.
    func keepLarge(_ digest: Digest, _ writer: PackWriter, raw: UInt64) throws(StoreError) -> Bool {
        if try locate(digest) != nil { return false }
        let location = Location(pack: writer.id, offset: 0, stored: writer.end, raw: raw)
        let kept = state.withLock { state in
            if state.pending.contents[digest] != nil || state.inFlight.contents[digest] != nil { return false }
            state.pending.contents[digest] = location
            state.complete.append(writer)
            return true
        }
        if kept { remember(writer.file, writer.id) }
        return kept
    }

    func dropLarge(_ writer: PackWriter) { unlinkat(packs.fd.raw, PackWriter.name(writer.id), 0) }

    /// Keeps a pack open for reading.
    func remember(_ file: SharedFile, _ pack: UInt64) {
        files.withLock { files in
            if files.count >= Self.openPacks { files.removeAll(keepingCapacity: true) }
            files[pack] = file
        }
    }
}
