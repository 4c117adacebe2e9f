// What a collection leaves of the index, told beforehand: the leaves of the table of contents are gone through as LMDB goes
// through them when contents are taken out in the order of their names. Specs/garbage-collection.md, "Accounts".

import StageHash
import StageSystem

/// How many contents each leaf of their table has, in order.
struct IndexLeaves: Sendable {
    private(set) var counts: [Int32] = []
    private var page: UInt = 0

    /// Takes a key of a snapshot, which lies in the page of the file that it is kept in.
    mutating func add(_ key: UnsafeRawBufferPointer) {
        let page = UInt(bitPattern: key.baseAddress) / UInt(IndexPages.pageSize)
        if counts.isEmpty || page != self.page {
            counts.append(0)
            self.page = page
        }
        counts[counts.count - 1] += 1
    }
}

/// The leaves of the table of contents, once some of these are taken out.
struct IndexForecast {
    /// What LMDB has room for in a page, and the thousandths of it below which a page is filled up or joined with its neighbour.
    private static let room = IndexPages.pageSize - IndexPages.header
    private static let least = 250

    private struct Leaf {
        var count = 0
        var used = 0
        var isSparse: Bool { used * 1000 / IndexForecast.room < IndexForecast.least }
    }

    /// Contents that go.
    private(set) var gone = 0
    /// Leaves that are written anew.
    private(set) var touched = 0
    /// Leaves that are left.
    var left: Int { leaves.count }

    private var leaves: [Leaf] = []

    init(_ census: Census, keeping seen: [Bool]) {
        leaves.reserveCapacity(census.leaves.counts.count)
        var number = 0
        for count in census.leaves.counts {
            let numbers = number..<min(number + Int(count), census.graph.count)
            number = numbers.upperBound
            var leaf = Leaf()
            for number in numbers { add(Self.size(census.graph.rows[number].entry), to: &leaf) }
            let goneBefore = gone
            for number in numbers where !seen[number] {
                gone += 1
                remove(Self.size(census.graph.rows[number].entry), from: &leaf)
            }
            if gone > goneBefore { touched += 1 }
            if leaf.count > 0 { leaves.append(leaf) }
        }
    }

    private func add(_ size: Int, to leaf: inout Leaf) {
        leaf.count += 1
        leaf.used += size
    }

    /// As `mdb_cursor_del` and `mdb_rebalance` do: a leaf that becomes sparse takes an entry from the one before it, and is joined
    /// with it when that one is sparse itself.
    private mutating func remove(_ size: Int, from leaf: inout Leaf) {
        leaf.count -= 1
        leaf.used -= size
        guard leaf.isSparse, let before = leaves.last else { return }
        if before.isSparse || before.count < 2 {
            leaves.removeLast()
            leaf = Leaf(count: before.count + leaf.count, used: before.used + leaf.used)
        } else {
            let moved = before.used / before.count
            leaves[leaves.count - 1].count -= 1
            leaves[leaves.count - 1].used -= moved
            add(moved, to: &leaf)
        }
    }

    /// What an entry takes of a page: its place, LMDB's header, the name, the value and its check.
    private static func size(_ entry: ContentEntry) -> Int {
        2 + IndexPages.nodeHeader + 32 + entry.encodedSize + CheckedValue.size
    }

    /// Pages for what goes, while it is given up: it comes in order, so that each page is filled. A generation is kept with each.
    var condemnedPages: Int {
        let entry = ContentEntry.stored(Location(pack: 0, offset: 0, stored: 0, raw: 0))
        return gone / (Self.room / (Self.size(entry) + 8)) + (gone > 0 ? 2 : 0)
    }
}

extension ContentGraph.Row {
    /// As the index has it, but for the number of its pack.
    fileprivate var entry: ContentEntry {
        list.map { .chunked(size: size, list: $0) }
            ?? .stored(Location(pack: 0, offset: offset, stored: stored, raw: size))
    }
}

extension Store {
    /// The bytes that the index takes less after a collection.
    ///
    /// - Parameters:
    ///   - seen: which contents stay.
    ///   - share: about which part of the values of the other tables stays.
    ///   - isNeeded: whether what goes has to wait for running processes.
    func predictIndexSpace(
        _ census: Census, keeping seen: [Bool], share: Double, isNeeded: Bool
    ) throws(StoreError) -> UInt64 {
        let space = try database.space()
        let forecast = IndexForecast(census, keeping: seen)
        let condemned = forecast.condemnedPages
        let before = census.leaves.counts.count
        // Above the leaves, and in the tables of values, pages are joined when little is left.
        let branches = before / 64
        let values = max(0, Int(space.live) / IndexPages.pageSize - before - branches - Self.fixedPages)
        var live = forecast.left + Self.fixedPages
        live += Self.joined(branches, left: before > 0 ? Double(forecast.left) / Double(before) : 1)
        live += Self.joined(values, left: share)
        if isNeeded { live += condemned }
        // A collection writes pages anew, in free ones as long as there are any.
        let needed = forecast.gone > 0 ? forecast.touched + branches + condemned + Self.fixedPages : 0
        let growth = max(0, needed - space.free)
        let free = max(0, space.pages + growth - live)
        live += free / (IndexPages.pageSize / 8)
        let allocated = Int(space.allocated) + growth * IndexPages.pageSize
        if allocated - live * IndexPages.pageSize < Int(Self.leastSpareAfterCollection) { return 0 }
        let left = (live + min(free, Database.reserve)) * IndexPages.pageSize
        return space.allocated - min(space.allocated, UInt64(left))
    }

    /// The first two pages, the list of tables, and what every table and list has at least.
    private static let fixedPages = 12

    private static func joined(_ pages: Int, left: Double) -> Int {
        Int((Double(pages) * (left < 0.35 ? left / 0.35 : 1)).rounded())
    }
}
