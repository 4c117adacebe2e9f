// Scans of real directories: what the tree holds, and what is left out.

import CLinux
import Glibc
import StageContext
import StageHash
import StageStore
import StageSystem
import Testing

@Suite("Context scan")
struct ContextScannerTests {
    @Test func treeHoldsWhatIsThere() async throws {
        let fixture = try Fixture()
        try fixture.write("a.txt", "hello")
        try fixture.write("d/e/deep", "x")
        try fixture.directory("empty")
        try fixture.link("../../outside", "d/link")
        chmod(fixture.root + "/a.txt", 0o4751)
        var times = [timespec(tv_sec: 1_000_000, tv_nsec: 5), timespec(tv_sec: 1_000_000, tv_nsec: 123_456_789)]
        utimensat(AT_FDCWD, fixture.root + "/a.txt", &times, 0)
        mkfifo(fixture.root + "/fifo", 0o600)
        let scan = try await fixture.scan()
        #expect(
            try fixture.listing(scan.tree) == [
                "a.txt", "d/", "d/e/", "d/e/deep", "d/link -> ../../outside", "empty/", "fifo",
            ])
        #expect(scan.files == 2)
        #expect(scan.bytes == 6)
        #expect(scan.directories == 3)
        #expect(scan.read == 2)
        #expect(scan.readBytes == 6)
        #expect(scan.events.isEmpty)
        #expect(try fixture.text("a.txt", scan.tree) == "hello")
        guard case .node(let node)? = try fixture.store.entry(at: "a.txt", in: scan.tree) else {
            Issue.record("no a.txt")
            return
        }
        #expect(node.attributes.mode == 0o4751)
        #expect(node.attributes.uid == 0 && node.attributes.gid == 0)
        #expect(node.attributes.time == Timestamp(seconds: 1_000_000, nanoseconds: 123_456_789))
        #expect(node.file?.digest == Digest.of("hello"))
        let root = try fixture.store.directory(scan.tree.object)
        #expect(root.attributes == Attributes(mode: 0o755))
        guard case .node(let fifo)? = root["fifo"] else {
            Issue.record("no fifo")
            return
        }
        #expect(fifo.content == .fifo)
        #expect(fifo.attributes.mode == 0o600)
    }

    @Test func ownersDoNotCount() async throws {
        let fixture = try Fixture()
        try fixture.write("a", "1")
        let before = try await fixture.scan()
        if getuid() == 0 { #expect(chown(fixture.root + "/a", 3_000_000, 4_000_000) == 0) }
        #expect(try await fixture.scan().tree.identity == before.tree.identity)
    }

    @Test func extendedAttributesStayOut() async throws {
        let fixture = try Fixture()
        try fixture.write("a", "1")
        let fd = try OwnedFD.open(fixture.root, O_RDONLY | O_DIRECTORY)
        let value: [UInt8] = [1, 2]
        _ = clinux_setxattr(fd.raw, "a", "user.note", value, value.count)
        let scan = try await fixture.scan()
        guard case .node(let node)? = try fixture.store.entry(at: "a", in: scan.tree) else {
            Issue.record("no a")
            return
        }
        #expect(node.attributes.xattrs.isEmpty)
    }

    @Test func socketBecomesEmptyFile() async throws {
        let fixture = try Fixture()
        let fd = OwnedFD(owning: socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array((fixture.root + "/sock").utf8)) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(fd.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
        let scan = try await fixture.scan()
        #expect(scan.events == [.socketBecameFile(path: "sock")])
        #expect(try fixture.text("sock", scan.tree) == "")
    }

    @Test func namesThatAreNotText() async throws {
        let fixture = try Fixture()
        let name: [CChar] =
            Array(fixture.root.utf8CString.dropLast()) + [
                0x2F, CChar(bitPattern: 0xFF), CChar(bitPattern: 0xFE), 0x0A, 0,
            ]
        close(open(name, O_WRONLY | O_CREAT, 0o644))
        let scan = try await fixture.scan()
        #expect(try fixture.store.directory(scan.tree.object).items.map(\.name.bytes) == [[0xFF, 0xFE, 0x0A]])
    }

    @Test func symlinksAreNotFollowed() async throws {
        let fixture = try Fixture()
        try fixture.link("/etc", "out")
        try fixture.link("loop", "loop")
        try fixture.link("/etc/passwd", "file")
        let scan = try await fixture.scan()
        #expect(try fixture.listing(scan.tree) == ["file -> /etc/passwd", "loop -> loop", "out -> /etc"])
        #expect(scan.read == 0)
    }

    @Test func ignoredIsAbsent() async throws {
        let fixture = try Fixture()
        for path in [
            "a.txt", "b.md", "keep.md", "node_modules/x/y", "src/a.o", "src/a.c", "log/deep/keep", "log/other",
        ] {
            try fixture.write(path, path)
        }
        try fixture.directory("gone/only/dirs")
        let scan = try await fixture.scan("*.md\n!keep.md\n**/node_modules\n**/*.o\nlog\n!log/deep/keep\ngone")
        #expect(
            try fixture.listing(scan.tree)
                == ["a.txt", "keep.md", "log/", "log/deep/", "log/deep/keep", "src/", "src/a.c"])
        #expect(scan.read == 4)
    }

    @Test func excludedDirectoryIsNotOpened() async throws {
        let fixture = try Fixture()
        try fixture.write("secret/a", "1")
        try fixture.write("b", "1")
        // Unreadable even for root: not a permission, but a depth that is refused when it is looked into.
        try deepDirectory(fixture.root + "/secret", levels: 3100)
        let scan = try await fixture.scan("secret")
        #expect(try fixture.listing(scan.tree) == ["b"])
        await #expect(throws: ContextError.self) { try await fixture.scan() }
        #expect(try fixture.listing(try await fixture.scan("secret\n!other/**").tree) == ["b"])
    }

    @Test func narrowedToPatterns() async throws {
        let fixture = try Fixture()
        for path in ["a/x/1", "a/y/2", "b/3", "c.txt", "d.txt", "e/f.go", "e/g/h.go", "weird[1]/z"] {
            try fixture.write(path, path)
        }
        func list(_ patterns: [String]?) async throws -> [String] {
            try fixture.listing(try await fixture.scan(patterns: patterns).tree).filter { !$0.hasSuffix("/") }
        }
        let all = try await list(nil)
        #expect(all.count == 8)
        #expect(try await list(["."]) == all)
        #expect(try await list([""]) == all)
        #expect(try await list(["b", "/"]) == all)
        #expect(try await list([]) == [])
        #expect(try await list(["a"]) == ["a/x/1", "a/y/2"])
        #expect(try await list(["/a/x/"]) == ["a/x/1"])
        #expect(try await list(["../../b"]) == ["b/3"])
        #expect(try await list(["*.txt"]) == ["c.txt", "d.txt"])
        #expect(try await list(["e/*.go"]) == ["e/f.go"])
        #expect(try await list(["e/**/h.go"]) == ["e/f.go", "e/g/h.go"])
        #expect(try await list(["*/3", "nothing/here", "c.txt/no"]) == ["b/3"])
        #expect(try await list(["weird\\[1\\]"]) == ["weird[1]/z"])
        #expect(try await list(["[", "b"]) == all)
    }

    @Test func narrowingFollowsSymlinks() async throws {
        let fixture = try Fixture()
        for path in ["real/deep/f", "real/other", "solo", "unused/x"] { try fixture.write(path, path) }
        try fixture.link("real", "one")
        try fixture.link("one/deep", "two")
        try fixture.link("/solo", "three")
        try fixture.link("../../../../solo", "four")
        try fixture.link("one/../solo", "five")
        try fixture.link("six", "six")
        func list(_ patterns: [String]) async throws -> [String] {
            try fixture.listing(try await fixture.scan(patterns: patterns).tree)
        }
        #expect(try await list(["one"]) == ["one -> real", "real/", "real/deep/", "real/deep/f", "real/other"])
        #expect(try await list(["two/f"]) == ["one -> real", "real/", "real/deep/", "real/deep/f", "two -> one/deep"])
        #expect(try await list(["three"]) == ["solo", "three -> /solo"])
        #expect(try await list(["four"]) == ["four -> ../../../../solo", "solo"])
        let five = try await list(["five"])
        #expect(five.contains("solo"))
        #expect(try await list(["six"]) == ["six -> six"])
        let wild = try await list(["t*"])
        #expect(wild.contains("real/deep/f"))
    }

    @Test func narrowedScanDoesNotLookElsewhere() async throws {
        let fixture = try Fixture()
        try fixture.write("a/1", "1")
        try deepDirectory(fixture.root + "/huge", levels: 3100)
        let scan = try await fixture.scan(patterns: ["a"])
        #expect(scan.files == 1)
    }

    @Test func deepAndLongPaths() async throws {
        let fixture = try Fixture()
        try deepDirectory(fixture.root, levels: 500)
        try deepDirectory(fixture.root, levels: 40, name: String(repeating: "n", count: 200))
        let scan = try await fixture.scan()
        #expect(scan.directories == 540)
        #expect(scan.files == 2)
    }

    @Test func directoriesWithoutEndAreRefused() async throws {
        let fixture = try Fixture()
        try deepDirectory(fixture.root, levels: 20_000)
        let error = await #expect(throws: ContextError.self) { try await fixture.scan() }
        guard case .tooDeep(_, let limit)? = error else {
            Issue.record("\(error as Any)")
            return
        }
        #expect(limit == TreePath.depthLimit)
    }

    @Test func badContexts() async throws {
        let fixture = try Fixture()
        try fixture.write("file")
        mkfifo(fixture.root + "/fifo", 0o644)
        let scanner = ContextScanner(store: fixture.store, pool: fixture.pool)
        await #expect(throws: ContextError.missing(path: fixture.root + "/none")) {
            try await scanner.scan(ContextRequest(path: fixture.root + "/none"))
        }
        for name in ["file", "fifo"] {
            await #expect(throws: ContextError.notDirectory(path: fixture.root + "/" + name)) {
                try await scanner.scan(ContextRequest(path: fixture.root + "/" + name))
            }
        }
    }

    @Test func manyEntriesInOneDirectory() async throws {
        let fixture = try Fixture()
        for index in 0..<5000 { try fixture.write("d/f\(index)", "\(index % 50)") }
        let scan = try await fixture.scan()
        #expect(scan.files == 5000)
        #expect(scan.read == 5000)
        #expect(try fixture.listing(scan.tree).count == 5001)
        #expect(try fixture.text("d/f4321", scan.tree) == "21")
        let alone = try await fixture.scan(indexed: false)
        #expect(alone.tree == scan.tree)
    }

    /// A state directory inside the context would take itself in, and grow with each build.
    @Test func storeInsideTheContextIsLeftOut() async throws {
        let fixture = try Fixture()
        try fixture.write("app/main", "x")
        try fixture.write("app/state/packs/p", "store")
        let scanner = ContextScanner(store: fixture.store, pool: fixture.pool)
        var request = ContextRequest(path: fixture.root, leftOut: fixture.root + "/app/state")
        let scan = try await scanner.scan(request)
        #expect(try fixture.listing(scan.tree) == ["app/", "app/main"])
        #expect(scan.events == [.storeLeftOut(path: "app/state")])
        // Known by what it is, not by a name; and not worth a word when it is ignored anyway.
        try fixture.link(fixture.root + "/app/state", "link")
        request.leftOut = fixture.root + "/link"
        request.rules = try IgnoreRules(text: Array("app/state".utf8), file: ".dockerignore")
        let again = try await scanner.scan(request)
        #expect(try fixture.listing(again.tree).contains("app/state/") == false)
        #expect(again.events.isEmpty)
    }

    @Test func ignoreFileChoice() throws {
        let fixture = try Fixture()
        #expect(try IgnoreRules.ignoreFile(context: fixture.root, dockerfile: fixture.root + "/Dockerfile") == nil)
        try fixture.write(".dockerignore", "a")
        try fixture.write("sub/x.Dockerfile.dockerignore", "b")
        let general = try IgnoreRules.ignoreFile(context: fixture.root, dockerfile: fixture.root + "/Dockerfile")
        #expect(general == IgnoreFile(path: fixture.root + "/.dockerignore", text: Array("a".utf8)))
        let own = try IgnoreRules.ignoreFile(context: fixture.root, dockerfile: fixture.root + "/sub/x.Dockerfile")
        #expect(own?.text == Array("b".utf8))
        try fixture.write("other/.dockerignore/x", "a")
        #expect(try IgnoreRules.ignoreFile(context: fixture.root + "/other", dockerfile: nil) == nil)
        try fixture.write(".dockerignore", [UInt8](repeating: 0x61, count: IgnoreRules.sizeLimit + 1))
        #expect(throws: IgnoreError.tooLarge(file: fixture.root + "/.dockerignore", limit: IgnoreRules.sizeLimit)) {
            try IgnoreRules.ignoreFile(context: fixture.root, dockerfile: nil)
        }
    }
}

/// Makes a chain of directories with one file at its end, step by step: no path of that length is ever used.
func deepDirectory(_ root: String, levels: Int, name: String = "d") throws {
    mkdir(root, 0o755)
    var here = try OwnedFD.open(root, O_RDONLY | O_DIRECTORY)
    for _ in 0..<levels {
        if mkdirat(here.raw, name, 0o755) != 0 { throw SystemError.last("mkdirat", name) }
        here = try OwnedFD.open(name, O_RDONLY | O_DIRECTORY, at: here.raw)
    }
    _ = try OwnedFD.open("end", O_WRONLY | O_CREAT, mode: 0o644, at: here.raw)
}
