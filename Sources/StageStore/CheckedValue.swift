// What the index keeps for a value: the value, and 4 bytes that tie it to its key, so that a bit that flips in the index
// is an error and never another value. LMDB itself checks nothing of that kind.

import StageHash
import StageSystem

enum CheckedValue {
    /// Bytes of the check.
    static let size = 4

    /// XXH3-64 of the value's XXH3-64 and the key, folded to 32 bits.
    private static func sum(_ value: UnsafeRawBufferPointer, _ key: UnsafeRawBufferPointer) -> UInt32 {
        let word = withUnsafeTemporaryAllocation(byteCount: key.count + 8, alignment: 8) { out in
            out.storeBytes(of: checksum(value).littleEndian, as: UInt64.self)
            UnsafeMutableRawBufferPointer(rebasing: out[8...]).copyMemory(from: key)
            return checksum(UnsafeRawBufferPointer(out))
        }
        return UInt32(truncatingIfNeeded: word ^ (word >> 32))
    }

    /// The bytes to keep for `value`.
    static func close(_ value: [UInt8], key: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: value.count + size) { out, count in
            let room = UnsafeMutableRawBufferPointer(out)
            room.copyBytes(from: value)
            count = close(room, count: value.count, key: key)
        }
    }

    /// Puts the check behind the first `count` bytes of `room`, which are the value. Gives how many bytes there are then.
    static func close(_ room: UnsafeMutableRawBufferPointer, count: Int, key: UnsafeRawBufferPointer) -> Int {
        let sum = sum(UnsafeRawBufferPointer(rebasing: room[..<count]), key)
        room.storeBytes(of: sum.littleEndian, toByteOffset: count, as: UInt32.self)
        return count + size
    }

    /// The value in what was kept; nil when it is not what was kept for that key.
    static func open(_ kept: UnsafeRawBufferPointer, key: [UInt8]) -> UnsafeRawBufferPointer? {
        key.withUnsafeBytes { open(kept, keyBytes: $0) }
    }

    /// The same for a key that is not copied.
    static func open(_ kept: UnsafeRawBufferPointer, keyBytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard kept.count >= size else { return nil }
        let value = UnsafeRawBufferPointer(rebasing: kept[..<(kept.count - size)])
        let found = UInt32(littleEndian: kept.loadUnaligned(fromByteOffset: value.count, as: UInt32.self))
        return sum(value, keyBytes) == found ? value : nil
    }

    static func damaged(_ table: Table, _ key: [UInt8]) -> StoreError {
        let name = key.prefix(32).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
        return .corrupt("the entry \(name) of the index's table \(table.rawValue) does not match its checksum")
    }
}
