// One-shot, streaming and span forms of both hashes agree, and are what the standards say.

import StageHash
import Testing

@Suite("Hashers")
struct HasherTests {
    /// Lengths around the block sizes of both hashes, and XXH3's changes of method.
    private static let lengths = [
        0, 1, 3, 4, 8, 9, 16, 17, 55, 56, 63, 64, 65, 128, 129, 240, 241, 1024, 1025, 4096, 100_003,
    ]

    private func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 9) }
    }

    @Test(arguments: lengths)
    func formsAgree(length: Int) {
        let bytes = bytes(length)
        let digest = Digest.of(bytes)
        let fingerprint = Fingerprint.of(bytes)
        let span = bytes.span.bytes
        #expect(Digest.of(span) == digest)
        #expect(Fingerprint.of(span) == fingerprint)
        for piece in [1, 7, 64, 1000] {
            var names = DigestHasher()
            var checks = FingerprintHasher()
            for start in stride(from: 0, to: length, by: piece) {
                let part = span.extracting(start..<min(start + piece, length))
                names.update(part)
                checks.update(part)
            }
            #expect(names.finalize() == digest, "\(length) bytes by \(piece)")
            let streamed = checks.finalize()
            #expect(streamed == fingerprint, "\(length) bytes by \(piece)")
        }
    }

    @Test func shortMessagesAreAsTheLibraryHashesThem() {
        let bytes = bytes(1100)
        for length in 0...bytes.count {
            let message = bytes.dropFirst(bytes.count - length)
            var hasher = DigestHasher()
            message.withUnsafeBytes { hasher.update($0) }
            #expect(Digest.of(Array(message)) == hasher.finalize(), "\(length) bytes")
        }
    }

    @Test func twoAtOnceAreAsOneAfterTheOther() {
        // Every length around the block and padding edges, against every other.
        let lengths = [0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 127, 128, 129, 1000, 4096, 4097]
        for first in lengths {
            let a = bytes(first)
            for second in lengths {
                let b = bytes(second + 3).dropFirst(3).map { ~$0 }
                let both = a.withUnsafeBytes { a in b.withUnsafeBytes { b in Digest.of(a, b) } }
                #expect(both.first == Digest.of(a), "\(first) and \(second)")
                #expect(both.second == Digest.of(b), "\(first) and \(second)")
            }
        }
    }

    @Test func knownValues() {
        // FIPS 180-4's example, and the empty message.
        #expect(
            Digest.of("abc").hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            Digest.of([UInt8]()).hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        // XXH3-128 of nothing, seed 0 (xxHash specification).
        #expect(Fingerprint.of([UInt8]()) == Fingerprint(low: 0x6001_C324_468D_497F, high: 0x99AA_06D3_0147_98D8))
    }
}
