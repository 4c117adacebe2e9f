// Where two keys part, from their texts: the fields that differ, in the order of the walk.

import StageHash

/// The comparison of two walks.
public struct KeyDifference: Sendable, Hashable {
    /// A field that the walks do not have in common; one side is nil where the other has a field more.
    public struct Pair: Sendable, Hashable {
        public var name: String
        public var was: KeyText.Field?
        public var now: KeyText.Field?
    }

    public var pairs: [Pair] = []

    /// Fields that occur more than once are paired in their order.
    public init(from old: KeyText, to new: KeyText) {
        var rest: [String: [KeyText.Field]] = [:]
        for field in old.fields.reversed() { rest[field.name, default: []].append(field) }
        for field in new.fields {
            let before = rest[field.name]?.popLast()
            if before != field { pairs.append(Pair(name: field.name, was: before, now: field)) }
        }
        for field in old.fields where rest[field.name]?.last == field {
            _ = rest[field.name]?.popLast()
            pairs.append(Pair(name: field.name, was: field, now: nil))
        }
    }

    /// The names, each once.
    public var names: [String] {
        var seen: Set<String> = []
        return pairs.map(\.name).filter { seen.insert($0).inserted }
    }
}
