// Files of every kind, and sizes that a context seldom has: all come through as they are.

import Glibc
import StageContext
import StageStore
import StageSystem
import Testing

@Suite("Unusual files")
struct UnusualFileTests {
    private func node(_ path: TreePath, _ scan: ContextScan, _ fixture: Fixture) throws -> Node? {
        guard case .node(let node)? = try fixture.store.entry(at: path, in: scan.tree) else { return nil }
        return node
    }

    @Test func namesOfOneFileShareAGroup() async throws {
        let fixture = try Fixture()
        try fixture.write("a", "text")
        try fixture.write("alone", "text")
        try fixture.directory("d")
        try #require(Glibc.link(fixture.root + "/a", fixture.root + "/d/b") == 0)
        fixture.settle()
        // Read, then taken over from the index, then from a directory that is made again.
        for round in 0..<3 {
            if round == 2 { try fixture.write("new", "n") }
            let scan = try await fixture.scan()
            let group = try #require(try node("a", scan, fixture)).linkGroup
            #expect(group != 0)
            #expect(try node("d/b", scan, fixture)?.linkGroup == group)
            #expect(try node("alone", scan, fixture)?.linkGroup == 0)
            #expect(try fixture.text("d/b", scan.tree) == "text")
        }
    }

    @Test func directoryOfManyEntries() async throws {
        let fixture = try Fixture()
        for index in 0..<100_000 { close(open("\(fixture.root)/entry-\(index)", O_WRONLY | O_CREAT, 0o644)) }
        fixture.settle()
        let first = try await fixture.scan()
        #expect(first.files == 100_000 && first.read == 100_000)
        let second = try await fixture.scan()
        #expect(second.tree == first.tree && second.unchanged == 100_000)
    }

    @Test func sparseFileIsReadWhole() async throws {
        let fixture = try Fixture()
        try fixture.write("sparse", "x")
        try #require(truncate(fixture.root + "/sparse", 3 << 20) == 0)
        let scan = try await fixture.scan()
        #expect(scan.bytes == 3 << 20)
        #expect(try fixture.text("sparse", scan.tree)?.utf8.count == 3 << 20)
    }

    @Test(.enabled(if: getuid() == 0)) func deviceNodesStay() async throws {
        let fixture = try Fixture()
        // 1:3, as /dev/null; some sandboxes forbid it even to root.
        guard mknod(fixture.root + "/null", S_IFCHR | 0o600, 0x103) == 0 else { return }
        let scan = try await fixture.scan()
        #expect(try node("null", scan, fixture)?.content == .characterDevice(major: 1, minor: 3))
    }

    @Test func treesCarryLargeOwnersAndCapabilities() throws {
        let fixture = try Fixture()
        let capability = XAttr(name: Array("security.capability".utf8), value: [1, 0, 0, 2, 0, 4, 0, 0])
        let attributes = Attributes(mode: 0o755, uid: 3_000_000, gid: 4_000_000_000, xattrs: [capability])
        let node = Node(attributes: attributes, content: .file(try fixture.store.put([1]), size: 1))
        let ref = try fixture.store.put(
            DirectoryObject(attributes: Attributes(mode: 0o755), items: [.init(name: "f", entry: .node(node))]))
        #expect(try fixture.store.entry(at: "f", in: ref) == .node(node))
    }

    @Test func pathOfFourThousandBytes() async throws {
        let fixture = try Fixture()
        try deepDirectory(fixture.root, levels: 20, name: String(repeating: "n", count: 200))
        let scan = try await fixture.scan()
        #expect(scan.files == 1)
        #expect(try ContextReport.make(ContextRequest(path: fixture.root)).files == scan.files)
    }
}
