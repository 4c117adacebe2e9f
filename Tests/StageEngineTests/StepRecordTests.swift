// What is kept of a step: its bytes, now and as they were.

import StageEngine
import StageHash
import StageStore
import StageSystem
import Testing

@Suite struct StepRecordTests {
    private let key = StepKey(Digest.of("key"))
    private let input = TreeRef(identity: Digest.of("a"), object: Digest.of("b"))
    private let result = TreeRef(identity: Digest.of("c"), object: Digest.of("d"))

    private var walk: KeyEncoder {
        var encoder = KeyEncoder(format: "test")
        encoder.field("arguments", ["sh", "-c", "caf\u{E9}"])
        return encoder
    }

    private func record(_ walk: KeyWalk) -> StepRecord {
        StepRecord(
            key: key, walk: walk, title: "RUN caf\u{E9}", stage: "build", input: input, result: result,
            created: Timestamp(seconds: -1, nanoseconds: 5), duration: 7, log: Digest.of("log"),
            sources: [StepSource(input: 1, path: [0xFF], entry: .directory(result))])
    }

    private func stored(_ record: StepRecord) throws -> [UInt8] {
        let store = MemoryStore()
        try store.keep(record)
        return try #require(try store.get(.records, key.digest))
    }

    @Test func aRecordIsItsBytes() throws {
        for walk in [KeyWalk(encoding: walk.bytes[...]), KeyWalk(text: walk.text)] {
            let record = record(walk)
            let bytes = try stored(record)
            let read = try #require(StepRecord(encoded: bytes, key: key.digest.bytes))
            #expect(read == record)
            #expect(read.walk.text == self.walk.text)
            for length in bytes.indices {
                #expect(StepRecord(encoded: Array(bytes[..<length]), key: key.digest.bytes) == nil, "\(length) bytes")
            }
            #expect(StepRecord(encoded: bytes + [0], key: key.digest.bytes) == nil)
        }
    }

    /// Until version 2 the walk was kept as text.
    @Test func recordsOfVersionTwoAreRead() throws {
        var old = ByteWriter()
        old.u8(2)
        old.string(walk.text)
        old.string("RUN caf\u{E9}")
        old.string("build")
        old.u8(3)
        for digest in [input.identity, input.object, result.identity, result.object] { old.digest(digest) }
        old.time(Timestamp(seconds: -1, nanoseconds: 5))
        old.u64(7)
        old.digest(Digest.of("log"))
        let bytes = try stored(record(KeyWalk(text: walk.text)))
        // What follows is the list of sources, which has not changed.
        #expect(Array(bytes[..<old.bytes.count]) == old.bytes)
        #expect(StepRecord(encoded: bytes, key: key.digest.bytes)?.walk.text == walk.text)
        #expect(KeyWalk(text: walk.text).encoding == nil)
        var unknown = bytes
        for version: UInt8 in [0, 1, 4, 255] {
            unknown[0] = version
            #expect(StepRecord(encoded: unknown, key: key.digest.bytes) == nil)
        }
    }
}
