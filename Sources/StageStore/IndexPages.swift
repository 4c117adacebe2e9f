// The pages of the index, read without LMDB: LMDB believes what its pages say, and one that makes no sense ends the process by
// an assertion or leads out of the file. This follows the newest state from its root and believes nothing, so that damage has
// a name before LMDB meets it, and what is sound beside it can be saved. LMDB 0.9, data format 1; Specs/garbage-collection.md,
// "Checks".

import Glibc
import StageHash
import StageSystem

/// A walk over all pages of one state of the index.
struct IndexPages {
    static let pageSize = 4096
    static let header = 16
    static let nodeHeader = 8
    private static let none = UInt64.max

    private enum PageFlag {
        static let branch: UInt16 = 1
        static let leaf: UInt16 = 2
        static let overflow: UInt16 = 4
    }

    private enum NodeFlag {
        static let bigData: UInt16 = 1
        static let subData: UInt16 = 2
    }

    /// What LMDB keeps of a table.
    private struct Tree {
        static let size = 48
        var depth: UInt16
        var entries: UInt64
        var root: UInt64

        init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
            depth = bytes.word(offset + 6)
            entries = bytes.long(offset + 32)
            root = bytes.long(offset + 40)
        }
    }

    /// What is wrong, for people; the first of each tree.
    private(set) var problems: [String] = []
    /// The pairs as LMDB keeps them, with their checks, of each table. Of pages that are not sound, those whose checks hold.
    private(set) var pairs: [Table: [(key: [UInt8], value: [UInt8])]] = [:]
    /// Tables that lost pairs, or may have.
    private(set) var lossy: Set<Table> = []
    /// Which state was read.
    private(set) var state: UInt64 = 0

    private let fd: CInt
    private let keepsPairs: Bool
    private var lastPage: UInt64 = 0
    /// A bit a page: those that something leads to.
    private var used: [UInt64] = []

    /// Walks the index behind `fd`.
    ///
    /// - Parameter keepsPairs: whether `pairs` is wanted.
    init(_ fd: CInt, keepsPairs: Bool) throws(SystemError) {
        (self.fd, self.keepsPairs) = (fd, keepsPairs)
        guard let (free, main) = try readMeta() else {
            problems.append("neither of its first pages says where it begins")
            lossy = Set(Table.allCases)
            return
        }
        used = [UInt64](repeating: 0, count: Int(lastPage / 64) + 1)
        try walkMain(main)
        try walkFree(free)
    }

    /// The state that the two first pages hold; what was committed last counts.
    static func state(_ fd: CInt) throws(SystemError) -> UInt64 {
        var state: UInt64 = 0
        for page in 0..<2 {
            let bytes = try read(fd, page, 1)
            state = max(state, bytes.withUnsafeBytes { isMeta($0) ? $0.long(header + 128) : 0 })
        }
        return state
    }

    private static func isMeta(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count == pageSize && bytes.half(header) == 0xBEEF_C0DE && bytes.half(header + 4) == 1
            && bytes.half(header + 24) == UInt32(pageSize)
    }

    private mutating func readMeta() throws(SystemError) -> (free: Tree, main: Tree)? {
        var found: (Tree, Tree)?
        let size = try statDescriptor(fd, "data.mdb").size
        for number in 0..<2 {
            let page = try Self.read(fd, number, 1)
            page.withUnsafeBytes { bytes in
                guard Self.isMeta(bytes) else {
                    if problems.isEmpty { problems.append("page \(number) is not what an index begins with") }
                    return
                }
                let (last, state) = (bytes.long(Self.header + 120), bytes.long(Self.header + 128))
                if found != nil && state < self.state { return }
                (lastPage, self.state) = (last, state)
                found = (Tree(bytes, at: Self.header + 24), Tree(bytes, at: Self.header + 24 + Tree.size))
            }
        }
        if found != nil, lastPage >= UInt64(Int32.max) || (lastPage + 1) * UInt64(Self.pageSize) > size {
            problems.append("it has \(size) bytes, fewer than its pages take")
            lastPage = max(1, size / UInt64(Self.pageSize)) - 1
        }
        return found
    }

    // MARK: Trees

    private mutating func walkMain(_ tree: Tree) throws(SystemError) {
        var tables: [Table: Tree] = [:]
        let isSound = try walk(tree, "the list of tables", isNumbered: false) { page, node in
            guard node.flags == NodeFlag.subData, node.value.count == Tree.size else { return false }
            let name = String(decoding: page[node.key], as: UTF8.self)
            // A table of another version is none of ours.
            if let table = Table(rawValue: name) { tables[table] = Tree(page, at: node.value.lowerBound) }
            return true
        }
        for table in Table.allCases {
            guard let tree = tables[table] else {
                if !isSound { lossy.insert(table) }
                continue
            }
            if try !walk(tree, "the table \(table.rawValue)", of: table) { lossy.insert(table) }
        }
    }

    private mutating func walk(_ tree: Tree, _ name: String, of table: Table) throws(SystemError) -> Bool {
        var found: [(key: [UInt8], value: [UInt8])] = []
        let (fd, keepsPairs) = (fd, keepsPairs)
        var runs: [(page: UInt64, count: UInt64)] = []
        let last = lastPage
        var failure: SystemError?
        let isSound = try walk(tree, name, isNumbered: false) { page, node in
            let key = Array(page[node.key])
            if node.flags == 0 {
                if keepsPairs { found.append((key, Array(page[node.value]))) }
                return true
            }
            guard node.flags == NodeFlag.bigData, node.value.count == 8 else { return false }
            let (start, size) = (page.long(node.value.lowerBound), node.size)
            let count = UInt64((Self.header - 1 + size) / Self.pageSize + 1)
            guard start > 1, start <= last, count <= last + 1 - start else { return false }
            do throws(SystemError) {
                let run = try Self.read(fd, Int(start), keepsPairs ? Int(count) : 1)
                let holds = run.withUnsafeBytes { bytes in
                    bytes.count >= Self.pageSize && bytes.long(0) == start && bytes.word(10) == PageFlag.overflow
                        && UInt64(bytes.half(12)) == count
                }
                if !holds { return false }
                runs.append((start, count))
                if keepsPairs { found.append((key, Array(run[Self.header..<(Self.header + size)]))) }
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
        var isWhole = isSound
        for run in runs {
            for page in run.page..<(run.page + run.count) where !use(page) {
                if isWhole { problems.append("\(name): page \(page) is in two places") }
                isWhole = false
            }
        }
        // What a page that is not sound says counts where its check holds.
        if keepsPairs {
            pairs[table] =
                isWhole
                ? found
                : found.filter { key, value in value.withUnsafeBytes { CheckedValue.open($0, key: key) } != nil }
        }
        return isWhole
    }

    /// Pages that are free: numbers in lists, none of which anything else leads to.
    private mutating func walkFree(_ tree: Tree) throws(SystemError) {
        var free: [UInt64] = []
        var runs: [(page: UInt64, size: Int)] = []
        let isSound = try walk(tree, "the list of free pages", isNumbered: true) { page, node in
            guard node.key.count == 8 else { return false }
            if node.flags == NodeFlag.bigData, node.value.count == 8 {
                runs.append((page.long(node.value.lowerBound), node.size))
                return true
            }
            return node.flags == 0 && Self.addFree(UnsafeRawBufferPointer(rebasing: page[node.value]), to: &free)
        }
        var isWhole = isSound
        for (start, size) in runs {
            let count = (Self.header - 1 + size) / Self.pageSize + 1
            guard start > 1, start <= lastPage, UInt64(count) <= lastPage + 1 - start else {
                isWhole = false
                continue
            }
            let run = try Self.read(fd, Int(start), count)
            for page in start..<(start + UInt64(count)) where !use(page) { isWhole = false }
            run.withUnsafeBytes { bytes in
                guard bytes.count == count * Self.pageSize, bytes.long(0) == start,
                    bytes.word(10) == PageFlag.overflow,
                    Self.addFree(
                        UnsafeRawBufferPointer(rebasing: bytes[Self.header..<(Self.header + size)]), to: &free)
                else { return isWhole = false }
            }
        }
        for page in free where page <= 1 || page > lastPage || !use(page) { isWhole = false }
        if isSound && !isWhole { problems.append("the list of free pages names pages that are not free") }
    }

    private static func addFree(_ list: UnsafeRawBufferPointer, to free: inout [UInt64]) -> Bool {
        guard list.count >= 8, list.count % 8 == 0, list.long(0) <= UInt64(list.count / 8 - 1) else { return false }
        for place in 0..<Int(list.long(0)) { free.append(list.long(8 + 8 * place)) }
        return true
    }

    // MARK: Pages

    /// A pair or a way down in a page: where its parts lie.
    struct PageNode {
        var flags: UInt16
        /// The value's length, also of one that lies elsewhere.
        var size: Int
        var key: Range<Int>
        var value: Range<Int>
        /// Of a way down.
        var child: UInt64
    }

    /// A page that is to be looked at, and the keys that it may have.
    private struct Visit {
        var page: UInt64
        var level: UInt16
        var low: [UInt8]?
        var high: [UInt8]?
    }

    /// Follows a tree from its root; `body` gets each pair and says whether it holds. False when anything does not.
    private mutating func walk(
        _ tree: Tree, _ name: String, isNumbered: Bool, _ body: (UnsafeRawBufferPointer, PageNode) -> Bool
    ) throws(SystemError) -> Bool {
        if tree.root == Self.none {
            if tree.entries != 0 { problems.append("\(name): its first page is not known") }
            return tree.entries == 0
        }
        var visits = [Visit(page: tree.root, level: 1)]
        var isSound = tree.depth > 0 && tree.depth < 32
        var complaint = isSound ? nil : "its depth is \(tree.depth)"
        var entries: UInt64 = 0
        while let visit = visits.popLast() {
            guard visit.page > 1, visit.page <= lastPage, use(visit.page) else {
                (isSound, complaint) = (false, complaint ?? "page \(visit.page) is in two places, or nowhere")
                continue
            }
            let page = try Self.read(fd, Int(visit.page), 1)
            let isLeaf = visit.level >= tree.depth
            let holds = page.withUnsafeBytes { bytes in
                bytes.count == Self.pageSize
                    && look(at: bytes, visit, isLeaf, isNumbered, &visits, &entries, body)
            }
            if !holds { (isSound, complaint) = (false, complaint ?? "page \(visit.page) makes no sense") }
        }
        if isSound && entries != tree.entries {
            (isSound, complaint) = (false, "it has \(entries) entries instead of \(tree.entries)")
        }
        if let complaint { problems.append("\(name): \(complaint)") }
        return isSound
    }

    /// Looks at one page, and hands on all in it that can be told; false when anything does not hold.
    private func look(
        at page: UnsafeRawBufferPointer, _ visit: Visit, _ isLeaf: Bool, _ isNumbered: Bool, _ visits: inout [Visit],
        _ entries: inout UInt64, _ body: (UnsafeRawBufferPointer, PageNode) -> Bool
    ) -> Bool {
        let (lower, upper) = (Int(page.word(12)), Int(page.word(14)))
        var isSound =
            page.long(0) == visit.page && page.word(10) == (isLeaf ? PageFlag.leaf : PageFlag.branch)
            && lower % 2 == 0 && lower > Self.header && lower <= upper && upper <= Self.pageSize
        let count = max(0, (min(lower, Self.pageSize) - Self.header) / 2)
        if !isLeaf && count < 2 && !isNumbered { isSound = false }
        var last = visit.low
        var children: [Visit] = []
        for number in 0..<count {
            guard let node = Self.node(page, Int(page.word(Self.header + 2 * number)), isLeaf: isLeaf) else {
                isSound = false
                continue
            }
            let key = Array(page[node.key])
            // The first key of a branch stands for all that is lower.
            if isLeaf || number > 0 {
                let isFirst = number == 0
                if let last, isFirst ? Self.precedes(key, last, isNumbered) : !Self.precedes(last, key, isNumbered) {
                    isSound = false
                }
                if let high = visit.high, !Self.precedes(key, high, isNumbered) { isSound = false }
                last = key
            }
            if isLeaf {
                if body(page, node) { entries += 1 } else { isSound = false }
            } else {
                if number > 0 { children[children.count - 1].high = key }
                let low = number > 0 ? key : visit.low
                children.append(Visit(page: node.child, level: visit.level + 1, low: low, high: visit.high))
            }
        }
        visits += children.reversed()
        return isSound
    }

    private static func node(_ page: UnsafeRawBufferPointer, _ place: Int, isLeaf: Bool) -> PageNode? {
        guard place >= header, place % 2 == 0, place + nodeHeader <= pageSize else { return nil }
        let (low, high, flags) = (page.word(place), page.word(place + 2), page.word(place + 4))
        let key = (place + nodeHeader)..<(place + nodeHeader + Int(page.word(place + 6)))
        guard key.upperBound <= pageSize else { return nil }
        let size = Int(low) | Int(high) << 16
        if !isLeaf {
            let child = UInt64(size) | UInt64(flags) << 32
            return PageNode(flags: 0, size: 0, key: key, value: 0..<0, child: child)
        }
        let stored = flags & NodeFlag.bigData != 0 ? 8 : size
        guard stored <= pageSize - key.upperBound, !key.isEmpty else { return nil }
        return PageNode(
            flags: flags, size: size, key: key, value: key.upperBound..<(key.upperBound + stored), child: 0)
    }

    /// As LMDB orders keys: byte by byte, or numbers of 8 bytes.
    private static func precedes(_ a: [UInt8], _ b: [UInt8], _ isNumbered: Bool) -> Bool {
        guard isNumbered else { return StageSystem.precedes(a, b) }
        guard a.count == 8, b.count == 8 else { return false }
        return a.withUnsafeBytes { $0.long(0) } < b.withUnsafeBytes { $0.long(0) }
    }

    /// False when something leads there already.
    private mutating func use(_ page: UInt64) -> Bool {
        let (word, bit) = (Int(page / 64), UInt64(1) << (page % 64))
        guard word < used.count, used[word] & bit == 0 else { return false }
        used[word] |= bit
        return true
    }

    /// Some pages; fewer bytes where the file ends.
    private static func read(_ fd: CInt, _ page: Int, _ count: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count * pageSize)
        let result: Result<Int, SystemError> = bytes.withUnsafeMutableBytes { buffer in
            do throws(SystemError) {
                return .success(try readFull(fd, buffer, at: Int64(page * pageSize), "data.mdb"))
            } catch {
                return .failure(error)
            }
        }
        bytes.removeLast(bytes.count - (try result.get()))
        return bytes
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func word(_ offset: Int) -> UInt16 {
        UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }
    fileprivate func half(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
    fileprivate func long(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
