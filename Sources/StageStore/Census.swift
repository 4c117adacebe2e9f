// All that a store holds at one moment, and what of it leads to what: the ground for accounts, collections and checks.

import CLinux
import Glibc
import StageHash
import StageSystem

/// A look at the whole store. Taking one costs a pass over the index and a read of every directory that something leads to.
public struct Census: Sendable {
    /// A value that keeps contents in the store: a record, an image, or the last build of something.
    public struct Item: Sendable {
        public let table: Table
        public let key: [UInt8]
        public let value: [UInt8]
        /// What it leads to. Nil links: it does not decode.
        public let roots: Roots?
    }

    /// What something leads to, ready to be followed.
    public struct Roots: Sendable {
        var vertices: [ContentGraph.Vertex]
        /// What it names and the store lacks.
        public var missing: [Digest]

        public static let none = Roots(vertices: [], missing: [])

        /// Leads to what both lead to.
        public mutating func add(_ other: Roots) {
            vertices += other.vertices
            missing += other.missing
        }
    }

    /// Something stored that does not hold.
    public enum Fault: Hashable, Sendable {
        /// `by` names a content that is not here.
        case missing(Digest, by: Digest)
        /// An entry of the index that is not what was written there.
        case entry(Table, key: [UInt8])
        /// A directory, chunk list or list that does not read or decode.
        case unreadable(Digest, reason: String)
    }

    /// A pack as it lies on the disk.
    struct PackFile: Sendable {
        var id: UInt64
        /// Bytes that the index knows; nil for a pack that is unknown to it.
        var committed: UInt64?
        var size: UInt64
        /// Bytes that it takes on the disk.
        var allocated: UInt64
    }

    /// A content that was given up and is still here.
    struct Condemned: Sendable {
        var digest: Digest
        var generation: UInt64
        var location: Location?
    }

    /// The tables whose values keep contents in the store.
    static let rootTables: [Table] = [.records, .images, .builds]

    public internal(set) var items: [Item] = []
    public internal(set) var tags: [(key: [UInt8], value: [UInt8])] = []
    public internal(set) var outcomes: [(key: [UInt8], value: [UInt8])] = []
    /// The day each record was last used on, by its key.
    public internal(set) var uses: [[UInt8]: UInt32] = [:]
    public internal(set) var faults: [Fault] = []
    var graph = ContentGraph()
    var leaves = IndexLeaves()
    var packs: [PackFile] = []
    var condemned: [Condemned] = []
    var generation: UInt64 = 0
    /// The state of the index that was looked at.
    var state = 0

    /// Contents in the index, given-up ones left out.
    public var contentCount: Int { graph.count }

    init() {}

    /// Why nothing must be collected: where it is not known what something leads to, that would be taken for nobody's. A
    /// content that is named and not here is no obstacle: it is lost already.
    public var obstacle: String? {
        for fault in faults {
            if case .missing = fault { continue }
            return fault.description
        }
        let unknown = items.first { $0.roots == nil }
        return unknown.map { "an entry of \($0.table.rawValue) does not decode" }
    }

    /// What `links` lead to, for roots that lie outside the store's tables. They have to be among those that the census
    /// was taken with.
    public func roots(_ links: [Link]) -> Roots {
        var roots = Roots.none
        for link in links {
            if let vertex = graph.vertex(of: link) {
                roots.vertices.append(vertex)
            } else {
                roots.missing.append(link.digest)
            }
        }
        return roots
    }
}

extension Link {
    var digest: Digest {
        switch self {
        case .content(let digest), .directory(let digest), .list(let digest): digest
        }
    }
}

extension Store {
    /// Looks at everything. What this process has not committed is left out.
    ///
    /// - Parameter links: roots besides records and images, such as the trees of contexts.
    public func census(_ reader: any LinkReader, and links: [Link] = []) throws(StoreError) -> Census {
        var census = Census()
        var values: [(Table, [UInt8], [UInt8])] = []
        // A collection may have moved packs between the two looks, at the index and at the directory.
        for _ in 0..<10 {
            (census, values) = try snapshot()
            let present = Set(census.packs.map(\.id))
            let isComplete = census.graph.packs.allSatisfy { present.contains($0) }
            let state = try database.read { transaction throws(StoreError) in transaction.state }
            if isComplete || state == census.state { break }
        }
        var expansion = GraphExpansion(store: self, reader: reader)
        for (table, key, value) in values {
            let links = reader.links(of: table, value)
            if let links { expansion.expand(links, &census) }
            census.items.append(
                Census.Item(table: table, key: key, value: value, roots: links.map { census.roots($0) }))
        }
        expansion.expand(links, &census)
        return census
    }

    /// What the index says and which packs there are; the values of tables that are roots apart.
    private func snapshot() throws(StoreError) -> (Census, [(Table, [UInt8], [UInt8])]) {
        var census = Census()
        var values: [(Table, [UInt8], [UInt8])] = []
        var known: [UInt64: UInt64] = [:]
        try database.read { transaction throws(StoreError) in
            census.generation = try Self.generation(in: transaction)
            census.state = transaction.state
            try Self.readContents(transaction, into: &census)
            for table in Census.rootTables {
                for (key, value) in try Self.pairs(table, transaction, &census) { values.append((table, key, value)) }
            }
            census.tags = try Self.pairs(.tags, transaction, &census)
            census.outcomes = try Self.pairs(.outcomes, transaction, &census)
            _ = try Self.pairs(.layers, transaction, &census)
            for (key, value) in try Self.pairs(.uses, transaction, &census) {
                var reader = ByteReader(value)
                census.uses[key] = reader.u32() ?? 0
            }
            for (key, value) in try Self.pairs(.facts, transaction, &census) {
                var reader = ByteReader(value)
                if let id = PackWriter.id(factKey: key), let end = reader.u64() { known[id] = end }
            }
        }
        census.graph.close()
        census.packs = try packFiles(known)
        return (census, values)
    }

    private static func pairs(
        _ table: Table, _ transaction: borrowing Database.ReadTransaction, _ census: inout Census
    ) throws(StoreError) -> [(key: [UInt8], value: [UInt8])] {
        var pairs: [(key: [UInt8], value: [UInt8])] = []
        var damaged: [[UInt8]] = []
        try transaction.visit(table, damaged: { damaged.append($0) }) { key, value throws(StoreError) in
            pairs.append((Array(key), Array(value)))
        }
        for key in damaged { census.faults.append(.entry(table, key: key)) }
        return pairs
    }

    private static func readContents(
        _ transaction: borrowing Database.ReadTransaction, into census: inout Census
    ) throws(StoreError) {
        var damaged: [(Table, [UInt8])] = []
        try transaction.visit(.contents, damaged: { damaged.append((.contents, $0)) }) {
            key, value throws(StoreError) in
            guard let digest = Digest(bytes: key), key.count == 32, let entry = ContentEntry(value) else {
                damaged.append((.contents, Array(key)))
                return
            }
            census.graph.append(digest, entry)
            census.leaves.add(key)
        }
        defer { for (table, key) in damaged { census.faults.append(.entry(table, key: key)) } }
        try transaction.visit(.condemned, damaged: { damaged.append((.condemned, $0)) }) {
            key, value throws(StoreError) in
            guard let digest = Digest(bytes: key), let row = CondemnedRow(value) else { return }
            var condemned = Census.Condemned(digest: digest, generation: row.generation)
            if case .stored(let location) = row.entry { condemned.location = location }
            census.condemned.append(condemned)
        }
    }

    /// Adds what `links` lead to, as far as it is not known.
    public func extend(_ census: inout Census, with links: [Link], _ reader: any LinkReader) {
        var expansion = GraphExpansion(store: self, reader: reader)
        expansion.expand(links, &census)
    }

    func packFiles(_ known: [UInt64: UInt64]) throws(StoreError) -> [Census.PackFile] {
        var files: [Census.PackFile] = []
        do throws(SystemError) {
            let listing = try OwnedFD.open(".", O_RDONLY | O_DIRECTORY, at: packs.fd.raw)
            for entry in try readEntries(listing.raw, "packs") {
                guard let id = PackWriter.id(entry.name) else { continue }
                // Gone in between is none of ours.
                guard let info = try? statEntry(packs.fd.raw, entry.name) else { continue }
                files.append(
                    Census.PackFile(id: id, committed: known[id], size: info.size, allocated: info.blocks * 512))
            }
        } catch { throw .system(error) }
        return files.sorted { $0.id < $1.id }
    }
}

/// Follows links, reading each directory and each list once.
struct GraphExpansion {
    let store: Store
    let reader: any LinkReader

    mutating func expand(_ links: [Link], _ census: inout Census) {
        var stack = links
        while let link = stack.popLast() {
            guard let number = census.graph.number(of: link.digest) else { continue }
            switch link {
            case .directory:
                if !census.graph.isExpanded(Int(number)) { directory(number, &stack, &census) }
                chunks(number, &stack, &census)
            case .content:
                chunks(number, &stack, &census)
            case .list:
                list(number, &stack, &census)
            }
        }
    }

    private func directory(_ number: Int32, _ stack: inout [Link], _ census: inout Census) {
        let name = census.graph.rows[Int(number)].digest
        var directories: [Int32] = []
        var files: [Int32] = []
        var missing: [Digest] = []
        do throws(StoreError) {
            let bytes = try store.read(name)
            let graph = census.graph
            let decodes = bytes.withUnsafeBytes { raw in
                DirectoryObject.visitLinks(in: raw) { digest in
                    guard let child = graph.number(of: digest) else { return missing.append(digest) }
                    directories.append(child)
                    if !graph.isExpanded(Int(child)) { stack.append(.directory(digest)) }
                } file: { digest in
                    guard let child = graph.number(of: digest) else { return missing.append(digest) }
                    files.append(child)
                    if graph.rows[Int(child)].list != nil { stack.append(.content(digest)) }
                }
            }
            if !decodes {
                (directories, files, missing) = ([], [], [])
                census.faults.append(.unreadable(name, reason: "it is no directory object"))
            }
        } catch { census.faults.append(.unreadable(name, reason: Store.reason(error))) }
        census.graph.expand(Int(number), directories: directories, files: files)
        for digest in missing { census.faults.append(.missing(digest, by: name)) }
    }

    /// A content of chunks leads to its list and to them.
    private func chunks(_ number: Int32, _ stack: inout [Link], _ census: inout Census) {
        let row = census.graph.rows[Int(number)]
        guard let list = row.list, census.graph.parts[number] == nil else { return }
        var parts: [Int32] = []
        func add(_ digest: Digest) {
            if let part = census.graph.number(of: digest) {
                parts.append(part)
            } else {
                census.faults.append(.missing(digest, by: row.digest))
            }
        }
        add(list)
        stack.append(.content(list))
        do throws(StoreError) {
            var bytes = try store.read(list)
            for part in ChunkList.decode(&bytes) where part.chunk != .zero { add(part.chunk) }
        } catch { census.faults.append(.unreadable(list, reason: Store.reason(error))) }
        census.graph.setParts(number, parts)
    }

    private func list(_ number: Int32, _ stack: inout [Link], _ census: inout Census) {
        if census.graph.parts[number] != nil && census.graph.rows[Int(number)].list == nil { return }
        chunks(number, &stack, &census)
        let name = census.graph.rows[Int(number)].digest
        var parts = census.graph.parts[number] ?? []
        do throws(StoreError) {
            guard let links = reader.links(inList: try store.read(name)) else {
                throw .corrupt("it does not decode")
            }
            for link in links {
                if let vertex = census.graph.vertex(of: link) {
                    parts.append(vertex)
                } else {
                    census.faults.append(.missing(link.digest, by: name))
                }
            }
            stack += links
        } catch { census.faults.append(.unreadable(name, reason: Store.reason(error))) }
        census.graph.setParts(number, parts)
    }
}

/// A value of the table `condemned`.
struct CondemnedRow {
    let generation: UInt64
    let entry: ContentEntry

    init(generation: UInt64, entry: ContentEntry) { (self.generation, self.entry) = (generation, entry) }

    func encoded() -> [UInt8] {
        var out = ByteWriter()
        out.u64(generation)
        out.raw(entry.encoded())
        return out.bytes
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 8, let entry = ContentEntry(UnsafeRawBufferPointer(rebasing: bytes[8...])) else {
            return nil
        }
        generation = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        self.entry = entry
    }
}
