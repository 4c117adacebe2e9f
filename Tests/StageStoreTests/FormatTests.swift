// Which stores are opened: this format, the one before, and no other.

import CLMDB
import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

@Suite struct FormatTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func other(_ format: String) throws -> String {
        let path = scratch.path + "/other"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try writeFile(path + "/format", Array(format.utf8))
        return path
    }

    private func expectUntouched(_ path: String, _ format: String) throws {
        let fd = try OwnedFD.open(path, O_RDONLY)
        #expect(try readEntries(fd.raw).map(\.name) == ["format"])
        #expect(try readFile(path + "/format") == Array(format.utf8))
    }

    @Test(arguments: [
        "stagerun store 3\n", "", "stagerun store 1", "stagerun store 2", "stagerun store 2\nrequires chunk-lists",
        "stagerun store 2\nneeds chunk-lists\n", "stagerun store 2\n\n", "\u{1B}[2J",
        String(repeating: "x", count: 4096),
    ])
    func anUnknownFormatIsRefusedAndLeftAlone(format: String) throws {
        let path = try other(format)
        guard case .unknownFormat(path, let found)? = storeError({ _ = try Store(path: path) }) else {
            Issue.record("it was opened")
            return
        }
        #expect(found.count <= 80)
        try expectUntouched(path, format)
    }

    @Test func anUnknownRequiredFeatureIsRefusedByName() throws {
        let format = "stagerun store 2\nrequires chunk-lists holographic-packs\n"
        let path = try other(format)
        let error = storeError { _ = try Store(path: path) }
        #expect(error == .unknownFeature(path: path, feature: "holographic-packs"))
        #expect(error?.description.contains("holographic-packs") == true)
        try expectUntouched(path, format)
    }

    @Test func anUnknownAllowedFeatureIsNoHindrance() throws {
        let path = try other("stagerun store 2\nrequires chunk-lists\nallows colder-index\n")
        let store = try Store(path: path)
        let digest = try store.put([1, 2, 3])
        try store.commit()
        #expect(try store.read(digest) == [1, 2, 3])
        #expect(
            try readFile(path + "/format")
                == Array("stagerun store 2\nrequires chunk-lists\nallows colder-index\n".utf8))
    }

    @Test func anOlderStoreGetsTheFeaturesWithTheFirstThatIsNeeded() throws {
        let older = "stagerun store 2\nrequires chunk-lists checked-values\nallows colder-index\n"
        let path = try other(older)
        let store = try Store(path: path)
        try store.require(.checkedValues)
        #expect(try readFile(path + "/format") == Array(older.utf8), "it had that one")
        let newer = "stagerun store 2\nrequires chunk-lists checked-values leases image-records\nallows colder-index\n"
        for feature in [StoreFeature.imageRecords, .leases] {
            try store.require(feature)
            #expect(try readFile(path + "/format") == Array(newer.utf8))
        }
        _ = try Store(path: path)
    }

    // MARK: Format 1

    /// An index as format 1 had it: values without checks.
    private func writeIndex1(_ tables: [String: [[UInt8]: [UInt8]]]) throws {
        let path = scratch.store + "/index"
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var environment: OpaquePointer?
        #expect(mdb_env_create(&environment) == 0)
        defer { mdb_env_close(environment) }
        #expect(mdb_env_set_maxdbs(environment, 16) == 0)
        #expect(mdb_env_open(environment, path, 0, 0o644) == 0)
        var transaction: OpaquePointer?
        #expect(mdb_txn_begin(environment, nil, 0, &transaction) == 0)
        for (table, pairs) in tables {
            var handle = MDB_dbi()
            #expect(mdb_dbi_open(transaction, table, UInt32(MDB_CREATE), &handle) == 0)
            for (key, value) in pairs {
                var (key, value) = (key, value)
                let status = key.withUnsafeMutableBytes { key in
                    value.withUnsafeMutableBytes { value in
                        var keyValue = MDB_val(mv_size: key.count, mv_data: key.baseAddress)
                        var valueValue = MDB_val(mv_size: value.count, mv_data: value.baseAddress)
                        return mdb_put(transaction, handle, &keyValue, &valueValue, 0)
                    }
                }
                #expect(status == 0)
            }
        }
        #expect(mdb_txn_commit(transaction) == 0)
    }

    private func words(_ words: UInt64...) -> [UInt8] {
        words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
    }

    /// Its blocks are those of format 2: a content of several is what chunks that lie side by side are.
    @Test func aStoreOfFormat1IsUpgraded() throws {
        var random = SeededGenerator(seed: 1)
        let samples = [random.text(5000), random.bytes(900_000)]
        var ends: [UInt64] = []
        for sample in samples {
            let store = try Store(path: scratch.store)
            _ = try store.put(sample)
            try store.commit()
            ends.append(try scratch.packBytes())
        }
        let pack = try #require(try scratch.packs().first)
        let id = try #require(UInt64(pack.dropLast(5), radix: 16))
        // Without the list, which comes first.
        let second = ends[1] - ends[0]
        let list = UInt64(16 + 36 * (try chunks(of: samples[1])))
        try writeIndex1([
            "contents": [
                Digest.of(samples[0]).bytes: words(id, 0, ends[0], 5000),
                Digest.of(samples[1]).bytes: words(id, ends[0] + list, second - list, 900_000),
            ],
            "tags": [[7]: [1, 2, 3]], "images": [:], "records": [[8, 8]: []], "outcomes": [:], "layers": [:],
            "facts": [Array("pack:\(pack)".utf8): words(ends[1])],
        ])
        try writeFile(scratch.store + "/format", Array("stagerun store 1\n".utf8))

        for _ in 0..<2 {
            let store = try Store(path: scratch.store)
            for sample in samples { #expect(try store.read(Digest.of(sample)) == sample) }
            #expect(try store.get(.tags, [7]) == [1, 2, 3])
            #expect(try store.get(.records, [8, 8]) == [])
            #expect(try store.all(.tags).map(\.value) == [[1, 2, 3]])
            let format = String(decoding: try readFile(scratch.store + "/format"), as: UTF8.self)
            #expect(format.hasPrefix("stagerun store 2\n"))
            let more = try store.put(random.bytes(1000))
            try store.commit()
            #expect(try store.read(more).count == 1000)
        }
        // Killed between the transaction and the file: the second time finds it done.
        try writeFile(scratch.store + "/format", Array("stagerun store 1\n".utf8))
        #expect(try Store(path: scratch.store).get(.tags, [7]) == [1, 2, 3])
        #expect(try scratch.packs() == [pack], "what was there is appended to")
    }

    /// How many parts the list of a content has: by the length of the list.
    private func chunks(of bytes: [UInt8]) throws -> Int {
        let path = scratch.path + "/count"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let store = try Store(path: path)
        _ = try store.put(bytes)
        try store.commit()
        let fd = try OwnedFD.open(path + "/packs", O_RDONLY | O_DIRECTORY)
        let pack = try #require(try readEntries(fd.raw).first)
        let size = try statEntry(AT_FDCWD, FileName("\(path)/packs/\(pack.name)")).size
        // Every chunk has a header of 16 bytes and takes 36 in the list, which has a header too.
        return Int(size - UInt64(bytes.count) - 16) / 52
    }
}
