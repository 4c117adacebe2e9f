// `COPY --parents` and `--exclude`: a source directory cut down to what the patterns take in. A tree operation like the
// graft itself, so the key sees the identity of what is left, and nothing of what was left out.

import StageStore
import StageSystem

/// Patterns in the order they are written; the last one that matches a path, or a directory above it, decides.
struct PathRules: Sendable {
    private let patterns: [IgnorePattern]

    init(_ texts: [String]) throws(CopyFailure) {
        var patterns: [IgnorePattern] = []
        for text in texts {
            let trimmed = Self.trimmed(text)
            let isException = trimmed.first == UInt8(ascii: "!")
            let cleaned = Self.cleaned(isException ? trimmed.dropFirst() : trimmed)
            if cleaned.isEmpty {
                if !isException { continue }
                throw .refused(
                    CopyError("the pattern ! says nothing", advice: "write what is to be taken in after the !"))
            }
            guard let pattern = IgnorePattern(cleaned, negated: isException, line: 0) else {
                throw .refused(
                    CopyError(
                        "the pattern \(text) is malformed",
                        advice: "a [ needs its ]; write \\[ for the character itself"))
            }
            patterns.append(pattern)
        }
        self.patterns = patterns
    }

    var isEmpty: Bool { patterns.isEmpty }

    /// The last pattern that matches `path`, or `parent`, the one that decided about the directory above.
    func last(matching path: [UInt8], after parent: Int) -> Int {
        let characters = decodedCharacters(path)
        return path.withUnsafeBytes { path in
            patterns.indices.last { $0 > parent && patterns[$0].matches(path) { characters } } ?? parent
        }
    }

    func takes(_ last: Int) -> Bool { last >= 0 && !patterns[last].negated }

    /// Whether something beneath the directory could be decided otherwise than the directory itself.
    func canChange(beneath path: [UInt8], after last: Int) -> Bool {
        let taken = takes(last)
        return patterns[(last + 1)...].contains { $0.negated == taken && $0.canMatchBeneath(path) }
    }

    private static func trimmed(_ text: String) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        var rest = Array(text.utf8)[...]
        while let first = rest.first, isBlank(first) { rest.removeFirst() }
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return rest
    }

    /// Go's `filepath.Clean`, which keeps a leading slash: such a pattern matches nothing, as in BuildKit.
    private static func cleaned(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        if bytes.isEmpty { return [] }
        var parts: [ArraySlice<UInt8>] = []
        for part in bytes.split(separator: UInt8(ascii: "/")) where part != [UInt8(ascii: ".")] {
            if part == [UInt8(ascii: "."), UInt8(ascii: ".")], let last = parts.last, last != part {
                parts.removeLast()
            } else {
                parts.append(part)
            }
        }
        let joined = Array(parts.joined(separator: [UInt8(ascii: "/")]))
        return bytes.first == UInt8(ascii: "/") ? [UInt8(ascii: "/")] + joined : joined.isEmpty ? [0x2E] : joined
    }
}

/// What of a source directory is copied.
struct CopyFilter: Sendable {
    /// With `--parents`: what is taken, relative to the pivot. Nil takes everything.
    let included: PathRules?
    let excluded: PathRules

    /// The directory with what the rules take in: a directory that itself is not taken in is there when something
    /// beneath it is. The top is always there.
    func applied(to tree: TreeRef, _ store: any TreeStore) throws(StoreError) -> Filtered {
        if included == nil, excluded.isEmpty { return Filtered(tree: tree) }
        let top = Decision(included: -1, excluded: -1)
        var passages: Set<[UInt8]> = []
        let left = try filtered(tree, at: [], depth: 0, top, isTaken: true, &passages, store)
        return Filtered(tree: left ?? tree, passages: passages)
    }

    struct Filtered {
        let tree: TreeRef
        /// The directories that themselves are not taken in.
        var passages: Set<[UInt8]> = []
    }

    private struct Decision {
        var included: Int
        var excluded: Int
    }

    private func takes(_ decision: Decision) -> Bool {
        included?.takes(decision.included) ?? true && !excluded.takes(decision.excluded)
    }

    private func decision(_ path: [UInt8], _ parent: Decision) -> Decision {
        Decision(
            included: included?.last(matching: path, after: parent.included) ?? -1,
            excluded: excluded.last(matching: path, after: parent.excluded))
    }

    /// Nil when nothing is left of a directory that is not taken in itself.
    private func filtered(
        _ tree: TreeRef, at path: [UInt8], depth: Int, _ parent: Decision, isTaken: Bool,
        _ passages: inout Set<[UInt8]>, _ store: any TreeStore
    ) throws(StoreError) -> TreeRef? {
        if depth > TreePath.depthLimit { throw .tooDeep(TreePath(bytes: path)) }
        let directory = try store.directory(tree.object)
        var items: [DirectoryObject.Item] = []
        for var item in directory.items {
            let inside = (path.isEmpty ? [] : path + [UInt8(ascii: "/")]) + item.name.bytes
            let decision = decision(inside, parent)
            switch item.entry {
            case .node:
                if takes(decision) { items.append(item) }
            case .directory(let child):
                let isTaken = takes(decision)
                if !isTaken, !canTake(beneath: inside, decision) { continue }
                guard
                    let left = try filtered(
                        child, at: inside, depth: depth + 1, decision, isTaken: isTaken, &passages, store)
                else { continue }
                if !isTaken { passages.insert(inside) }
                item.entry = .directory(left)
                items.append(item)
            }
        }
        if items.isEmpty, !isTaken { return nil }
        if items == directory.items { return tree }
        return try store.put(DirectoryObject(attributes: directory.attributes, items: items))
    }

    /// False for a directory that need not be looked into: nothing in it can be taken.
    private func canTake(beneath path: [UInt8], _ decision: Decision) -> Bool {
        if let included, !included.takes(decision.included),
            !included.canChange(beneath: path, after: decision.included)
        {
            return false
        }
        return !excluded.takes(decision.excluded) || excluded.canChange(beneath: path, after: decision.excluded)
    }
}
