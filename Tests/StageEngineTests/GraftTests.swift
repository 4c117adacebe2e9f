// COPY, ADD and WORKDIR on trees: destinations, merges, owners, modes, wildcards.

import StageGraph
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageEngine

@Suite struct GraftTests {
    let store = MemoryStore()

    /// A tree from `path: text`; a path that ends with `/` is a directory, text that starts with `->` a symlink.
    func tree(_ files: [String: String]) throws -> TreeRef {
        var editor = TreeEditor(nil, store: store)
        for (path, text) in files.sorted(by: { $0.key < $1.key }) {
            let parents = Attributes(mode: 0o700)
            if path.hasSuffix("/") {
                try editor.putDirectory(Attributes(mode: 0o711), at: TreePath(path), parents: parents)
            } else if text.hasPrefix("->") {
                let node = Node(attributes: Attributes(mode: 0o777), content: .symlink(Array(text.dropFirst(2).utf8)))
                try editor.put(.node(node), at: TreePath(path), parents: parents)
            } else {
                let node = Node(
                    attributes: Attributes(mode: 0o640),
                    content: .file(try store.put(Array(text.utf8)), size: UInt64(text.utf8.count)))
                try editor.put(.node(node), at: TreePath(path), parents: parents)
            }
        }
        return try editor.commit()
    }

    func list(_ tree: TreeRef) throws -> [String] {
        var lines: [String] = []
        try store.walk(tree) { path, entry throws(StoreError) in
            switch entry {
            case .directory(let ref):
                let attributes = try store.directory(ref.object).attributes
                lines.append("\(path)/ \(String(attributes.mode, radix: 8)) \(attributes.uid):\(attributes.gid)")
            case .node(let node):
                let mode = "\(String(node.attributes.mode, radix: 8)) \(node.attributes.uid):\(node.attributes.gid)"
                switch node.content {
                case .file(let digest, _):
                    lines.append("\(path) \(mode) \(String(decoding: try store.read(digest), as: UTF8.self))")
                case .symlink(let target): lines.append("\(path) ->\(String(decoding: target, as: UTF8.self))")
                default: lines.append("\(path) \(mode)")
                }
            }
        }
        return lines
    }

    func copy(
        _ patterns: [String], to destination: String, from source: [String: String], onto base: [String: String],
        chown: Owner? = nil, chmod: String? = nil
    ) throws -> [String] {
        let copy = Copy(
            sources: patterns.map { .path(input: 1, pattern: $0) }, destination: destination, chown: chown,
            chmod: chmod,
            resetsOwner: true)
        let inputs = [try tree(base), try tree(source)]
        let selection = try CopySelection(copy, inputs: inputs, store: store)
        var graft = Graft(base: inputs[0], store: store, unpacker: nil)
        return try list(try graft.apply(copy, selection))
    }

    func copy(_ source: Copy.Source, excluding excludes: [String], from files: [String: String]) throws -> [String] {
        let copy = Copy(sources: [source], destination: "/d/", resetsOwner: true, excludes: excludes)
        let inputs = [try tree([:]), try tree(files)]
        let selection = try CopySelection(copy, inputs: inputs, store: store)
        var graft = Graft(base: inputs[0], store: store, unpacker: nil)
        return try list(try graft.apply(copy, selection)).filter { !$0.contains("/ ") }
            .compactMap { $0.split(separator: " ").first.map(String.init) }
    }

    func refusal(_ body: () throws -> [String]) -> String {
        do {
            return "no error: \(try body())"
        } catch CopyFailure.refused(let error) {
            return error.message + (error.advice.map { " (\($0))" } ?? "")
        } catch { return "another error: \(error)" }
    }

    @Test func aFileToANewName() throws {
        #expect(try copy(["a"], to: "/app/b", from: ["a": "1"], onto: [:]) == ["/app/ 755 0:0", "/app/b 640 0:0 1"])
    }

    @Test func aFileIntoADirectoryBySlashAndByPresence() throws {
        #expect(try copy(["d/a"], to: "/app/", from: ["d/a": "1"], onto: [:]) == ["/app/ 755 0:0", "/app/a 640 0:0 1"])
        #expect(
            try copy(["d/a"], to: "/app", from: ["d/a": "1"], onto: ["app/": ""]) == [
                "/app/ 711 0:0", "/app/a 640 0:0 1",
            ])
    }

    @Test func aDirectoryGivesItsContents() throws {
        #expect(
            try copy(["d"], to: "/app", from: ["d/": "", "d/a": "1", "d/e/b": "2"], onto: [:])
                == ["/app/ 755 0:0", "/app/a 640 0:0 1", "/app/e/ 700 0:0", "/app/e/b 640 0:0 2"])
    }

    @Test func aMergeKeepsWhatIsThereAndTakesTheSourcesModesBelowTheTop() throws {
        #expect(
            try copy(
                ["."], to: "/app", from: ["x": "1", "e/b": "2"], onto: ["app/": "", "app/e/": "", "app/e/c": "3"])
                == ["/app/ 711 0:0", "/app/e/ 700 0:0", "/app/e/b 640 0:0 2", "/app/e/c 640 0:0 3", "/app/x 640 0:0 1"])
    }

    @Test func excludedPathsAreLeftOut() throws {
        let files = ["s/a.txt": "1", "s/d/a.txt": "2", "s/d/b": "3", "s/e/c": "4"]
        let source = Copy.Source.path(input: 1, pattern: "s")
        #expect(try copy(source, excluding: ["*.txt"], from: files) == ["/d/d/a.txt", "/d/d/b", "/d/e/c"])
        #expect(try copy(source, excluding: ["**/*.txt", "e/"], from: files) == ["/d/d/b"])
        #expect(try copy(source, excluding: ["**", "!d/b"], from: files) == ["/d/d/b"])
        #expect(try copy(source, excluding: [], from: files).count == 4)
        // As in BuildKit, patterns look at what is in a source, not at the source.
        #expect(try copy(.path(input: 1, pattern: "s/*.txt"), excluding: ["*"], from: files) == ["/d/a.txt"])
        #expect(
            refusal { try copy(source, excluding: ["[a"], from: files) }
                == "the pattern [a is malformed (a [ needs its ]; write \\[ for the character itself)")
    }

    @Test func parentsAreKept() throws {
        let files = ["s/a": "1", "s/d/a": "2", "s/d/b": "3", "s/e/c": "4", "l": "->s"]
        func parents(_ pivot: String, _ pattern: String, excluding: [String] = []) throws -> [String] {
            try copy(.parents(input: 1, pivot: pivot, pattern: pattern), excluding: excluding, from: files)
        }
        #expect(try parents(".", "s/d/b") == ["/d/s/d/b"])
        #expect(try parents("s", "d") == ["/d/d/a", "/d/d/b"])
        #expect(try parents(".", "**/a") == ["/d/s/a", "/d/s/d/a"])
        #expect(try parents("s", "*/?", excluding: ["d"]) == ["/d/e/c"])
        #expect(try parents("s", ".") == ["/d/a", "/d/d/a", "/d/d/b", "/d/e/c"])
        #expect(try parents("s", "x*") == [])
        #expect(try parents("s", "d/x") == [])
        #expect(refusal { try parents("s/a", "x") }.hasPrefix("s/a is not a directory"))
    }

    @Test func wildcards() throws {
        let files = ["package.json": "1", "package-lock.json": "2", "index.js": "3"]
        #expect(
            try copy(["package*.json"], to: "/app/", from: files, onto: [:])
                == ["/app/ 755 0:0", "/app/package-lock.json 640 0:0 2", "/app/package.json 640 0:0 1"])
        #expect(try copy(["none*"], to: "/app/", from: files, onto: [:]) == [])
    }

    @Test func symlinksOfTheDestinationAreFollowedInside() throws {
        #expect(
            try copy(["a"], to: "/lib/", from: ["a": "1"], onto: ["lib": "->usr/lib", "usr/lib/": ""])
                == ["/lib ->usr/lib", "/usr/ 700 0:0", "/usr/lib/ 711 0:0", "/usr/lib/a 640 0:0 1"])
        #expect(
            try copy(["a"], to: "/out/x", from: ["a": "1"], onto: ["out": "->../../../../etc"])
                == ["/etc/ 755 0:0", "/etc/x 640 0:0 1", "/out ->../../../../etc"])
    }

    @Test func theNamedSourceFollowsItsSymlinkAndTreesKeepTheirs() throws {
        #expect(try copy(["l"], to: "/b", from: ["a": "1", "l": "->a"], onto: [:]) == ["/b 640 0:0 1"])
        #expect(try copy(["."], to: "/", from: ["a": "1", "l": "->a"], onto: [:]) == ["/a 640 0:0 1", "/l ->a"])
    }

    @Test func ownersAndModes() throws {
        let passwd = "root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n"
        let result = try copy(
            ["d"], to: "/app", from: ["d/e/a": "1"], onto: ["etc/passwd": passwd], chown: Owner(user: "node"),
            chmod: "u=rwX,go=rX")
        #expect(
            result.filter { $0.hasPrefix("/app") } == [
                "/app/ 755 1000:1001", "/app/e/ 755 1000:1001", "/app/e/a 644 1000:1001 1",
            ])
    }

    @Test func aCopyIsNeverTheSameFileAsItsSourceOrAnotherCopy() throws {
        let plain = try tree(["d/a": "1", "d/s/b": "1", "d/c": "2"])
        var editor = TreeEditor(plain, store: store)
        for path: TreePath in ["/d/a", "/d/s/b"] {
            guard case .node(var node)? = try editor.look(path) else { throw StoreError.corrupt("no file") }
            node.linkGroup = 7
            try editor.put(.node(node), at: path, parents: Attributes(mode: 0o755))
        }
        let source = try editor.commit()

        func copied(_ patterns: [String], to destination: String, onto base: TreeRef) throws -> TreeRef {
            let copy = Copy(
                sources: patterns.map { .path(input: 1, pattern: $0) }, destination: destination, resetsOwner: false)
            let selection = try CopySelection(copy, inputs: [base, source], store: store)
            var graft = Graft(base: base, store: store, unpacker: nil)
            return try graft.apply(copy, selection)
        }
        let once = try copied(["d"], to: "/x", onto: try tree(["e": ""]))
        let twice = try copied(["d"], to: "/y", onto: once)
        let all = try copied(["d/a", "d/s/b", "d", "d/s"], to: "/z/", onto: twice)

        func group(_ path: TreePath) throws -> UInt64 {
            guard case .node(let node)? = try store.entry(at: path, in: all) else {
                throw StoreError.corrupt("no file")
            }
            return node.linkGroup
        }
        let first = try group("/x/a")
        #expect(first != 0 && first != 7)
        #expect(try group("/x/s/b") == first)
        #expect(try group("/x/c") == 0)
        #expect(try group("/y/a") == group("/y/s/b"))
        #expect(try group("/y/a") != first)
        // Four sources: the files by themselves are one name each; what the directories bring is theirs.
        #expect(try group("/z/a") == group("/z/s/b"))
        #expect(try group("/z/b") != group("/z/a"))
        // The same again is the very same tree, and a tree without links is taken as it is.
        #expect(try copied(["d"], to: "/x", onto: once) == once)
        #expect(try copied(["d/s/b"], to: "/one", onto: once).identity != once.identity)
    }

    /// Every file is an archive of the same tree.
    private struct OneArchive: ArchiveUnpacker {
        let tree: TreeRef
        let store: MemoryStore

        func unpack(_ file: Digest, onto base: TreeRef, _ unpacking: Unpacking) throws(StoreError) -> TreeRef? {
            try TreeMerge(store: store).merged(tree, over: base)
        }
    }

    @Test func anArchiveGoesOntoWhatIsThere() throws {
        let base = try tree(["t/dir/keep": "1", "t/file": "2"])
        let archive = try tree(["dir/new": "A", "file": "B"])
        func add(to destination: String) throws -> [String] {
            let copy = Copy(
                sources: [.path(input: 1, pattern: "a.tar")], destination: destination, chown: Owner(user: "5"),
                resetsOwner: true, unpacksArchives: true)
            let selection = try CopySelection(copy, inputs: [base, try tree(["a.tar": "x"])], store: store)
            var graft = Graft(base: base, store: store, unpacker: OneArchive(tree: archive, store: store))
            return try list(try graft.apply(copy, selection))
        }
        #expect(
            try add(to: "/t") == [
                "/t/ 700 0:0", "/t/dir/ 700 0:0", "/t/dir/keep 640 0:0 1", "/t/dir/new 640 0:0 A", "/t/file 640 0:0 B",
            ])
        #expect(try add(to: "/u/v").prefix(2) == ["/t/ 700 0:0", "/t/dir/ 700 0:0"])
        #expect(try add(to: "/u/v").filter { $0.hasPrefix("/u") }.prefix(2) == ["/u/ 755 5:5", "/u/v/ 755 5:5"])
        #expect(try add(to: "/").contains("/file 640 0:0 B"))
        #expect(throws: CopyFailure.self) { try add(to: "/t/file") }
    }

    @Test func refusals() {
        #expect(
            refusal { try copy(["serve"], to: "/", from: ["server": "1"], onto: [:]) }
                == "serve is not there: no serve in / (did you mean `server`?)")
        #expect(
            refusal { try copy(["d/l"], to: "/", from: ["d/l": "->../../gone"], onto: [:]) }
                == "d/l is a symlink that leads nowhere: l -> ../../gone")
        #expect(refusal { try copy(["d"], to: "/f", from: ["d/a": "1"], onto: ["f": "1"]) } == "/f is not a directory")
        #expect(
            refusal { try copy(["."], to: "/", from: ["x": "1"], onto: ["x/": ""]) }.hasPrefix(
                "/x is a directory and a file would replace it"))
        #expect(
            refusal { try copy(["a"], to: "/", from: ["a": "1"], onto: [:], chmod: "rwx") }.hasPrefix(
                "--chmod=rwx is no mode"))
        #expect(
            refusal { try copy(["a"], to: "/", from: ["a": "1"], onto: [:], chown: Owner(user: "nod")) }.hasPrefix(
                "the user nod cannot be looked up: there is no filesystem yet"))
    }

    @Test func accountsThatAreNotThereAreRoots() throws {
        let base = try tree(["etc/passwd": "node:x:7:8::/:/\n", "etc/group": "crew:x:9:\n"])
        func owner(_ owner: Owner) throws -> (String, [String]) {
            let copy = Copy(
                sources: [.text(name: "f", content: "")], destination: "/f", chown: owner, resetsOwner: true)
            let selection = try CopySelection(copy, inputs: [base], store: store)
            var graft = Graft(base: base, store: store, unpacker: nil)
            let lines = try list(try graft.apply(copy, selection))
            return (lines.first { $0.hasPrefix("/f") } ?? "", graft.notes)
        }
        #expect(try owner(Owner(user: "node")).0 == "/f 644 7:8 ")
        #expect(try owner(Owner(user: "node")).1 == [])
        #expect(try owner(Owner(user: "nod")).0 == "/f 644 0:0 ")
        #expect(
            try owner(Owner(user: "nod")).1 == [
                "the user nod is not in the image's /etc/passwd (did you mean node?): root takes its place"
            ])
        #expect(try owner(Owner(user: "node", group: "none")).0 == "/f 644 7:8 ")
        #expect(try owner(Owner(user: "gone", group: "crew")).0 == "/f 644 0:9 ")
        #expect(try owner(Owner(user: "12", group: "none")).0 == "/f 644 12:12 ")
    }

    @Test func timesThatAreAskedFor() throws {
        let base = try tree(["d/old": "1"])
        let copy = Copy(
            sources: [.path(input: 1, pattern: ".")], destination: "/d/e", resetsOwner: true, time: 1234)
        let selection = try CopySelection(copy, inputs: [base, try tree(["x/y": "2", "l": "->x"])], store: store)
        var graft = Graft(base: base, store: store, unpacker: nil)
        let result = try graft.apply(copy, selection)
        for path in ["/d/e/x/y", "/d/e/l"] {
            guard case .node(let node)? = try store.entry(at: TreePath(path), in: result) else {
                Issue.record("\(path)")
                continue
            }
            #expect(node.attributes.time.seconds == 1234)
        }
        for (path, time) in [("/d", 0), ("/d/e", 1234), ("/d/e/x", 1234)] {
            guard case .directory(let ref)? = try store.entry(at: TreePath(path), in: result) else {
                Issue.record("\(path)")
                continue
            }
            #expect((try store.directory(ref.object).attributes.time.seconds == 1234) == (time == 1234), "\(path)")
        }
    }

    @Test func directoriesOnTheWayToWhatIsTakenKeepTheirOwner() throws {
        var base = TreeEditor(nil, store: store)
        let old = Attributes(mode: 0o711, uid: 3, gid: 4)
        try base.putDirectory(old, at: TreePath("x/a"), parents: old)
        let inputs = [try base.commit(), try tree(["n/a/": "", "n/a/f": "1", "n/a/g": "2", "n/b/h": "3"])]
        func result(_ excludes: [String]) throws -> (CopySelection, [String]) {
            let copy = Copy(
                sources: [.path(input: 1, pattern: "n")], destination: "/x", chmod: "600", resetsOwner: true,
                excludes: excludes)
            let selection = try CopySelection(copy, inputs: inputs, store: store)
            var graft = Graft(base: inputs[0], store: store, unpacker: nil)
            return (selection, try list(try graft.apply(copy, selection)))
        }
        let (passing, onTheWay) = try result(["a", "b", "!a/f"])
        let (whole, taken) = try result(["a/g", "b"])
        #expect(onTheWay == ["/x/ 711 3:4", "/x/a/ 711 3:4", "/x/a/f 600 0:0 1"])
        #expect(taken == ["/x/ 711 3:4", "/x/a/ 600 0:0", "/x/a/f 600 0:0 1"])
        // Both leave the same of the source; what becomes of it is not the same, so the keys are not.
        #expect(passing.sources[0].identity == whole.sources[0].identity)
        let operation = Operation.copy(Copy(sources: [], destination: "/x", resetsOwner: true))
        func key(_ selection: CopySelection) -> Digest {
            let platform = Platform(os: "linux", architecture: "amd64")
            return KeyEncoder(operation, inputs: inputs, selection: selection, platform: platform).finalize().digest
        }
        #expect(key(passing) != key(whole))
    }

    @Test func newDirectoriesTakeTheGroupOfASetGroupIDParent() throws {
        var base = TreeEditor(nil, store: store)
        try base.putDirectory(
            Attributes(mode: 0o2775, uid: 5, gid: 6), at: TreePath("g"), parents: Attributes(mode: 0o755))
        let root = try base.commit()
        var made = Graft(base: root, store: store, unpacker: nil)
        #expect(
            try list(try made.apply(MakeDirectory(path: "/g/a/b")))
                == ["/g/ 2775 5:6", "/g/a/ 2755 0:6", "/g/a/b/ 2755 0:6"])
        var owned = Graft(base: root, store: store, unpacker: nil)
        let directory = MakeDirectory(path: "/g/a", owner: Owner(user: "7", group: "8"))
        #expect(try list(try owned.apply(directory)) == ["/g/ 2775 5:6", "/g/a/ 2755 7:8"])
    }

    @Test(
        arguments: [
            (Owner(user: "7", group: ""), "7:0"), (Owner(user: "", group: "9"), "0:9"), (Owner(user: "root"), "0:0"),
            (Owner(user: "4294967295"), "0:0"), (Owner(user: "u", group: ""), "11:0"), (Owner(user: "u"), "11:12"),
            (Owner(user: "u", group: "g:h"), "11:12"), (Owner(user: "7", group: "g"), "7:13"),
        ] as [(Owner, String)])
    func ownersInHalves(owner: Owner, expected: String) throws {
        let accounts = ["etc/passwd": "root:x:1:1::/:\nu:x:11:12::/:\n", "etc/group": "g:x:13:\n"]
        let lines = try copy(["a"], to: "/a", from: ["a": "1"], onto: accounts, chown: owner)
        #expect(lines.first == "/a 640 \(expected) 1")
    }

    @Test func aWildcardThatMeetsALinkToNowhereIsRefused() throws {
        let files = ["s/a": "1", "s/l": "->nowhere"]
        #expect(
            refusal { try copy(["s/*"], to: "/d/", from: files, onto: [:]) }.hasPrefix(
                "s/l is a symlink that leads nowhere"))
        #expect(
            refusal { try copy(["s/[b-a]"], to: "/d/", from: files, onto: [:]) }.hasPrefix(
                "the pattern s/[b-a] is malformed"))
        #expect(
            refusal { try copy(.path(input: 1, pattern: "s"), excluding: ["!"], from: files) }
                .hasPrefix("the pattern ! says nothing"))
    }

    @Test func whatParentsDoesNotFindIsRemarkedOn() throws {
        let inputs = [try tree([:]), try tree(["s/d/a": "1", "s/l": "->d"])]
        func remarks(_ pattern: String) throws -> [String] {
            let copy = Copy(
                sources: [.parents(input: 1, pivot: ".", pattern: pattern)], destination: "/d/", resetsOwner: true)
            let selection = try CopySelection(copy, inputs: inputs, store: store)
            var graft = Graft(base: inputs[0], store: store, unpacker: nil)
            _ = try graft.apply(copy, selection)
            return graft.notes
        }
        #expect(try remarks("s/d/a").isEmpty)
        #expect(try remarks("s/d/b") == ["--parents takes nothing for s/d/b: s/d/b is not there: no b in /s/d"])
        #expect(
            try remarks("s/l/a")
                == ["--parents takes nothing for s/l/a: s/l is a symlink, which is not followed"])
    }

    @Test func workdirMakesWhatIsMissing() throws {
        let base = try tree(["srv/": ""])
        var graft = Graft(base: base, store: store, unpacker: nil)
        #expect(
            try list(try graft.apply(MakeDirectory(path: "/srv/app/x"))) == [
                "/srv/ 711 0:0", "/srv/app/ 755 0:0", "/srv/app/x/ 755 0:0",
            ])
        var same = Graft(base: base, store: store, unpacker: nil)
        #expect(try same.apply(MakeDirectory(path: "/srv")) == base)
    }

    @Test(
        arguments: [
            ("644", 0o777, false, 0o644), ("u+x", 0o644, false, 0o744), ("+x", 0o644, false, 0o755),
            ("go=u", 0o740, false, 0o777),
            ("a-w", 0o666, false, 0o444), ("X", 0o644, false, -1), ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g+s", 0o755, true, 0o2755),
            ("o+t", 0o755, true, 0o755), ("+t", 0o755, true, 0o1755), ("=t", 0o640, false, 0o1640),
            ("g=u", 0o2711, false, 0o2771),
            ("a=", 0o7777, false, 0o1000), ("g=us", 0o750, false, 0o2700), ("u=g+x", 0o640, false, 0o540),
            ("-X", 0o711, true, 0o600),
            ("o=u-w", 0o640, false, 0o644), ("u+r,", 0, false, -1), ("+", 0o640, false, 0o640), ("8", 0, false, -1),
            ("17777", 0, false, -1), ("", 0, false, -1),
        ] as [(String, Int, Bool, Int)])
    func modes(text: String, mode: Int, isDirectory: Bool, expected: Int) {
        let result = FileModeChange(text).map { Int($0.applied(to: UInt16(mode), isDirectory: isDirectory)) } ?? -1
        #expect(result == expected)
    }

    @Test(arguments: [
        ("*.go", "main.go", true), ("*.go", "main.c", false), ("a?c", "abc", true), ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("a*b*c", "aXbYbc", true), ("a*b*c", "aXbYb", false), ("\\*", "*", true), ("\\*", "x", false), ("*", "", true),
        ("?", "é", true),
    ])
    func globs(pattern: String, name: String, expected: Bool) {
        #expect(Glob(Array(pattern.utf8))?.matches(Array(name.utf8)) == expected)
    }
}
