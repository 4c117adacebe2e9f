// The size of a state directory as the automatic cap sees it: measured after each change, and after nothing else.

import Glibc
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageRun

@Suite struct CapTests {
    private final class Place {
        let path: String
        let store: Store

        init() throws {
            var template = Array("/tmp/stage-cap-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            store = try Store(path: path)
            for directory in ["contexts", "workspaces", "workspaces/boot", "caches"] { try make(directory) }
        }

        deinit { try? removeTree(path) }

        func make(_ directory: String) throws {
            guard mkdir("\(path)/\(directory)", 0o755) == 0 else { throw SystemError.last("mkdir", directory) }
        }

        func size() throws -> UInt64 {
            var sizes = KnownSizes(root: path)
            return try sizes.size(try store.revision())
        }

        /// What `du` says of the parts that count.
        func truth() throws -> UInt64 {
            var usage = DiskUsage()
            var total: UInt64 = 0
            for part in ["packs", "index", "contexts", "workspaces/boot", "caches"] {
                total += try usage.bytes(at: "\(path)/\(part)")
            }
            // Of these two what lies in them counts, not the directories themselves.
            for part in ["workspaces/boot", "caches"] {
                total -= UInt64(try statEntry(AT_FDCWD, FileName("\(path)/\(part)")).blocks) * 512
            }
            return total
        }

        /// Gives out another size than what was measured, for as long as nothing changes.
        func forge() throws {
            var lines = String(decoding: try readFile(path + "/usage"), as: UTF8.self).split(separator: "\n")
            lines[1] = "12345 \(lines[1].split(separator: " ")[1])"
            try writeFile(path + "/usage", Array(lines.joined(separator: "\n").utf8) + [10])
        }

        /// Longer than the clock of the filesystem stands still.
        func tick() { usleep(20_000) }
    }

    @Test func whatDidNotChangeIsNotMeasuredAgain() throws {
        let place = try Place()
        _ = try place.store.put(Array("a content".utf8))
        try place.store.commit()
        #expect(try place.size() == (try place.truth()))
        try place.forge()
        #expect(try place.size() == 12345)
        #expect(try place.size() == 12345)
    }

    /// Each by itself.
    @Test func eachKindOfChangeIsSeen() throws {
        let place = try Place()
        let changes: [(String, () throws -> Void)] = [
            (
                "a commit",
                {
                    _ = try place.store.put((0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) })
                    try place.store.commit()
                }
            ),
            (
                "a value alone",
                {
                    place.store.set(.facts, [1], [1]); try place.store.commit()
                }
            ),
            ("a pack that nobody committed", { try writeFile(place.path + "/packs/x.pack", [1]) }),
            ("a context", { try writeFile(place.path + "/contexts/x.index", [UInt8](repeating: 1, count: 9000)) }),
            ("a workspace", { try place.make("workspaces/boot/one") }),
            ("another boot", { try place.make("workspaces/later") }),
            (
                "a cache mount",
                {
                    try place.make("caches/c"); try writeFile(place.path + "/caches/c.use", [1])
                }
            ),
            (
                "a use of it",
                {
                    try writeFile(place.path + "/caches/c/file", [UInt8](repeating: 1, count: 50_000))
                    let use = try OwnedFD.open(place.path + "/caches/c.use", O_RDWR)
                    futimens(use.raw, nil)
                }
            ),
        ]
        _ = try place.size()
        for (name, change) in changes {
            try place.forge()
            place.tick()
            try change()
            let size = try place.size()
            #expect(size != 12345, "after \(name)")
            // Files beside cache mounts are not counted.
            let truth = try place.truth()
            #expect(size <= truth, "after \(name)")
            #expect(size + 20_000 > truth, "after \(name)")
        }
    }

    @Test func aBrokenFileIsMeasuredAnew() throws {
        let place = try Place()
        let size = try place.size()
        for text in ["", "x", "12", "\n\n", "1 2 3\n4 5\n", "0\n99999999999999999999 aa\n", "0\n7 notthestamp\n"] {
            try writeFile(place.path + "/usage", Array(text.utf8))
            #expect(try place.size() == size, "\(text)")
        }
    }
}
