// Directories inside each other without end: an error that says so, wherever such a tree is walked, and no crash.

import StageGraph
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageEngine

@Suite struct DepthTests {
    let store = MemoryStore()

    /// A tree of so many directories inside each other, made as a hostile record would name it.
    private func nested(_ depth: Int) throws -> TreeRef {
        var tree = try store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
        for _ in 0..<depth {
            tree = try store.put(
                DirectoryObject(
                    attributes: Attributes(mode: 0o755), items: [.init(name: "d", entry: .directory(tree))]))
        }
        return tree
    }

    private func isTooDeep(_ error: StoreError?) -> Bool {
        if case .tooDeep = error { true } else { false }
    }

    @Test func walksEnd() throws {
        let deep = try nested(50_000)
        let walked = #expect(throws: StoreError.self) { try store.walk(deep) { _, _ in } }
        #expect(isTooDeep(walked))
        let compared = #expect(throws: StoreError.self) { try store.difference(from: nil, to: deep) { _ in } }
        #expect(isTooDeep(compared))
        #expect(walked?.description.contains("/d/d/d/d/…") == true)
        // The limit itself is fine.
        var seen = 0
        try store.walk(try nested(TreePath.depthLimit)) { _, _ in seen += 1 }
        #expect(seen == TreePath.depthLimit)
    }

    @Test func editsEnd() throws {
        var editor = TreeEditor(nil, store: store)
        let path = TreePath([FileName](repeating: "d", count: 100_000))
        let error = #expect(throws: StoreError.self) {
            try editor.putDirectory(Attributes(mode: 0o755), at: path, parents: Attributes(mode: 0o755))
        }
        #expect(isTooDeep(error))
    }

    @Test func copiesEnd() throws {
        let base = try nested(0)
        func graft(_ copy: Copy, from source: TreeRef) -> CopyFailure? {
            var graft = Graft(base: base, store: store, unpacker: nil)
            do throws(CopyFailure) {
                _ = try graft.apply(copy, CopySelection(copy, inputs: [base, source], store: store))
                return nil
            } catch { return error }
        }
        func isStoreTooDeep(_ failure: CopyFailure?) -> Bool {
            if case .store(let error) = failure { isTooDeep(error) } else { false }
        }
        let deep = try nested(50_000)
        var copy = Copy(sources: [.path(input: 1, pattern: "d")], destination: "/x/", resetsOwner: false)
        copy.chmod = "755"
        #expect(isStoreTooDeep(graft(copy, from: deep)))
        copy.destination = String(repeating: "/d", count: 100_000)
        #expect(isStoreTooDeep(graft(copy, from: deep)))
    }
}
