// What every store of small values does.

import StageHash
import StageStore

/// For anything that is a `TableStore`.
public enum TableStoreRequirements {
    public typealias Subject = any TableStore

    public static let all: [Requirement<Subject>] = [
        Requirement("a value is there from when it is set", setsAndGets),
        Requirement("the last value that was set counts, and nil takes a key away", replaces),
        Requirement("what is added keeps clear of what is there", adds),
        Requirement("tables do not share keys", separatesTables),
        Requirement("keys of 1 to 511 bytes and values of any length are kept", takesAllLengths),
    ]

    private static func setsAndGets(_ store: Subject) throws {
        for table in Table.allCases {
            try expectEqual(try store.get(table, [1]), nil, "a key of \(table) that nobody set")
            store.set(table, [1], [2, 3])
            try expectEqual(try store.get(table, [1]), [2, 3], "the value of \(table)")
            try expectEqual(try store.get(table, [1, 0]), nil, "a longer key of \(table)")
        }
    }

    private static func replaces(_ store: Subject) throws {
        store.set(.tags, [9], [1])
        store.set(.tags, [9], [])
        try expectEqual(try store.get(.tags, [9]), [], "an empty value in place of another")
        store.set(.tags, [9], nil)
        try expectEqual(try store.get(.tags, [9]), nil, "a key that was taken away")
        store.set(.tags, [9], nil)
        store.set(.tags, [9], [4])
        try expectEqual(try store.get(.tags, [9]), [4], "a key that came back")
    }

    private static func adds(_ store: Subject) throws {
        for length in [1, 32, 64, 65] {
            let key = [UInt8](repeating: 5, count: length)
            try store.add(.tags, key, [1])
            try expectEqual(try store.get(.tags, key), [1], "what was added")
            try store.add(.tags, key, [2])
            try expectEqual(try store.get(.tags, key), [1], "what was there before something was added")
            store.set(.tags, key, nil)
            try store.add(.tags, key, [3])
            try expectEqual(try store.get(.tags, key), [3], "what was added after the key was taken away")
        }
    }

    private static func separatesTables(_ store: Subject) throws {
        for (index, table) in Table.allCases.enumerated() { store.set(table, [7], [UInt8(index)]) }
        for (index, table) in Table.allCases.enumerated() {
            try expectEqual(try store.get(table, [7]), [UInt8(index)], "the value of \(table)")
        }
    }

    private static func takesAllLengths(_ store: Subject) throws {
        var random = SeededGenerator(seed: 1)
        for length in [1, 2, 32, 255, 256, 510, 511] {
            for size in [0, 1, 3000, 5000, 200_000] {
                let key = random.bytes(length)
                let value = random.bytes(size)
                store.set(.records, key, value)
                try expect(try store.get(.records, key) == value, "key of \(length) bytes, value of \(size)")
            }
        }
    }
}
