// What goes first: a value per byte, made of the time it takes to make something again and of how long nobody wanted it.

import Glibc

/// Something that could go.
struct Candidate: Sendable, Hashable {
    enum Kind: String, Sendable, CaseIterable { case image, step, build, context, cache, workspace }

    var kind: Kind
    /// The place in the list of its kind.
    var index: Int
    /// Seconds that it takes to make it again.
    var seconds: Double
    /// Seconds since anybody used it.
    var age: Double
    /// What it adds to the store; 0 for what others lead to anyway.
    var bytes: UInt64 = 0

    /// What a byte of it is worth: low goes first. Halves with each week without use; what takes no room is worth keeping.
    var worth: Double {
        let week = 7 * 86_400.0
        return (seconds + 0.01) / Double(max(bytes, 1)) * exp2(-max(0, age) / week)
    }
}

/// Which candidates go.
struct Retention: Sendable {
    /// The most that is to be left, in bytes; nil takes all that qualifies.
    var cap: UInt64?

    /// Without a cap and without `--all`, what was used within a week stays.
    static let recent = 7 * 86_400.0

    /// The candidates in the order in which they go.
    func order(_ candidates: [Candidate]) -> [Candidate] {
        candidates.sorted { a, b in
            (a.worth, a.kind.rawValue, a.index) < (b.worth, b.kind.rawValue, b.index)
        }
    }

    /// How many of `ordered` have to go for `size` bytes to come under the cap.
    func count(_ ordered: [Candidate], size: UInt64) -> Int {
        guard let cap else { return ordered.count }
        var left = size
        for (index, candidate) in ordered.enumerated() {
            if left <= cap { return index }
            left -= min(left, candidate.bytes)
        }
        return ordered.count
    }
}
