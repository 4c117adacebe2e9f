// "Did you mean": the closest of the names that would have been right.

/// Finds the name that a misspelt one was meant to be.
public enum Spelling {
    /// A hint that names the candidate closest to `word`, if one is close enough to be what was meant.
    public static func hint(_ word: String, among candidates: some Sequence<String>) -> String? {
        closest(word, among: candidates).map { "did you mean `\($0)`?" }
    }

    /// Case does not count; a third of the letters may differ, at least one.
    public static func closest(_ word: String, among candidates: some Sequence<String>) -> String? {
        let wanted = Array(word.lowercased().utf8)
        // A word of such length is no misspelt name, and the distance is quadratic in it.
        guard !wanted.isEmpty, wanted.count <= 128 else { return nil }
        var best: (name: String, distance: Int)?
        for candidate in candidates {
            let letters = Array(candidate.lowercased().utf8)
            let limit = max(1, max(wanted.count, letters.count) / 3)
            guard !letters.isEmpty, letters.count <= 128, abs(letters.count - wanted.count) <= limit else { continue }
            let distance = distance(wanted, letters)
            // One letter in place of another says nothing when the name is one letter long.
            guard distance <= limit, distance < max(wanted.count, letters.count) else { continue }
            if distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best?.name
    }

    /// Insertions, deletions, replacements and swaps of neighbours, each counted as one.
    public static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var beforeLast = [Int](repeating: 0, count: b.count + 1)
        var last = Array(0...b.count)
        for i in 1..<(a.count + 1) {
            var row = [i] + [Int](repeating: 0, count: b.count)
            for j in 1..<(b.count + 1) {
                let cost = a[i - 1] == b[j - 1] ? 0 : 1
                row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    row[j] = min(row[j], beforeLast[j - 2] + 1)
                }
            }
            beforeLast = last
            last = row
        }
        return last[b.count]
    }
}
