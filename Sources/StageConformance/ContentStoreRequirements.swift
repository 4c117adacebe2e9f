// What every store of contents does.

import StageHash
import StageStore

/// For anything that is a `ContentSink`.
public enum ContentStoreRequirements {
    public typealias Subject = any ContentSink

    public static let all: [Requirement<Subject>] = [
        Requirement("what is put is read back, whatever its size", readsBack),
        Requirement("the name of a content is its SHA-256", namesAreDigests),
        Requirement("a content that is not here is nil by size and missing by reading", saysWhatIsMissing),
        Requirement("putting a content again changes nothing", putsTwice),
        Requirement("the pieces in which a content comes play no part", takesPieces),
        Requirement("without finish() an ingest names nothing", forgetsUnfinished),
        Requirement("an error of the reader's ends the reading and comes back", passesErrorsOn),
        Requirement("contents that share most of their bytes are told apart", tellsEditsApart),
        Requirement("many contents at once are what they are one by one", readsManyAtOnce),
        Requirement("contents can be put and read from many tasks at once", isShared),
    ]

    /// Around the sizes at which stores change what they do.
    private static let sizes = [
        0, 1, 63, 64, 4095, 4096, 65_535, 65_536, 262_143, 262_144, 262_145, 1_000_000, (4 << 20) - 1, (4 << 20) + 1,
        6_000_000,
    ]

    private static func samples(_ size: Int) -> [[UInt8]] {
        var random = SeededGenerator(seed: UInt64(size) + 1)
        let third = size / 3
        return [
            random.bytes(size), random.text(size), [UInt8](repeating: 0, count: size),
            random.bytes(third) + [UInt8](repeating: 0, count: size - 2 * third) + random.bytes(third),
        ]
    }

    private static func readsBack(_ store: Subject) throws {
        for size in sizes {
            for sample in samples(size) {
                let digest = try store.put(sample)
                try expectEqual(try store.size(of: digest), UInt64(size), "the size of a content of \(size) bytes")
                try expect(try store.read(digest) == sample, "a content of \(size) bytes is read as another")
                var total = 0
                try store.withContent(digest) { piece in total += piece.isEmpty ? 1 << 40 : piece.count }
                try expectEqual(total, size, "the sum of the pieces, none of which is empty")
            }
        }
    }

    private static func namesAreDigests(_ store: Subject) throws {
        for size in sizes {
            for sample in samples(size) {
                try expectEqual(try store.put(sample), Digest.of(sample), "the name of a content of \(size) bytes")
            }
        }
    }

    private static func readsManyAtOnce(_ store: Subject) throws {
        var random = SeededGenerator(seed: 7)
        var contents = (0..<600).map { random.bytes($0 * 5) + random.text($0) }
        contents += sizes.map { random.text($0) } + [[], [], [UInt8](repeating: 0, count: 70_000)]
        for content in contents { _ = try store.put(content) }
        let groups = [
            contents, contents.shuffled(using: &random), contents.shuffled(using: &random) + contents.prefix(300), [],
        ]
        for group in groups {
            var found = [[UInt8]](repeating: [], count: group.count)
            var places: [Int] = []
            try store.withContents(group.map { Digest.of($0) }) { place, piece in
                found[place] += piece
                places.append(place)
            }
            try expect(found == group, "\(group.count) contents at once are read as others")
            try expect(places == places.sorted(), "\(group.count) contents at once come out of order")
        }
        var read: [Int] = []
        let name = Digest.of("nobody kept this")
        do {
            try store.withContents([Digest.of(contents[9]), name, Digest.of(contents[8])]) { place, _ in
                read.append(place)
            }
            throw Mismatch(reason: "what is not here was read among others")
        } catch StoreError.missing(let missing) { try expectEqual(missing, name, "the name in the error") }
        try expect(!read.contains(2), "what follows the missing one was read")
    }

    private static func saysWhatIsMissing(_ store: Subject) throws {
        let name = Digest.of("nobody kept this")
        try expectEqual(try store.size(of: name), nil, "the size of what is not here")
        do {
            try store.withContent(name) { _ in }
            throw Mismatch(reason: "what is not here was read")
        } catch StoreError.missing(let missing) { try expectEqual(missing, name, "the name in the error") }
        try expectEqual(try store.size(of: .zero), nil, "the size of the digest of zeros")
    }

    private static func putsTwice(_ store: Subject) throws {
        for size in [0, 1000, 300_000, 5_000_000] {
            let sample = samples(size)[0]
            let first = try store.put(sample)
            let second = try store.put(sample)
            try expectEqual(second, first, "the name at the second time")
            try expect(try store.read(first) == sample, "a content of \(size) bytes has changed")
        }
    }

    private static func takesPieces(_ store: Subject) throws {
        for size in sizes {
            var random = SeededGenerator(seed: UInt64(size) + 99)
            let sample = random.text(size)
            var ingest = try store.ingest()
            var rest = sample[...]
            while !rest.isEmpty {
                let piece = Array(rest.prefix(Int(random.next() % 300_000)))
                try piece.withUnsafeBytes { try ingest.update($0) }
                rest = rest.dropFirst(piece.count)
            }
            let result = try ingest.finish()
            try expectEqual(result.digest, Digest.of(sample), "the name of \(size) bytes in pieces")
            try expectEqual(result.size, UInt64(size), "the size of \(size) bytes in pieces")
            try expect(try store.read(result.digest) == sample, "\(size) bytes in pieces are read as others")
        }
    }

    private static func forgetsUnfinished(_ store: Subject) throws {
        for size in [10, 300_000, 9_000_000] {
            var random = SeededGenerator(seed: UInt64(size))
            let sample = random.bytes(size)
            do {
                var ingest = try store.ingest()
                try sample.withUnsafeBytes { try ingest.update($0) }
            }
            try expectEqual(try store.size(of: Digest.of(sample)), nil, "the size of what was not finished")
            try expect(try store.read(try store.put(sample)) == sample, "what was not finished cannot be put later")
        }
    }

    private static func passesErrorsOn(_ store: Subject) throws {
        let mine = StoreError.corrupt("the reader does not like it")
        for size in [100, 2_000_000] {
            let digest = try store.put(samples(size)[0])
            var calls = 0
            do {
                try store.withContent(digest) { _ throws(StoreError) in
                    calls += 1
                    throw mine
                }
                throw Mismatch(reason: "the error did not come back")
            } catch let error as StoreError { try expectEqual(error, mine, "the error") }
            try expectEqual(calls, 1, "calls of a reader that threw")
        }
    }

    private static func tellsEditsApart(_ store: Subject) throws {
        var random = SeededGenerator(seed: 5)
        let original = random.bytes(3_000_000)
        var versions = [original]
        for place in [0, 1, 1_500_000, 2_999_999] {
            var changed = original
            changed[place] ^= 0x40
            versions.append(changed)
            versions.append(Array(original[..<place] + random.bytes(1000) + original[place...]))
            versions.append(Array(original[..<place]))
        }
        let names = try versions.map { try store.put($0) }
        try expectEqual(Set(names).count, Set(versions.map { Digest.of($0) }).count, "names of different contents")
        for (name, version) in zip(names, versions) {
            try expect(try store.read(name) == version, "an edited content is read as another")
        }
    }

    private static func isShared(_ store: Subject) async throws {
        // Every task puts contents of its own, and some that all of them put.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<4 {
                group.addTask {
                    var own = SeededGenerator(seed: UInt64(task) + 1000)
                    var common = SeededGenerator(seed: 7)
                    for round in 0..<40 {
                        let sample = round % 2 == 0 ? own.bytes(5000 + round) : common.text(400_000)
                        let digest = try store.put(sample)
                        try expect(try store.read(digest) == sample, "task \(task) reads another content")
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
