// What a `RUN` leaves is what the tree says: every kind of change, and nothing else.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageRunner
import StageStore
import StageSystem
import Testing

@Suite(.serialized, .enabled(if: canSandbox, "needs root and a static busybox"))
struct CaptureTests {
    let fixture: TreeFixture

    init() throws { fixture = try TreeFixture() }

    private func changes(_ shell: String) async throws -> (names: [String], tree: TreeRef) {
        let outcome = try await fixture.run(shell)
        #expect(outcome.exit == .exited(0), "\(outcome.output)")
        let tree = try #require(outcome.tree)
        return (try fixture.changes(from: fixture.image, to: tree), tree)
    }

    @Test func nothing() async throws {
        #expect(try await changes("true").tree == fixture.image)
        // Reading, and making and removing again, are no changes; nor is what the sandbox itself mounts.
        #expect(
            try await changes("cat /data/a; touch /data/t; rm /data/t; echo x > /dev/shm/x; touch /etc/hosts").tree
                == fixture.image)
    }

    @Test func resolverFilesAreBoundAndNotCaptured() async throws {
        let host = try readFile("/etc/resolv.conf")
        let outcome = try await fixture.run("cat /etc/resolv.conf; echo nameserver 9.9.9.9 > /etc/resolv.conf")
        #expect(outcome.output == String(decoding: host, as: UTF8.self))
        #expect(outcome.tree == fixture.image)
        #expect(try readFile("/etc/resolv.conf") == host)
    }

    @Test func directoriesWithoutEndAreRefused() async throws {
        let shell = "i=0; cd /data; while [ $i -lt 1900 ]; do mkdir d; cd d; i=$((i+1)); done"
        let error = await #expect(throws: ExecutorError.self) { _ = try await fixture.run(shell) }
        #expect(error?.message.contains("more than \(TreePath.depthLimit) directories") == true, "\(error as Any)")
        // And they are gone again.
        let runs = try OwnedFD.open(fixture.scratch.path + "/runs", O_RDONLY | O_DIRECTORY)
        #expect(try readEntries(runs.raw).isEmpty)
    }

    @Test func filesOfEveryKind() async throws {
        let (names, tree) = try await changes(
            """
            mkdir -p /new/deep; echo hello > /new/deep/f; chown 5:6 /new/deep/f; chmod 4711 /new/deep/f
            ln -s /x/y /new/s; mkfifo /new/p; mknod /new/c c 1 3; echo b > /data/a; rm /data/sub/b
            """)
        #expect(
            names == [
                "+/data/a", "-/data/sub/b", "+/new/", "+/new/c", "+/new/deep/", "+/new/deep/f", "+/new/p", "+/new/s",
            ])
        let file = try #require(try fixture.node("/new/deep/f", in: tree))
        #expect(file.attributes.mode == 0o4711 && file.attributes.uid == 5 && file.attributes.gid == 6)
        #expect(try fixture.store.read(try #require(file.file).digest) == Array("hello\n".utf8))
        #expect(try fixture.node("/new/s", in: tree)?.content == .symlink(Array("/x/y".utf8)))
        #expect(try fixture.node("/new/p", in: tree)?.content == .fifo)
        #expect(try fixture.node("/new/c", in: tree)?.content == .characterDevice(major: 1, minor: 3))
        #expect(try fixture.node("/data/a", in: tree)?.touch == nil)
    }

    @Test func replacedDirectories() async throws {
        let (names, tree) = try await changes(
            "rm -r /data; mkdir /data; echo n > /data/n; rm /etc/group; mkdir /etc/group; echo g > /etc/group/g")
        #expect(names == ["-/data/a", "+/data/n", "-/data/sub", "+/etc/group/", "+/etc/group/g"])
        // And the other way round, on top of that.
        let next = try await fixture.run("cat /data/n; rm -r /data; echo f > /data", chain: [fixture.image, tree])
        #expect(next.output == "n\n")
        let after = try #require(next.tree)
        #expect(try fixture.changes(from: tree, to: after) == ["+/data"])
    }

    @Test func metadataAlone() async throws {
        let (names, tree) = try await changes("chmod 600 /data/a; chown 3:4 /data/sub; chmod 1777 /data")
        #expect(names == ["+/data/a"])
        let file = try #require(try fixture.node("/data/a", in: tree))
        #expect(file.attributes.mode == 0o600)
        #expect(file.attributes.time == TreeFixture.time)
        #expect(tree.identity != fixture.image.identity)
        guard case .directory(let sub)? = try fixture.store.entry(at: "/data/sub", in: tree) else {
            Issue.record("/data/sub is gone")
            return
        }
        #expect(try fixture.store.directory(sub.object).attributes.uid == 3)
    }

    @Test func touchedFilesAreMarked() async throws {
        let first = try await changes("touch /data/a")
        #expect(first.names == ["+/data/a"])
        let node = try #require(try fixture.node("/data/a", in: first.tree))
        #expect(node.touch == Digest.of("step"))
        #expect(node.attributes.time > TreeFixture.time)
        // The same step again: the same identity. Another step: another one.
        #expect(try await changes("touch /data/a").tree.identity == first.tree.identity)
        let other = try await fixture.run("touch /data/a", key: "other")
        #expect(other.tree?.identity != first.tree.identity)
        // Touched, and put back to its old time: no change.
        #expect(try await changes("chmod 600 /data/a; chmod 644 /data/a").tree == fixture.image)
        // Written with what it had, in place or made anew.
        #expect(
            try fixture.node("/data/a", in: try await changes("printf a > /data/a").tree)?.touch == Digest.of("step"))
        let anew = try await changes("rm -r /data; mkdir -p /data/sub; printf a > /data/a; printf b > /data/sub/b")
        #expect(try fixture.node("/data/a", in: anew.tree)?.touch == Digest.of("step"))
        // Its owner and mode are others now, so it is a change, not a touch.
        #expect(try fixture.node("/data/sub/b", in: anew.tree)?.touch == nil)
    }

    @Test func hardLinks() async throws {
        let (names, tree) = try await changes("echo x > /l1; ln /l1 /data/l2; ln /data/a /data/a2")
        // `/data/a` is as it was: the new name of it is a file of its own in the layer, as in BuildKit.
        #expect(names == ["+/data/a2", "+/data/l2", "+/l1"])
        #expect(try fixture.node("/data/a", in: tree)?.touch == nil)
        #expect(try fixture.node("/data/a", in: tree)?.linkGroup == 0)
        let l1 = try #require(try fixture.node("/l1", in: tree))
        #expect(l1.linkGroup != 0)
        #expect(try fixture.node("/data/l2", in: tree)?.linkGroup == l1.linkGroup)
        #expect(try await changes("echo x > /l1; ln /l1 /data/l2; ln /data/a /data/a2").tree.identity == tree.identity)
        // A workspace made from the store has them as links too.
        let fresh = try TreeFixture.tree([("/x", try TreeFixture.file("x", fixture.store))], on: tree, fixture.store)
        let next = try await fixture.run(
            "stat -c %h /l1 /data/l2 /data/a /data/a2; test /l1 -ef /data/l2", chain: [fresh])
        #expect(next.exit == .exited(0))
        #expect(next.output == "2\n2\n1\n1\n")
    }

    @Test func socketsAreLeftOut() async throws {
        let (names, tree) = try await changes(
            "(timeout 1 nc -l -U /sock 2>/dev/null || nc -lU /sock &) ; true; mkdir /kept")
        #expect(names == ["+/kept/"])
        #expect(try fixture.store.entry(at: "/sock", in: tree) == nil)
    }

    @Test func attributesSurvive() async throws {
        var attributes = Attributes(mode: 0o755, time: TreeFixture.time)
        let capability: [UInt8] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        attributes.xattrs = [
            XAttr(name: Array("security.capability".utf8), value: capability),
            XAttr(name: Array("user.note".utf8), value: Array("hi".utf8)),
        ]
        let digest = try fixture.store.put(Array("x".utf8))
        let base = try TreeFixture.tree(
            [("/x", .node(Node(attributes: attributes, content: .file(digest, size: 1))))], on: fixture.image,
            fixture.store)
        let outcome = try await fixture.run("chmod 700 /x; chmod 755 /x; chmod u+s /x", chain: [base])
        let tree = try #require(outcome.tree)
        let node = try #require(try fixture.node("/x", in: tree))
        #expect(node.attributes.xattrs == attributes.xattrs)
        #expect(node.attributes.mode == 0o4755)
    }

    @Test func namesThatAreNotText() async throws {
        let (_, tree) = try await changes("touch \"/$(printf 'x\\377y')\"")
        #expect(try fixture.store.entry(at: TreePath([FileName(bytes: [0x78, 0xFF, 0x79])]), in: tree) != nil)
        // And back onto the disk.
        let again = try TreeFixture.tree([("/z", try TreeFixture.file("z", fixture.store))], on: tree, fixture.store)
        #expect(try await fixture.run("test -e \"/$(printf 'x\\377y')\" && echo yes", chain: [again]).output == "yes\n")
    }

    @Test func overlayMarksOfAnImageAreInert() async throws {
        // An image cannot make overlayfs hide or redirect anything.
        var attributes = Attributes(mode: 0o755, time: TreeFixture.time)
        attributes.xattrs = [
            XAttr(name: Array("trusted.overlay.opaque".utf8), value: [0x79]),
            XAttr(name: Array("trusted.overlay.redirect".utf8), value: Array("/etc".utf8)),
        ]
        var editor = TreeEditor(fixture.image, store: fixture.store)
        try editor.putDirectory(attributes, at: "/data", parents: Attributes(mode: 0o755))
        let hostile = try editor.commit()
        #expect(try await fixture.run("cat /data/a", chain: [fixture.image, hostile]).output == "a")
    }

    @Test func stacksOfDifferences() async throws {
        var chain = [fixture.image]
        for index in 0..<5 {
            let outcome = try await fixture.run(
                "echo \(index) > /data/n\(index); rm -f /data/n\(index - 2); mkdir -p /d; echo \(index) >> /d/log",
                chain: chain)
            chain.append(try #require(outcome.tree))
        }
        let expected = "a\nn3\nn4\nsub\n0\n1\n2\n3\n4\n"
        #expect(try await fixture.run("ls /data; cat /d/log", chain: chain).output == expected)
        // A second executor makes the same from the store alone.
        let scratch = Scratch()
        let other = try NamespaceExecutor(root: scratch.path, store: fixture.store)
        for chain in [chain, [try #require(chain.last)], [fixture.image, try #require(chain.last)]] {
            let run = Run(arguments: ["/bin/sh", "-c", "ls /data; cat /d/log"], environment: ["PATH=/bin"])
            let log = Log()
            _ = try await other.execute(ExecRequest(key: StepKey(Digest.of("k")), run: run, chain: chain)) {
                log.add($1)
            }
            #expect(log.text == expected)
        }
    }

    @Test func longChainsAreFlattened() async throws {
        var chain = [fixture.image]
        for index in 0..<420 {
            let entry = try TreeFixture.file("\(index)", fixture.store)
            chain.append(try TreeFixture.tree([("/n/\(index)", entry)], on: chain[chain.count - 1], fixture.store))
        }
        #expect(try await fixture.run("ls /n | wc -l", chain: chain).output == "420\n")
        #expect(try await fixture.run("ls /n | wc -l", chain: Array(chain.prefix(300))).output == "299\n")
    }
}
