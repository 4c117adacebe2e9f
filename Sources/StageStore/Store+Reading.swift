// How contents are found and read back, block by block.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

extension Store {
    func locate(_ digest: Digest) throws(StoreError) -> Location? {
        if let found = state.withLock({ $0.pending.contents[digest] ?? $0.inFlight.contents[digest] }) { return found }
        return try database.read { transaction throws(StoreError) in try Self.location(digest, in: transaction) }
    }

    private static func location(
        _ digest: Digest, in transaction: borrowing Database.ReadTransaction
    ) throws(StoreError) -> Location? {
        guard let found = try transaction.value(.contents, digest.bytes, { Location($0) }) else { return nil }
        guard let location = found else { throw .corrupt("content \(digest): its index entry is wrong") }
        return location
    }

    public func size(of digest: Digest) throws(StoreError) -> UInt64? { try locate(digest)?.raw }

    /// The sizes of many contents in one look-up; nil for those that are not here.
    public func sizes(of digests: [Digest]) throws(StoreError) -> [UInt64?] {
        if digests.isEmpty { return [] }
        var sizes = state.withLock { state in
            digests.map { (state.pending.contents[$0] ?? state.inFlight.contents[$0])?.raw }
        }
        if !sizes.contains(where: { $0 == nil }) { return sizes }
        try database.read { transaction throws(StoreError) in
            for index in digests.indices where sizes[index] == nil {
                sizes[index] = try Self.location(digests[index], in: transaction)?.raw
            }
        }
        return sizes
    }

    public func withContent(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        guard let location = try locate(digest) else { throw .missing(digest) }
        if location.raw == 0 { return }
        let file = try packFile(location)
        let window = Int(min(location.stored, UInt64(Block.size + Block.header) * 4))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: window + Block.size, alignment: 64)
        defer { buffer.deallocate() }
        let scratch = UnsafeMutableRawBufferPointer(rebasing: buffer[window...])
        var offset = location.offset
        let end = location.offset + location.stored
        var total: UInt64 = 0
        while offset < end {
            let count = Int(min(UInt64(window), end - offset))
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
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
