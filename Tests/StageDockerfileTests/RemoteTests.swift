// Sources that are fetched, links, and contexts with names: what they become in the graph, and what is refused.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct RemoteTests {
    private func steps(_ text: String, _ bench: Bench = Bench()) throws -> [String] {
        try bench.graph(text).steps.map(\.operation.golden)
    }

    @Test(arguments: [
        ("http://x/y z", ["web http://x/y as y", "copy fetched 1 -> /z reset unpack"]),
        ("https://h/a%20b?q=/c#f /d/", ["web https://h/a%20b?q=/c as a b", "copy fetched 1 -> /d/ reset unpack"]),
        ("--unpack https://h/x.tar /d", ["web https://h/x.tar as x.tar", "copy fetched 1 unpack -> /d reset unpack"]),
        ("https://h /d", ["web https://h as __unnamed__", "copy fetched 1 -> /d reset unpack"]),
        (
            "https://h/p/.. a /d/",
            ["web https://h/p/.. as __unnamed__", "context ''", "copy fetched 1 2:a -> /d/ reset unpack"]
        ),
        ("git://h/r /d", ["git git://h/r ref '' dir ''", "copy 1:. -> /d reset unpack"]),
        ("git@h:o/r.git#v1:sub/dir /d", ["git git@h:o/r.git ref 'v1' dir 'sub/dir'", "copy 1:. -> /d reset unpack"]),
        (
            "--keep-git-dir --checksum=ABC123 https://h/r.git?tag=v1&subdir=s&submodules=false /d",
            [
                "git https://h/r.git ref 'refs/tags/v1' dir 's' commit ABC123 keep no submodules",
                "copy 1:. -> /d reset unpack",
            ]
        ),
        (
            "https://h/r.git?branch=b&commit=0123 /d",
            ["git https://h/r.git ref 'refs/heads/b' dir '' commit 0123", "copy 1:. -> /d reset unpack"]
        ),
        (
            "ssh://git@h/r.git##ref=x,subdir=y /d",
            ["git ssh://git@h/r.git ref 'x' dir 'y'", "copy 1:. -> /d reset unpack"]
        ),
    ])
    func sources(line: String, expected: [String]) throws {
        #expect(try steps("FROM a\nADD \(line)").dropFirst() == expected[...])
    }

    @Test(arguments: [
        ("COPY http://x/y z", "source can't be a URL for COPY"),
        ("COPY git@x:y z", "source can't be a git ref for COPY"),
        ("ADD --checksum=sha256:0 http://x/y z", "invalid checksum"), ("ADD --checksum=md5:00 http://x/y z", "sha256:"),
        ("ADD --checksum=sha256:0 a b", "checksum requires an HTTP(S) or Git source"),
        ("ADD --checksum=sha256:0 http://x/y http://x/z b/", "multiple sources"),
        ("ADD https://h/r.git?tga=v1 /d", "unexpected query `tga`"),
        ("ADD https://h/r.git?tag=a&branch=b /d", "conflicts"),
        ("ADD https://h/r.git?ref=a#b /d", "ref conflicts"), ("ADD https://h/r.git#-x /d", "no reference of git"),
        ("ADD --keep-git-dir=false https://h/r.git?keep-git-dir /d", "inconsistent keep-git-dir"),
        ("ADD --checksum=12 https://h/r.git?commit=34 /d", "checksum mismatch"),
        ("ADD --checksum=foobar https://h/r.git /d", "invalid checksum `foobar`"),
    ])
    func refused(line: String, part: String) {
        let shown = Bench().rendered("FROM a\n\(line)")
        #expect(shown.contains(part) && shown.contains("^"), "\(shown)")
    }

    @Test func shownWithoutWhatIsPrivate() throws {
        let source = try #require(try GitSource(parsing: "https://me:word@h/r.git"))
        #expect(source.shown == "https://xxxxx@h/r.git")
        #expect(WebFile(url: "http://u:p@h/x?token=1").shown == "http://xxxxx@h/x")
        let graph = try Bench().graph("FROM a\nADD https://me:word@h/f?token=1 /d")
        #expect(!graph.steps[1].title.contains("word") && !graph.steps[1].title.contains("token"))
        #expect(try GitSource(parsing: "github.com/o/r", isContext: true)?.remote == "https://github.com/o/r")
        #expect(try GitSource(parsing: "github.com/o/r") == nil)
        #expect(try GitSource(parsing: "ftp://h/r.git") == nil)
        #expect(try GitSource(parsing: "dir/a@b:c") == nil)
    }

    @Test func aLinkIsMadeOfNothingAndLaidOver() throws {
        let graph = try Bench().graph("FROM a\nRUN x\nCOPY --link --chown=1 b /c/\nCOPY --link --chmod=755 b /d")
        #expect(graph.steps[4].operation.golden == "copy 1:b -> /c/ chown 1 reset")
        #expect(graph.steps[4].inputs == [StepID(2), StepID(3)] && graph.steps[4].number == 0)
        #expect(graph.steps[5].operation.golden == "merge" && graph.steps[5].inputs == [StepID(1), StepID(4)])
        #expect(graph.steps[5].number == 3)
        #expect(graph.steps[6].operation.golden == "copy 1:b -> /d chmod 755 reset")
        #expect(graph.history.map(\.createdBy).last == "COPY --chmod=755 b /d # buildkit")
    }

    // MARK: Named contexts

    private func bench(_ contexts: [String: NamedContext]) -> Bench {
        var bench = Bench()
        bench.options.contexts = contexts
        return bench
    }

    @Test func filesOfANamedContext() throws {
        let bench = bench(["src": .files])
        let graph = try bench.graph(
            "FROM a\nCOPY --from=src x/y /z\nRUN --mount=from=src,source=/m,target=/t c\nCOPY own /o")
        #expect(graph.contextPatterns == ["src": ["x/y", "m"], "": ["own"]])
        #expect(try steps("FROM src\nRUN x", bench).first == "context 'src'")
        let whole = try bench.graph("FROM src\nENV a=b")
        #expect(whole.contextPatterns == ["src": ["."]])
        #expect(whole.config.workingDirectory == "/" && whole.config.environment.count == 2)
        #expect(whole.base == nil)
    }

    @Test func aContextTakesThePlaceOfAStageAndOfAnImage() throws {
        let replaced = bench(["build": .image("other:1")])
        #expect(
            try steps("FROM golang AS build\nRUN make\nFROM a\nCOPY --from=build /x /y", replaced).sorted() == [
                "copy 1:x -> /y", "image a", "image other:1",
            ])
        #expect(try replaced.graph("FROM golang AS build\nRUN make\nFROM build\nRUN x").base == "other:1")
        let pinned = bench(["alpine": .image("mirror/alpine:3"), "busybox:1.36": .scratch])
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
            #expect(try steps("FROM \(name)", pinned) == ["image mirror/alpine:3"])
        }
        #expect(try steps("FROM alpine:3", pinned) == ["image alpine:3"])
        #expect(try steps("FROM busybox:1.36", pinned) == ["scratch"])
        // A stage that is there goes before an image, as it does without contexts.
        #expect(try steps("FROM a AS alpine2\nFROM alpine2", pinned) == ["image a"])
        #expect(NamedContext.name(of: "docker.io/library/x:latest") == "x")
    }
}
