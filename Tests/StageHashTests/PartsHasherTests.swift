// A stream and parts of it, hashed together: the same digests as one by one.

import StageHash
import Testing

@Suite struct PartsHasherTests {
    private func bytes(_ count: Int, _ seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ seed &+ $0 >> 8) }
    }

    @Test func digestsAreThoseOfEachAlone() {
        var number = 1
        func next(_ limit: Int) -> Int {
            number = (number &* 1_103_515_245 &+ 12345) & 0x7FFF_FFFF
            return number % limit
        }
        for round in 0..<300 {
            var hasher = PartsHasher()
            var whole: [UInt8] = []
            for piece in 0..<next(6) {
                let piece = bytes([0, 1, 55, 56, 63, 64, 65, next(1000)][next(8)], round + piece)
                let parts = (0..<next(5)).map { bytes([0, 1, 55, 56, 64, 119, 128, next(2000)][next(8)], $0 + round) }
                // Parts lie one behind the other in one buffer, so that all pointers are valid at once.
                let all = parts.flatMap { $0 }
                let names = all.withUnsafeBytes { all in
                    var offset = 0
                    let slices = parts.map { part in
                        defer { offset += part.count }
                        return UnsafeRawBufferPointer(rebasing: all[offset..<(offset + part.count)])
                    }
                    return piece.withUnsafeBytes { hasher.update($0, parts: slices) }
                }
                #expect(names == parts.map { Digest.of($0) })
                whole += piece
                #expect(hasher.finalize() == Digest.of(whole), "in the middle")
            }
            #expect(hasher.finalize() == Digest.of(whole))
        }
    }
}
