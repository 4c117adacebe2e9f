// Packs with dead bytes: those that hold nothing any more go, those that hold little are written anew without what is dead.
//
// Readers take no lock: a pack may be unlinked while somebody reads it, and who comes too late to open it looks up again
// where the content is now. A pack that somebody writes to is locked, and left alone.

import CLinux
import Glibc
import StageHash
import StageSystem

/// One pass over all packs, under the right to collect.
struct PackSweep {
    let store: Store
    let deadShare: Double

    /// Not worth a copy.
    static let leastDead: UInt64 = 64 << 10

    /// What is to become of a pack with that many bytes known and that many of them live.
    enum Verdict { case keep, remove, compact }

    static func verdict(committed: UInt64, live: UInt64, deadShare: Double) -> Verdict {
        if live == 0 { return .remove }
        let dead = committed > live ? committed - live : 0
        return dead >= leastDead && Double(dead) >= Double(committed) * deadShare ? .compact : .keep
    }

    /// A row of the index that leads into a pack.
    private struct Row {
        var table: Table
        var key: [UInt8]
        var value: [UInt8]
        var location: Location
        /// For a given-up content.
        var generation: UInt64

        func moved(to location: Location) -> [UInt8] {
            let entry = ContentEntry.stored(location)
            return table == .contents
                ? entry.encoded() : CondemnedRow(generation: generation, entry: entry).encoded()
        }
    }

    /// A pack to be cleared up, locked by us.
    private struct LockedPack {
        let id: UInt64
        let file: SharedFile
        let committed: UInt64
        let allocated: UInt64
    }

    /// Gives the bytes that the disk has more of afterwards.
    func run() throws(StoreError) -> UInt64 {
        let (live, ends) = try occupancy()
        var freed: UInt64 = 0
        var removing: [LockedPack] = []
        var compacting: [LockedPack] = []
        for id in try packIDs() {
            // Somebody may have written to it since we looked: then it is for the next pass.
            guard let pack = try lock(id), pack.committed == ends[id] ?? 0 else { continue }
            switch Self.verdict(committed: pack.committed, live: live[id] ?? 0, deadShare: deadShare) {
            case .keep: break
            case .remove: removing.append(pack)
            case .compact: compacting.append(pack)
            }
            if removing.count >= Self.batch { freed += try remove(&removing) }
            if compacting.count >= Self.batch { freed += try compact(&compacting) }
        }
        freed += try remove(&removing)
        freed += try compact(&compacting)
        return freed
    }

    /// Packs that are locked at once, each by a descriptor.
    private static let batch = 200

    /// Live bytes of each pack, and how long it is, at one moment.
    private func occupancy() throws(StoreError) -> (live: [UInt64: UInt64], ends: [UInt64: UInt64]) {
        var live: [UInt64: UInt64] = [:]
        var ends: [UInt64: UInt64] = [:]
        try store.database.read { transaction throws(StoreError) in
            try Self.visitRows(transaction) { _, _, _, location, _ in
                live[location.pack, default: 0] += location.stored
            }
            for (key, value) in try transaction.all(.facts) {
                var reader = ByteReader(value)
                if let id = PackWriter.id(factKey: key), let end = reader.u64() { ends[id] = end }
            }
        }
        return (live, ends)
    }

    private static func visitRows(
        _ transaction: borrowing Database.ReadTransaction,
        _ body: (Table, UnsafeRawBufferPointer, UnsafeRawBufferPointer, Location, UInt64) -> Void
    ) throws(StoreError) {
        try transaction.visit(.contents) { key, value throws(StoreError) in
            if case .stored(let location)? = ContentEntry(value) { body(.contents, key, value, location, 0) }
        }
        try transaction.visit(.condemned) { key, value throws(StoreError) in
            if let row = CondemnedRow(value), case .stored(let location) = row.entry {
                body(.condemned, key, value, location, row.generation)
            }
        }
    }

    private func packIDs() throws(StoreError) -> [UInt64] {
        do throws(SystemError) {
            let listing = try OwnedFD.open(".", O_RDONLY | O_DIRECTORY, at: store.packs.fd.raw)
            return try readEntries(listing.raw, "packs").compactMap { PackWriter.id($0.name) }.sorted()
        } catch { throw .system(error) }
    }

    /// The pack, locked; nil when somebody writes to it, or it is damaged or gone. One that the index does not know was
    /// left by a killed process, and has nothing committed.
    private func lock(_ id: UInt64) throws(StoreError) -> LockedPack? {
        let name = PackWriter.name(id)
        do throws(SystemError) {
            guard let fd = try? OwnedFD.open(name, O_RDWR, at: store.packs.fd.raw) else { return nil }
            if flock(fd.raw, LOCK_EX | LOCK_NB) != 0 { return nil }
            let info = try statDescriptor(fd.raw, name)
            if info.nlink == 0 { return nil }
            let committed: UInt64
            do throws(StoreError) { committed = try store.committedEnd(id) ?? 0 } catch { return nil }
            if info.size < committed { return nil }
            return LockedPack(id: id, file: SharedFile(fd), committed: committed, allocated: info.blocks * 512)
        } catch { throw .system(error) }
    }

    private func remove(_ packs: inout [LockedPack]) throws(StoreError) -> UInt64 {
        if packs.isEmpty { return 0 }
        try store.database.write { transaction throws(StoreError) in
            for pack in packs { try transaction.put(.facts, PackWriter.factKey(pack.id), nil) }
        }
        for pack in packs { unlinkat(store.packs.fd.raw, PackWriter.name(pack.id), 0) }
        defer { packs = [] }
        return packs.reduce(0) { $0 + $1.allocated }
    }

    // MARK: Compacting

    private func compact(_ packs: inout [LockedPack]) throws(StoreError) -> UInt64 {
        if packs.isEmpty { return 0 }
        let byID = Dictionary(uniqueKeysWithValues: packs.map { ($0.id, $0) })
        var rows: [UInt64: [Row]] = [:]
        try store.database.read { transaction throws(StoreError) in
            try Self.visitRows(transaction) { table, key, value, location, generation in
                guard byID[location.pack] != nil else { return }
                let row = Row(
                    table: table, key: Array(key), value: Array(value), location: location, generation: generation)
                rows[location.pack, default: []].append(row)
            }
        }
        var before: UInt64 = 0
        var after: UInt64 = 0
        var target: CompactedPack?
        for pack in packs {
            var output: CompactedPack
            if let started = target.take() { output = started } else { output = try CompactedPack(store: store) }
            before += pack.allocated
            let live = (rows[pack.id] ?? []).sorted { $0.location.offset < $1.location.offset }
            do throws(StoreError) {
                for row in live {
                    try output.copy(row.location, from: pack.file, row.table, row.key, row.value, row.moved)
                }
            } catch {
                output.abandon()
                throw error
            }
            output.sources.append(pack.id)
            if output.end >= PackWriter.fullSize {
                after += try output.publish()
            } else {
                target = output
            }
        }
        if let target { after += try target.publish() }
        packs = []
        return before > after ? before - after : 0
    }
}

/// The pack that what is live of others goes to.
private struct CompactedPack {
    let store: Store
    let id: UInt64
    let file: SharedFile
    var end: UInt64 = 0
    var sources: [UInt64] = []
    private var moves: [(table: Table, key: [UInt8], old: [UInt8], new: [UInt8])] = []
    private static let window = 1 << 20

    init(store: Store) throws(StoreError) {
        self.store = store
        do throws(SystemError) {
            let writer = try PackWriter.create(in: store.packs.fd.raw)
            (id, file) = (writer.id, writer.file)
        } catch { throw .system(error) }
    }

    func abandon() { unlinkat(store.packs.fd.raw, PackWriter.name(id), 0) }

    /// Copies the blocks of one content as they are: their checksums go with them.
    mutating func copy(
        _ location: Location, from source: SharedFile, _ table: Table, _ key: [UInt8], _ value: [UInt8],
        _ moved: (Location) -> [UInt8]
    ) throws(StoreError) {
        var place = location
        (place.pack, place.offset) = (id, end)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: min(Self.window, max(1, Int(location.stored))), alignment: 64)
        defer { buffer.deallocate() }
        var done: UInt64 = 0
        do throws(SystemError) {
            while done < location.stored {
                let count = Int(min(UInt64(buffer.count), location.stored - done))
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                guard try readFull(source.fd.raw, part, at: Int64(location.offset + done)) == count else {
                    throw SystemError("read", PackWriter.name(location.pack), errno: EIO)
                }
                try writeAll(file.fd.raw, UnsafeRawBufferPointer(part), at: Int64(end), PackWriter.name(id))
                end += UInt64(count)
                done += UInt64(count)
            }
        } catch { throw .system(error) }
        moves.append((table, key, value, moved(place)))
    }

    /// Makes the copies what the index leads to, and removes the packs that they come from. Gives the bytes it takes.
    func publish() throws(StoreError) -> UInt64 {
        let info: clinux_stat
        do throws(SystemError) {
            try retrying("fdatasync", PackWriter.name(id)) { fdatasync(file.fd.raw) }
            try retrying("fsync", "packs") { fsync(store.packs.fd.raw) }
            info = try statDescriptor(file.fd.raw)
        } catch {
            abandon()
            throw .system(error)
        }
        // After an error nothing is unlinked: whether the index knows the copy is for the next process to see, which
        // removes a pack that no index knows.
        try store.database.write { transaction throws(StoreError) in
            for move in moves { try apply(move, transaction) }
            var fact = ByteWriter()
            fact.u64(end)
            try transaction.put(.facts, PackWriter.factKey(id), fact.bytes)
            for source in sources { try transaction.put(.facts, PackWriter.factKey(source), nil) }
        }
        for source in sources { unlinkat(store.packs.fd.raw, PackWriter.name(source), 0) }
        return info.blocks * 512
    }

    /// A given-up content may have been taken back in between: then it is where it was, in the other table.
    private func apply(
        _ move: (table: Table, key: [UInt8], old: [UInt8], new: [UInt8]),
        _ transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        if try transaction.value(move.table, move.key) == move.old {
            return try transaction.put(move.table, move.key, move.new)
        }
        guard move.table == .condemned else { return }
        let (old, new) = (Array(move.old.dropFirst(8)), Array(move.new.dropFirst(8)))
        if try transaction.value(.contents, move.key) == old { try transaction.put(.contents, move.key, new) }
    }
}

extension Store {
    /// What a collection that keeps `kept` would free, and what it would give up for running processes to end.
    public func predict(
        _ census: Census, keeping kept: [Census.Roots], deadShare: Double
    ) throws(StoreError) -> Collected {
        letGoOfPacks()
        var seen = census.graph.noMarks
        for roots in kept { census.graph.mark(roots.vertices, in: &seen) { _ in } }
        var collected = Collected()
        var live: [UInt64: UInt64] = [:]
        let isNeeded: Bool
        do throws(SystemError) {
            isNeeded = try leases.isHeld(before: census.generation + 1)
            for (number, row) in census.graph.rows.enumerated() where row.pack >= 0 {
                if !seen[number] && !isNeeded { continue }
                if !seen[number] { collected.awaiting += row.stored }
                live[census.graph.packs[Int(row.pack)], default: 0] += row.stored
            }
            for row in census.condemned {
                guard let location = row.location, try leases.isHeld(before: row.generation) else { continue }
                collected.awaiting += location.stored
                live[location.pack, default: 0] += location.stored
            }
        } catch { throw .system(error) }
        var (before, after): (UInt64, UInt64) = (0, 0)
        for pack in census.packs {
            let bytes = live[pack.id] ?? 0
            switch PackSweep.verdict(committed: pack.committed ?? 0, live: bytes, deadShare: deadShare) {
            case .keep: continue
            case .remove, .compact:
                guard isFree(pack) else { continue }
                before += pack.allocated
                after += bytes
            }
        }
        if after > 0 { after += 4096 }
        collected.freed = before > after ? before - after : 0
        let share = min(1, Double(kept.count) / Double(max(1, census.items.count)))
        collected.index = try predictIndexSpace(census, keeping: seen, share: share, isNeeded: isNeeded)
        return collected
    }

    /// Whether nobody writes to a pack.
    private func isFree(_ pack: Census.PackFile) -> Bool {
        guard pack.size >= pack.committed ?? 0,
            let fd = try? OwnedFD.open(PackWriter.name(pack.id), O_RDWR, at: packs.fd.raw)
        else { return false }
        return flock(fd.raw, LOCK_EX | LOCK_NB) == 0
    }
}
