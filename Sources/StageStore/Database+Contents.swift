// The entries of contents go into the index without an array for each: one commit may have a hundred thousand.

import CLMDB
import StageHash
import StageSystem

extension Database.WriteTransaction {
    private static let nameSize = 32

    /// Keeps where a content is, unless the index knows that already; false when it does.
    @discardableResult
    func putIfAbsent(_ digest: Digest, _ entry: ContentEntry) throws(StoreError) -> Bool {
        let handle = database.handle(.contents)
        let size = Self.nameSize + ContentEntry.longest + CheckedValue.size
        let status = withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { room in
            digest.write(to: room)
            let name = UnsafeMutableRawBufferPointer(rebasing: room[..<Self.nameSize])
            let value = UnsafeMutableRawBufferPointer(rebasing: room[Self.nameSize...])
            let count = CheckedValue.close(value, count: entry.write(to: value), key: UnsafeRawBufferPointer(name))
            var key = MDB_val(mv_size: name.count, mv_data: name.baseAddress)
            var kept = MDB_val(mv_size: count, mv_data: value.baseAddress)
            return mdb_put(raw, handle, &key, &kept, UInt32(MDB_NOOVERWRITE))
        }
        if status == MDB_KEYEXIST { return false }
        try check(status, "write contents")
        return true
    }
}
