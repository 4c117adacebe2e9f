// `COPY --link`: laying one tree over another.

import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageEngine

@Suite struct MergeTests {
    private let store = MemoryStore()

    private func tree(_ entries: [(String, Entry)], mode: UInt16 = 0o755) throws -> TreeRef {
        var editor = TreeEditor(nil, store: store)
        for (path, entry) in entries { try editor.put(entry, at: TreePath(path), parents: Attributes(mode: mode)) }
        return try editor.commit()
    }

    private func file(_ text: String) throws -> Entry {
        let bytes = Array(text.utf8)
        return .node(
            Node(
                attributes: Attributes(mode: 0o644), content: .file(try store.put(bytes), size: UInt64(bytes.count))))
    }

    private func link(_ target: String) -> Entry {
        .node(Node(attributes: Attributes(mode: 0o777), content: .symlink(Array(target.utf8))))
    }

    private func merged(_ upper: TreeRef, _ lower: TreeRef) throws -> TreeRef {
        try TreeMerge(store: store).merged(upper, over: lower)
    }

    @Test func theUpperOneCountsWhateverIsBelow() throws {
        let lower = try tree(
            [
                ("/a/b/kept", file("1")), ("/a/link", link("b")), ("/dir/x", file("x")), ("/file", file("f")),
                ("/z", file("z")),
            ], mode: 0o700)
        let upper = try tree([
            ("/a/link/new", file("n")), ("/a/b/more", file("2")), ("/dir", file("d")), ("/file/y", file("y")),
        ])
        let expected = try tree([
            ("/a/b/kept", file("1")), ("/a/b/more", file("2")), ("/a/link/new", file("n")), ("/dir", file("d")),
            ("/file/y", file("y")), ("/z", file("z")),
        ])
        let result = try merged(upper, lower)
        // Directories of both have the upper one's mode; the root keeps its own.
        #expect(try store.directory(result.object).attributes.mode == store.directory(lower.object).attributes.mode)
        #expect(try store.directory(result.object).items == store.directory(expected.object).items)
    }

    @Test func nothingOverSomethingIsThat() throws {
        let lower = try tree([("/a/b", file("1"))])
        let empty = try store.put(DirectoryObject(attributes: Attributes(mode: 0o711)))
        #expect(try merged(empty, lower) == lower)
        #expect(try merged(lower, lower) == lower)
        #expect(try store.directory(merged(lower, empty).object).items == store.directory(lower.object).items)
    }
}
