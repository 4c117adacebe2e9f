// What everything that unpacks archives for `ADD` does.

import StageEngine
import StageHash
import StageStore
import StageSystem

/// An unpacker that is to be proved.
public struct ArchiveUnpackerSubject: Sendable {
    public var unpacker: any ArchiveUnpacker
    /// Where it reads archives and keeps what they hold.
    public var store: any TreeStore

    public init(unpacker: any ArchiveUnpacker, store: any TreeStore) {
        self.unpacker = unpacker
        self.store = store
    }
}

/// For anything that is an `ArchiveUnpacker`.
public enum ArchiveUnpackerRequirements {
    public typealias Subject = ArchiveUnpackerSubject

    public static let all: [Requirement<Subject>] = [
        Requirement("what is no archive is left alone", leavesOthersAlone),
        Requirement("what an archive holds is in the tree", unpacks),
        Requirement("what was there stays, but for what the archive names", keepsTheRest),
        Requirement("an entry for the top says nothing", ignoresTheTop),
        Requirement("an owner that is asked for takes the place of the archive's", setsOwners),
        Requirement("hard links of one unpacking are one file, and those of two are not", separatesLinks),
        Requirement("nothing comes to lie outside", staysInside),
        Requirement("an archive that breaks off is an error", refusesWhatBreaksOff),
        Requirement("the same archive makes the same of the same directory", isReproducible),
    ]

    // MARK: Archives

    /// One member of a ustar archive (POSIX.1-1988).
    private struct Member {
        var name: String
        var kind: Character = "0"
        var mode = 0o644
        var content: [UInt8] = []
        var target = ""

        private func octal(_ value: Int, _ width: Int) -> [UInt8] {
            let digits = String(value, radix: 8)
            return Array((String(repeating: "0", count: width - digits.utf8.count) + digits).utf8) + [0]
        }

        var bytes: [UInt8] {
            func field(_ text: String, _ width: Int) -> [UInt8] {
                Array(text.utf8) + [UInt8](repeating: 0, count: width - text.utf8.count)
            }
            var header = field(name, 100) + octal(mode, 7) + octal(7, 7) + octal(8, 7) + octal(content.count, 11)
            header += octal(1_000_000_000, 11) + Array("        ".utf8) + field(String(kind), 1) + field(target, 100)
            header += field("ustar", 6) + Array("00".utf8)
            header += [UInt8](repeating: 0, count: 512 - header.count)
            let sum = header.reduce(0) { $0 + Int($1) }
            header.replaceSubrange(148..<156, with: octal(sum, 6) + [0x20])
            let padding = (512 - content.count % 512) % 512
            return header + content + [UInt8](repeating: 0, count: padding)
        }
    }

    private static func archive(_ members: [Member]) -> [UInt8] {
        members.flatMap(\.bytes) + [UInt8](repeating: 0, count: 1024)
    }

    private static let sample = [
        Member(name: "./", kind: "5", mode: 0o700),
        Member(name: "dir/", kind: "5", mode: 0o750),
        Member(name: "dir/file", mode: 0o4755, content: Array("text".utf8)),
        Member(name: "dir/empty"),
        Member(name: "link", kind: "2", target: "dir/file"),
        Member(name: "same", kind: "1", target: "dir/file"),
        Member(name: "deep/er/file", content: [UInt8](repeating: 7, count: 70_000)),
    ]

    private static func base(_ store: any TreeStore) throws -> TreeRef {
        var editor = TreeEditor(nil, store: store)
        let old = Node(attributes: Attributes(mode: 0o600), content: .file(try store.put([1, 2]), size: 2))
        try editor.put(.node(old), at: "/kept", parents: Attributes(mode: 0o755))
        try editor.put(.node(old), at: "/dir/kept", parents: Attributes(mode: 0o755))
        try editor.put(.node(old), at: "/dir/file", parents: Attributes(mode: 0o755))
        return try editor.commit()
    }

    private static func unpack(
        _ subject: Subject, _ members: [Member], onto base: TreeRef, _ unpacking: Unpacking = Unpacking()
    ) throws -> TreeRef {
        let content = try subject.store.put(archive(members))
        guard let tree = try subject.unpacker.unpack(content, onto: base, unpacking) else {
            throw Mismatch(reason: "an archive is taken for none")
        }
        return tree
    }

    private static func node(_ path: String, in tree: TreeRef, _ store: any TreeStore) throws -> Node {
        guard case .node(let node)? = try store.entry(at: TreePath(path), in: tree) else {
            throw Mismatch(reason: "\(path) is not there")
        }
        return node
    }

    private static func text(_ path: String, in tree: TreeRef, _ store: any TreeStore) throws -> [UInt8] {
        guard case .file(let digest, _) = try node(path, in: tree, store).content else {
            throw Mismatch(reason: "\(path) is no file")
        }
        return try store.read(digest)
    }

    // MARK: Requirements

    private static func leavesOthersAlone(_ subject: Subject) throws {
        let base = try base(subject.store)
        var random = SeededGenerator(seed: 1)
        let noise = (0..<2000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        for bytes in [[], Array("text\n".utf8), [UInt8](repeating: 0x61, count: 512), noise, [0x1F, 0x8B, 1, 2]] {
            let content = try subject.store.put(bytes)
            let tree = try subject.unpacker.unpack(content, onto: base, Unpacking())
            try expect(tree == nil, "\(bytes.count) bytes are taken for an archive")
        }
    }

    private static func unpacks(_ subject: Subject) throws {
        let store = subject.store
        let tree = try unpack(subject, sample, onto: try base(store))
        try expectEqual(try text("/dir/file", in: tree, store), Array("text".utf8), "the content of a file")
        try expectEqual(try text("/dir/empty", in: tree, store), [], "the content of an empty file")
        try expectEqual(try text("/deep/er/file", in: tree, store).count, 70_000, "the size of a large file")
        let attributes = try node("/dir/file", in: tree, store).attributes
        try expectEqual(attributes.mode, 0o4755, "the mode of a file")
        try expectEqual([attributes.uid, attributes.gid], [7, 8], "the owner of a file")
        try expectEqual(attributes.time.seconds, 1_000_000_000, "the time of a file")
        let link = try node("/link", in: tree, store).content
        try expectEqual(link, .symlink(Array("dir/file".utf8)), "a symbolic link")
        guard case .directory(let directory)? = try store.entry(at: TreePath("/dir"), in: tree) else {
            throw Mismatch(reason: "/dir is no directory")
        }
        try expectEqual(try store.directory(directory.object).attributes.mode, 0o750, "the mode of a directory")
    }

    private static func keepsTheRest(_ subject: Subject) throws {
        let store = subject.store
        let base = try base(store)
        let tree = try unpack(subject, sample, onto: base)
        for path in ["/kept", "/dir/kept"] {
            try expectEqual(try node(path, in: tree, store), try node(path, in: base, store), path)
        }
        try expectEqual(try text("/dir/file", in: base, store), [1, 2], "a file of the directory before")
    }

    private static func ignoresTheTop(_ subject: Subject) throws {
        let store = subject.store
        let base = try base(store)
        let before = try store.directory(base.object).attributes
        let tree = try unpack(subject, sample, onto: base, Unpacking(owner: AccountNumbers(uid: 3, gid: 4)))
        let after = try store.directory(tree.object).attributes
        try expect(after.sameIdentity(as: before), "the top has mode \(after.mode) and owner \(after.uid)")
    }

    private static func setsOwners(_ subject: Subject) throws {
        let store = subject.store
        let tree = try unpack(
            subject, sample, onto: try base(store), Unpacking(owner: AccountNumbers(uid: 3, gid: 4)))
        for path in ["/dir/file", "/link", "/deep/er/file"] {
            let attributes = try node(path, in: tree, store).attributes
            try expectEqual([attributes.uid, attributes.gid], [3, 4], "the owner of \(path)")
        }
        let kept = try node("/dir/kept", in: tree, store).attributes
        try expectEqual([kept.uid, kept.gid], [0, 0], "the owner of what the archive does not name")
    }

    private static func separatesLinks(_ subject: Subject) throws {
        let store = subject.store
        var groups: [UInt64] = []
        for salt: [UInt8] in [[1], [2]] {
            let tree = try unpack(subject, sample, onto: try base(store), Unpacking(linkSalt: salt))
            let (first, second) = (try node("/dir/file", in: tree, store), try node("/same", in: tree, store))
            try expect(first.isOneFile(with: second), "two names of one file are two files")
            groups.append(first.linkGroup)
        }
        try expect(groups[0] != groups[1] && groups[0] != 0, "two unpackings share the link group \(groups[0])")
    }

    private static func staysInside(_ subject: Subject) throws {
        let store = subject.store
        let base = try base(store)
        let hostile = [
            [Member(name: "../out", content: [9])],
            [Member(name: "dir/../../out", content: [9])],
            [Member(name: "up", kind: "2", target: "../.."), Member(name: "up/out", content: [9])],
            [Member(name: "same", kind: "1", target: "../../../etc/passwd")],
        ]
        for members in hostile {
            // To refuse it is as good as to keep it inside: where the tree is, there is no outside.
            guard let tree = try? unpack(subject, members, onto: base) else { continue }
            let names = try store.directory(tree.object).items.map(\.name.bytes)
            try expect(!names.contains([0x2E, 0x2E]), "\(members[0].name) made a name of dots")
            try expectEqual(try node("/kept", in: tree, store), try node("/kept", in: base, store), "what was there")
        }
        let absolute = try unpack(subject, [Member(name: "/etc/new", content: [9])], onto: base)
        try expectEqual(try text("/etc/new", in: absolute, store), [9], "a file with an absolute name")
    }

    private static func refusesWhatBreaksOff(_ subject: Subject) throws {
        let base = try base(subject.store)
        let whole = archive(sample)
        // In a header, in a content, and between members.
        for length in [512 * 2 + 100, 512 * 3 + 2, 512 * 9 + 5000] {
            let content = try subject.store.put(Array(whole[..<length]))
            let tree: TreeRef?
            do { tree = try subject.unpacker.unpack(content, onto: base, Unpacking()) } catch { continue }
            throw Mismatch(reason: "the first \(length) bytes of an archive gave \(tree.map { "\($0)" } ?? "nothing")")
        }
    }

    private static func isReproducible(_ subject: Subject) throws {
        let base = try base(subject.store)
        let first = try unpack(subject, sample, onto: base, Unpacking(linkSalt: [5]))
        for _ in 0..<3 {
            try expectEqual(try unpack(subject, sample, onto: base, Unpacking(linkSalt: [5])), first, "the tree")
        }
    }
}
