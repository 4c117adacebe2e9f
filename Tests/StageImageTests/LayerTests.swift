// Layers onto trees and back: the rules of OCI layers, hostile members, and that what is derived says just the difference.

import StageConformance
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageImage

@Suite struct LayerApplying {
    let store = MemoryStore()

    private func lines(_ layers: [[Item]]) throws -> [String] { try listing(try tree(layers, in: store), in: store) }

    @Test func missingParentsAreMade() throws {
        #expect(
            try lines([[.file("a/b/c", "x")]]) == ["/a dir 755 0:0", "/a/b dir 755 0:0", "/a/b/c file 'x' 644 0:0"])
    }

    @Test func directoryOverDirectoryKeepsItsEntries() throws {
        let result = try lines([[.directory("d/"), .file("d/f", "x")], [.directory("d", mode: 0o700)]])
        #expect(result == ["/d dir 700 0:0", "/d/f file 'x' 644 0:0"])
    }

    @Test func fileReplacesDirectoryAndBack() throws {
        #expect(try lines([[.file("d/f", "x")], [.file("d", "now a file")]]) == ["/d file 'now a file' 644 0:0"])
        #expect(
            try lines([[.file("d", "x")], [.directory("d/"), .file("d/f", "y")]]) == [
                "/d dir 755 0:0", "/d/f file 'y' 644 0:0",
            ])
    }

    @Test func lastDuplicateWins() throws {
        #expect(
            try lines([[.file("f", "one"), .file("f", "two"), .file("./f", "three")]]) == ["/f file 'three' 644 0:0"])
    }

    @Test func whiteoutRemovesFromLayersBelowOnly() throws {
        let below: [Item] = [.file("d/gone", "x"), .file("d/kept", "x"), .file("sub/deep/file", "x")]
        let above: [Item] = [
            .file("d/new", "n"), .file("d/.wh.gone", ""), .file(".wh.sub", ""), .file("d/.wh.never", ""),
        ]
        #expect(
            try lines([below, above]) == ["/d dir 755 0:0", "/d/kept file 'x' 644 0:0", "/d/new file 'n' 644 0:0"])
        // A file that the same layer brings stays, whichever comes first.
        #expect(
            try lines([[.file("f", "old")], [.file("f", "new"), .file(".wh.f", "")]]) == ["/f file 'new' 644 0:0"])
        #expect(
            try lines([[.file("f", "old")], [.file(".wh.f", ""), .file("f", "new")]]) == ["/f file 'new' 644 0:0"])
    }

    @Test func opaqueEmptiesWhatLiesBelow() throws {
        let below: [Item] = [.directory("d/", mode: 0o711), .file("d/a", "x"), .file("d/sub/b", "x"), .file("e", "x")]
        let above: [Item] = [.file("d/new", "n"), .file("d/.wh..wh..opq", "")]
        #expect(try lines([below, above]) == ["/d dir 711 0:0", "/d/new file 'n' 644 0:0", "/e file 'x' 644 0:0"])
    }

    @Test func parentsAreResolvedWithinTheTree() throws {
        let below: [Item] = [
            .directory("usr/lib/"), .symlink("lib", "usr/lib"), .symlink("up", "../../../usr"),
            .symlink("abs", "/usr/lib"),
            .symlink("usr/back", ".."),
        ]
        let above: [Item] = [
            .file("lib/a", "a"), .file("up/b", "b"), .file("abs/c", "c"), .file("usr/back/usr/back/d", "d"),
        ]
        let result = try lines([below, above])
        for expected in [
            "/usr/lib/a file 'a' 644 0:0", "/usr/b file 'b' 644 0:0", "/usr/lib/c file 'c' 644 0:0",
            "/d file 'd' 644 0:0",
        ] {
            #expect(result.contains(expected))
        }
        #expect(result.contains { $0.hasPrefix("/lib -> usr/lib") })
    }

    @Test func changedLinkIsFollowedAnew() throws {
        let layer: [Item] = [
            .directory("one/"), .directory("two/"), .symlink("s", "one"), .file("s/a", "1"), .symlink("s", "two"),
            .file("s/b", "2"), .directory("s/"), .file("s/c", "3"),
        ]
        let result = try lines([layer])
        for expected in ["/one/a file '1' 644 0:0", "/two/b file '2' 644 0:0", "/s/c file '3' 644 0:0"] {
            #expect(result.contains(expected))
        }
    }

    @Test func whiteoutThroughLinkedParent() throws {
        let result = try lines([[.file("usr/lib/x", "x"), .symlink("lib", "usr/lib")], [.file("lib/.wh.x", "")]])
        #expect(!result.contains { $0.contains("/usr/lib/x") })
    }

    @Test func hardLinksShareOneGroup() throws {
        let result = try lines([
            [.file("a", "x"), .link("b", "a"), .link("c", "./b"), .symlink("s", "a"), .link("t", "s")]
        ])
        #expect(result[0...2] == ["/a file 'x' 644 0:0", "/b file 'x' 644 0:0 = /a", "/c file 'x' 644 0:0 = /a"])
        #expect(result[4].hasPrefix("/t -> a"))
        // A name that is written again leaves the group.
        let rewritten = try lines([[.file("a", "x"), .link("b", "a")], [.file("b", "y")]])
        #expect(rewritten == ["/a file 'x' 644 0:0", "/b file 'y' 644 0:0"])
    }

    @Test func rootsAttributesAreSet() throws {
        let root = try #require(try tree([[.directory("./", mode: 0o700)]], in: store))
        #expect(try store.directory(root.object).attributes.mode == 0o700)
    }

    @Test func onlyPortableAttributesAreKept() throws {
        var file = Item.file("f", "x")
        file.member.xattrs = ["security.capability", "security.selinux", "trusted.overlay.opaque", "user.x"].map {
            XAttr(name: Array($0.utf8), value: [1])
        }
        #expect(try lines([[file]]) == ["/f file 'x' 644 0:0 security.capability=01,user.x=01"])
    }

    @Test(arguments: [
        ([Item.file("../evil", "x")], "outside the root"),
        ([Item.file("a/../../evil", "x")], "outside the root"),
        ([Item.link("l", "../../etc/passwd")], "outside the root"),
        ([Item.link("l", "nothing")], "/nothing"),
        ([Item.file("d/f", "x"), Item.link("l", "d")], "directory"),
        ([Item.file("f", "x"), Item.file("f/g", "x")], "not a directory"),
        ([Item.symlink("a", "b"), Item.symlink("b", "a"), Item.file("a/f", "x")], "too many symbolic links"),
        ([Item.symlink("s", "")], "link target"),
        ([Item.file(".", "x")], "root directory"),
        ([Item.file(".wh.", "")], "no usable name"),
        ([Item.file(".wh...", "")], "no usable name"),
        ([Item.file(String(repeating: "x", count: 256), "")], "255"),
        ([Item.file(String(repeating: "x/", count: 600) + "f", "")], "deeper"),
        ([Item.file(String(repeating: "x/", count: 600_000) + "f", "")], "more than 1 MiB"),
    ])
    func hostileMemberIsRefused(items: [Item], reason: String) throws {
        do {
            _ = try tree([items], in: store)
            Issue.record("it was taken")
        } catch let error as ImageError {
            #expect("\(error)".contains(reason), "\(error)")
        }
    }

    /// Links that double the path at each step end in an error, not in a stack overflow or a long wait.
    @Test func linkBombIsRefused() throws {
        var items: [Item] = [.symlink("l0", Array(repeating: "d", count: 200).joined(separator: "/"))]
        for index in 1...20 { items.append(.symlink("l\(index)", "l\(index - 1)/../l\(index - 1)/l\(index - 1)")) }
        items.append(.file("l20/f", "x"))
        do { _ = try tree([items], in: store) } catch is ImageError {}
        let chain: [Item] = (0..<40).map {
            .symlink("x\($0)", Array(repeating: "e", count: 300).joined(separator: "/") + "/x\($0 + 1)")
        }
        do { _ = try tree([chain + [.file("x0/x1/x2/f", "x")]], in: store) } catch is ImageError {}
    }

    /// The deepest path that is taken goes through everything that recurses.
    @Test func deepestPathGoesThrough() throws {
        let deep = String(repeating: "d/", count: 511) + "f"
        let root = try #require(try tree([[.file(deep, "x")]], in: store))
        let layer = try StoredLayer(from: nil, to: root, in: store)
        var bytes: [UInt8] = []
        try layer.write(from: store) { bytes.append(contentsOf: $0) }
        #expect(try parse(bytes, into: store).apply(to: nil, in: store).identity == root.identity)
        #expect(try store.size(of: root).bytes == 1)
    }

    @Test func absoluteNamesStayBeneathTheRoot() throws {
        #expect(try lines([[.file("/etc/x", "x"), .link("/y", "/etc/x")]]).count == 3)
    }

    @Test func recipeWithWrongSumsIsRefused() throws {
        let layer = try parse(try archive([.file("a", "x"), .file("b", "yy")]), into: store)
        let bytes = try store.read(try #require(layer.recipe))
        #expect(LayerRecipe(encoded: bytes)?.encoded() == bytes)
        for index in bytes.indices where !(4..<36).contains(index) {
            var wrong = bytes
            wrong[index] ^= 0x41
            guard let recipe = LayerRecipe(encoded: wrong) else { continue }
            #expect(throws: ImageError.self) { try recipe.write(from: store) { _ in } }
        }
        #expect(LayerRecipe(encoded: Array(bytes.dropLast())) == nil)
        #expect(LayerRecipe(encoded: bytes + [0]) == nil)
    }
}

@Suite struct LayerDeriving {
    let store = MemoryStore()

    private func derive(_ old: TreeRef?, _ new: TreeRef) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let summary = try LayerWriter(store: store).write(from: old, to: new) { bytes.append(contentsOf: $0) }
        #expect(summary.diffID == Digest.of(bytes))
        #expect(summary.size == UInt64(bytes.count))
        return bytes
    }

    private func names(_ bytes: [UInt8]) throws -> [String] {
        let reader = TarReader(MemorySource(bytes))
        var names: [String] = []
        while let member = try reader.next() { names.append(String(decoding: member.path, as: UTF8.self)) }
        return names
    }

    @Test func noDifferenceIsAnEmptyArchive() throws {
        let root = try #require(try tree([[.file("a", "x")]], in: store))
        #expect(try derive(root, root) == [UInt8](repeating: 0, count: 1024))
    }

    @Test func saysTheDifferenceInPathOrder() throws {
        let old = try #require(
            try tree(
                [
                    [
                        .file("a/keep", "x"), .file("a/gone", "x"), .file("b/dir/f", "x"), .file("z", "x"),
                        .file("same/f", "s"),
                    ]
                ], in: store))
        let new = try #require(
            try tree(
                [
                    [
                        .file("a/keep", "x"), .file("a/new", "n"), .file("b/dir", "now a file"), .file("same/f", "s"),
                        .link("l", "a/new"),
                    ]
                ], in: store))
        let bytes = try derive(old, new)
        #expect(try names(bytes) == ["a/", "a/.wh.gone", "a/new", "b/", "b/dir", "l", ".wh.z"])
        let back = try parse(bytes, into: store).apply(to: old, in: store)
        #expect(back.identity == new.identity)
        #expect(try listing(back, in: store) == listing(new, in: store))
    }

    @Test func changedRootIsSaid() throws {
        let old = try tree([[.file("a", "x")]], in: store)
        let new = try #require(try tree([[.directory("./", mode: 0o700), .file("a", "x")]], in: store))
        #expect(try names(try derive(old, new)) == ["./"])
        #expect(try names(try derive(nil, new)) == ["./", "a"])
    }

    @Test func nameOfARemovalCannotBeInALayer() throws {
        let layer = try ParsedLayer(
            reading: MemorySource(try archive([.file(".wh.odd", "x")])), into: store, keepsRecipe: false,
            whiteouts: false)
        let root = try layer.apply(to: nil, in: store)
        #expect(throws: ImageError.self) { try derive(nil, root) }
        var whole: [UInt8] = []
        try LayerWriter(store: store).writeWhole(root) { whole.append(contentsOf: $0) }
        #expect(try names(whole) == [".wh.odd"])
    }

    /// Members and contents of several batches, which are looked up by one thread and read by another.
    @Test func manyMembers() throws {
        var random = SeededGenerator(seed: 5)
        var items: [Item] = []
        for directory in ["a", "b", "c"] {
            items.append(.directory(directory + "/"))
            // Names in the order of their bytes, as a tree has them.
            for index in 1000..<2500 {
                let path = "\(directory)/\(index)"
                if index % 97 == 0 { items.append(.directory(path + "/")) }
                if index % 89 == 0 { items.append(.symlink(path, "1000")) }
                if index % 97 == 0 || index % 89 == 0 { continue }
                items.append(.file(path, index % 50 == 0 ? [] : random.bytes(Int.random(in: 1...3000, using: &random))))
            }
        }
        items.append(.file("large", random.bytes(9 << 20)))
        items.append(.file("last", "x"))
        let expected = try archive(items)
        let root = try #require(try tree([items], in: store))
        #expect(try derive(nil, root) == expected)

        let scratch = try ScratchDirectory()
        let kept = try Store(path: scratch.path + "/store")
        let layer = try ParsedLayer(reading: MemorySource(expected), into: kept)
        let tree = try layer.apply(to: nil, in: kept)
        try kept.commit()
        #expect(tree == root)
        var bytes: [UInt8] = []
        let summary = try LayerWriter(store: kept).write(from: nil, to: tree) { bytes.append(contentsOf: $0) }
        #expect(bytes == expected)
        #expect(summary.diffID == layer.diffID)

        // One that is not there is an error, and no archive comes to its end.
        let missing = Digest.of("nobody kept this")
        var editor = TreeEditor(tree, store: kept)
        let node = Node(attributes: Attributes(mode: 0o644), content: .file(missing, size: 16))
        try editor.put(.node(node), at: "b/2222", parents: Attributes(mode: 0o755))
        let broken = try editor.commit()
        do throws(ImageError) {
            try LayerWriter(store: kept).write(from: nil, to: broken)
            Issue.record("a layer was written without one of its contents")
        } catch {
            if case .store(.missing(let name)) = error { return #expect(name == missing) }
            Issue.record("another error: \(error)")
        }
    }

    @Test func timesAreWholeSeconds() throws {
        var file = Item.file("f", "x")
        file.member.time = Timestamp(seconds: 1_700_000_000)
        let root = try #require(try tree([[file]], in: store))
        var editor = TreeEditor(root, store: store)
        let node = Node(
            attributes: Attributes(mode: 0o644, time: Timestamp(seconds: 1_700_000_000, nanoseconds: 999_999_999)),
            content: .file(Digest.of("x"), size: 1))
        try editor.put(.node(node), at: "f", parents: Attributes(mode: 0o755))
        #expect(try derive(nil, try editor.commit()) == derive(nil, root))
    }

    /// Random trees: the derived layer, applied to the old tree, gives the new one; and it is always the same.
    @Test func deriveThenApplyGivesTheNewTree() throws {
        var random = SeededGenerator(seed: 7)
        var previous: TreeRef?
        for _ in 0..<300 {
            let next = try #require(try tree([randomLayer(&random)], in: store))
            let bytes = try derive(previous, next)
            #expect(try derive(previous, next) == bytes)
            let applied = try parse(bytes, into: store).apply(to: previous, in: store)
            #expect(applied.identity == next.identity)
            previous = next
        }
    }

    private func randomLayer(_ random: inout SeededGenerator) -> [Item] {
        var items: [Item] = []
        var files: [String] = []
        for _ in 0..<Int.random(in: 0...25, using: &random) {
            let depth = Int.random(in: 1...4, using: &random)
            let path = (0..<depth).map {
                ["a", "b", "c", "d"][($0 + Int.random(in: 0...3, using: &random)) % 4] + ($0 == depth - 1 ? "" : "_")
            }
            .joined(separator: "/")
            switch Int.random(in: 0...5, using: &random) {
            case 0: items.append(.directory(path + "_/", mode: [0o755, 0o700].randomElement(using: &random) ?? 0))
            case 1: items.append(.symlink(path, "anywhere"))
            case 2 where !files.isEmpty: items.append(.link(path + "l", files.randomElement(using: &random) ?? ""))
            default:
                items.append(.file(path, [UInt8](repeating: 1, count: Int.random(in: 0...3, using: &random))))
                files.append(path)
            }
        }
        return items
    }
}
