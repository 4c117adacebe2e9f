// Random bytes that a seed decides (SplitMix64), so that a failure can be had again.

/// A small generator with a seed.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// Bytes that do not compress.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            var index = 0
            while index + 8 <= count {
                raw.storeBytes(of: next(), toByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < count {
                raw[index] = UInt8(truncatingIfNeeded: next())
                index += 1
            }
            filled = count
        }
    }

    /// Bytes that compress, and are no zeros.
    public mutating func text(_ count: Int) -> [UInt8] {
        let words = (0..<16).map { _ in bytes(12) }
        var out: [UInt8] = []
        out.reserveCapacity(count + 12)
        while out.count < count { out += words[Int(next() % 16)] }
        return Array(out[..<count])
    }
}
