// Room in the index's file that nothing uses. LMDB keeps the pages that become free for later and its file never shrinks; here
// the blocks below such pages go back to the filesystem. The file keeps its length, and LMDB, which never reads a free
// page, takes one again by writing all of it. Specs/store-format.md, "Free pages".

import CLMDB
import CLinux
import Glibc
import StageSystem

/// What the index's file takes, in bytes.
struct IndexSpace: Sendable {
    /// Blocks on the disk.
    var allocated: UInt64
    /// How many pages the file has, and how many of them are free.
    var pages: Int
    var free: Int

    /// Pages in use.
    var live: UInt64 { UInt64(max(0, pages - free) * IndexPages.pageSize) }

    /// What could go back.
    var spare: UInt64 { allocated - min(allocated, live) }
}

extension Database {
    private static let page = UInt64(IndexPages.pageSize)
    /// What a commit of a few steps takes stays with the file, so that there is room for it where the disk has none.
    static let reserve = 32

    /// The list of free pages is LMDB's table 0: a number of a transaction leads to the pages that were free from it on.
    private static let freeTable: MDB_dbi = 0

    func space() throws(StoreError) -> IndexSpace {
        try read { transaction throws(StoreError) in
            var info = MDB_envinfo()
            try check(mdb_env_info(environment, &info), "look at")
            var free = 0
            try Self.eachFreeList(transaction.raw) { _, pages in free += pages.count }
            return IndexSpace(allocated: try allocated(), pages: Int(info.me_last_pgno) + 1, free: free)
        }
    }

    /// The bytes of the file's blocks.
    private func allocated() throws(StoreError) -> UInt64 {
        let fd = try file()
        do throws(SystemError) { return try statDescriptor(fd, "data.mdb").blocks * 512 } catch { throw .system(error) }
    }

    /// Gives the blocks below free pages back, but for a few. Gives their bytes; 0 where the filesystem cannot.
    ///
    /// Free from a transaction on means: no state from that one on has the page. A crash falls back by one state at most, and a
    /// reader keeps the state that it began with; so pages go that are free from before the oldest of these. That is LMDB's own rule
    /// for pages that it writes over. Nobody does meanwhile, as the writer's lock is held.
    func giveBackFreePages() throws(StoreError) -> UInt64 {
        // What the last commit freed belongs to the state before it: one more, and it belongs to none that counts.
        try write { transaction throws(StoreError) in
            let state = UInt64(transaction.previousState)
            try transaction.put(.facts, Array("space".utf8), withUnsafeBytes(of: state.littleEndian) { Array($0) })
        }
        var dead: CInt = 0
        try check(mdb_reader_check(environment, &dead), "check readers")
        var lock: OpaquePointer?
        try check(mdb_txn_begin(environment, nil, 0, &lock), "write")
        defer { mdb_txn_abort(lock) }
        // A list that is damaged could name what is in use.
        let isSound: Bool
        let fd = try file()
        do throws(SystemError) { isSound = try IndexPages(fd, keepsPairs: false).problems.isEmpty } catch {
            throw .system(error)
        }
        guard isSound else { return 0 }
        let pages = try read { transaction throws(StoreError) in
            let oldest = min(oldestReader(), UInt64(transaction.state))
            var pages: [UInt64] = []
            try Self.eachFreeList(transaction.raw) { state, free in if state < oldest { pages += free } }
            return pages.sorted()
        }
        return try punch(pages.dropFirst(Self.reserve))
    }

    private func punch(_ pages: ArraySlice<UInt64>) throws(StoreError) -> UInt64 {
        let before = try allocated()
        let fd = try file()
        var rest = pages
        while let first = rest.popFirst() {
            var end = first + 1
            while rest.first == end {
                rest.removeFirst()
                end += 1
            }
            // What cannot go back stays for what comes later: nothing has failed.
            if clinux_punch_hole(fd, Int64(first * Self.page), Int64((end - first) * Self.page)) != 0 { break }
        }
        let after = try allocated()
        return before - min(before, after)
    }

    private func file() throws(StoreError) -> CInt {
        var fd: mdb_filehandle_t = -1
        try check(mdb_env_get_fd(environment, &fd), "look at")
        return fd
    }

    /// The oldest state that a reader of any process has; none reads where it is the greatest number.
    private func oldestReader() -> UInt64 {
        var oldest = UInt64.max
        _ = withUnsafeMutablePointer(to: &oldest) { oldest in
            // A heading, then a line a reader: process, thread, and the state, or "-" when it has none.
            mdb_reader_list(
                environment,
                { line, context in
                    guard let line, let oldest = context?.assumingMemoryBound(to: UInt64.self) else { return 0 }
                    for row in String(cString: line).split(separator: "\n") {
                        let words = row.split(separator: " ")
                        guard words.count == 3, UInt64(words[0]) != nil, words[2] != "-" else { continue }
                        // What makes no sense keeps everything.
                        oldest.pointee = min(oldest.pointee, UInt64(words[2]) ?? 0)
                    }
                    return 0
                }, oldest)
        }
        return oldest
    }

    /// Calls `body` with each list of free pages.
    private static func eachFreeList(
        _ transaction: OpaquePointer, _ body: (_ state: UInt64, _ pages: UnsafeBufferPointer<UInt64>) -> Void
    ) throws(StoreError) {
        try eachPair(transaction, freeTable, of: "free pages") { key, value throws(StoreError) in
            let list = bytes(of: value)
            // A count, and as many numbers; there may be room behind them.
            let count = list.count >= 8 ? list.loadUnaligned(as: UInt64.self) : UInt64.max
            guard key.mv_size == 8, let state = key.mv_data?.loadUnaligned(as: UInt64.self), count < list.count / 8
            else { throw .corrupt("the index's list of free pages does not hold") }
            let numbers = UnsafeRawBufferPointer(rebasing: list[8..<(8 + 8 * Int(count))])
            body(state, numbers.bindMemory(to: UInt64.self))
        }
    }
}

extension Store {
    /// Gives room in the index back when it is at least `share` of what that takes, and 1 MiB. Gives the bytes.
    @discardableResult
    func giveBackIndexSpace(share: Double, least: UInt64 = leastSpare) throws(StoreError) -> UInt64 {
        let space = try database.space()
        guard space.spare >= least, Double(space.spare) >= share * Double(space.allocated) else { return 0 }
        return try database.giveBackFreePages()
    }

    static let leastSpare: UInt64 = 1 << 20
    /// A collection leaves no more than that, besides what stays for later: what it frees can be told beforehand.
    static let leastSpareAfterCollection = UInt64(Database.reserve + 16) * UInt64(IndexPages.pageSize)
}
