// A collection: what nothing leads to any more is given up, in one transaction; and goes once no lease is older than that.
// Specs/garbage-collection.md.

import CLinux
import Glibc
import StageHash
import StageSystem

/// What a collection is to take out of the tables.
public struct Removal: Sendable {
    /// Records, images and builds that go, as the census has them. What changed since stays.
    public var items: [(table: Table, key: [UInt8])] = []
    /// Small values that go with them, or change.
    public var changes: [(table: Table, key: [UInt8], value: [UInt8]?)] = []
    /// What else keeps contents: roots outside the tables.
    public var keeping: [Census.Roots] = []

    public init() {}
}

/// What a collection did.
public struct Collected: Sendable {
    /// Bytes that the packs take less.
    public var freed: UInt64 = 0
    /// Bytes that the index takes less.
    public var index: UInt64 = 0
    /// Bytes of contents that go when the processes end that may still need them.
    public var awaiting: UInt64 = 0

    public init() {}
}

extension Store {
    /// The right to collect; nil while another process has it.
    public func collectorLease() throws(StoreError) -> CollectorLease? {
        do throws(SystemError) { return try leases.collect() } catch { throw .system(error) }
    }

    /// Takes out what `removal` says and gives up all contents that nothing leads to then. What no running process can
    /// need is removed at once, and packs are compacted where that is worth it.
    ///
    /// - Parameters:
    ///   - census: taken under the same collector lease.
    ///   - deadShare: the part of a pack that has to be dead for it to be compacted.
    public func collect(
        _ removal: Removal, from census: Census, deadShare: Double, under lease: CollectorLease
    ) throws(StoreError) -> Collected {
        defer { withExtendedLifetime(lease) {} }
        if let obstacle = census.obstacle { throw .corrupt(obstacle) }
        try require(.leases)
        try giveUp(removal, census)
        return try sweep(deadShare: deadShare, under: lease)
    }

    /// The second half of a collection: removes what was given up by this or earlier ones and that no lease covers.
    ///
    /// - Parameter always: looks through the packs, too, when there is nothing of that kind.
    public func sweep(
        deadShare: Double, always: Bool = true, under lease: CollectorLease
    ) throws(StoreError) -> Collected {
        defer { withExtendedLifetime(lease) {} }
        letGoOfPacks()
        var collected = Collected()
        let (removed, staying) = try removeGivenUp()
        collected.awaiting = staying
        if removed == 0 && !always { return collected }
        collected.freed = try PackSweep(store: self, deadShare: deadShare).run()
        collected.index = try giveBackIndexSpace(share: 0, least: Self.leastSpareAfterCollection)
        forgetDirectories()
        letGoOfPacks()
        return collected
    }

    /// Whether anything that was given up is still there.
    public func hasGivenUp() throws(StoreError) -> Bool {
        try database.read { transaction throws(StoreError) in try transaction.count(.condemned) > 0 }
    }

    /// Closes what is only open for what may come: a pack that is locked is not cleared up, and one that is open not free.
    func letGoOfPacks() {
        state.withLock { state in
            if state.waiting.pending.isEmpty && state.waiting.inFlight.isEmpty && state.complete.isEmpty {
                state.writer = nil
            }
        }
        files.withLock { $0 = [:] }
    }

    // MARK: Giving up

    private func giveUp(_ removal: Removal, _ census: Census) throws(StoreError) {
        var keys = Set(removal.items.map { Key(table: $0.table, key: $0.key) })
        var marker = CollectionMarker(store: self, census: census)
        for item in census.items where !keys.contains(Key(table: item.table, key: item.key)) {
            marker.mark(item.roots ?? .none)
        }
        for roots in removal.keeping { marker.mark(roots) }
        let known = Dictionary(
            uniqueKeysWithValues: census.items.map { (Key(table: $0.table, key: $0.key), $0) })
        try database.write { transaction throws(StoreError) in
            if transaction.previousState != census.state {
                try marker.markNewcomers(transaction)
                for (key, value) in try Self.changedItems(known, transaction) {
                    keys.remove(key)
                    try marker.mark(linkReader?.links(of: key.table, value) ?? [])
                }
                for id in try Self.taggedImages(transaction) {
                    guard keys.remove(Key(table: .images, key: id)) != nil else { continue }
                    marker.mark(known[Key(table: .images, key: id)]?.roots ?? .none)
                }
            }
            for key in keys { try transaction.put(key.table, key.key, nil) }
            for change in removal.changes { try transaction.put(change.table, change.key, change.value) }
            let generation = try Self.generation(in: transaction) + 1
            try Self.setGeneration(generation, in: transaction)
            try condemn(marker, generation, transaction)
            try dropLayers(marker, transaction)
        }
    }

    private static func taggedImages(
        _ transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) -> Set<[UInt8]> {
        var ids: Set<[UInt8]> = []
        try transaction.visit(.tags) { _, value throws(StoreError) in ids.insert(Array(value)) }
        return ids
    }

    /// What was set since the census.
    private static func changedItems(
        _ known: [Key: Census.Item], _ transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) -> [(Key, [UInt8])] {
        var changed: [(Key, [UInt8])] = []
        for table in Census.rootTables {
            try transaction.visit(table) { key, value throws(StoreError) in
                let key = Key(table: table, key: Array(key))
                if known[key].map({ $0.value.elementsEqual(value) }) != true { changed.append((key, Array(value))) }
            }
        }
        return changed
    }

    private func condemn(
        _ marker: CollectionMarker, _ generation: UInt64, _ transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        let graph = marker.census.graph
        for number in 0..<graph.count where !marker.seen[number] {
            let key = graph.rows[number].digest.bytes
            guard let value = try transaction.value(.contents, key),
                let entry = value.withUnsafeBytes({ ContentEntry($0) })
            else { continue }
            try transaction.put(.condemned, key, CondemnedRow(generation: generation, entry: entry).encoded())
            try transaction.put(.contents, key, nil)
        }
    }

    /// Layers are remembered by their trees; those of trees that went say nothing any more.
    private func dropLayers(
        _ marker: CollectionMarker, _ transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        var gone: [[UInt8]] = []
        try transaction.visit(.layers) { key, _ throws(StoreError) in
            guard key.count == 64, let object = Digest(bytes: UnsafeRawBufferPointer(rebasing: key[32...])) else {
                gone.append(Array(key))
                return
            }
            let graph = marker.census.graph
            if let number = graph.number(of: object), !marker.seen[Int(graph.directory(number))] {
                gone.append(Array(key))
            }
        }
        for key in gone { try transaction.put(.layers, key, nil) }
    }

    // MARK: Removing

    /// Takes given-up contents out of the index as far as leases allow; gives their number, and the bytes of those that stay.
    private func removeGivenUp() throws(StoreError) -> (removed: Int, staying: UInt64) {
        var gone: [[UInt8]] = []
        var staying: UInt64 = 0
        var rows: [(key: [UInt8], generation: UInt64, bytes: UInt64)] = []
        try database.read { transaction throws(StoreError) in
            try transaction.visit(.condemned) { key, value throws(StoreError) in
                let row = CondemnedRow(value)
                var bytes: UInt64 = 0
                if case .stored(let location)? = row?.entry { bytes = location.stored }
                rows.append((Array(key), row?.generation ?? 0, bytes))
            }
        }
        var isNeeded: [UInt64: Bool] = [:]
        for row in rows {
            if isNeeded[row.generation] == nil {
                do throws(SystemError) { isNeeded[row.generation] = try leases.isHeld(before: row.generation) } catch {
                    throw .system(error)
                }
            }
            if isNeeded[row.generation] == true { staying += row.bytes } else { gone.append(row.key) }
        }
        // A part at a time: nobody sees these rows any more, and others want to write.
        let part = 20_000
        for start in stride(from: 0, to: gone.count, by: part) {
            try database.write { transaction throws(StoreError) in
                let keys = gone[start..<min(start + part, gone.count)]
                for key in keys { try transaction.put(.condemned, key, nil) }
                if try transaction.count(.lookalikes) == 0 { return }
                for key in keys where try transaction.value(.contents, key) == nil {
                    try transaction.put(.lookalikes, key, nil)
                }
            }
        }
        return (gone.count, staying)
    }
}

extension Census.Fault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .entry(let table, let key): Store.reason(CheckedValue.damaged(table, key))
        case .missing(let digest, let holder): "\(holder) names \(digest), which is not here"
        case .unreadable(let digest, let reason): "\(digest): \(reason)"
        }
    }
}
