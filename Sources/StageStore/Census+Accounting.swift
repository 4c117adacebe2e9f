// Whose the bytes are: shared and exclusive bytes of many roots, and the bytes that each of an order of roots adds.

import StageHash

/// Bytes in packs that something leads to.
public struct Holding: Hashable, Sendable {
    /// All it leads to, shared or not.
    public var total: UInt64 = 0
    /// What nothing else leads to: what would be free without it.
    public var exclusive: UInt64 = 0

    public init(total: UInt64 = 0, exclusive: UInt64 = 0) { (self.total, self.exclusive) = (total, exclusive) }
}

extension Census {
    /// The holdings of each of `sets`; exclusive means: no other of them leads to it.
    public func holdings(_ sets: [Roots]) -> [Holding] {
        var holdings = [Holding](repeating: Holding(), count: sets.count)
        markTotals(sets, &holdings)
        let owners = self.owners(sets)
        for index in 0..<graph.count where owners[index] >= 0 {
            holdings[Int(owners[index])].exclusive += graph.rows[index].stored
        }
        return holdings
    }

    private func markTotals(_ sets: [Roots], _ holdings: inout [Holding]) {
        var stamps = [Int32](repeating: -1, count: 2 * graph.count)
        var stack: [ContentGraph.Vertex] = []
        let n = Int32(graph.count)
        for (index, roots) in sets.enumerated() {
            let stamp = Int32(index)
            func reach(_ vertex: ContentGraph.Vertex) {
                if stamps[Int(vertex)] == stamp { return }
                stamps[Int(vertex)] = stamp
                stack.append(vertex)
            }
            for vertex in roots.vertices { reach(vertex) }
            while let vertex = stack.popLast() {
                if vertex < n { holdings[index].total += graph.rows[Int(vertex)].stored }
                graph.visitEdges(of: vertex, reach)
            }
        }
    }

    private static let shared: Int32 = -2

    /// The one set that leads to each vertex; -1 none, -2 several. Each vertex changes at most twice, since all beneath a
    /// shared one is shared.
    private func owners(_ sets: [Roots]) -> [Int32] {
        var owners = [Int32](repeating: -1, count: 2 * graph.count)
        var stack: [ContentGraph.Vertex] = []
        for (index, roots) in sets.enumerated() {
            let own = Int32(index)
            func reach(_ vertex: ContentGraph.Vertex) {
                switch owners[Int(vertex)] {
                case -1: owners[Int(vertex)] = own
                case own, Self.shared: return
                default: owners[Int(vertex)] = Self.shared
                }
                stack.append(vertex)
            }
            for vertex in roots.vertices { reach(vertex) }
            while let vertex = stack.popLast() { graph.visitEdges(of: vertex, reach) }
        }
        return owners
    }

    /// For each of `sets`, the bytes that it leads to and none before it does. The bytes that a tail of the order would
    /// free is the sum of its part.
    public func bytesAdded(inOrder sets: [Roots]) -> [UInt64] {
        var seen = graph.noMarks
        return sets.map { roots in
            var added: UInt64 = 0
            graph.mark(roots.vertices, in: &seen) { added += graph.rows[$0].stored }
            return added
        }
    }

    /// All bytes of contents in the index.
    public var contentBytes: UInt64 { graph.rows.reduce(0) { $0 + $1.stored } }

    /// Bytes of contents that were given up, and that running processes may still read.
    public var condemnedBytes: UInt64 { condemned.reduce(0) { $0 + ($1.location?.stored ?? 0) } }

    /// Bytes that the packs take on the disk.
    public var packBytes: UInt64 { packs.reduce(0) { $0 + $1.allocated } }

    /// Which of `sets` lead to one of `digests`, by the census's own knowledge of what leads to what.
    public func reaching(_ digests: Set<Digest>, _ sets: [Roots]) -> [Bool] {
        let tainted = self.tainted(digests)
        return sets.map { roots in
            roots.vertices.contains { tainted[Int($0)] } || roots.missing.contains { digests.contains($0) }
        }
    }

    /// The vertices that lead to one of `digests`.
    func tainted(_ digests: Set<Digest>) -> [Bool] {
        var tainted = graph.noMarks
        for digest in digests {
            guard let number = graph.number(of: digest) else { continue }
            for vertex in [number, graph.directory(number)] { tainted[Int(vertex)] = true }
        }
        // What names something that is not here is as bad as what names something damaged.
        for case .missing(let digest, let holder) in faults where digests.contains(digest) {
            guard let number = graph.number(of: holder) else { continue }
            for vertex in [number, graph.directory(number)] { tainted[Int(vertex)] = true }
        }
        var changed = true
        while changed {
            changed = false
            for index in tainted.indices where !tainted[index] {
                var hit = false
                graph.visitEdges(of: Int32(index)) { if tainted[Int($0)] { hit = true } }
                if hit {
                    tainted[index] = true
                    changed = true
                }
            }
        }
        return tainted
    }
}
