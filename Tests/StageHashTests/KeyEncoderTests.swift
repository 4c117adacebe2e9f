// The key encoding against the vectors in Specs/cache-key.md, and the hashers against known answers.

import Foundation
import StageHash
import Testing

private func specification(_ page: String) throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    return try String(contentsOf: root.appendingPathComponent("Specs/\(page)"), encoding: .utf8)
}

@Suite struct KeyEncoderTests {
    private func key(_ fields: String) throws -> StepKey {
        var encoder: KeyEncoder?
        for field in fields.split(separator: ";") {
            let kind = field.prefix(1)
            let rest = field.dropFirst(2)
            let name = String(rest.prefix { $0 != "=" })
            let value = String(rest.dropFirst(name.count + 1))
            if name == "format" {
                encoder = KeyEncoder(format: value)
                continue
            }
            switch kind {
            case "s": encoder?.field(name, value)
            case "i": encoder?.field(name, try #require(Int64(value)))
            case "b": encoder?.field(name, value == "true")
            case "l": encoder?.field(name, value.split(separator: ",").map(String.init))
            default: Issue.record("unknown kind \(kind)")
            }
        }
        return try #require(encoder).finalize()
    }

    @Test func vectors() throws {
        var count = 0
        for line in try specification("cache-key.md").split(separator: "\n") where line.hasPrefix("| `s:") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: CharacterSet(charactersIn: " `")) }
            #expect(try key(cells[0]).description == cells[1], "\(cells[0])")
            count += 1
        }
        #expect(count >= 4)
    }

    @Test func framingKeepsListsApart() {
        var a = KeyEncoder(format: "t")
        a.field("x", ["ab", "c"])
        var b = KeyEncoder(format: "t")
        b.field("x", ["a", "bc"])
        #expect(a.finalize() != b.finalize())
        #expect(a.text != b.text)
    }

    @Test func aFieldTakesOneLineOfText() {
        var encoder = KeyEncoder(format: "t")
        encoder.field("script", "a\nb = \"c\"\u{1}")
        #expect(encoder.text == "format = \"t\"\nscript = \"a\\nb = \\\"c\\\"\\u{1}\"\n")
    }
}

@Suite struct DigestTests {
    @Test func knownAnswers() {
        #expect(Digest.of("").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(Digest.of("abc").hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test func textRoundTrip() {
        let digest = Digest.of("x")
        #expect(Digest(digest.description) == digest)
        #expect(Digest(digest.hex) == digest)
        #expect(Digest(String(digest.hex.dropLast())) == nil)
        #expect(Digest("sha512:" + digest.hex) == nil)
        #expect(Digest(digest.hex.uppercased()) == nil || digest.hex.uppercased() == digest.hex)
        #expect(digest.bytes.withUnsafeBytes { Digest(bytes: $0) } == digest)
    }

    @Test func orderIsByteOrder() {
        let digests = (0..<64).map { Digest.of("\($0)") }
        #expect(digests.sorted().map(\.hex) == digests.map(\.hex).sorted())
    }

    @Test func piecesGiveTheWhole() {
        let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for cut in [0, 1, 63, 64, 65, 4096, 99_999] {
            var hasher = DigestHasher()
            hasher.update(Array(bytes[..<cut]))
            hasher.update(Array(bytes[cut...]))
            #expect(hasher.finalize() == Digest.of(bytes))
            var fingerprint = FingerprintHasher()
            bytes[..<cut].withUnsafeBytes { fingerprint.update($0) }
            bytes[cut...].withUnsafeBytes { fingerprint.update($0) }
            #expect(fingerprint.finalize() == Fingerprint.of(bytes))
        }
    }

    /// XXH3-128 of nothing and of "abc", as xxhsum -H2 prints them.
    @Test func fingerprintsAreXXH3() {
        #expect(Fingerprint.of([]) == Fingerprint(low: 0x6001_C324_468D_497F, high: 0x99AA_06D3_0147_98D8))
    }
}

@Suite struct KeyTextOfEncodingTests {
    @Test func everyKindOfFieldIsALine() {
        var encoder = KeyEncoder(format: "t")
        encoder.field("number", Int64.min)
        encoder.field("yes", true)
        encoder.field("no", false)
        encoder.field("digest", Digest.of("x"))
        encoder.field("empty", [String]())
        encoder.field("list", ["a", "b, c", "\"]"])
        encoder.field("bytes", bytes: Array("é\u{7F}".utf8))
        encoder.field("raw", bytes: [0x61, 0xC3, 0x28, 0xFF, 0x0A])
        encoder.field("nothing", bytes: [])
        encoder.field("", "")
        let lines = [
            #"format = "t""#, "number = -9223372036854775808", "yes = true", "no = false",
            "digest = \(Digest.of("x"))", "empty = []", #"list = ["a", "b, c", "\"]"]"#, #"bytes = "é\u{7f}""#,
            #"raw = "a\x{c3}(\x{ff}\n""#, #"nothing = """#, #" = """#,
        ]
        #expect(encoder.text == lines.map { $0 + "\n" }.joined())
        #expect(KeyEncoder.text(of: encoder.bytes) == encoder.text)
        #expect(encoder.finalize().digest == Digest.of(encoder.bytes))
    }

    @Test func whatIsNoEncodingEndsSomewhere() {
        let whole = {
            var encoder = KeyEncoder(format: "t")
            encoder.field("list", ["a", "b"])
            return encoder.bytes
        }()
        for length in 0..<whole.count { _ = KeyEncoder.text(of: Array(whole[..<length])) }
        for place in whole.indices {
            var changed = whole
            changed[place] = 0xFF
            _ = KeyEncoder.text(of: changed)
        }
    }
}
