// "Did you mean": the known name with the fewest edits.

/// The one of `names` nearest to `name`, when it is near enough to be a slip of the finger.
func nearestName(_ name: String, among names: [String]) -> String? {
    let limit = max(1, name.count / 3)
    let ranked = names.map { (name: $0, distance: editDistance(Array(name), Array($0))) }
    guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= limit else { return nil }
    return best.name
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
private func editDistance(_ a: [Character], _ b: [Character]) -> Int {
    var older: [Int] = []
    var previous = Array(0...b.count)
    for i in a.indices {
        var row = [i + 1]
        for j in b.indices {
            var cost = min(row[j] + 1, previous[j + 1] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, older[j - 1] + 1) }
            row.append(cost)
        }
        (older, previous) = (previous, row)
    }
    return previous[b.count]
}
