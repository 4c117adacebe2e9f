// gzip and zstd in both directions, against the real tools, and with damage.

import StageConformance
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageImage

private func gzip(_ bytes: [UInt8], pieces: Int = 1) throws -> [UInt8] {
    var out: [UInt8] = []
    let writer = GzipWriter { out.append(contentsOf: $0) }
    for start in stride(from: 0, to: bytes.count, by: max(1, bytes.count / pieces)) {
        try push(Array(bytes[start..<min(bytes.count, start + max(1, bytes.count / pieces))])) {
            piece throws(ImageError) in try writer.write(piece)
        }
    }
    try writer.finish()
    return out
}

private func zstd(_ bytes: [UInt8]) throws -> [UInt8] {
    var out: [UInt8] = []
    let writer = ZstdWriter { out.append(contentsOf: $0) }
    try push(bytes) { piece throws(ImageError) in try writer.write(piece) }
    try writer.finish()
    return out
}

private func plain(_ bytes: [UInt8], limit: UInt64 = .max) throws -> [UInt8] {
    try decompressing(MemorySource(bytes), limit: limit).source.readAll(limit: .max)
}

/// Text that compresses, with some noise in it.
private func sample(_ count: Int) -> [UInt8] {
    var random = SeededGenerator(seed: 3)
    return (0..<count).map { $0 % 7 == 0 ? UInt8.random(in: 0...255, using: &random) : UInt8($0 / 100 & 63) }
}

@Suite struct CompressionTests {
    @Test(arguments: [0, 1, 511, 65_536, 1_000_000, 3_000_001])
    func roundTrip(count: Int) throws {
        let bytes = sample(count)
        #expect(try plain(try gzip(bytes)) == bytes)
        #expect(try plain(try zstd(bytes)) == bytes)
        #expect(try gzip(bytes) == gzip(bytes))
    }

    @Test func gzipHeaderHasNoHostFacts() throws {
        #expect(try gzip(Array("x".utf8))[..<10] == [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF])
    }

    @Test func toolsReadOursAndWeReadTheirs() throws {
        let scratch = try ScratchDirectory()
        let bytes = sample(2_000_000)
        try scratch.write("plain", bytes)
        try scratch.write("ours.gz", try gzip(bytes, pieces: 7))
        try scratch.write("ours.zst", try zstd(bytes))
        try shell(
            "gzip -dc ours.gz | cmp - plain && gzip -9c plain > theirs.gz && { cat theirs.gz; gzip -1c plain; } > two.gz",
            in: scratch)
        #expect(try plain(try readFile(scratch("theirs.gz"))) == bytes)
        #expect(try plain(try readFile(scratch("two.gz"))) == bytes + bytes)
        #expect(try plain(try readFile(scratch("two.gz")) + [0, 0, 0]) == bytes + bytes)
        guard installed("zstd") else { return }
        try shell(
            "zstd -dc ours.zst | cmp - plain && zstd -19 -q -c plain > theirs.zst && { cat theirs.zst; zstd -q -c plain; } > two.zst",
            in: scratch)
        #expect(try plain(try readFile(scratch("theirs.zst"))) == bytes)
        #expect(try plain(try readFile(scratch("two.zst"))) == bytes + bytes)
    }

    @Test func cutShortIsRefused() throws {
        let bytes = sample(300_000)
        for packed in [try gzip(bytes), try zstd(bytes)] {
            for length in [7, 20, 1000, packed.count / 2, packed.count - 1] {
                #expect(throws: ImageError.self, "\(length)") { try plain(Array(packed[..<length])) }
            }
        }
    }

    @Test func damageIsNoticed() throws {
        var random = SeededGenerator(seed: 11)
        let bytes = sample(50_000)
        for packed in [try gzip(bytes), try zstd(bytes)] {
            for _ in 0..<300 {
                var damaged = packed
                damaged[Int.random(in: 6..<packed.count, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
                if let result = try? plain(damaged) { #expect(result == bytes) }
            }
        }
        #expect(throws: ImageError.self) { try plain(try gzip(bytes) + Array("junk".utf8)) }
    }

    @Test func bombEndsAtTheLimit() throws {
        let packed = try gzip([UInt8](repeating: 0, count: 50_000_000))
        #expect(packed.count < 1_000_000)
        #expect(throws: ImageError.tooLarge(limit: 1_000_000)) { try plain(packed, limit: 1_000_000) }
    }

    @Test func xzAndBzip2AreRead() throws {
        let scratch = try ScratchDirectory()
        let bytes = sample(1_500_000)
        try scratch.write("plain", bytes)
        for (tool, suffix) in [("xz", "xz"), ("bzip2", "bz2")] where installed(tool) {
            try shell(
                "\(tool) -9c plain > one.\(suffix) && { cat one.\(suffix); \(tool) -1c plain; } > two.\(suffix)",
                in: scratch)
            let one = try readFile(scratch("one.\(suffix)"))
            #expect(try plain(one) == bytes)
            #expect(try plain(try readFile(scratch("two.\(suffix)"))) == bytes + bytes)
            for length in [7, 20, one.count / 2, one.count - 1] {
                #expect(throws: ImageError.self, "\(tool) \(length)") { try plain(Array(one[..<length])) }
            }
            var random = SeededGenerator(seed: 12)
            for _ in 0..<40 {
                var damaged = one
                damaged[Int.random(in: 6..<one.count, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
                if let result = try? plain(damaged) { #expect(result == bytes) }
            }
        }
    }

    @Test func magicAloneIsRefused() {
        #expect(throws: ImageError.self) { try plain(Array("BZh91AY".utf8)) }
        #expect(throws: ImageError.self) { try plain([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0, 0]) }
    }
}

@Suite struct AddedArchives {
    let store = MemoryStore()

    @Test func archivesAreRecognisedByContent() throws {
        let bytes = try archive([.directory("d/"), .file("d/.wh.kept", "x"), .file("big", sample(6_000_000))])
        for packed in [bytes, try gzip(bytes), try zstd(bytes)] {
            let tree = try #require(try ArchiveReader.tree(of: try store.put(packed), in: store))
            let lines = try listing(tree, in: store)
            #expect(lines.count == 3)
            #expect(lines[2] == "/d/.wh.kept file 'x' 644 0:0")
        }
    }

    @Test func aDirectoryTakesThePlaceOfALinkAndAFileGoesThroughOne() throws {
        var editor = TreeEditor(nil, store: store)
        let parents = Attributes(mode: 0o755)
        try editor.putDirectory(parents, at: TreePath("real"), parents: parents)
        let link = Node(attributes: Attributes(mode: 0o777), content: .symlink(Array("real".utf8)))
        try editor.put(.node(link), at: TreePath("named"), parents: parents)
        try editor.put(.node(link), at: TreePath("passed"), parents: parents)
        let bytes = try archive([.directory("named/"), .file("named/x", "1"), .file("passed/y", "2")])
        let unpacked = try ArchiveReader.unpack(
            try store.put(bytes), onto: try editor.commit(), in: store, owner: nil, linkSalt: [])
        let tree = try #require(unpacked)
        #expect(try store.entry(at: TreePath("real/x"), in: tree) == nil)
        #expect(try store.entry(at: TreePath("named/x"), in: tree) != nil)
        #expect(try store.entry(at: TreePath("real/y"), in: tree) != nil)
        #expect(try store.entry(at: TreePath("passed"), in: tree) == .node(link))
    }

    @Test func otherFilesAreNone() throws {
        for bytes in [
            [], Array("text".utf8), [UInt8](repeating: 0, count: 2048), sample(5_000_000), try gzip(Array("text".utf8)),
            [0x1F, 0x8B, 1, 2, 3, 4, 5, 6],
        ] {
            #expect(try ArchiveReader.tree(of: try store.put(bytes), in: store) == nil)
        }
    }

    @Test func brokenArchiveIsAnError() throws {
        let bytes = try archive([.file("a", "x"), .file("b", sample(5000))])
        #expect(throws: ImageError.self) {
            try ArchiveReader.tree(of: try store.put(Array(bytes.dropLast(3000))), in: store)
        }
        #expect(throws: ImageError.self) {
            try ArchiveReader.tree(of: try store.put(try archive([.file("../x", "x")])), in: store)
        }
    }
}
