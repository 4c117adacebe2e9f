// Repositories as contexts and for ADD: what each form of reference leads to, and who is told which credentials.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Git {
        init() async throws { try await Lab.busybox() }

        private static let script = """
            git init -q -b main sub; cd sub; echo s > s; git add .; git commit -qm s; cd ..
            git init -q -b main repo; cd repo; echo 1 > a; mkdir -p d/e; echo x > d/e/x; chmod 755 d/e/x; ln -s a l
            printf 'FROM alpine:3.19\\nCOPY . /in\\n' > d/Dockerfile; git add .; git commit -qm one; git tag -am t v1
            git submodule --quiet add git://127.0.0.1:$1/sub sub; echo 2 > a; git commit -qam two
            git branch other v1; git rev-parse HEAD > ../head; git rev-parse v1^{commit} > ../one
            git rev-parse v1 > ../tag; git update-ref refs/heads/refs/tags/v1 main; git update-server-info
            git init -q -b main --object-format=sha256 ../long; cd ../long; echo long > a; git add .; git commit -qm l
            git rev-parse HEAD > ../long-head
            """

        @Test func repositories() async throws {
            try await GitServer.with(Self.script) { server in
                let (head, one, repository) = (try server.text("head"), try server.text("one"), server.address("repo"))
                let main = try scratchDirectory(
                    "git-main",
                    [
                        "Dockerfile": """
                        FROM alpine:3.19
                        ADD \(repository) /head
                        ADD \(repository)#v1 /tag
                        ADD \(repository)#other:d/e /part
                        ADD --checksum=\(one.prefix(12)) \(repository)?tag=v1&subdir=d /query
                        ADD --keep-git-dir \(repository)#\(one) /kept
                        RUN grep -qx 2 /head/a && grep -qx s /head/sub/s && test ! -e /head/.git && test ! -e /head/sub/.git
                        RUN grep -qx 1 /tag/a && grep -qx x /part/x && grep -qx x /query/e/x && test -d /kept/.git
                        RUN test "$(stat -c %Y /head/a)" = 981173106 && grep -rq \(one) /kept/.git
                        """
                    ])
                let listed = try await Lab.tree([main])
                for line in [
                    "head/d/e/x|f|755|0:0|2|1 links", "head/l|l|0:0|a", "head/a|f|644|0:0|2|1 links", "head|d|755|0:0",
                ] {
                    #expect(listed.contains(line), "\(line)")
                }
                #expect(try await Lab.build(main).ran.isEmpty)
                let context = try await Lab.tree(["\(repository)#v1:d"])
                #expect(
                    context.contains("in/e/x|f|755|0:0|2|1 links")
                        && context.contains { $0.hasPrefix("in/Dockerfile|") })
                let named = try scratchDirectory("named", ["Dockerfile": "FROM scratch\nCOPY --from=src a /a\n"])
                #expect(
                    try await Lab.tree(["--build-context", "src=\(repository)#\(head)", named]).contains(
                        "a|f|644|0:0|2|1 links"))
                for (line, part) in [
                    ("ADD \(repository)#none /x", "does not contain ref none"),
                    ("ADD \(repository)#v1:nowhere /x", "no directory nowhere"),
                    ("ADD --checksum=000000 \(repository)#v1 /x", "expected checksum to match 000000, got \(one)"),
                    ("ADD git://127.0.0.1:\(server.port)/none /x", "cannot reach"),
                ] {
                    let bad = try scratchDirectory("bad", ["Dockerfile": "FROM scratch\n\(line)\n"])
                    let shown = try await Lab.refusal([bad])
                    #expect(shown.contains(part), "\(shown)")
                }
            }
        }

        /// A file `a` of the repository, by each form of address.
        @Test func references() async throws {
            try await GitServer.with(Self.script) { server in
                let (head, one, tag) = (try server.text("head"), try server.text("one"), try server.text("tag"))
                let long = try server.text("long-head")
                try await PlainGitServer.with(server.place) { web in
                    let (repository, plain) = (server.address("repo"), "http://\(web.name)/repo/.git")
                    for (address, expected) in [
                        ("\(repository)?commit=\(one.prefix(8))", "1"),
                        ("\(repository)##commit=\(head.prefix(9))", "2"),
                        ("\(repository)?tag=v1&commit=\(tag)", "1"), ("\(repository)?tag=v1", "1"),
                        ("\(repository)#refs/heads/refs/tags/v1", "2"),
                        ("\(repository)#heads/other", "1"), ("\(repository)#\(tag)", "1"),
                        ("\(repository)?submodules=0", "2"),
                        (plain, "2"), ("\(plain)#v1", "1"), ("\(plain)#\(one)", "1"),
                        ("\(plain)?commit=\(one.prefix(8))", "1"),
                        (server.address("long"), "long"), ("\(server.address("long"))#\(long)", "long"),
                        ("\(server.address("long"))?commit=\(long.prefix(10))", "long"),
                    ] {
                        let place = try scratchDirectory(
                            "git-reference",
                            ["Dockerfile": "FROM alpine:3.19\nADD \(address) /r\nRUN grep -qx \(expected) /r/a\n"])
                        let outcome = try await Lab.stagerun("build", "--progress=plain", place)
                        #expect(outcome.succeeded, "\(address): \(outcome)")
                    }
                    for (address, part) in [
                        ("\(repository)#\(one.prefix(8))", "does not contain ref \(one.prefix(8))"),
                        ("\(repository)?commit=\(one.prefix(3))", "one commit that begins with \(one.prefix(3))"),
                        ("\(repository)?tag=v1&commit=\(head)", "got \(one) or \(tag)"),
                    ] {
                        let place = try scratchDirectory(
                            "git-reference", ["Dockerfile": "FROM scratch\nADD \(address) /r\n"])
                        let shown = try await Lab.refusal([place])
                        #expect(shown.contains(part), "\(shown)")
                    }
                }
            }
        }

        /// What `git` needs in a build that keeps the repository: the tag or the branch, where it is from, a clean state.
        @Test func whatAKeptRepositoryKnows() async throws {
            try await GitServer.with(Self.script) { server in
                let repository = server.address("repo")
                for (reference, names) in [
                    ("#v1", "refs/tags/v1 tag"), ("", "refs/heads/main commit"), ("#other", "refs/heads/other commit"),
                    ("#\(try server.text("one"))", ""),
                ] {
                    let main = try scratchDirectory(
                        "git-kept", ["Dockerfile": "FROM scratch\nADD --keep-git-dir \(repository)\(reference) /\n"])
                    let place = try scratchDirectory("git-kept-out")
                    try expectSuccess(try await Lab.stagerun("build", "-o", place, main))
                    func git(_ arguments: String) async throws -> String {
                        let outcome = try await command(
                            "sh", "-c", "git -c safe.directory='*' \(arguments)", directory: place,
                            environment: ["HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": "/dev/null"])
                        try expectSuccess(outcome)
                        return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
                    }
                    #expect(try await git("for-each-ref --format='%(refname) %(objecttype)'") == names)
                    #expect(try await git("status --short").isEmpty)
                    #expect(try await git("config remote.origin.url") == repository)
                    #expect(!FileManager.default.fileExists(atPath: place + "/.git/FETCH_HEAD"))
                    if reference == "#v1" { #expect(try await git("describe") == "v1") }
                }
            }
        }

        /// What git says is told on one line, from the line that has the reason.
        @Test func whyARepositoryCannotBeReached() async throws {
            let port = try freePort()
            for (address, part) in [
                (
                    "git@nobody.invalid:r",
                    "hostname nobody.invalid: Name or service not known; fatal: Could not read from"
                ),
                ("http://127.0.0.1:\(port)/r.git", "127.0.0.1 port \(port)"), ("git://127.0.0.1:\(port)/r", "refused"),
            ] {
                let shown = try await Lab.refusal([address])
                let error = shown.split(whereSeparator: \.isNewline).filter {
                    $0.hasPrefix("error: cannot reach \(address): ")
                }
                #expect(error.count == 1 && error.allSatisfy { $0.contains(part) }, "\(shown)")
                #expect(!shown.contains("correct access rights"), "\(shown)")
            }
        }

        // MARK: Credentials

        /// A token is for its host: not for a submodule's, and not for where a redirect leads.
        @Test func tokensGoToTheirHostAlone() async throws {
            try await GitServer.with(Self.script) { server in
                try await PlainGitServer.with(server.place) { elsewhere in
                    let script = """
                        git init -q -b main with; cd with; git submodule --quiet add http://\(elsewhere.name)/sub/.git sub
                        git commit -qm w; git update-server-info; git -C ../sub update-server-info
                        """
                    try expectSuccess(
                        try await command(
                            "sh", "-ec", "git -C sub update-server-info; \(script)", directory: server.place,
                            environment: [
                                "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "e", "GIT_COMMITTER_NAME": "n",
                                "GIT_COMMITTER_EMAIL": "e",
                            ]))
                    let secret = ["--secret", "id=GIT_AUTH_TOKEN,env=T"]
                    let expected = "basic eC1hY2Nlc3MtdG9rZW46c2VzYW1l"
                    try await PlainGitServer.with(server.place) { own in
                        let main = try scratchDirectory(
                            "git-token", ["Dockerfile": "FROM scratch\nADD http://\(own.name)/with/.git /\n"])
                        let listed = try await Lab.tree(secret + [main], environment: ["T": "sesame"])
                        #expect(listed.contains("sub/s|f|644|0:0|2|1 links"), "\(listed)")
                        #expect(try own.headers() == ["-", expected])
                        #expect(try elsewhere.headers() == ["-"])
                    }
                    try await PlainGitServer.with(server.place, target: "http://\(elsewhere.name)") { moved in
                        let address = "http://\(moved.name)/repo/.git"
                        let main = try scratchDirectory("git-moved", ["Dockerfile": "FROM scratch\nADD \(address) /\n"])
                        let refused = try await Lab.start(["build"] + secret + [main], environment: ["T": "sesame"])
                            .wait()
                        #expect(refused.status == 1 && refused.errors.contains("a redirect, which is not followed"))
                        #expect(try moved.headers().contains(expected))
                        #expect(try elsewhere.headers() == ["-"])
                        // Without credentials there is nothing to lose.
                        try expectSuccess(try await Lab.stagerun("build", main))
                    }
                }
            }
        }

        /// A password in the address opens the repository and its neighbours, and is nowhere in what is kept.
        @Test func passwordsStayOutOfTheImage() async throws {
            let script =
                Self.script + """

                    cd ..; git -C sub update-server-info; git init -q -b main near; cd near
                    git clone -q ../sub sub; printf '[submodule "sub"]\\n\\tpath = sub\\n\\turl = ../../sub/.git\\n' > .gitmodules
                    git add . 2>/dev/null; git commit -qm n; git update-server-info
                    """
            try await GitServer.with(script) { server in
                try await PlainGitServer.with(server.place, password: "me:word5") { web in
                    let main = try scratchDirectory(
                        "git-password",
                        ["Dockerfile": "FROM scratch\nADD --keep-git-dir http://me:word5@\(web.name)/near/.git /\n"])
                    let place = try scratchDirectory("git-password-out")
                    try expectSuccess(try await Lab.stagerun("build", "-o", place, main))
                    #expect(FileManager.default.fileExists(atPath: place + "/sub/s"))
                    let found = try await command("grep", "-rl", "word5", place)
                    #expect(found.status == 1 && found.output.isEmpty, "\(found)")
                    let config = try String(contentsOfFile: place + "/.git/config", encoding: .utf8)
                    #expect(config.contains("http://xxxxx@\(web.name)/near/.git"), "\(config)")
                }
            }
        }
    }
}
