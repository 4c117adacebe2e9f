// Packs: append-only files of compressed blocks. What a pack holds is known to the index alone.
//
// A content is a run of blocks, each: raw length (4 bytes), stored length with the plain flag in the top bit (4), XXH3-64
// of the stored bytes (8), the stored bytes. A stored length of 0 stands for zeros. Specs/store-format.md.

import CLZ4
import Glibc
import StageHash
import StageSystem

/// Where a content is.
struct Location: Hashable, Sendable {
    var pack: UInt64
    var offset: UInt64
    /// Bytes in the pack, block headers included.
    var stored: UInt64
    /// Bytes of content.
    var raw: UInt64

    func encoded() -> [UInt8] {
        var out = ByteWriter()
        out.u64(pack)
        out.u64(offset)
        out.u64(stored)
        out.u64(raw)
        return out.bytes
    }

    init(pack: UInt64, offset: UInt64, stored: UInt64, raw: UInt64) {
        (self.pack, self.offset, self.stored, self.raw) = (pack, offset, stored, raw)
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 32 else { return nil }
        func word(_ index: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        }
        self.init(pack: word(0), offset: word(1), stored: word(2), raw: word(3))
        // No file is that long: sums of these stay in range below.
        guard max(offset, stored, raw) < 1 << 61 else { return nil }
    }
}

/// The block form.
enum Block {
    static let size = 256 * 1024
    static let header = 16
    static let plainFlag: UInt32 = 1 << 31

    /// Appends `raw` (at most `size` bytes) to `out` as one block.
    static func append(_ raw: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        let bound = Int(LZ4_compressBound(CInt(raw.count)))
        let start = out.count
        if isZero(raw) {
            put(UInt32(raw.count), 0, 0, to: &out)
            return
        }
        var stored = 0
        if worthCompressing(raw) {
            out.append(contentsOf: repeatElement(0, count: header + bound))
            stored = out.withUnsafeMutableBytes { buffer in
                guard let base = buffer.baseAddress, let source = raw.baseAddress else { return 0 }
                let target = (base + start + header).assumingMemoryBound(to: CChar.self)
                return Int(
                    LZ4_compress_default(
                        source.assumingMemoryBound(to: CChar.self), target, CInt(raw.count), CInt(bound)))
            }
        }
        let compressed = stored > 0 && stored < raw.count - raw.count / 16
        out.removeSubrange((compressed ? start + header + stored : start)...)
        if !compressed {
            put(UInt32(raw.count), UInt32(raw.count) | plainFlag, checksum(raw), to: &out)
            out.append(contentsOf: raw)
            return
        }
        let sum = out.withUnsafeBytes { checksum(UnsafeRawBufferPointer(rebasing: $0[(start + header)...])) }
        var head: [UInt8] = []
        put(UInt32(raw.count), UInt32(stored), sum, to: &head)
        out.replaceSubrange(start..<(start + header), with: head)
    }

    private static func put(_ raw: UInt32, _ stored: UInt32, _ sum: UInt64, to out: inout [UInt8]) {
        withUnsafeBytes(of: raw.littleEndian) { out.append(contentsOf: $0) }
        withUnsafeBytes(of: stored.littleEndian) { out.append(contentsOf: $0) }
        withUnsafeBytes(of: sum.littleEndian) { out.append(contentsOf: $0) }
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let first = bytes.first, first == 0, let base = bytes.baseAddress else { return bytes.isEmpty }
        return bytes.count == 1 || memcmp(base, base + 1, bytes.count - 1) == 0
    }

    /// Looks at a 4 KiB sample of a large block, so that what is compressed already is not compressed again.
    private static func worthCompressing(_ raw: UnsafeRawBufferPointer) -> Bool {
        let sample = 4096
        guard raw.count > 4 * sample, let base = raw.baseAddress else { return raw.count >= 64 }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: sample + 64) { scratch in
            let middle = (base + raw.count / 2).assumingMemoryBound(to: CChar.self)
            return LZ4_compress_default(middle, scratch.baseAddress, CInt(sample), CInt(sample - sample / 16)) > 0
        }
    }

    /// Unpacks the blocks in `stored` one by one into `body`.
    ///
    /// - Throws: `StoreError.corrupt`, naming `name`, when anything in them does not hold.
    static func unpack(
        _ stored: UnsafeRawBufferPointer, name: Digest, scratch: UnsafeMutableRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) -> Int {
        var offset = 0
        while stored.count - offset >= header {
            let raw = Int(UInt32(littleEndian: stored.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
            let word = UInt32(littleEndian: stored.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
            let sum = UInt64(littleEndian: stored.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
            let length = Int(word & ~plainFlag)
            // Only what `append` writes: a plain block is as long as its content, a block of zeros has no checksum.
            let isPlain = word & plainFlag != 0
            guard raw <= size, raw > 0, isPlain ? length == raw : length < raw, length > 0 || sum == 0 else {
                throw .corrupt("content \(name): a block header is wrong")
            }
            if stored.count - offset - header < length { break }
            let data = UnsafeRawBufferPointer(rebasing: stored[(offset + header)..<(offset + header + length)])
            if length > 0 && checksum(data) != sum {
                throw .corrupt("content \(name): a block does not match its checksum")
            }
            offset += header + length
            if isPlain {
                try body(data)
                continue
            }
            let target = UnsafeMutableRawBufferPointer(rebasing: scratch[..<raw])
            if length == 0 {
                target.initializeMemory(as: UInt8.self, repeating: 0)
            } else {
                let count = LZ4_decompress_safe(
                    data.baseAddress?.assumingMemoryBound(to: CChar.self),
                    target.baseAddress?.assumingMemoryBound(to: CChar.self), CInt(length), CInt(raw))
                guard count == raw else { throw .corrupt("content \(name): a block does not decompress") }
            }
            try body(UnsafeRawBufferPointer(target))
        }
        return offset
    }
}
