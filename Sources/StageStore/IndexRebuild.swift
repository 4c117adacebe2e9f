// An index that is damaged is made again: of what it says, all whose checks hold; of contents that it lost, what the packs hold.
// Specs/garbage-collection.md, "Checks".

import CLinux
import Glibc
import StageHash
import StageSystem

/// What became of a damaged index.
public struct RebuiltIndex: Sendable {
    /// What was wrong.
    public let problems: [String]
    /// Entries that were kept, and contents that were found in the packs.
    public let kept: Int
    public let found: Int
    /// Tables that lost entries, or may have.
    public let lossy: Set<Table>
}

extension Store {
    /// What is wrong with the pages of the index of the store at `path`; empty when nothing is, or there is none yet. The store
    /// need not be open: LMDB, which believes its pages, has no part in it.
    public static func indexProblems(at path: String) throws(StoreError) -> [String] {
        do throws(SystemError) {
            guard let data = try openIndex(path) else { return [] }
            while true {
                let before = try IndexPages.state(data.raw)
                let pages = try IndexPages(data.raw, keepsPairs: false)
                if pages.problems.isEmpty { return [] }
                // Pages of a state are written over once there are later ones.
                if try IndexPages.state(data.raw) == before { return pages.problems }
            }
        } catch { throw .system(error) }
    }

    /// Makes the index of the store at `path` again if it is damaged; nil if it is not. Nobody may have the store open.
    ///
    /// - Throws: `StoreError.inUse` when another process, or this one, has it open.
    public static func rebuildIndex(at path: String) throws(StoreError) -> RebuiltIndex? {
        if try indexProblems(at: path).isEmpty { return nil }
        // Before the lock file is opened: closing it would take LMDB's own locks away.
        if Database.isOpen(path + "/index") { throw .inUse(path: path) }
        do throws(SystemError) {
            // LMDB waits for this lock in whoever opens the store meanwhile. It goes with the descriptor.
            let lock = SharedFile(try OwnedFD.open(path + "/index/lock.mdb", O_RDWR | O_CREAT, mode: 0o644))
            defer { withExtendedLifetime(lock) {} }
            if clinux_lock_first_byte(lock.fd.raw) != 0 { throw SystemError("lock", path, errno: EBUSY) }
            guard let data = try openIndex(path) else { return nil }
            let pages = try IndexPages(data.raw, keepsPairs: true)
            if pages.problems.isEmpty { return nil }
            do throws(StoreError) {
                var rebuild = try IndexRebuild(path, pages)
                try rebuild.write()
                return RebuiltIndex(
                    problems: pages.problems, kept: rebuild.kept, found: rebuild.found, lossy: rebuild.lossy)
            } catch {
                if case .system(let error) = error { throw error }
                throw SystemError("rebuild the index: \(error)", path, errno: EIO)
            }
        } catch {
            if error.errno == EBUSY { throw .inUse(path: path) }
            throw .system(error)
        }
    }

    private static func openIndex(_ path: String) throws(SystemError) -> OwnedFD? {
        do throws(SystemError) { return try OwnedFD.open(path + "/index/data.mdb", O_RDONLY) } catch {
            if error.errno == ENOENT { return nil }
            throw error
        }
    }
}

/// Gathers what the new index has, and writes it.
private struct IndexRebuild: ~Copyable {
    private let path: String
    private let packs: OwnedFD
    private(set) var lossy: Set<Table>
    private(set) var kept = 0
    private(set) var found = 0
    private var contents: [Digest: ContentEntry] = [:]
    private var others: [(table: Table, key: [UInt8], value: [UInt8])] = []
    /// Committed lengths.
    private var ends: [UInt64: UInt64] = [:]
    /// Contents that the old index had no entry for.
    private var recovered: [Digest] = []
    /// For a block, and what is in it.
    private var room = [UInt8](repeating: 0, count: blockSize + Block.size)
    private static let blockSize = Block.header + Block.size

    init(_ path: String, _ pages: IndexPages) throws(StoreError) {
        self.path = path
        lossy = pages.lossy
        do throws(SystemError) { packs = try OwnedFD.open(path + "/packs", O_RDONLY | O_DIRECTORY) } catch {
            throw .system(error)
        }
        // Nobody has a lease: what was given up is gone.
        for table in Table.allCases where table != .condemned {
            for (key, value) in pages.pairs[table] ?? [] {
                if !value.withUnsafeBytes({ take(table, key, CheckedValue.open($0, key: key)) }) { lossy.insert(table) }
            }
        }
        kept = contents.count + others.count + ends.count
    }

    private mutating func take(_ table: Table, _ key: [UInt8], _ value: UnsafeRawBufferPointer?) -> Bool {
        guard let value else { return false }
        if table == .contents {
            guard key.count == 32, let entry = ContentEntry(value),
                let digest = key.withUnsafeBytes({ Digest(bytes: $0) })
            else { return false }
            contents[digest] = entry
        } else if table == .facts, let id = PackWriter.id(factKey: key) {
            guard value.count == 8 else { return false }
            ends[id] = UInt64(littleEndian: value.loadUnaligned(as: UInt64.self))
        } else {
            others.append((table, key, Array(value)))
        }
        return true
    }

    mutating func write() throws(StoreError) {
        if !lossy.isDisjoint(with: [.contents, .facts]) { try searchPacks() }
        let new = path + "/index.new"
        do throws(SystemError) {
            try removeTree(new)
            try retrying("mkdir", new) { mkdir(new, 0o755) }
        } catch { throw .system(error) }
        let database = try Database.shared(new)
        do throws(StoreError) { try write(to: database) } catch {
            database.release()
            _ = try? removeTree(new)
            throw error
        }
        database.release()
        do throws(SystemError) {
            try retrying("rename", new) { rename(new + "/data.mdb", path + "/index/data.mdb") }
            let directory = try OwnedFD.open(path + "/index", O_RDONLY | O_DIRECTORY)
            try retrying("fsync", "index") { fsync(directory.raw) }
            try removeTree(new)
        } catch { throw .system(error) }
        try Database.renewLocks(path + "/index")
    }

    private func write(to database: Database) throws(StoreError) {
        try database.write { transaction throws(StoreError) in
            for (digest, entry) in contents.sorted(by: { $0.key < $1.key }) {
                try transaction.put(.contents, digest.bytes, entry.encoded())
            }
            for (id, end) in ends {
                var value = ByteWriter()
                value.u64(end)
                try transaction.put(.facts, PackWriter.factKey(id), value.bytes)
            }
            for (table, key, value) in others { try transaction.put(table, key, value) }
        }
    }

    // MARK: Packs

    private mutating func searchPacks() throws(StoreError) {
        var places: [UInt64: [UInt64: UInt64]] = [:]
        for case .stored(let location) in contents.values where location.stored > 0 {
            places[location.pack, default: [:]][location.offset] = location.stored
        }
        let ids: [UInt64]
        do throws(SystemError) {
            let listing = try OwnedFD.open(".", O_RDONLY | O_DIRECTORY, at: packs.raw)
            ids = try readEntries(listing.raw, "packs").compactMap { PackWriter.id($0.name) }.sorted()
        } catch { throw .system(error) }
        for id in ids {
            // Unknown to an index that is whole in this: what a killed process left.
            if ends[id] == nil && !lossy.contains(.facts) { continue }
            try search(id, places[id] ?? [:])
        }
        if let id = ids.first, contents[Digest.of([UInt8]())] == nil {
            add(Digest.of([UInt8]()), .stored(Location(pack: id, offset: 0, stored: 0, raw: 0)))
        }
        try assembleLarge()
        dropWhatIsNotWhole()
    }

    private mutating func add(_ digest: Digest, _ entry: ContentEntry) {
        contents[digest] = entry
        recovered.append(digest)
        found += 1
    }

    /// Goes from block to block. Behind one that does not hold, from the next that is known.
    private mutating func search(_ id: UInt64, _ known: [UInt64: UInt64]) throws(StoreError) {
        let file: SharedFile
        let size: UInt64
        do throws(SystemError) {
            file = SharedFile(try OwnedFD.open(PackWriter.name(id), O_RDONLY, at: packs.raw))
            size = try statDescriptor(file.fd.raw, PackWriter.name(id)).size
        } catch { throw .system(error) }
        let limit = min(size, ends[id] ?? size)
        let starts = known.keys.sorted()
        var next = 0
        var offset: UInt64 = 0
        while offset < limit {
            while next < starts.count, starts[next] < offset { next += 1 }
            if let stored = known[offset] {
                offset += stored
            } else if let block = try block(file.fd.raw, at: offset, limit) {
                if contents[block.name] == nil {
                    add(
                        block.name,
                        .stored(Location(pack: id, offset: offset, stored: block.stored, raw: block.raw)))
                }
                offset += block.stored
            } else if next < starts.count {
                offset = starts[next]
            } else {
                break
            }
        }
        if ends[id] == nil { ends[id] = offset }
    }

    private mutating func block(
        _ file: CInt, at offset: UInt64, _ limit: UInt64
    ) throws(StoreError) -> (name: Digest, stored: UInt64, raw: UInt64)? {
        var name: Digest?
        var raw: UInt64 = 0
        let used = try unpack(file, at: offset, count: min(UInt64(Self.blockSize), limit - offset)) { piece in
            if name != nil { return false }
            (name, raw) = (Digest.of(piece), UInt64(piece.count))
            return true
        }
        guard let name, used > 0 else { return nil }
        return (name, used, raw)
    }

    /// Unpacks the blocks that lie in a part of a pack, as long as `body` wants more; gives how much was used. Nothing is
    /// given of what does not hold.
    private mutating func unpack(
        _ file: CInt, at offset: UInt64, count: UInt64, _ body: (UnsafeRawBufferPointer) -> Bool
    ) throws(StoreError) -> UInt64 {
        let result: Result<UInt64, SystemError> = room.withUnsafeMutableBytes { room in
            let window = UnsafeMutableRawBufferPointer(rebasing: room[..<Int(count)])
            let scratch = UnsafeMutableRawBufferPointer(rebasing: room[Self.blockSize...])
            do throws(SystemError) {
                guard try readFull(file, window, at: Int64(offset)) == window.count,
                    let length = Block.length(UnsafeRawBufferPointer(window))
                else { return .success(0) }
                var isWanted = false
                let block = UnsafeRawBufferPointer(rebasing: window[..<length])
                let used = try? Block.unpack(block, name: .zero, scratch: scratch) { isWanted = body($0) }
                return .success(isWanted ? UInt64(used ?? 0) : 0)
            } catch { return .failure(error) }
        }
        do throws(SystemError) { return try result.get() } catch { throw .system(error) }
    }

    // MARK: Contents of chunks

    /// Which content a list is of is only in the index: so what could be a list is put together, and named.
    private mutating func assembleLarge() throws(StoreError) {
        var lists: Set<Digest> = []
        for case .chunked(_, let list) in contents.values { lists.insert(list) }
        var candidates = contents.filter { digest, entry in
            entry.size > 0 && entry.size % UInt64(ChunkList.partSize) == 0 && !lists.contains(digest)
        }.map(\.key).sorted()
        while let list = candidates.popLast() {
            guard let parts = try parts(of: list) else { continue }
            var hasher = DigestHasher()
            var size: UInt64 = 0
            let isWhole = try visit(parts) { piece in
                hasher.update(piece)
                size += UInt64(piece.count)
            }
            let digest = hasher.finalize()
            if !isWhole || size <= UInt64(Block.size) || contents[digest] != nil { continue }
            add(digest, .chunked(size: size, list: list))
            if size % UInt64(ChunkList.partSize) == 0 { candidates.append(digest) }
        }
    }

    /// What a list names, when it is one.
    private mutating func parts(of list: Digest) throws(StoreError) -> [ChunkList.Part]? {
        guard var bytes = try read(list) else { return nil }
        let parts = ChunkList.decode(&bytes)
        let areKnown = parts.allSatisfy { part in
            if part.chunk == .zero { return part.length > 0 }
            guard case .stored(let location)? = contents[part.chunk] else { return false }
            return location.raw == UInt64(part.length)
        }
        return bytes.isEmpty && areKnown && parts.contains { $0.chunk != .zero } ? parts : nil
    }

    private mutating func visit(
        _ parts: [ChunkList.Part], _ body: (UnsafeRawBufferPointer) -> Void
    ) throws(StoreError) -> Bool {
        let zeros = [UInt8](repeating: 0, count: Block.size)
        for part in parts {
            if part.chunk == .zero {
                var rest = Int(part.length)
                while rest > 0 {
                    let count = min(rest, zeros.count)
                    zeros.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
                    rest -= count
                }
            } else if try !visit(part.chunk, body) {
                return false
            }
        }
        return true
    }

    /// Hands out a content of one block; false when it does not hold.
    private mutating func visit(
        _ digest: Digest, _ body: (UnsafeRawBufferPointer) -> Void
    ) throws(StoreError) -> Bool {
        guard case .stored(let location)? = contents[digest], location.stored <= UInt64(Self.blockSize) else {
            return false
        }
        if location.raw == 0 { return true }
        let name = PackWriter.name(location.pack)
        guard let file = try? SharedFile(OwnedFD.open(name, O_RDONLY, at: packs.raw)) else { return false }
        var holds = false
        _ = try unpack(file.fd.raw, at: location.offset, count: location.stored) { piece in
            holds = Digest.of(piece) == digest
            if holds { body(piece) }
            return true
        }
        return holds
    }

    /// A content of one block, or of chunks that are known; nil when it does not hold.
    private mutating func read(_ digest: Digest) throws(StoreError) -> [UInt8]? {
        var bytes: [UInt8] = []
        if case .chunked(_, let list)? = contents[digest] {
            guard let parts = try parts(of: list), try visit(parts, { bytes.append(contentsOf: $0) }) else {
                return nil
            }
            return bytes
        }
        return try visit(digest) { bytes.append(contentsOf: $0) } ? bytes : nil
    }

    // MARK: Directories

    /// Whoever finds a directory relies on all beneath it: one that was found again, and leads to what was not, goes.
    private mutating func dropWhatIsNotWhole() {
        var links: [Digest: [Digest]] = [:]
        for digest in recovered where (contents[digest]?.size ?? 0) >= DirectoryObject.leastSize {
            guard let bytes = try? read(digest), bytes.starts(with: DirectoryObject.objectMagic) else { continue }
            var named: [Digest] = []
            let decodes = bytes.withUnsafeBytes { raw in
                DirectoryObject.visitLinks(in: raw) {
                    named.append($0)
                } file: {
                    named.append($0)
                }
            }
            if decodes { links[digest] = named }
        }
        while true {
            let bad = links.filter { $0.value.contains { contents[$0] == nil } }.map(\.key)
            if bad.isEmpty { return }
            for digest in bad {
                contents[digest] = nil
                links[digest] = nil
                found -= 1
            }
        }
    }
}
