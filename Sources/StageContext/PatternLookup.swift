// Finds the patterns that can match a path at all, so that thousands of them cost little.
//
// Every pattern but the vaguest says some bytes that a matching path must have at a known place: at its start, at its
// end, at the start of one of its names, or all of it. A table from the hash of those bytes to the patterns that say them
// answers in a look-up per length that occurs; what it gives is then matched in full.

import StageHash
import StageSystem

struct PatternLookup: Sendable {
    /// Where in a path a pattern's bytes must stand.
    private enum Place: Int, CaseIterable { case whole, start, end, nameStart, nameWhole }

    /// The bytes' lengths that occur at a place. Only plain values, here and in the tables: threads that look up at the
    /// same time must not count references to the same objects.
    private struct Group: Sendable {
        let place: Place
        let length: Int
        /// The bytes that what is looked up can begin with, or, at the end of a path, end with: most paths go no further.
        var bytes = ByteSet()
        /// The longest that is looked up whole.
        var most = 0
        var table = HashTable.Extent()
    }

    private var groups: [Group] = []
    private var tables = HashTable()
    /// What has to be tried on every path, in order.
    private var vague: [UInt32] = []
    /// Lengths beyond this are cut to it: so many tables at most are asked about a path.
    private static let longest = 24

    init(_ patterns: [IgnorePattern]) {
        var keys: [Int: [UInt64: [UInt32]]] = [:]
        var members: [Int: Group] = [:]
        for (index, pattern) in patterns.enumerated() {
            guard let (place, bytes) = Self.anchor(pattern), let first = bytes.first, let last = bytes.last else {
                vague.append(UInt32(index))
                continue
            }
            // Whole paths and names are one group each, whatever their length.
            let isWhole = place == .whole || place == .nameWhole
            let length = isWhole ? 0 : min(bytes.count, Self.longest)
            let size = isWhole ? bytes.count : length
            let key = Array(place == .end ? bytes.suffix(size) : bytes.prefix(size)).withUnsafeBytes { checksum($0) }
            let name = place.rawValue << 8 | length
            keys[name, default: [:]][key, default: []].append(UInt32(index))
            var group = members[name] ?? Group(place: place, length: length)
            group.bytes.insert(place == .end ? last : first)
            group.most = max(group.most, bytes.count)
            members[name] = group
        }
        for (name, table) in keys.sorted(by: { $0.key < $1.key }) {
            guard var group = members[name] else { continue }
            group.table = tables.add(table)
            groups.append(group)
        }
    }

    /// The bytes that tell most about a path that `pattern` matches; nil where there are none.
    private static func anchor(_ pattern: IgnorePattern) -> (Place, [UInt8])? {
        switch pattern.form {
        case .exact(let bytes): return (.whole, bytes)
        case .suffix(let bytes):
            // `**/a/b`: the last name is b. `**b`: the end is b.
            guard let slash = bytes.lastIndex(of: 0x2F) else { return bytes.isEmpty ? nil : (.end, bytes) }
            let name = Array(bytes[(slash + 1)...])
            return name.isEmpty ? nil : (.nameWhole, name)
        case .prefix(let bytes): return bytes.isEmpty ? nil : (.start, bytes)
        case .tokens:
            let best = [(Place.start, pattern.head), (.nameStart, pattern.deepHead), (.end, pattern.foot)]
                .max { $0.1.count < $1.1.count }
            return best.flatMap { $0.1.isEmpty ? nil : $0 }
        }
    }

    /// The highest index above `floor` of a pattern that matches.
    func last(matching path: UnsafeRawBufferPointer, after floor: Int, in patterns: [IgnorePattern]) -> Int? {
        guard let first = path.first, let end = path.last else { return nil }
        let name = path.lastName
        var search = Search(path: path, best: floor)
        for index in groups.indices {
            let group = groups[index]
            switch group.place {
            case .whole where path.count <= group.most && group.bytes.contains(first):
                tables.find(checksum(path), group.table) { search.tries($0, patterns) }
            case .start where path.count >= group.length && group.bytes.contains(first):
                tables.find(checksum(path.slice(0, group.length)), group.table) { search.tries($0, patterns) }
            case .end where path.count >= group.length && group.bytes.contains(end):
                tables.find(checksum(path.slice(path.count - group.length, group.length)), group.table) {
                    search.tries($0, patterns)
                }
            case .nameWhole where name.count <= group.most && group.bytes.contains(name.first ?? 0):
                tables.find(checksum(name), group.table) { search.tries($0, patterns) }
            case .nameStart:
                var start = 0
                while start + group.length <= path.count {
                    if group.bytes.contains(path[start]) {
                        tables.find(checksum(path.slice(start, group.length)), group.table) {
                            search.tries($0, patterns)
                        }
                    }
                    while start < path.count, path[start] != 0x2F { start += 1 }
                    start += 1
                }
            case .whole, .start, .end, .nameWhole: break
            }
        }
        if !vague.isEmpty { vague.withUnsafeBufferPointer { search.tries($0, patterns) } }
        return search.best > floor ? search.best : nil
    }

    /// One look-up on its way: the best match so far, and the path's characters once somebody needed them.
    private struct Search {
        let path: UnsafeRawBufferPointer
        var best: Int
        var characters: [UInt32]?

        mutating func tries(_ candidates: UnsafeBufferPointer<UInt32>, _ patterns: [IgnorePattern]) {
            for candidate in candidates.reversed() {
                let index = Int(candidate)
                if index <= best { return }
                let matched = patterns[index].matches(path) {
                    let decoded = characters ?? decodedCharacters(Array(path))
                    characters = decoded
                    return decoded
                }
                if matched { best = index }
            }
        }
    }
}

/// Which of the 256 bytes there are.
private struct ByteSet: Sendable {
    private var words = SIMD4<UInt64>()

    mutating func insert(_ byte: UInt8) { words[Int(byte >> 6)] |= 1 << UInt64(byte & 63) }
    func contains(_ byte: UInt8) -> Bool { words[Int(byte >> 6)] >> UInt64(byte & 63) & 1 != 0 }
}

/// From hashes to lists of patterns, by open addressing: the keys are hashes already. Several tables share the arrays.
private struct HashTable: Sendable {
    /// Where one table lies.
    struct Extent: Sendable {
        var start = 0
        var mask = 0
    }

    private struct Slot: Sendable {
        var key: UInt64 = 0
        var start: UInt32 = 0
        var count: UInt32 = 0
    }

    private var slots: [Slot] = [Slot()]
    private var values: [UInt32] = []

    mutating func add(_ lists: [UInt64: [UInt32]]) -> Extent {
        var size = 4
        while size < lists.count * 2 { size *= 2 }
        let extent = Extent(start: slots.count, mask: size - 1)
        slots += [Slot](repeating: Slot(), count: size)
        for (key, list) in lists {
            var place = Int(truncatingIfNeeded: key) & extent.mask
            while slots[extent.start + place].count > 0 { place = (place + 1) & extent.mask }
            slots[extent.start + place] = Slot(key: key, start: UInt32(values.count), count: UInt32(list.count))
            values += list
        }
        return extent
    }

    /// Calls `body` with the patterns under `key`, in order, if there are any. Keys that collide give what is then found
    /// not to match.
    @inline(__always)
    func find(_ key: UInt64, _ extent: Extent, _ body: (UnsafeBufferPointer<UInt32>) -> Void) {
        slots.withUnsafeBufferPointer { slots in
            var place = Int(truncatingIfNeeded: key) & extent.mask
            while slots[extent.start + place].count > 0 {
                let slot = slots[extent.start + place]
                if slot.key == key {
                    return values.withUnsafeBufferPointer {
                        body(UnsafeBufferPointer(rebasing: $0[Int(slot.start)..<Int(slot.start + slot.count)]))
                    }
                }
                place = (place + 1) & extent.mask
            }
        }
    }
}

extension UnsafeRawBufferPointer {
    func slice(_ start: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<(start + count)])
    }

    /// What follows the last `/`.
    var lastName: UnsafeRawBufferPointer {
        var start = count
        while start > 0, self[start - 1] != 0x2F { start -= 1 }
        return slice(start, count - start)
    }
}
