// Contents that a seed decides, so that two processes know them without telling each other.

import StageHash

/// A small generator with a seed, for tests that can be run again.
public struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// Bytes that do not compress.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            var index = 0
            while index + 8 <= count {
                UnsafeMutableRawBufferPointer(buffer).storeBytes(of: next(), toByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < count {
                buffer[index] = UInt8(truncatingIfNeeded: next())
                index += 1
            }
            filled = count
        }
    }

    /// Bytes that compress well and are no zeros.
    public mutating func text(_ count: Int) -> [UInt8] {
        let words = (0..<16).map { _ in bytes(12) }
        var out: [UInt8] = []
        out.reserveCapacity(count + 12)
        while out.count < count { out += words[Int(next() % 16)] }
        return Array(out[..<count])
    }
}

/// What a writing process keeps in one commit.
public struct SampleBatch {
    public let contents: [[UInt8]]

    public init(seed: UInt64, number: Int) {
        var random = SplitMix(seed: seed &* 1_000_003 &+ UInt64(number))
        var contents = (0..<12).map { _ in
            random.next() % 2 == 0
                ? random.bytes(Int(random.next() % 30_000)) : random.text(Int(random.next() % 90_000))
        }
        if number % 4 == 3 { contents.append(random.bytes((4 << 20) + Int(random.next() % 100_000))) }
        self.contents = contents
    }

    public static func key(seed: UInt64, _ number: Int) -> [UInt8] { Array("\(seed)/\(number)".utf8) }
}
