// Finds the patterns that can match a path at all, so that thousands of them cost little.
//
// Every pattern but the vaguest says some bytes that a matching path must have at a known place: at its start, at its
// end, at the start of one of its names, or all of it. A table from the hash of those bytes to the patterns that say them
// answers in a look-up per length that occurs; what it gives is then matched in full.

import StageHash

struct PatternLookup: Sendable {
    /// Where in a path a pattern's bytes must stand.
    private enum Place: Int, CaseIterable { case whole, start, end, nameStart, nameWhole }

    /// The bytes' lengths that occur at a place, each with its table.
    private struct Group: Sendable {
        let place: Place
        let length: Int
        let table: HashTable
    }

    private var groups: [Group] = []
    /// What has to be tried on every path, in order.
    private var vague: [UInt32] = []
    /// Lengths beyond this are cut to it: so many tables at most are asked about a path.
    private static let longest = 24

    init(_ patterns: [IgnorePattern]) {
        var keys: [Int: [UInt64: [UInt32]]] = [:]
        for (index, pattern) in patterns.enumerated() {
            guard let (place, bytes) = Self.anchor(pattern) else {
                vague.append(UInt32(index))
                continue
            }
            // Whole paths and names are one group each, whatever their length.
            let isWhole = place == .whole || place == .nameWhole
            let length = isWhole ? 0 : min(bytes.count, Self.longest)
            let key =
                place == .end
                ? bytes.suffix(isWhole ? bytes.count : length) : bytes.prefix(isWhole ? bytes.count : length)
            keys[place.rawValue << 8 | length, default: [:]][Array(key).withUnsafeBytes { checksum($0) }, default: []]
                .append(UInt32(index))
        }
        groups = keys.sorted { $0.key < $1.key }.map { key, table in
            Group(
                place: Place(rawValue: key >> 8) ?? .whole, length: key & 0xFF, table: HashTable(table))
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
        var best = floor
        var characters: [UInt32]?
        func tries(_ candidates: ArraySlice<UInt32>) {
            for candidate in candidates.reversed() {
                let index = Int(candidate)
                if index <= best { return }
                let matched = patterns[index].matches(path) {
                    let decoded = characters ?? decodedCharacters(Array(path))
                    characters = decoded
                    return decoded
                }
                if matched {
                    best = index
                    return
                }
            }
        }
        for group in groups {
            switch group.place {
            case .whole: tries(group.table[checksum(path)])
            case .start where path.count >= group.length: tries(group.table[checksum(path.slice(0, group.length))])
            case .end where path.count >= group.length:
                tries(group.table[checksum(path.slice(path.count - group.length, group.length))])
            case .nameWhole: tries(group.table[checksum(path.lastName)])
            case .nameStart:
                var start = 0
                while start + group.length <= path.count {
                    tries(group.table[checksum(path.slice(start, group.length))])
                    guard let slash = path[start...].firstIndex(of: 0x2F) else { break }
                    start = slash + 1
                }
            case .start, .end: break
            }
        }
        tries(vague[...])
        return best > floor ? best : nil
    }
}

/// From hashes to lists of patterns, by open addressing: the keys are hashes already.
private struct HashTable: Sendable {
    private var slots: [(key: UInt64, start: UInt32, count: UInt32)]
    private var values: [UInt32] = []
    private let mask: Int

    init(_ lists: [UInt64: [UInt32]]) {
        var size = 4
        while size < lists.count * 2 { size *= 2 }
        mask = size - 1
        slots = Array(repeating: (0, 0, 0), count: size)
        for (key, list) in lists {
            var place = Int(truncatingIfNeeded: key) & mask
            while slots[place].count > 0 { place = (place + 1) & mask }
            slots[place] = (key, UInt32(values.count), UInt32(list.count))
            values += list
        }
    }

    /// The patterns under `key`, in order. Two keys that collide give what is then found not to match.
    subscript(key: UInt64) -> ArraySlice<UInt32> {
        var place = Int(truncatingIfNeeded: key) & mask
        while slots[place].count > 0 {
            let slot = slots[place]
            if slot.key == key { return values[Int(slot.start)..<Int(slot.start + slot.count)] }
            place = (place + 1) & mask
        }
        return []
    }
}

extension UnsafeRawBufferPointer {
    func slice(_ start: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<(start + count)])
    }

    /// What follows the last `/`.
    var lastName: UnsafeRawBufferPointer {
        let start = lastIndex(of: 0x2F).map { $0 + 1 } ?? 0
        return slice(start, count - start)
    }

    func begins(with bytes: [UInt8]) -> Bool { count >= bytes.count && prefix(bytes.count).elementsEqual(bytes) }
    func ends(with bytes: [UInt8]) -> Bool { count >= bytes.count && suffix(bytes.count).elementsEqual(bytes) }
}
