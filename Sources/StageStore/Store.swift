// One directory that keeps everything: contents in packs, and tables in an index.
//
// Commit order: pack data, fdatasync, then one index transaction that makes it visible. What is not committed yet is
// found in memory, so a build reads its own writes; after a kill the uncommitted tail of a pack is simply not indexed.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

/// The store on disk. All calls block: use it on a `BlockingPool`.
public final class Store: DirectorySink, ContentSink, TableStore {
    /// The root directory, absolute or relative to where the process was when it opened.
    public let path: String
    private let database: Database
    private let packs: SharedFile
    private let state = Mutex(State())
    private let committing = Mutex(())
    private let directories = Mutex<[Digest: DirectoryObject]>([:])
    private let files = Mutex<[UInt64: SharedFile]>([:])

    private static let format = "stagerun store 1\n"
    /// Contents up to this size are buffered whole and share packs; larger ones get a pack of their own.
    static let smallLimit = 4 << 20
    private static let cachedDirectories = 50_000

    private struct State {
        var writer: PackWriter?
        /// Large contents' packs that are not committed: kept open for their lock and their fsync.
        var large: [PackWriter] = []
        var pending = Batch()
        /// The batch that a running commit writes; still looked up until that is done.
        var inFlight = Batch()
    }

    private struct Batch {
        var contents: [Digest: Location] = [:]
        var values: [Key: [UInt8]?] = [:]
        var isEmpty: Bool { contents.isEmpty && values.isEmpty }
    }

    private struct Key: Hashable {
        var table: Table
        var key: [UInt8]
    }

    /// Opens the store at `path`, making it when there is none.
    public init(path: String) throws(StoreError) {
        self.path = path
        do throws(SystemError) {
            for directory in ["", "/index", "/packs", "/tmp"] { try Self.makeDirectory(path + directory) }
            try Self.checkFormat(path)
            packs = SharedFile(try OwnedFD.open(path + "/packs", O_RDONLY | O_DIRECTORY))
        } catch {
            if error.operation == "format" { throw .unknownFormat(path: path, found: error.subject) }
            throw .system(error)
        }
        database = try Database.shared(path + "/index")
    }

    private static func makeDirectory(_ path: String) throws(SystemError) {
        if mkdir(path, 0o755) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw .last("mkdir", path)
        }
        try makeDirectory(String(path[..<slash]))
        if mkdir(path, 0o755) != 0 && errno != EEXIST { throw .last("mkdir", path) }
    }

    private static func checkFormat(_ path: String) throws(SystemError) {
        do throws(SystemError) {
            let found = String(decoding: try readFile(path + "/format", limit: 4096), as: UTF8.self)
            if found != format {
                throw SystemError("format", String(found.prefix { !$0.isNewline }), errno: EINVAL)
            }
        } catch {
            guard error.operation == "open", error.errno == ENOENT else { throw error }
            try writeFile(path + "/format", Array(format.utf8))
        }
    }

    // MARK: Tables

    /// The value of `key`; nil when there is none.
    public func get(_ table: Table, _ key: [UInt8]) throws(StoreError) -> [UInt8]? {
        let pending = state.withLock { state -> [UInt8]?? in
            let key = Key(table: table, key: key)
            return state.pending.values[key] ?? state.inFlight.values[key]
        }
        if let pending { return pending }
        return try database.read { transaction throws(StoreError) in
            try transaction.value(table, key) { Array($0) }
        } ?? nil
    }

    /// Keeps `value`, from the next `commit()` on durably; nil takes the key away.
    public func set(_ table: Table, _ key: [UInt8], _ value: [UInt8]?) {
        state.withLock { $0.pending.values[Key(table: table, key: key)] = .some(value) }
    }

    /// All pairs of a table, in key order.
    public func all(_ table: Table) throws(StoreError) -> [(key: [UInt8], value: [UInt8])] {
        var pairs: [[UInt8]: [UInt8]] = [:]
        for (key, value) in try database.read({ transaction throws(StoreError) in try transaction.all(table) }) {
            pairs[key] = value
        }
        state.withLock { state in
            for batch in [state.inFlight, state.pending] {
                for (key, value) in batch.values where key.table == table { pairs[key.key] = value }
            }
        }
        return pairs.sorted { precedes($0.key, $1.key) }.map { ($0.key, $0.value) }
    }

    // MARK: Contents

    private func locate(_ digest: Digest) throws(StoreError) -> Location? {
        if let found = state.withLock({ $0.pending.contents[digest] ?? $0.inFlight.contents[digest] }) { return found }
        return try database.read { transaction throws(StoreError) in
            try transaction.value(.contents, digest.bytes) { Location($0) } ?? nil
        }
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
                sizes[index] = try transaction.value(.contents, digests[index].bytes) { Location($0)?.raw } ?? nil
            }
        }
        return sizes
    }

    public func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest {
        if bytes.count > Self.smallLimit {
            var ingest = Ingest(store: self)
            try ingest.update(bytes)
            return try ingest.finish().digest
        }
        let digest = Digest.of(bytes)
        if try locate(digest) != nil { return digest }
        var blocks: [UInt8] = []
        blocks.reserveCapacity(bytes.count / 2 + 64)
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, Block.size)
            Block.append(UnsafeRawBufferPointer(rebasing: rest[..<count]), to: &blocks)
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
        try keep(digest, blocks: blocks, raw: UInt64(bytes.count))
        return digest
    }

    public func ingest() throws(StoreError) -> any ContentIngest { Ingest(store: self) }

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
        var ingest = Ingest(store: self)
        while count > 0 {
            try ingest.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            do throws(SystemError) { count = try readFull(fd, buffer, subject) } catch { throw .system(error) }
        }
        return try ingest.finish()
    }

    /// Makes a new content known, unless somebody was faster.
    fileprivate func keep(_ digest: Digest, blocks: [UInt8], raw: UInt64) throws(StoreError) {
        try withState { state throws(StoreError) in
            if state.pending.contents[digest] != nil || state.inFlight.contents[digest] != nil { return }
            var writer: PackWriter
            if let current = state.writer.take() {
                writer = current
            } else {
                writer = try PackWriter.acquire(in: packs.fd.raw) { id throws(StoreError) in
                    try self.database.read { transaction throws(StoreError) in
                        try transaction.value(.facts, PackWriter.factKey(id)) {
                            $0.count == 8 ? UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) : nil
                        } ?? nil
                    }
                }
                files.withLock { $0[writer.id] = writer.file }
            }
            defer { state.writer = writer }
            state.pending.contents[digest] = try appendBytes(blocks, raw: raw, to: &writer)
        }
    }

    private func appendBytes(
        _ blocks: [UInt8], raw: UInt64, to writer: inout PackWriter
    ) throws(StoreError) -> Location {
        let result: Result<Location, StoreError> = blocks.withUnsafeBytes { bytes in
            do throws(StoreError) { return .success(try writer.append(bytes, raw: raw)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    fileprivate func createLargePack() throws(StoreError) -> PackWriter {
        do throws(SystemError) { return try PackWriter.create(in: packs.fd.raw) } catch { throw .system(error) }
    }

    fileprivate func keepLarge(_ digest: Digest, _ writer: consuming PackWriter, raw: UInt64) throws(StoreError) {
        var writer = writer
        try writer.flush()
        if try locate(digest) != nil {
            dropLarge(writer)
            return
        }
        let location = Location(pack: writer.id, offset: 0, stored: writer.end, raw: raw)
        let kept = state.withLock { state in
            if state.pending.contents[digest] != nil { return false }
            state.pending.contents[digest] = location
            state.large.append(writer)
            return true
        }
        if kept { files.withLock { $0[writer.id] = writer.file } } else { dropLarge(writer) }
    }

    fileprivate func dropLarge(_ writer: PackWriter) { unlinkat(packs.fd.raw, PackWriter.name(writer.id), 0) }

    private func withState(_ body: (inout sending State) throws(StoreError) -> Void) throws(StoreError) {
        try state.withLock { state throws(StoreError) in try body(&state) }
    }

    // MARK: Reading

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

    private func packFile(_ location: Location) throws(StoreError) -> SharedFile {
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
            files.withLock { $0[location.pack] = file }
            return file
        } catch {
            if error.errno == ENOENT { throw .corrupt("the pack \(PackWriter.name(location.pack)) is gone") }
            throw .system(error)
        }
    }

    // MARK: Directories

    public func directory(_ object: Digest) throws(StoreError) -> DirectoryObject {
        if let cached = directories.withLock({ $0[object] }) { return cached }
        guard let directory = DirectoryObject(encoded: try read(object)) else {
            throw .corrupt("directory \(object) does not decode")
        }
        remember(directory, object)
        return directory
    }

    public func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef {
        let ref = TreeRef(identity: Digest.of(directory.identityBytes()), object: try put(directory.encoded()))
        remember(directory, ref.object)
        return ref
    }

    private func remember(_ directory: DirectoryObject, _ object: Digest) {
        directories.withLock { cache in
            if cache.count >= Self.cachedDirectories { cache.removeAll(keepingCapacity: true) }
            cache[object] = directory
        }
    }

    // MARK: Commit

    /// True when something waits to be made durable.
    public var needsCommit: Bool { state.withLock { !$0.pending.isEmpty } }

    /// Makes all that was put so far durable and visible to other processes. On an error nothing is lost: the next
    /// commit tries again.
    public func commit() throws(StoreError) {
        try committing.withLock { _ throws(StoreError) in
            var batch = Batch()
            var packEnds: [(id: UInt64, end: UInt64, file: SharedFile)] = []
            try withState { state throws(StoreError) in
                if state.pending.isEmpty { return }
                if var writer = state.writer.take() {
                    defer { state.writer = writer }
                    try writer.flush()
                    packEnds.append((writer.id, writer.end, writer.file))
                }
                for writer in state.large { packEnds.append((writer.id, writer.end, writer.file)) }
                state.inFlight = state.pending
                state.pending = Batch()
                batch = state.inFlight
            }
            if batch.isEmpty { return }
            do throws(StoreError) {
                try publish(batch, packEnds)
            } catch {
                state.withLock { state in
                    state.pending.contents.merge(state.inFlight.contents) { new, _ in new }
                    state.pending.values.merge(state.inFlight.values) { new, _ in new }
                    state.inFlight = Batch()
                }
                throw error
            }
            state.withLock { state in
                state.inFlight = Batch()
                state.large.removeAll { writer in packEnds.contains { $0.id == writer.id } }
                // A full pack is left only when all of it is committed: what came meanwhile is in the next batch, and perhaps
                // still in the writer's buffer.
                if let writer = state.writer, writer.end >= PackWriter.fullSize,
                    packEnds.contains(where: { $0.id == writer.id && $0.end == writer.end })
                {
                    state.writer = nil
                }
            }
        }
    }

    private func publish(
        _ batch: Batch, _ packEnds: [(id: UInt64, end: UInt64, file: SharedFile)]
    ) throws(StoreError) {
        if !batch.contents.isEmpty {
            do throws(SystemError) {
                for pack in packEnds {
                    try retrying("fdatasync", PackWriter.name(pack.id)) { fdatasync(pack.file.fd.raw) }
                }
                try retrying("fsync", "packs") { fsync(packs.fd.raw) }
            } catch { throw .system(error) }
        }
        try database.write { transaction throws(StoreError) in
            for (digest, location) in batch.contents.sorted(by: { $0.key < $1.key }) {
                try transaction.putIfAbsent(.contents, digest.bytes, location.encoded())
            }
            for pack in packEnds where !batch.contents.isEmpty {
                var end = ByteWriter()
                end.u64(pack.end)
                try transaction.put(.facts, PackWriter.factKey(pack.id), end.bytes)
            }
            for (key, value) in batch.values { try transaction.put(key.table, key.key, value) }
        }
    }

    // MARK: Large contents

    /// One content that comes in pieces: in memory while small, in a pack of its own beyond `smallLimit`.
    private struct Ingest: ContentIngest {
        let store: Store
        var hasher = DigestHasher()
        var blocks: [UInt8] = []
        var partial: [UInt8] = []
        var size: UInt64 = 0
        var writer: PackWriter?

        init(store: Store) { self.store = store }

        mutating func update(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
            hasher.update(bytes)
            size += UInt64(bytes.count)
            var rest = bytes
            if !partial.isEmpty {
                let count = min(rest.count, Block.size - partial.count)
                partial.append(contentsOf: rest[..<count])
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                if partial.count < Block.size { return }
                partial.withUnsafeBytes { Block.append($0, to: &blocks) }
                partial.removeAll(keepingCapacity: true)
            }
            while rest.count >= Block.size {
                Block.append(UnsafeRawBufferPointer(rebasing: rest[..<Block.size]), to: &blocks)
                rest = UnsafeRawBufferPointer(rebasing: rest[Block.size...])
                if blocks.count >= Store.smallLimit { try spill() }
            }
            partial.append(contentsOf: rest)
            if blocks.count >= Store.smallLimit { try spill() }
        }

        private mutating func spill() throws(StoreError) {
            var writer: PackWriter
            if let current = self.writer.take() { writer = current } else { writer = try store.createLargePack() }
            defer { self.writer = writer }
            _ = try store.appendBytes(blocks, raw: 0, to: &writer)
            blocks.removeAll(keepingCapacity: true)
        }

        mutating func finish() throws(StoreError) -> (digest: Digest, size: UInt64) {
            let digest = hasher.finalize()
            if !partial.isEmpty { partial.withUnsafeBytes { Block.append($0, to: &blocks) } }
            if writer == nil {
                if try store.locate(digest) == nil { try store.keep(digest, blocks: blocks, raw: size) }
                return (digest, size)
            }
            if !blocks.isEmpty { try spill() }
            if let writer = writer.take() { try store.keepLarge(digest, writer, raw: size) }
            return (digest, size)
        }
    }
}
