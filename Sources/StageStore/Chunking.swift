// Content-defined chunking: where a large content is cut depends on the bytes around the cut alone, so that an edit changes
// the chunks that it touches and no others. The parameters are part of no format: they only decide what is found again.

import CGear
import StageHash

/// Cuts contents larger than `Block.size`.
enum Chunking {
    /// Measured in Specs/store-format.md, "Parameters".
    static let smallest = 32 << 10
    static let wanted = 64 << 10
    static let largest = Block.size

    /// 16 bits decide around `wanted`; two more make cuts rare before it, two fewer make them frequent beyond.
    private static let limits = cgear_limits(
        smallest: smallest, wanted: wanted, largest: largest, rare: 1 << (64 - 18), frequent: 1 << (64 - 14))

    /// The first 256 outputs of SplitMix64 from seed 0.
    private static let gear: [UInt64] = {
        var state: UInt64 = 0
        return (0..<256).map { _ in
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = state
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            return word ^ (word >> 31)
        }
    }()

    /// The length of the chunk that `bytes` begins with. What it is does not depend on anything beyond `largest` bytes.
    static func cut(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        return gear.withUnsafeBufferPointer { gear in
            withUnsafePointer(to: limits) { limits in
                cgear_cut(base.assumingMemoryBound(to: UInt8.self), bytes.count, gear.baseAddress, limits)
            }
        }
    }
}

/// The parts of a large content in order. Its encoding is a content, which may be large itself.
struct ChunkList {
    /// A chunk, or zeros.
    struct Part: Hashable {
        var length: UInt32
        /// `Digest.zero` stands for zeros.
        var chunk: Digest
    }

    static let partSize = 36
    /// Lists of lists: each is about two thousand times shorter than what it lists.
    static let depthLimit = 8

    private(set) var parts: [Part] = []

    mutating func append(chunk: Digest, length: Int) {
        parts.append(Part(length: UInt32(truncatingIfNeeded: length), chunk: chunk))
    }

    /// Zeros right behind zeros make one part, up to what its length can say.
    mutating func append(zeros count: Int) {
        if let last = parts.last, last.chunk == .zero, Int(last.length) + count <= Int(UInt32.max) {
            parts[parts.count - 1].length += UInt32(truncatingIfNeeded: count)
        } else {
            parts.append(Part(length: UInt32(truncatingIfNeeded: count), chunk: .zero))
        }
    }

    func encoded() -> [UInt8] {
        var out = ByteWriter()
        out.bytes.reserveCapacity(parts.count * Self.partSize)
        for part in parts {
            out.u32(part.length)
            out.digest(part.chunk)
        }
        return out.bytes
    }

    /// Reads as many whole parts as `bytes` begins with, and takes them away from it.
    static func decode(_ bytes: inout [UInt8]) -> [Part] {
        let count = bytes.count / partSize
        let parts = bytes.withUnsafeBytes { raw in
            (0..<count).map { index in
                let length = raw.loadUnaligned(fromByteOffset: index * partSize, as: UInt32.self)
                let name = UnsafeRawBufferPointer(rebasing: raw[(index * partSize + 4)..<((index + 1) * partSize)])
                return Part(length: UInt32(littleEndian: length), chunk: Digest(bytes: name) ?? .zero)
            }
        }
        bytes.removeFirst(count * partSize)
        return parts
    }
}
