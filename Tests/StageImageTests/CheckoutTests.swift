// Trees of many files on disk: what several threads put there is what one would have.

import Glibc
import StageHash
import StageImage
import StageStore
import StageSystem
import Testing

@Suite struct CheckoutTests {
    /// Directories of every size around a batch, in each other, some of them closed to writing, all with times of their own.
    private func tree(_ store: MemoryStore) throws -> (tree: TreeRef, listing: [String], files: [String: [UInt8]]) {
        var editor = TreeEditor(nil, store: store)
        var listing: [String] = []
        var files: [String: [UInt8]] = [:]
        for (index, count) in [0, 1, 7, 8, 31, 32, 33, 64, 65, 300].enumerated() {
            let directory = index % 3 == 2 ? "d\(index - 1)/inner" : "d\(index)"
            let mode: UInt16 = index % 2 == 0 ? 0o755 : 0o555
            try editor.put(
                .directory(
                    try store.put(
                        DirectoryObject(
                            attributes: Attributes(mode: mode, time: Timestamp(seconds: Int64(index), nanoseconds: 0)))
                    )), at: TreePath(directory), parents: Attributes(mode: 0o755))
            listing.append("\(directory) d \(String(mode, radix: 8)) \(index)")
            for file in 0..<count {
                // Every fifth is empty, every seventh has several pieces.
                let size = file % 5 == 0 ? 0 : file % 7 == 0 ? 300_000 : 100 + file
                let content = [UInt8](repeating: UInt8(truncatingIfNeeded: index * 31 + file), count: size)
                let node = Node(
                    attributes: Attributes(
                        mode: 0o640, time: Timestamp(seconds: 1_000_000 + Int64(file), nanoseconds: 0)),
                    content: .file(try store.put(content), size: UInt64(size)))
                try editor.put(.node(node), at: TreePath("\(directory)/f\(file)"), parents: Attributes(mode: 0o755))
                files["\(directory)/f\(file)"] = content
                listing.append("\(directory)/f\(file) f 640 \(1_000_000 + file) \(size)")
            }
        }
        return (try editor.commit(), listing, files)
    }

    @Test func manyFilesInManyDirectories() throws {
        let store = MemoryStore()
        let scratch = try ScratchDirectory()
        let (tree, listing, files) = try tree(store)
        for _ in 0..<3 {
            try shell(
                "chmod -fR u+w out || true; rm -rf out; mkdir out && cd out && echo mine > old && mkdir d4 && echo mine > d4/f3",
                in: scratch)
            try Checkout(store: store, setsOwners: geteuid() == 0).write(tree, to: scratch("out"))
            let found = try shell(
                "cd out && find . -mindepth 1 ! -name old '(' -type d -printf '%P %y %m %T@\\n' -o -printf '%P %y %m %T@ %s\\n' ')' | sed -E 's/[.]0+//'",
                in: scratch)
            #expect(found.split(separator: "\n").map(String.init).sorted() == listing.sorted())
            for (path, content) in files { #expect(try readFile(scratch("out/" + path)) == content, "\(path)") }
        }
        try shell("chmod -R u+w out", in: scratch)
    }

    @Test func aMissingContentEndsIt() throws {
        let store = MemoryStore()
        let scratch = try ScratchDirectory()
        var editor = TreeEditor(nil, store: store)
        let missing = Digest.of("nobody kept this")
        for directory in 0..<20 {
            for file in 0..<40 {
                let isMissing = directory == 3 && file == 20
                let digest = isMissing ? missing : try store.put(Array("\(file)".utf8))
                try editor.put(
                    .node(Node(attributes: Attributes(mode: 0o644), content: .file(digest, size: 2))),
                    at: TreePath("d\(directory)/f\(file)"), parents: Attributes(mode: 0o755))
            }
        }
        let tree = try editor.commit()
        #expect(throws: ImageError.store(.missing(missing))) {
            try Checkout(store: store, setsOwners: false).write(tree, to: scratch("out"))
        }
        #expect(try shell("test -e out/d3/f19 && test ! -e out/d3/f20 && echo so", in: scratch) == "so\n")
    }
}
