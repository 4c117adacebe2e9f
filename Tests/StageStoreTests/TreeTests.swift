// Trees: the encoding, edits against a simple model, differences and look-ups, over the store on disk and the one in memory.

import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

/// Both stores, which have to agree in all.
private func withStores(_ body: (any TreeStore) throws -> Void) throws {
    let scratch = try Scratch()
    try body(MemoryStore())
    try body(try Store(path: scratch.store))
}

extension SeededGenerator {
    fileprivate mutating func attributes() -> Attributes {
        let xattrs = (0..<(next() % 4 == 0 ? Int(next() % 4) : 0)).map { _ in
            XAttr(name: bytes(1 + Int(next() % 3)), value: bytes(Int(next() % 5)))
        }
        return Attributes(
            mode: UInt16(next() % 0o10000), uid: UInt32(next() % 3), gid: UInt32(truncatingIfNeeded: next()),
            xattrs: xattrs,
            time: Timestamp(seconds: Int64(bitPattern: next()), nanoseconds: UInt32(next() % 1_000_000_000)))
    }

    fileprivate mutating func digest() -> Digest { Digest.of(bytes(8)) }

    fileprivate mutating func node() -> Node {
        let content: Node.Content =
            switch next() % 6 {
            case 0, 1: .file(digest(), size: next())
            case 2: .symlink(bytes(Int(next() % 20)))
            case 3: .fifo
            case 4: .characterDevice(major: UInt32(next() % 99), minor: UInt32(next() % 99))
            default: .blockDevice(major: UInt32(next() % 99), minor: UInt32(next() % 99))
            }
        return Node(
            attributes: attributes(), content: content, touch: next() % 5 == 0 ? digest() : nil,
            linkGroup: next() % 5 == 0 ? next() : 0)
    }

    fileprivate mutating func directory() -> DirectoryObject {
        let items = (0..<Int(next() % 6)).map { index in
            DirectoryObject.Item(
                name: FileName("\(next() % 50)-\(index)"),
                entry: next() % 3 == 0 ? .directory(TreeRef(identity: digest(), object: digest())) : .node(node()))
        }
        return DirectoryObject(attributes: attributes(), items: items)
    }

    fileprivate mutating func path(_ depth: Int = 4) -> TreePath {
        TreePath((0..<Int(1 + next() % UInt64(depth))).map { _ in FileName(["a", "b", "c", "d-"][Int(next() % 4)]) })
    }
}

@Suite struct DirectoryEncodingTests {
    @Test func itemsAreSortedAndTheLastOfANameCounts() {
        func item(_ name: String, _ mode: UInt16) -> DirectoryObject.Item {
            .init(name: FileName(name), entry: .node(Node(attributes: Attributes(mode: mode), content: .fifo)))
        }
        let attributes = Attributes(mode: 0o755)
        let sorted = [item("a", 2), item("b", 4), item("c", 5)]
        #expect(DirectoryObject(attributes: attributes, items: sorted).items == sorted)
        let items = [item("c", 5), item("b", 1), item("a", 1), item("b", 3), item("a", 2), item("b", 4)]
        #expect(DirectoryObject(attributes: attributes, items: items).items == sorted)
        let twins = [item("a", 1), item("a", 2), item("b", 4), item("c", 5)]
        #expect(DirectoryObject(attributes: attributes, items: twins).items == sorted)
    }

    @Test func goldenBytes() {
        let digest = Digest.of("content")
        let directory = DirectoryObject(
            attributes: Attributes(mode: 0o755, time: Timestamp(seconds: 1, nanoseconds: 2)),
            items: [
                .init(
                    name: "l",
                    entry: .node(
                        Node(attributes: Attributes(mode: 0o777, uid: 7), content: .symlink([0x78]), linkGroup: 3))),
                .init(name: "d", entry: .directory(TreeRef(identity: digest, object: .zero))),
            ])
        let zeros: (Int) -> [UInt8] = { [UInt8](repeating: 0, count: $0) }
        let top: [UInt8] = [0xED, 1] + zeros(12)
        let link: [UInt8] = [0xFF, 1, 7] + zeros(11)
        let object =
            Array("STD1".utf8) + top + [1] + zeros(7) + [2, 0, 0, 0] + [2, 0, 0, 0]
            + [1, 0, 0, 0, 0x64, 2] + digest.bytes + zeros(32)
            + [1, 0, 0, 0, 0x6C, 3] + link + zeros(12) + [1, 0, 0, 0, 0x78, 0, 3] + zeros(7)
        let identity =
            Array("STI1".utf8) + top + [2, 0, 0, 0] + [1, 0, 0, 0, 0x64, 2] + digest.bytes
            + [1, 0, 0, 0, 0x6C, 3] + link + [1, 0, 0, 0, 0x78, 0]
        #expect(directory.encoded() == object)
        #expect(directory.identityBytes() == identity)
    }

    @Test func roundTrip() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<500 {
            let directory = random.directory()
            #expect(DirectoryObject(encoded: directory.encoded()) == directory)
        }
    }

    /// There is one encoding of each directory: what decodes is what would be written.
    @Test func mutatedBytesDecodeToThemselvesOrNotAtAll() {
        var random = SeededGenerator(seed: 2)
        var decoded = 0
        for _ in 0..<200 {
            let original = random.directory().encoded()
            for _ in 0..<60 {
                var bytes = original
                switch random.next() % 4 {
                case 0: bytes[Int(random.next() % UInt64(bytes.count))] ^= UInt8(1 << (random.next() % 8))
                case 1: bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
                case 2: bytes.removeLast(1 + Int(random.next() % UInt64(bytes.count)))
                default: bytes.insert(UInt8(random.next() % 256), at: Int(random.next() % UInt64(bytes.count + 1)))
                }
                guard let directory = DirectoryObject(encoded: bytes) else { continue }
                decoded += 1
                #expect(directory.encoded() == bytes)
            }
        }
        #expect(decoded > 1000)
    }

    /// Magic, counts, lengths, kinds and flags: each byte of them in each value.
    @Test func structureIsChecked() throws {
        let directory = DirectoryObject(
            attributes: Attributes(mode: 0o755, xattrs: [XAttr(name: [1], value: [2])]),
            items: [
                .init(name: "f", entry: .node(Node(attributes: Attributes(mode: 0o644), content: .symlink([0x78]))))
            ])
        let bytes = directory.encoded()
        let entries = 4 + 14 + 5 + 5 + 12
        let node = entries + 4 + 4 + 1 + 1
        let structure =
            Array(0..<4) + Array(14..<18) + Array(entries..<(entries + 8))
            + [node - 1] + Array((node + 10)..<(node + 14)) + Array((node + 26)..<(node + 30)) + [node + 31]
        for index in structure {
            for value in UInt8.min...UInt8.max where value != bytes[index] {
                var changed = bytes
                changed[index] = value
                #expect(DirectoryObject(encoded: changed) == nil, "byte \(index) as \(value)")
            }
        }
        for count in 0..<bytes.count { #expect(DirectoryObject(encoded: Array(bytes[..<count])) == nil) }
        #expect(DirectoryObject(encoded: bytes + [0]) == nil)
    }

    @Test func namesThatLeadAstrayAreRefused() throws {
        for name in ["", ".", "..", "a/b", "/", "a\0b", String(repeating: "x", count: 256)] {
            let directory = DirectoryObject(
                attributes: Attributes(mode: 0o755),
                items: [.init(name: FileName(name), entry: .directory(TreeRef(identity: .zero, object: .zero)))])
            #expect(DirectoryObject(encoded: directory.encoded()) == nil)
            try withStores { store in
                #expect(storeError { _ = try store.put(directory) } == .invalidName(FileName(name)))
                let hostile = try store.put(directory.encoded())
                #expect(storeError { _ = try store.directory(hostile) }?.isCorrupt == true)
            }
        }
    }

    @Test func attributesAreKeptInOneForm() {
        let (a, b) = (XAttr(name: [1], value: [1]), XAttr(name: [2], value: [2]))
        #expect(Attributes(mode: 0, xattrs: [b, a]) == Attributes(mode: 0, xattrs: [a, b]))
        #expect(Attributes(mode: 0, xattrs: [a, XAttr(name: [1], value: [9])]).xattrs.map(\.value) == [[9]])
        var unsorted = Attributes(mode: 0xFFFF)
        unsorted.xattrs = [b, a]
        let directory = DirectoryObject(encoded: DirectoryObject(attributes: unsorted).encoded())
        #expect(directory?.attributes == Attributes(mode: 0o7777, xattrs: [a, b]))
    }

    @Test func theIdentityLeavesTimesOut() throws {
        let store = MemoryStore()
        func tree(_ time: Int64, _ group: UInt64, mode: UInt16 = 0o644) throws -> TreeRef {
            let attributes = Attributes(mode: mode, time: Timestamp(seconds: time))
            let inner = try store.put(
                DirectoryObject(
                    attributes: attributes,
                    items: [
                        .init(name: "f", entry: .node(Node(attributes: attributes, content: .fifo, linkGroup: group)))
                    ]))
            return try store.put(
                DirectoryObject(attributes: attributes, items: [.init(name: "d", entry: .directory(inner))]))
        }
        let (a, b, c) = (try tree(1, 0), try tree(2, 5), try tree(1, 0, mode: 0o600))
        #expect(a.identity == b.identity && a.object != b.object && c.identity != a.identity)
    }
}

@Suite struct TreeTests {
    private let parents = Attributes(mode: 0o711)

    /// The whole tree as a flat table: the model that edits are compared with.
    private enum Flat: Hashable {
        case directory(Attributes)
        case node(Node)
    }

    private func flat(_ tree: TreeRef, _ store: any TreeStore) throws -> [TreePath: Flat] {
        var table: [TreePath: Flat] = [TreePath(): .directory(try store.directory(tree.object).attributes)]
        try store.walk(tree) { path, entry throws(StoreError) in
            switch entry {
            case .directory(let ref): table[path] = .directory(try store.directory(ref.object).attributes)
            case .node(let node): table[path] = .node(node)
            }
        }
        return table
    }

    private func makeParents(of path: TreePath, in table: inout [TreePath: Flat]) {
        for count in 1..<max(path.components.count, 1) {
            let above = TreePath(Array(path.components[..<count]))
            if case .directory? = table[above] { continue }
            table[above] = .directory(parents)
        }
    }

    private func removeBelow(_ path: TreePath, in table: inout [TreePath: Flat]) {
        table = table.filter { $0.key == path || !$0.key.starts(with: path) }
    }

    @Test(arguments: 1...12) func editsAgainstAModel(seed: UInt64) throws {
        var refs: [[TreeRef]] = []
        try withStores { store in
            var random = SeededGenerator(seed: seed)
            var editor = TreeEditor(nil, store: store)
            var model: [TreePath: Flat] = [TreePath(): .directory(Attributes(mode: 0o755))]
            var seen: [TreeRef] = []
            for step in 0..<250 {
                let path = random.path()
                switch random.next() % 8 {
                case 0, 1, 2:
                    let node = random.node()
                    try editor.put(.node(node), at: path, parents: parents)
                    makeParents(of: path, in: &model)
                    removeBelow(path, in: &model)
                    model[path] = .node(node)
                case 3, 4:
                    let attributes = random.attributes()
                    try editor.putDirectory(attributes, at: path, parents: parents)
                    makeParents(of: path, in: &model)
                    if case .node? = model[path] { removeBelow(path, in: &model) }
                    model[path] = .directory(attributes)
                case 5:
                    #expect(try editor.remove(path) == (model[path] != nil))
                    removeBelow(path, in: &model)
                    model[path] = nil
                case 6:
                    try editor.removeContents(of: path)
                    if case .directory? = model[path] { removeBelow(path, in: &model) }
                default:
                    guard let old = seen.randomElement(using: &random) else { break }
                    try editor.put(.directory(old), at: path, parents: parents)
                    makeParents(of: path, in: &model)
                    removeBelow(path, in: &model)
                    for (inner, value) in try flat(old, store) { model[path.appending(inner)] = value }
                }
                let found: Flat? = try editor.look(path).map {
                    switch $0 {
                    case .directory(let attributes): .directory(attributes)
                    case .node(let node): .node(node)
                    }
                }
                #expect(found == model[path])
                if step % 10 == 9 {
                    let ref = try editor.commit()
                    #expect(try flat(ref, store) == model, "step \(step)")
                    if model.count < 40 { seen.append(ref) }
                    seen.append(try TreeEditor.rebuilt(model, store: store, ref))
                }
            }
            refs.append(seen)
        }
        #expect(refs[0] == refs[1], "both stores name all trees alike")
    }

    @Test(arguments: 1...10) func differenceMakesNewOfOld(seed: UInt64) throws {
        try withStores { store in
            var random = SeededGenerator(seed: seed)
            var editor = TreeEditor(nil, store: store)
            var trees: [TreeRef?] = [nil]
            for _ in 0..<8 {
                for _ in 0..<Int(1 + random.next() % 12) {
                    let path = random.path()
                    if random.next() % 3 == 0 { try editor.remove(path) }
                    if random.next() % 3 == 0 {
                        try editor.putDirectory(random.attributes(), at: path, parents: parents)
                    } else {
                        try editor.put(.node(random.node()), at: path, parents: parents)
                    }
                }
                trees.append(try editor.commit())
            }
            for old in trees {
                for case let new? in trees {
                    var again = TreeEditor(old, store: store)
                    var last: TreePath?
                    try store.difference(from: old, to: new) { change throws(StoreError) in
                        if let last { #expect(last <= change.path, "in path order") }
                        last = change.path
                        switch change {
                        case .directory(let path, let attributes, let existed):
                            if !existed { try again.remove(path) }
                            try again.putDirectory(attributes, at: path, parents: parents)
                        case .node(let path, let node):
                            try again.put(.node(node), at: path, parents: parents)
                        case .removed(let path):
                            #expect(try again.remove(path))
                        }
                    }
                    #expect(try again.commit().identity == new.identity)
                    if old?.identity == new.identity { #expect(last == nil) }
                }
            }
        }
    }

    @Test func resolvingLinks() throws {
        try withStores { store in
            var editor = TreeEditor(nil, store: store)
            let links = [
                "/link": "dir/sub", "/absolute": "/dir/sub", "/dir/up": "..", "/dir/sub/out": "../../../../dir",
                "/loop": "loop",
                "/ping": "pong", "/pong": "/ping", "/chain": "link/out/up/absolute", "/dot": "./dir/.//sub",
                "/gone": "no/where",
                "/empty": "", "/root": "/",
            ]
            for (path, target) in links {
                let node = Node(attributes: Attributes(mode: 0o777), content: .symlink(Array(target.utf8)))
                try editor.put(.node(node), at: TreePath(path), parents: parents)
            }
            try editor.putDirectory(Attributes(mode: 0o755), at: "/dir/sub/deep", parents: parents)
            let tree = try editor.commit()
            let cases: [(String, String?)] = [
                ("/dir/sub", "/dir/sub"), ("/link", "/dir/sub"), ("/link/deep", "/dir/sub/deep"),
                ("/absolute/x", "/dir/sub/x"),
                ("/dir/up/link", "/dir/sub"), ("/link/out", "/dir"), ("/link/out/sub/out/up", "/"), ("/loop", nil),
                ("/loop/x", nil), ("/ping", nil), ("/chain", "/dir/sub"), ("/dot/deep", "/dir/sub/deep"),
                ("/gone/x", "/no/where/x"),
                ("/root/root/link", "/dir/sub"), ("/missing/a/b", "/missing/a/b"), ("/", "/"), ("/empty", "/"),
            ]
            for (path, expected) in cases {
                let found = try store.find(TreePath(path), in: tree)
                #expect(found?.path.description == expected, "\(path)")
                #expect(try found?.entry == found.flatMap { try store.entry(at: $0.path, in: tree) }, "\(path)")
                #expect(try store.resolve(TreePath(path), in: tree) == found?.path, "\(path)")
            }
            let link = try #require(try store.find("/link/out", in: tree, followsLast: false))
            #expect(try link.path == "/dir/sub/out" && link.entry == store.entry(at: "/dir/sub/out", in: tree))
            #expect(try store.find("/gone/x", in: tree)?.entry == nil)
            #expect(try store.resolve("/link/out", in: tree, followsLast: false) == "/dir/sub/out")
            #expect(try store.resolve("/loop", in: tree, followsLast: false) == "/loop")
            #expect(try store.entry(at: "/link/deep", in: tree) == nil, "a look-up is literal")
        }
    }

    /// As deep as a tree can be, on a thread of the pool with its small stack.
    @Test func deepTrees() async throws {
        let scratch = try Scratch()
        let store = try Store(path: scratch.store)
        let pool = BlockingPool(threads: 1)
        defer { pool.close() }
        let parents = parents
        let (old, new, count) = try await pool.run {
            let deep = TreePath([FileName](repeating: "d", count: TreePath.depthLimit - 1))
            var editor = TreeEditor(nil, store: store)
            try editor.putDirectory(parents, at: deep, parents: parents)
            let old = try editor.commit()
            try editor.put(
                .node(Node(attributes: parents, content: .fifo)), at: deep.appending("f" as FileName), parents: parents)
            let new = try editor.commit()
            var count = 0
            try store.walk(new) { _, _ in count += 1 }
            try store.difference(from: old, to: new) { _ in count += 1 }
            return (old, new, count)
        }
        #expect(old != new && count == 2 * TreePath.depthLimit + 1)
    }
}

extension TreeEditor {
    /// The tree of `ref` made again from nothing, path by path.
    fileprivate static func rebuilt<Value>(
        _ paths: [TreePath: Value], store: any TreeStore, _ ref: TreeRef
    ) throws -> TreeRef {
        var editor = TreeEditor(nil, store: store)
        for path in paths.keys.sorted() {
            guard let entry = try store.entry(at: path, in: ref) else { continue }
            if case .directory(let inner) = entry {
                let attributes = try store.directory(inner.object).attributes
                try editor.putDirectory(attributes, at: path, parents: attributes)
            } else {
                try editor.put(entry, at: path, parents: Attributes(mode: 0))
            }
        }
        let made = try editor.commit()
        #expect(made == ref, "the way to a tree plays no part")
        return made
    }
}
