// Wildcards in COPY and ADD sources: Go's filepath.Match, a component at a time, over a tree.

import StageHash
import StageStore
import StageSystem

/// One path component of a pattern: `*`, `?`, `[a-z]`, `[^a]` and `\` to quote.
struct Glob: Sendable {
    private enum Piece: Sendable {
        case byte(UInt8)
        case any
        case star
        case set([ClosedRange<UInt32>], negated: Bool)
    }

    private let pieces: [Piece]

    /// Whether `component` has a wildcard at all; without one it is a name (with `\` quoting).
    static func hasWildcard(_ component: [UInt8]) -> Bool {
        var escaped = false
        for byte in component {
            if escaped {
                escaped = false
            } else if byte == UInt8(ascii: "\\") {
                escaped = true
            } else if byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "[") {
                return true
            }
        }
        return false
    }

    /// Nil for a malformed pattern (an open `[`, `[z-a]`, a `\` at the end).
    init?(_ pattern: [UInt8]) {
        var pieces: [Piece] = []
        var rest = pattern[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "*"): pieces.append(.star)
            case UInt8(ascii: "?"): pieces.append(.any)
            case UInt8(ascii: "\\"):
                guard let quoted = rest.popFirst() else { return nil }
                pieces.append(.byte(quoted))
            case UInt8(ascii: "["):
                guard let set = Self.set(&rest) else { return nil }
                pieces.append(set)
            default: pieces.append(.byte(byte))
            }
        }
        self.pieces = pieces
    }

    private static func set(_ rest: inout ArraySlice<UInt8>) -> Piece? {
        var negated = false
        if rest.first == UInt8(ascii: "^") {
            negated = true
            rest.removeFirst()
        }
        var ranges: [ClosedRange<UInt32>] = []
        while true {
            if rest.first == UInt8(ascii: "]"), !ranges.isEmpty {
                rest.removeFirst()
                return .set(ranges, negated: negated)
            }
            guard let low = scalar(&rest) else { return nil }
            var high = low
            if rest.first == UInt8(ascii: "-") {
                rest.removeFirst()
                guard let end = scalar(&rest) else { return nil }
                high = end
            }
            // One that is the wrong way round would never match. BuildKit refuses it too when it reads a context.
            guard low <= high else { return nil }
            ranges.append(low...high)
        }
    }

    private static func scalar(_ rest: inout ArraySlice<UInt8>) -> UInt32? {
        guard let first = rest.first, first != UInt8(ascii: "]"), first != UInt8(ascii: "-") else { return nil }
        if first == UInt8(ascii: "\\") {
            rest.removeFirst()
            if rest.isEmpty { return nil }
        }
        return next(&rest)
    }

    /// The next UTF-8 scalar; a byte that is none stands for itself.
    private static func next(_ rest: inout ArraySlice<UInt8>) -> UInt32? {
        guard let first = rest.popFirst() else { return nil }
        let count = first < 0x80 ? 0 : first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0
        guard count > 0, rest.count >= count, rest.prefix(count).allSatisfy({ $0 & 0xC0 == 0x80 }) else {
            return UInt32(first)
        }
        var value = UInt32(first) & (0x3F >> UInt32(count))
        for _ in 0..<count { value = value << 6 | UInt32(rest.removeFirst() & 0x3F) }
        return value
    }

    /// Whether `name` matches as a whole. Linear in the product of the lengths at worst.
    func matches(_ name: [UInt8]) -> Bool {
        var piece = 0
        var rest = name[...]
        var retry: (piece: Int, rest: ArraySlice<UInt8>)?
        while true {
            if piece == pieces.count {
                if rest.isEmpty { return true }
            } else if case .star = pieces[piece] {
                retry = (piece, rest)
                piece += 1
                continue
            } else if step(pieces[piece], &rest) {
                piece += 1
                continue
            }
            guard let last = retry, !last.rest.isEmpty else { return false }
            let shorter = last.rest.dropFirst()
            retry = (last.piece, shorter)
            piece = last.piece + 1
            rest = shorter
        }
    }

    private func step(_ piece: Piece, _ rest: inout ArraySlice<UInt8>) -> Bool {
        switch piece {
        case .byte(let byte):
            guard rest.first == byte else { return false }
            rest.removeFirst()
            return true
        case .any:
            return Self.next(&rest) != nil
        case .set(let ranges, let negated):
            guard let value = Self.next(&rest) else { return false }
            return ranges.contains { $0.contains(value) } != negated
        case .star:
            return false
        }
    }
}

/// A source pattern: its components, split at `/` and cleaned.
struct PathPattern {
    let components: [[UInt8]]

    init(_ text: String) {
        // Cleaning treats `\` as an ordinary byte; it quotes within a component only.
        components = TreePath(text).components.map(\.bytes)
    }

    var hasWildcard: Bool { components.contains(where: Glob.hasWildcard) }

    /// All paths of `tree` that match, sorted; the part before the first wildcard follows symlinks.
    /// Nil when a component is malformed.
    func matches(in tree: TreeRef, store: any TreeStore) throws(StoreError) -> [TreePath]? {
        guard let firstWild = components.firstIndex(where: Glob.hasWildcard) else {
            return [TreePath(components.map { FileName(bytes: $0) })]
        }
        let prefix = TreePath(components[..<firstWild].map { FileName(bytes: $0) })
        guard let start = try store.resolve(prefix, in: tree) else { return [] }
        var globs: [Glob] = []
        for component in components[firstWild...] {
            guard let glob = Glob(component) else { return nil }
            globs.append(glob)
        }
        var found = [start]
        for (depth, glob) in globs.enumerated() {
            var next: [TreePath] = []
            for path in found {
                guard case .directory(let ref)? = try store.entry(at: path, in: tree) else { continue }
                for item in try store.directory(ref.object).items where glob.matches(item.name.bytes) {
                    if depth < globs.count - 1, case .node = item.entry { continue }
                    next.append(path.appending(item.name))
                }
            }
            found = next
        }
        return found
    }
}
