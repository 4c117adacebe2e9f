// How contents are found and read back, block by block.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

extension Store {
    /// What is known of a content; nil when it is not here.
    func entry(of digest: Digest) throws(StoreError) -> ContentEntry? {
        if let found = state.withLock({ $0.waiting[digest] }) { return found }
        return try database.read { transaction throws(StoreError) in try self.entry(of: digest, in: transaction) }
    }

    /// An entry of the index, or what a collection gave up that our leases still cover.
    private func entry(
        of digest: Digest, in transaction: borrowing Database.ReadTransaction
    ) throws(StoreError) -> ContentEntry? {
        if let entry = try transaction.entry(of: digest) { return entry }
        return try condemned(digest, in: transaction)
    }

    public func size(of digest: Digest) throws(StoreError) -> UInt64? { try entry(of: digest)?.size }

    /// The sizes of many contents in one look-up; nil for those that are not here.
    public func sizes(of digests: [Digest]) throws(StoreError) -> [UInt64?] {
        try entries(of: digests).map { $0?.size }
    }

    /// What is known of many contents, in one look-up.
    func entries(of digests: [Digest]) throws(StoreError) -> [ContentEntry?] {
        if digests.isEmpty { return [] }
        var entries = state.withLock { state in digests.map { state.waiting[$0] } }
        if !entries.contains(where: { $0 == nil }) { return entries }
        try database.read { transaction throws(StoreError) in
            for index in digests.indices where entries[index] == nil {
                entries[index] = try entry(of: digests[index], in: transaction)
            }
        }
        return entries
    }

    public func read(_ digest: Digest) throws(StoreError) -> [UInt8] {
        let entry = try entry(of: digest)
        var bytes: [UInt8] = []
        if let size = entry?.size { bytes.reserveCapacity(Int(clamping: min(size, 1 << 30))) }
        try withContent(digest, entry) { piece in bytes.append(contentsOf: piece) }
        return bytes
    }

    public func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        try withContent(digest, try entry(of: digest), depth: 0, body)
    }

    func withContent(
        _ digest: Digest, _ entry: ContentEntry?, depth: Int = 0,
        _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        switch entry {
        case nil: throw .missing(digest)
        case .stored(let location)?: try withStored(digest, location, body)
        case .chunked(let size, let list)?:
            guard depth < ChunkList.depthLimit else { throw .corrupt("content \(digest): lists of lists without end") }
            var rest: [UInt8] = []
            var total: UInt64 = 0
            try withContent(list, try self.entry(of: list), depth: depth + 1) { piece throws(StoreError) in
                rest.append(contentsOf: piece)
                let parts = ChunkList.decode(&rest)
                total += try withParts(parts, of: digest, body)
            }
            guard rest.isEmpty, total == size else {
                throw .corrupt("content \(digest): \(total) bytes in chunks instead of \(size)")
            }
        }
    }

    private func withParts(
        _ parts: [ChunkList.Part], of digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) -> UInt64 {
        let entries = try entries(of: parts.map(\.chunk))
        var total: UInt64 = 0
        for (part, entry) in zip(parts, entries) {
            total += UInt64(part.length)
            if part.chunk == .zero {
                try Self.withZeros(Int(part.length), body)
                continue
            }
            guard let entry else { throw .missing(part.chunk) }
            guard case .stored(let location) = entry, location.raw == UInt64(part.length) else {
                throw .corrupt("content \(digest): its chunk \(part.chunk) is not what its list says")
            }
            try withStored(part.chunk, location, body)
        }
        return total
    }

    private static let zeros = [UInt8](repeating: 0, count: Block.size)

    private static func withZeros(
        _ count: Int, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        let result: Result<Void, StoreError> = zeros.withUnsafeBytes { zeros in
            do throws(StoreError) {
                var rest = count
                while rest > 0 {
                    let length = min(rest, zeros.count)
                    try body(UnsafeRawBufferPointer(rebasing: zeros[..<length]))
                    rest -= length
                }
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    /// Reads a run of blocks. Room is taken for what is there, so that small contents cost small allocations.
    private func withStored(
        _ digest: Digest, _ location: Location, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        if location.raw == 0 { return }
        var location = location
        let file = try packFile(&location, of: digest)
        let window = Int(min(location.stored, UInt64(Block.size + Block.header) * 4))
        let largest = Int(min(location.raw, UInt64(Block.size)))
        let result: Result<Void, StoreError> = withUnsafeTemporaryAllocation(
            byteCount: window + largest, alignment: 64
        ) { buffer in
            do throws(StoreError) {
                let scratch = UnsafeMutableRawBufferPointer(rebasing: buffer[window...])
                let stored = UnsafeMutableRawBufferPointer(rebasing: buffer[..<window])
                return .success(try unpack(digest, location, file, stored, scratch, body))
            } catch { return .failure(error) }
        }
        try result.get()
    }

    private func unpack(
        _ digest: Digest, _ location: Location, _ file: SharedFile, _ window: UnsafeMutableRawBufferPointer,
        _ scratch: UnsafeMutableRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        var offset = location.offset
        let end = location.offset + location.stored
        var total: UInt64 = 0
        while offset < end {
            let count = Int(min(UInt64(window.count), end - offset))
            let target = UnsafeMutableRawBufferPointer(rebasing: window[..<count])
            do throws(SystemError) {
                guard try readFull(file.fd.raw, target, at: Int64(offset)) == count else {
                    throw SystemError("read", errno: 0)
                }
            } catch {
                if error.errno != 0 { throw .system(error) }
                throw .corrupt("content \(digest): its pack \(PackWriter.name(location.pack)) is cut short")
            }
            let used = try Block.unpack(UnsafeRawBufferPointer(target), name: digest, scratch: scratch) {
                piece throws(StoreError) in
                total += UInt64(piece.count)
                try body(piece)
            }
            guard used > 0 else { throw .corrupt("content \(digest): its last block is cut short") }
            offset += UInt64(used)
        }
        guard total == location.raw else {
            throw .corrupt("content \(digest): \(total) bytes instead of \(location.raw)")
        }
    }

    /// The pack of a content, looked up again when a collection moved it in between.
    private func packFile(_ location: inout Location, of digest: Digest) throws(StoreError) -> SharedFile {
        while true {
            do throws(StoreError) { return try packFile(location) } catch {
                guard case .stored(let moved)? = try entry(of: digest), moved != location else { throw error }
                location = moved
            }
        }
    }

    func packFile(_ location: Location) throws(StoreError) -> SharedFile {
        try withState { state throws(StoreError) in
            if var writer = state.writer, writer.id == location.pack, !writer.isFlushed(location) {
                state.writer = nil
                defer { state.writer = writer }
                try writer.flush()
            }
        }
        if let file = files.withLock({ $0[location.pack] }) { return file }
        do throws(SystemError) {
            let file = SharedFile(try OwnedFD.open(PackWriter.name(location.pack), O_RDONLY, at: packs.fd.raw))
            remember(file, location.pack)
            return file
        } catch {
            if error.errno == ENOENT { throw .corrupt("the pack \(PackWriter.name(location.pack)) is gone") }
            throw .system(error)
        }
    }
}

extension Database.ReadTransaction {
    func entry(of digest: Digest) throws(StoreError) -> ContentEntry? {
        guard let found = try value(.contents, digest.bytes, { ContentEntry($0) }) else { return nil }
        guard let entry = found else { throw .corrupt("content \(digest): its index entry is wrong") }
        return entry
    }
}
