// What every store of trees does.

import StageHash
import StageStore
import StageSystem

/// For anything that keeps directories and contents.
public enum TreeStoreRequirements {
    public typealias Subject = any TreeStore

    public static let all: [Requirement<Subject>] = [
        Requirement("a directory is read as it was put", readsBack),
        Requirement("a directory's names are those of its encoding", namesAreDigests),
        Requirement("a directory is a content of that name", isContent),
        Requirement("times are in the object and not in the identity", leavesTimesOut),
        Requirement("names that lead astray are refused and leave nothing", refusesNames),
        Requirement("a directory that is not here is missing", saysWhatIsMissing),
        Requirement("a content that is no directory is none", refusesOtherContents),
        Requirement("trees of any way of editing are named alike", editsAgree),
    ]

    private static func attributes(_ random: inout SeededGenerator) -> Attributes {
        let xattrs = (0..<(random.next() % 3)).map { XAttr(name: Array("user.\($0)".utf8), value: random.bytes(9)) }
        return Attributes(
            mode: UInt16(random.next() % 0o10000), uid: UInt32(truncatingIfNeeded: random.next()),
            gid: UInt32(truncatingIfNeeded: random.next()), xattrs: xattrs,
            time: Timestamp(
                seconds: Int64(random.next() >> 30), nanoseconds: UInt32(random.next() % 1_000_000_000)))
    }

    private static func node(_ random: inout SeededGenerator) -> Node {
        let content: Node.Content =
            switch random.next() % 5 {
            case 0: .symlink(random.bytes(20))
            case 1: .fifo
            case 2: .characterDevice(major: 1, minor: UInt32(random.next() % 300))
            case 3: .blockDevice(major: 8, minor: UInt32(random.next() % 300))
            default: .file(Digest.of(random.bytes(8)), size: random.next() >> 8)
            }
        let touch = random.next() % 4 == 0 ? Digest.of(random.bytes(8)) : nil
        return Node(attributes: attributes(&random), content: content, touch: touch, linkGroup: random.next() % 3)
    }

    /// A directory of nodes, as large as `count`, in no order.
    private static func directory(_ random: inout SeededGenerator, _ count: Int) -> DirectoryObject {
        let items = (0..<count).map { index in
            let name = FileName(bytes: Array("\(index)-".utf8) + random.bytes(5).map { $0 | 0x80 })
            return DirectoryObject.Item(name: name, entry: .node(node(&random)))
        }
        return DirectoryObject(attributes: attributes(&random), items: items.shuffled(using: &random))
    }

    private static let counts = [0, 1, 2, 50, 5000]

    private static func readsBack(_ store: Subject) throws {
        var random = SeededGenerator(seed: 1)
        for count in counts {
            let directory = directory(&random, count)
            let inner = try store.put(directory)
            try expectEqual(try store.directory(inner.object), directory, "a directory of \(count) entries")
            let above = DirectoryObject(
                attributes: attributes(&random),
                items: [DirectoryObject.Item(name: "inner", entry: .directory(inner))])
            try expectEqual(try store.directory(store.put(above).object), above, "the directory above it")
        }
    }

    private static func namesAreDigests(_ store: Subject) throws {
        var random = SeededGenerator(seed: 2)
        for count in counts {
            let directory = directory(&random, count)
            try expectEqual(try store.put(directory), directory.names(), "the names of \(count) entries")
        }
    }

    private static func isContent(_ store: Subject) throws {
        var random = SeededGenerator(seed: 3)
        for count in counts {
            let directory = directory(&random, count)
            let ref = try store.put(directory)
            try expect(try store.read(ref.object) == directory.encoded(), "its content is not its encoding")
            try expectEqual(
                try store.size(of: ref.object), UInt64(directory.encoded().count), "the size of its content")
        }
    }

    private static func leavesTimesOut(_ store: Subject) throws {
        var random = SeededGenerator(seed: 4)
        let early = directory(&random, 3)
        var lateAttributes = early.attributes
        lateAttributes.time.seconds += 1
        let late = DirectoryObject(attributes: lateAttributes, items: early.items)
        let refs = (try store.put(early), try store.put(late))
        try expectEqual(refs.1.identity, refs.0.identity, "the identity with another time")
        try expect(refs.0.object != refs.1.object, "the object is the same with another time")
    }

    private static func refusesNames(_ store: Subject) throws {
        let long = [UInt8](repeating: 0x61, count: 256)
        for bytes in [[], Array(".".utf8), Array("..".utf8), Array("a/b".utf8), [0x61, 0], long] {
            let name = FileName(bytes: bytes)
            let item = DirectoryObject.Item(
                name: name, entry: .node(Node(attributes: Attributes(mode: 0), content: .fifo)))
            let directory = DirectoryObject(attributes: Attributes(mode: 0o755), items: [item])
            do {
                _ = try store.put(directory)
                throw Mismatch(reason: "the name \(bytes.prefix(9)) was taken")
            } catch StoreError.invalidName(let refused) { try expectEqual(refused, name, "the name in the error") }
            try expectEqual(try store.size(of: directory.names().object), nil, "the size of what was refused")
        }
    }

    private static func saysWhatIsMissing(_ store: Subject) throws {
        let name = Digest.of("no such directory")
        do {
            _ = try store.directory(name)
            throw Mismatch(reason: "a directory that is not here was read")
        } catch StoreError.missing(let missing) { try expectEqual(missing, name, "the name in the error") }
    }

    private static func refusesOtherContents(_ store: Subject) throws {
        var random = SeededGenerator(seed: 6)
        let encoded = directory(&random, 3).encoded()
        for bytes in [[], random.bytes(100), Array(encoded.dropLast()), encoded + [0]] {
            let digest = try store.put(bytes)
            do {
                _ = try store.directory(digest)
                throw Mismatch(reason: "a content of \(bytes.count) bytes was read as a directory")
            } catch StoreError.corrupt {}
        }
    }

    private static func editsAgree(_ store: Subject) throws {
        let model = MemoryStore()
        for seed in UInt64(1)...6 {
            var names: [TreeRef] = []
            for subject in [store, model] as [any TreeStore] {
                var random = SeededGenerator(seed: seed)
                var editor = TreeEditor(nil, store: subject)
                for _ in 0..<60 {
                    let parts = (0...(random.next() % 3)).map { _ in FileName("\(random.next() % 5)") }
                    let path = TreePath(parts)
                    if random.next() % 4 == 0 {
                        try editor.remove(path)
                    } else {
                        try editor.put(.node(node(&random)), at: path, parents: Attributes(mode: 0o755))
                    }
                }
                let tree = try editor.commit()
                var count = 0
                try subject.walk(tree) { _, _ in count += 1 }
                names.append(tree)
            }
            try expectEqual(names[0], names[1], "the tree of seed \(seed), against a store in memory")
        }
    }
}
