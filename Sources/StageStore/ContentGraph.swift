// The contents of a store at one moment as numbers, and what leads to what: small enough to be held for millions.
//
// A content has the number of its place among all names in order. What is reached is a vertex: the content itself (its
// number), or the directory that its bytes are, with all beneath (n + number). A file may have the bytes of a directory
// object; so a content is marked for each of the two.

import StageHash

/// Contents by number, with the edges between vertices.
struct ContentGraph: Sendable {
    /// One content as the index has it.
    struct Row: Sendable {
        var digest: Digest
        /// The place in `packs`; -1 for a content that is a list of chunks.
        var pack: Int32
        var offset: UInt64
        /// Bytes in the pack.
        var stored: UInt64
        /// Bytes of content.
        var size: UInt64
        /// What a chunked content is listed in.
        var list: Digest?
    }

    typealias Vertex = Int32

    private(set) var rows: [Row] = []
    private(set) var packs: [UInt64] = []
    private var packNumbers: [UInt64: Int32] = [:]

    /// Numbers by name: open addressing by the name's first bytes, which are evenly spread.
    private var slots: [Int32] = []
    private var mask = 0

    /// Where the edges of each expanded directory are: `links[start..<middle]` directories, up to `end` files.
    private struct Edges: Sendable {
        var start: Int
        var middle: Int
        var end: Int
    }

    private var edgesOf: [Int32] = []
    private var edges: [Edges] = []
    private var links: [Int32] = []
    /// What chunked contents and lists are made of.
    private(set) var parts: [Int32: [Vertex]] = [:]

    var count: Int { rows.count }

    // MARK: Building

    /// Adds a content; names come in order.
    mutating func append(_ digest: Digest, _ entry: ContentEntry) {
        switch entry {
        case .stored(let location):
            rows.append(
                Row(
                    digest: digest, pack: packNumber(location.pack), offset: location.offset, stored: location.stored,
                    size: location.raw))
        case .chunked(let size, let list):
            rows.append(Row(digest: digest, pack: -1, offset: 0, stored: 0, size: size, list: list))
        }
    }

    private mutating func packNumber(_ pack: UInt64) -> Int32 {
        if let number = packNumbers[pack] { return number }
        let number = Int32(packs.count)
        packs.append(pack)
        packNumbers[pack] = number
        return number
    }

    /// Call once, after the last `append`.
    mutating func close() {
        var size = 16
        while size < rows.count * 2 { size *= 2 }
        slots = [Int32](repeating: -1, count: size)
        mask = size - 1
        for index in rows.indices {
            var slot = rows[index].digest.tableHash & mask
            while slots[slot] >= 0 { slot = (slot + 1) & mask }
            slots[slot] = Int32(index)
        }
        edgesOf = [Int32](repeating: -1, count: rows.count)
    }

    /// The number of a content; nil when it is not here.
    func number(of digest: Digest) -> Int32? {
        var slot = digest.tableHash & mask
        while slots[slot] >= 0 {
            if rows[Int(slots[slot])].digest == digest { return slots[slot] }
            slot = (slot + 1) & mask
        }
        return nil
    }

    /// The vertex that a link leads to; nil when it is not here.
    func vertex(of link: Link) -> Vertex? {
        switch link {
        case .content(let digest), .list(let digest): number(of: digest)
        case .directory(let digest): number(of: digest).map { directory($0) }
        }
    }

    func directory(_ number: Int32) -> Vertex { number + Int32(count) }

    func isExpanded(_ number: Int) -> Bool { edgesOf[number] >= 0 }

    mutating func expand(_ number: Int, directories: [Int32], files: [Int32]) {
        edgesOf[number] = Int32(edges.count)
        let start = links.count
        links += directories
        let middle = links.count
        links += files
        edges.append(Edges(start: start, middle: middle, end: links.count))
    }

    mutating func setParts(_ number: Int32, _ vertices: [Vertex]) { parts[number] = vertices }

    // MARK: Walking

    /// Calls back with each vertex that `vertex` leads to directly.
    @inline(__always)
    func visitEdges(of vertex: Vertex, _ body: (Vertex) -> Void) {
        let n = Int32(count)
        if vertex < n {
            if !parts.isEmpty, let parts = parts[vertex] { for part in parts { body(part) } }
            return
        }
        let number = vertex - n
        body(number)
        guard edgesOf[Int(number)] >= 0 else { return }
        let found = edges[Int(edgesOf[Int(number)])]
        for index in found.start..<found.middle { body(n + links[index]) }
        for index in found.middle..<found.end { body(links[index]) }
    }

    /// Marks everything that `roots` lead to and that is not marked; calls back once for each content among it.
    func mark(_ roots: [Vertex], in seen: inout [Bool], _ found: (Int) -> Void) {
        var stack: [Vertex] = []
        for root in roots where !seen[Int(root)] {
            seen[Int(root)] = true
            stack.append(root)
        }
        let n = Int32(count)
        while let vertex = stack.popLast() {
            if vertex < n { found(Int(vertex)) }
            visitEdges(of: vertex) { next in
                if !seen[Int(next)] {
                    seen[Int(next)] = true
                    stack.append(next)
                }
            }
        }
    }

    /// No vertex marked.
    var noMarks: [Bool] { [Bool](repeating: false, count: 2 * count) }
}

extension Digest {
    /// For tables that only this process sees.
    fileprivate var tableHash: Int { Int(truncatingIfNeeded: leadingWord >> 1) }
}
