// Large contents are named by two threads that take chunks from both ends: the names are those of each alone.

import StageConformance
import StageHash
import Testing

@testable import StageStore

@Suite struct ContentNamingTests {
    @Test(arguments: 0..<40) func namesAreThoseOfEachAlone(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let naming = ContentNaming()
        var whole: [UInt8] = []
        for turn in 0..<6 {
            let count = Int.random(in: 0...40, using: &random)
            let lengths = (0..<count).map { _ in Int.random(in: 1...3000, using: &random) }
            // Chunks need not be all of what is fed, nor end where that does.
            let bytes = (0..<(lengths.reduce(0, +) + Int.random(in: 0...500, using: &random))).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let carried = Int.random(in: 0...(bytes.count / 4), using: &random)
            whole += bytes[carried...]
            bytes.withUnsafeBytes { bytes in
                var chunks: [UnsafeRawBufferPointer] = []
                var start = 0
                for length in lengths {
                    chunks.append(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)]))
                    start += length
                }
                let isBeside = turn > 0 || seed % 2 == 0
                naming.start(UnsafeRawBufferPointer(rebasing: bytes[carried...]), chunks: chunks, beside: isBeside)
                #expect(naming.names() == chunks.map { Digest.of($0) })
            }
        }
        #expect(naming.finish() == Digest.of(whole))
    }
}
