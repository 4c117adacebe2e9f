// The block: what packs are made of. Raw length (4 bytes), stored length with the plain flag in the top bit (4), XXH3-64 of
// the stored bytes (8), the stored bytes. A stored length of 0 stands for zeros. Specs/store-format.md.

import CLZ4
import Glibc
import StageHash
import StageSystem

/// The block form.
enum Block {
    static let size = 256 * 1024
    static let header = 16
    static let plainFlag: UInt32 = 1 << 31

    /// Writes `raw` (1 to `size` bytes) as one block to the start of `out`, which has room for it plain: `header` bytes
    /// more than it has. What is behind the block may be written over. Gives the length of the block.
    static func write(_ raw: UnsafeRawBufferPointer, to out: UnsafeMutableRawBufferPointer) -> Int {
        guard let base = out.baseAddress, let source = raw.baseAddress else { return 0 }
        if isZero(raw) {
            writeHeader(raw.count, stored: 0, sum: 0, to: out)
            return header
        }
        // What does not save a sixteenth is not worth unpacking.
        let most = raw.count - raw.count / 16 - 1
        let target = UnsafeMutableRawBufferPointer(start: base + header, count: raw.count)
        var stored = 0
        if worthCompressing(raw) {
            // With room for any outcome LZ4 need not look how much is left.
            let bound = Int(LZ4_compressBound(CInt(raw.count)))
            stored = Int(
                LZ4_compress_default(
                    source.assumingMemoryBound(to: CChar.self), (base + header).assumingMemoryBound(to: CChar.self),
                    CInt(raw.count), CInt(out.count - header >= bound ? bound : most)))
            if stored > most { stored = 0 }
        }
        if stored > 0 {
            let sum = checksum(UnsafeRawBufferPointer(rebasing: target[..<stored]))
            writeHeader(raw.count, stored: UInt32(stored), sum: sum, to: out)
            return header + stored
        }
        target.copyMemory(from: raw)
        writeHeader(raw.count, stored: UInt32(raw.count) | plainFlag, sum: checksum(raw), to: out)
        return header + raw.count
    }

    private static func writeHeader(
        _ raw: Int, stored: UInt32, sum: UInt64, to out: UnsafeMutableRawBufferPointer
    ) {
        out.storeBytes(of: UInt32(raw).littleEndian, as: UInt32.self)
        out.storeBytes(of: stored.littleEndian, toByteOffset: 4, as: UInt32.self)
        out.storeBytes(of: sum.littleEndian, toByteOffset: 8, as: UInt64.self)
    }

    static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
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

    /// How long the block is that `stored` begins with; nil where it is cut short or no block.
    static func length(_ stored: UnsafeRawBufferPointer) -> Int? {
        guard stored.count >= header else { return nil }
        let word = UInt32(littleEndian: stored.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        let length = header + Int(word & ~plainFlag)
        return length <= stored.count ? length : nil
    }

    /// Unpacks the blocks in `stored` one by one into `body`, by way of `scratch`, which has room for the largest.
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
            guard raw <= scratch.count, raw > 0, isPlain ? length == raw : length < raw, length > 0 || sum == 0 else {
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
