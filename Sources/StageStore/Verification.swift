// Reading everything: each content's blocks, checksums and name.

import StageHash
import StageSystem

/// A content that does not read back as what its name says.
public struct Damage: Hashable, Sendable {
    public let digest: Digest
    /// What is wrong, for people.
    public let reason: String
}

/// A part of the contents, for one thread to read.
public struct ReadingPart: Sendable {
    let numbers: [Int32]
    /// Bytes in packs.
    public let bytes: UInt64
}

/// What reading a part brought to light.
public struct ReadingResult: Sendable {
    public var damages: [Damage] = []
    /// Contents that are directory objects, whatever leads to them.
    public var directories: [Digest] = []

    public init() {}
}

extension Census {
    /// All contents in parts of about the same size, each in the order in which they lie on the disk.
    public func readingParts(_ count: Int) -> [ReadingPart] {
        let order = (0..<Int32(graph.count)).sorted { a, b in
            let (a, b) = (graph.rows[Int(a)], graph.rows[Int(b)])
            return (a.pack, a.offset) < (b.pack, b.offset)
        }
        // A small content costs more than its bytes.
        func weight(_ number: Int32) -> UInt64 {
            let row = graph.rows[Int(number)]
            return 4096 + (row.pack < 0 ? row.size : row.stored)
        }
        let limit = order.reduce(0) { $0 + weight($1) } / UInt64(max(1, count)) + 1
        var parts: [ReadingPart] = []
        var numbers: [Int32] = []
        var filled: UInt64 = 0
        for number in order {
            numbers.append(number)
            filled += weight(number)
            if filled >= limit {
                parts.append(ReadingPart(numbers: numbers, bytes: filled))
                (numbers, filled) = ([], 0)
            }
        }
        if !numbers.isEmpty { parts.append(ReadingPart(numbers: numbers, bytes: filled)) }
        return parts
    }

    /// Packs that are shorter than the index says, or not there at all, by name.
    public var damagedPacks: [(name: String, reason: String)] {
        let present = Dictionary(uniqueKeysWithValues: packs.map { ($0.id, $0) })
        return graph.packs.sorted().compactMap { id in
            guard let pack = present[id] else { return (PackWriter.name(id), "it is gone") }
            guard let committed = pack.committed else {
                return (PackWriter.name(id), "the index does not know its length")
            }
            if pack.size >= committed { return nil }
            return (PackWriter.name(id), "it has \(pack.size) bytes instead of \(committed)")
        }
    }

    /// What has to leave the index so that everything in it is whole again: damaged contents, and all directories and chunked
    /// contents that lead to them.
    public func notWhole(_ bad: Set<Digest>) -> [Digest] {
        let tainted = self.tainted(bad)
        return (0..<graph.count).filter { number in
            let row = graph.rows[number]
            if bad.contains(row.digest) || tainted[Int(graph.directory(Int32(number)))] { return true }
            return row.list != nil && tainted[number]
        }.map { graph.rows[$0].digest }
    }

    /// The facts about packs that are not there or shorter than they say, and what they should be.
    public var packCorrections: [(key: [UInt8], value: [UInt8]?)] {
        packs.compactMap { pack in
            guard let committed = pack.committed, pack.size < committed else { return nil }
            var value = ByteWriter()
            value.u64(pack.size)
            return (PackWriter.factKey(pack.id), value.bytes)
        }
    }
}

extension Store {
    /// Reads all contents of a part and compares them with their names.
    ///
    /// - Parameter isStopped: asked before each content.
    public func check(
        _ part: ReadingPart, of census: Census, isStopped: () -> Bool = { false }
    ) -> ReadingResult {
        var result = ReadingResult()
        for number in part.numbers {
            if isStopped() { return result }
            let row = census.graph.rows[Int(number)]
            var hasher = DigestHasher()
            var beginning: [UInt8] = []
            var size: UInt64 = 0
            do throws(StoreError) {
                try withContent(row.digest) { piece throws(StoreError) in
                    hasher.update(piece)
                    if size == 0 { beginning = Array(piece.prefix(4)) }
                    size += UInt64(piece.count)
                }
            } catch {
                result.damages.append(Damage(digest: row.digest, reason: Self.reason(error)))
                continue
            }
            let found = hasher.finalize()
            if found != row.digest {
                result.damages.append(Damage(digest: row.digest, reason: "its bytes have the name \(found)"))
            } else if beginning == DirectoryObject.objectMagic, (try? isDirectory(row.digest)) == true,
                (try? isLookalike(row.digest)) != true
            {
                result.directories.append(row.digest)
            }
        }
        return result
    }

    /// What is wrong, without the advice that goes with the error.
    static func reason(_ error: StoreError) -> String {
        switch error {
        case .corrupt(let what): what
        case .missing(let digest): "its part \(digest) is not here"
        default: error.description
        }
    }

    /// Whether the content's bytes are a directory object. Of others no more is read than a piece.
    func isDirectory(_ digest: Digest) throws(StoreError) -> Bool {
        var isOther = false
        var beginning: [UInt8] = []
        do throws(StoreError) {
            try withContent(digest) { piece throws(StoreError) in
                if beginning.count < 4 { beginning += piece.prefix(4 - beginning.count) }
                isOther = !DirectoryObject.objectMagic.starts(with: beginning)
                // Ends the reading.
                if isOther { throw .missing(digest) }
            }
        } catch { if !isOther { throw error } }
        if isOther { return false }
        return try read(digest).withUnsafeBytes {
            DirectoryObject.visitLinks(in: $0) { _ in
            } file: { _ in
            }
        }
    }

    /// The contents of `census` that an earlier one lacks and that are directory objects.
    func newDirectories(_ census: Census, since earlier: Census) throws(StoreError) -> [Digest] {
        var found: [Digest] = []
        for row in census.graph.rows where earlier.graph.number(of: row.digest) == nil {
            // What does not read is found by whoever needs it.
            if (try? isDirectory(row.digest)) == true, (try? isLookalike(row.digest)) != true {
                found.append(row.digest)
            }
        }
        return found
    }

    /// Changes the index by what `changes` finds in it, while nobody else writes. Commits of running processes that name what
    /// went by it fail, and say what they lack.
    ///
    /// - Parameters:
    ///   - earlier: a census that was looked through already.
    ///   - directories: the directory objects it knows of; new ones are followed with them.
    public func repair(
        after earlier: Census, _ directories: [Digest], _ reader: any LinkReader, and links: [Link],
        under lease: CollectorLease,
        _ changes: (Census) throws(StoreError) -> [(table: Table, key: [UInt8], value: [UInt8]?)]
    ) throws(StoreError) {
        defer { withExtendedLifetime(lease) {} }
        try database.write { transaction throws(StoreError) in
            var census = try self.census(reader, and: links)
            let fresh = try self.newDirectories(census, since: earlier)
            self.extend(&census, with: (directories + fresh).map { .directory($0) }, reader)
            for change in try changes(census) { try transaction.put(change.table, change.key, change.value) }
            try Self.setGeneration(try Self.generation(in: transaction) + 1, in: transaction)
        }
        forgetDirectories()
        letGoOfPacks()
    }
}
