// What Dockerfiles mean: small ones, with what has to be in the image. The flattened tree, and what comes out when another
// program unpacks the layers one after another, have to be the same.

import Foundation
import Testing

/// A Dockerfile after `FROM alpine:3.19`, and lines of `listing(of:)` that it leads to.
struct LanguageCase: Sendable, CustomTestStringConvertible {
    var name: String
    var lines: String
    /// Lines that have to be there.
    var present: [String]
    /// Paths that must not be there.
    var absent: [String] = []

    var testDescription: String { name }

    init(_ name: String, _ lines: String, _ present: [String], absent: [String] = []) {
        self.name = name
        self.lines = lines
        self.present = present
        self.absent = absent
    }
}

extension EndToEnd {
    @Suite(.serialized) struct Language {
        init() async throws { try await Lab.busybox() }

        @Test(arguments: copies + archives + runs + mounts + words)
        func aDockerfileGivesThisTree(_ example: LanguageCase) async throws {
            let context = try await Self.context()
            let place = try scratchDirectory("language")
            let file = "\(place)/Dockerfile"
            try ("FROM alpine:3.19\n" + example.lines + "\n").write(toFile: file, atomically: false, encoding: .utf8)

            let first = try await Lab.imageID(
                "-f", file, "-t", "language:1", "-o", "type=tar,dest=\(place)/tree.tar", "-o",
                "type=oci,tar=false,dest=\(place)/layout", context)
            let tree = try await listed("\(place)/tree") { root in
                try await command(
                    "tar", "--extract", "--file", "\(place)/tree.tar", "--directory", root, "--xattrs",
                    "--xattrs-include=*", "--numeric-owner", "--same-permissions")
            }
            let tags = try await command("umoci", "ls", "--layout", "\(place)/layout")
            let tag = try #require(tags.output.split(separator: "\n").first, "\(tags)")
            let layers = try await listed("\(place)/unpacked") { root in
                try await command("umoci", "raw", "unpack", "--image", "\(place)/layout:\(tag)", root)
            }
            #expect(tree == layers, "the tree and the layers: \(differences(tree, layers))")
            for line in example.present {
                let path = line.prefix { $0 != "|" } + "|"
                #expect(tree.contains(line), "there is \(tree.filter { $0.hasPrefix(path) })")
            }
            for path in example.absent { #expect(!tree.contains { $0.hasPrefix(path + "|") }, "\(path)") }

            let report = try await Lab.build("-f", file, context)
            #expect(report.ran.isEmpty, "a second build ran these")
            #expect(report.image == first)
        }

        private func listed(_ root: String, _ unpack: (String) async throws -> Outcome) async throws -> [String] {
            try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
            try expectSuccess(try await unpack(root))
            // umoci notes on the root what it could not do itself.
            return try await listing(of: root).filter {
                !$0.contains("user.umoci") && !$0.contains("user.rootlesscontainers")
            }
        }

        /// Names, modes and archives that the cases copy.
        private static func context() async throws -> String {
            let context = try scratchDirectory("language-context")
            let script = """
                umask 022; cd "$1"
                echo a > a.txt; echo b > b.txt; chmod 4755 b.txt
                mkdir -p dir/sub/deep dir/empty 'sp ace' many tree/d
                echo s > dir/s.txt; echo x > dir/sub/deep/x; echo . > dir/.dot; ln -s ../a.txt dir/up; ln -s sub dir/inner
                chmod 700 dir/sub; chmod 750 dir; echo n > 'sp ace/fi le'; echo u > 'ünï.txt'
                for i in 1 2 3; do echo $i > many/f$i.go; done; echo t > many/t.txt
                ln -s dir linkdir; ln -s a.txt linkfile; ln -s linkdir twice
                echo k > tree/k; echo n > tree/d/one; chmod 711 tree/d
                mkdir kinds links; mkdir kinds/file kinds/link; echo A > kinds/dir; echo B > kinds/file/x; echo C > kinds/link/new
                echo l > links/a; ln links/a links/b; chmod 4711 links/a
                for d in kinds links; do tar --owner=7 --group=8 --numeric-owner -C $d -czf $d.tar.gz .; done
                rm -r kinds links; mkdir -p bare/deep bare/s; echo f > bare/deep/f; chmod 640 bare/deep/f; chmod 711 bare/s
                tar --owner=7 --group=8 --numeric-owner --no-recursion -C bare -cf bare.tar deep/f s; rm -r bare
                """
            try expectSuccess(try await command("sh", "-ec", script, "context", context))
            return context
        }

        private static let copies = [
            LanguageCase(
                "destinations",
                "COPY a.txt /x\nCOPY a.txt /y/\nCOPY a.txt b.txt /z/\nCOPY a.txt b.txt /last\nCOPY dir rel/",
                [
                    "x|f|644|0:0|2|1 links", "y/a.txt|f|644|0:0|2|1 links", "z|d|755|0:0",
                    "z/b.txt|f|4755|0:0|2|1 links",
                    "last|f|4755|0:0|2|1 links", "rel|d|755|0:0", "rel/sub|d|700|0:0", "rel/empty|d|755|0:0",
                    "rel/.dot|f|644|0:0|2|1 links", "rel/up|l|0:0|../a.txt", "rel/inner|l|0:0|sub",
                ]),
            LanguageCase(
                "exclude",
                "COPY --exclude=*.txt dir /e/\nFROM alpine:3.19\nCOPY --from=0 --exclude=sub /e /again",
                ["again/.dot|f|644|0:0|2|1 links", "again/empty|d|755|0:0"],
                absent: ["again/s.txt", "again/sub"]),
            LanguageCase(
                "exclude takes in again",
                "COPY --exclude=** --exclude=!**/x dir /only/\nCOPY --exclude=a* a.txt /named/\nADD --exclude=sub dir /added",
                [
                    "only/sub|d|700|0:0", "only/sub/deep/x|f|644|0:0|2|1 links", "named/a.txt|f|644|0:0|2|1 links",
                    "added/s.txt|f|644|0:0|2|1 links",
                ], absent: ["only/s.txt", "only/empty", "added/sub"]),
            LanguageCase(
                "parents",
                "COPY --parents a.txt dir/sub/deep/x /p/\nCOPY --parents dir/./sub/*/x tree /q/\nCOPY --parents **/x /r/\nCOPY --parents --exclude=**/k ./tree/ /s",
                [
                    "p/a.txt|f|644|0:0|2|1 links", "p/dir|d|750|0:0", "p/dir/sub|d|700|0:0",
                    "p/dir/sub/deep/x|f|644|0:0|2|1 links", "q/sub|d|700|0:0", "q/sub/deep/x|f|644|0:0|2|1 links",
                    "q/tree/d|d|711|0:0", "r/dir/sub/deep/x|f|644|0:0|2|1 links", "s/tree/d/one|f|644|0:0|2|1 links",
                ], absent: ["p/dir/s.txt", "q/dir", "r/dir/s.txt", "r/dir/empty", "s/tree/k", "s/d"]),
            LanguageCase(
                "wildcards",
                "COPY many/f[^1]*.go /g/\nCOPY *.none /nothing/\nCOPY */t.t?t /t\nCOPY [\"sp ace\", \"/s p/\"]\nCOPY ünï* /u/",
                [
                    "g/f2.go|f|644|0:0|2|1 links", "t|f|644|0:0|2|1 links", "s p/fi le|f|644|0:0|2|1 links",
                    "u/ünï.txt|f|644|0:0|2|1 links",
                ], absent: ["g/f1.go"]),
            LanguageCase(
                "symlinks that are named are followed",
                "COPY linkfile /f\nCOPY twice /d\nCOPY twice/inner/deep /e\nCOPY dir/up /g",
                [
                    "f|f|644|0:0|2|1 links", "d|d|755|0:0", "d/s.txt|f|644|0:0|2|1 links", "e/x|f|644|0:0|2|1 links",
                    "g|f|644|0:0|2|1 links",
                ]),
            LanguageCase(
                "symlinks of the destination",
                """
                RUN mkdir -p /t/real && ln -s real /t/d && ln -s gone /t/g && ln -s /t/abs /t/a && ln -s ../../../t/real /t/up
                COPY a.txt /t/d/
                COPY b.txt /t/g
                COPY a.txt /t/a
                COPY many /t/up/m
                """,
                [
                    "t/d|l|0:0|real", "t/real/a.txt|f|644|0:0|2|1 links", "t/gone|f|4755|0:0|2|1 links",
                    "t/g|l|0:0|gone", "t/abs|f|644|0:0|2|1 links", "t/real/m/f1.go|f|644|0:0|2|1 links",
                ]),
            LanguageCase(
                "a merge takes modes and owners below the top",
                "RUN mkdir -p /m/sub /m/own && chmod 777 /m /m/sub && chown 5:5 /m /m/sub && touch /m/sub/kept\nCOPY dir /m",
                ["m|d|777|5:5", "m/sub|d|700|0:0", "m/sub/kept|f|644|0:0|0|1 links", "m/own|d|755|0:0"]),
            LanguageCase(
                "owners and modes",
                """
                RUN echo 'kim:x:1000:1001::/home/kim:/bin/sh' >> /etc/passwd; echo 'crew:x:50:kim' >> /etc/group
                COPY --chown=kim a.txt /a
                COPY --chown=1000 a.txt /b
                COPY --chown=kim:crew dir /c/d/
                COPY --chown=:crew a.txt /e
                COPY --chown=12:crew --chmod=600 dir /f
                COPY --chmod=u=rwX,go=rX dir /g
                COPY --chmod=4710 a.txt /h/i/
                COPY --chmod=a-r a.txt /j/
                """,
                [
                    "a|f|644|1000:1001|2|1 links", "b|f|644|1000:1000|2|1 links", "c|d|755|1000:50",
                    "c/d/sub|d|700|1000:50",
                    "c/d/up|l|1000:50|../a.txt", "e|f|644|0:50|2|1 links", "f/s.txt|f|600|12:50|2|1 links",
                    "f|d|600|12:50",
                    "g/sub|d|755|0:0", "h|d|710|0:0", "h/i|d|710|0:0", "h/i/a.txt|f|4710|0:0|2|1 links", "j|d|755|0:0",
                ]),
            LanguageCase(
                "every copy is a file of its own",
                """
                RUN mkdir /q && echo z > /q/a && ln /q/a /q/b
                FROM alpine:3.19
                COPY --from=0 /q /r
                COPY --from=0 /q /s
                COPY --from=0 /q/a /q/b /t/
                RUN echo more >> /s/a && test "$(cat /r/a)" = z
                """,
                [
                    "r/a|f|644|0:0|2|2 links", "r/b|f|644|0:0|2|2 links", "s/b|f|644|0:0|2|1 links",
                    "s/a|f|644|0:0|7|1 links", "t/a|f|644|0:0|2|1 links", "t/b|f|644|0:0|2|1 links",
                ]),
            LanguageCase(
                "stages keep their owners and nodes",
                """
                RUN mkdir -p /q/r && chown -R 3:4 /q && chmod 2711 /q/r && mkfifo /q/p && ln -s /q/r /q/l
                FROM alpine:3.19 AS Named
                RUN echo 2 > /two
                FROM alpine:3.19
                COPY --from=0 /q /o
                COPY --from=0 --chown=9:9 /q/l/ /l
                COPY --from=named two .
                """,
                [
                    "o|d|755|0:0", "o/r|d|2711|3:4", "o/p|p|644|0:0", "o/l|l|0:0|/q/r", "l|d|755|9:9",
                    "two|f|644|0:0|2|1 links",
                ]),
        ]

        private static let archives = [
            LanguageCase(
                "an archive replaces what is of another kind",
                """
                RUN mkdir -p /t/dir/in /t/real && echo f > /t/file && ln -s real /t/link && touch /t/real/old
                ADD kinds.tar.gz /t
                """,
                [
                    "t/dir|f|644|7:8|2|1 links", "t/file/x|f|644|7:8|2|1 links", "t/link|d|755|7:8",
                    "t/link/new|f|644|7:8|2|1 links", "t/real/old|f|644|0:0|0|1 links",
                ], absent: ["t/dir/in", "t/real/new"]),
            LanguageCase(
                "directories that an archive does not name stay as they are",
                """
                RUN mkdir -p /t/deep /t/real && chmod 1777 /t /t/deep && chown 3:4 /t/deep && ln -s real /t/s && chmod 700 /t/real
                ADD --chown=5:6 bare.tar /t
                ADD --chown=5:6 bare.tar /u/v/
                """,
                [
                    "t|d|1777|0:0", "t/deep|d|1777|3:4", "t/deep/f|f|640|5:6|2|1 links", "t/real|d|700|0:0",
                    "u|d|755|5:6", "u/v|d|755|5:6", "u/v/deep|d|755|0:0", "u/v/s|d|711|5:6", "t/s|d|711|5:6",
                ]),
            LanguageCase(
                "names of accounts that are not there are root's",
                "COPY --chown=nobody-here:no-such a.txt /a\nCOPY --chown=12:no-such a.txt /b\nUSER nobody-here\nWORKDIR /w\nUSER 0",
                ["a|f|644|0:0|2|1 links", "b|f|644|12:12|2|1 links", "w|d|755|0:0"]),
            LanguageCase(
                "links in an archive, unpacked twice",
                "ADD links.tar.gz /x\nADD --chown=5:6 links.tar.gz /y/\nCOPY links.tar.gz /z/",
                ["x/a|f|4711|7:8|2|2 links", "x/b|f|4711|7:8|2|2 links", "y/a|f|4711|5:6|2|2 links", "z|d|755|0:0"]),
        ]

        private static let mounts = [
            LanguageCase(
                "a mount of an image, read-only, that leaves no mount point",
                "RUN --mount=type=bind,from=alpine:3.19,target=/m test -x /m/bin/busybox && ! touch /m/x && echo ok > /ok",
                ["ok|f|644|0:0|3|1 links"], absent: ["m"]),
            LanguageCase(
                "a mount of what an argument names",
                """
                ARG base=alpine:3.19
                RUN --mount=from=$base,source=bin/busybox,target=/tool/box test -x /tool/box && echo ok > /ok
                """,
                ["ok|f|644|0:0|3|1 links"], absent: ["tool"]),
            LanguageCase(
                "a cache that a later step finds again",
                """
                RUN --mount=type=cache,target=/c,id=language-case rm -f /c/*; echo hi > /c/x
                RUN --mount=type=cache,target=/d,id=language-case,sharing=locked cp /d/x /kept
                """,
                ["kept|f|644|0:0|3|1 links"], absent: ["c", "d"]),
            LanguageCase(
                "a mount that takes writes and forgets them",
                """
                FROM alpine:3.19 AS with
                RUN mkdir -p /d/e && echo 1 > /d/e/f && chmod 700 /d
                FROM alpine:3.19
                RUN --mount=from=with,source=/d,target=/m,rw echo 2 > /m/e/f && touch /m/g && stat -c %a /m > /mode
                RUN --mount=from=with,source=/d,target=/m grep -qx 1 /m/e/f && test ! -e /m/g && grep -qx 700 /mode
                """,
                ["mode|f|644|0:0|4|1 links"], absent: ["m", "d"]),
            LanguageCase(
                "a cache that starts from a stage",
                """
                FROM alpine:3.19 AS with
                RUN mkdir -p /d && echo 1 > /d/f && chown 4:5 /d
                FROM alpine:3.19
                RUN --mount=type=cache,from=with,source=/d,target=/c,id=started cp -r /c /kept && echo 2 > /c/g
                RUN --mount=type=cache,from=with,source=/d,target=/c,id=started,sharing=private cat /c/f /c/g > /both
                """,
                ["kept/f|f|644|0:0|2|1 links", "both|f|644|0:0|4|1 links"], absent: ["c"]),
            LanguageCase(
                "memory that is gone afterwards",
                "RUN --mount=type=tmpfs,target=/t,size=1m echo hi > /t/x && cp /t/x /kept && ! dd if=/dev/zero of=/t/y bs=2M count=1",
                ["kept|f|644|0:0|3|1 links"], absent: ["t/x", "t"]),
            LanguageCase(
                "a heredoc that names its interpreter",
                "RUN <<EOF\n#!/bin/busybox sh\necho $0 > /name\nEOF\nRUN grep -q EOF /name && echo ok > /ok",
                ["ok|f|644|0:0|3|1 links"]),
        ]

        private static let runs = [
            LanguageCase(
                "kinds change from layer to layer",
                """
                RUN mkdir -p /p/q/r/s && touch /p/q/r/s/1 /p/q/r/2 /p/q/3 /p/4
                RUN rm -r /p/q/r && touch /p/q/r
                RUN rm -r /p && mkdir -p /p/q && touch /p/q/new
                RUN rm -r /p/q && ln -s /etc /p/q
                RUN rm /p/q && mkdir /p/q && touch /p/q/2
                """,
                ["p/q|d|755|0:0", "p/q/2|f|644|0:0|0|1 links"], absent: ["p/4", "p/q/3", "p/q/new", "p/q/r"]),
            LanguageCase(
                "renames of what was there",
                """
                RUN mkdir -p /l/d/sub /l/k && echo 1 > /l/d/one && echo 2 > /l/d/two && echo 3 > /l/d/sub/s && chmod 1777 /l/k
                RUN mv /l/d/one /l/d/two && mv /l/d/sub /l/k/ && mv /l/d /l/e
                RUN cd /l && mv e x && mv k e && mv x k
                """,
                ["l/e|d|1777|0:0", "l/e/sub/s|f|644|0:0|2|1 links", "l/k/two|f|644|0:0|2|1 links"],
                absent: ["l/d", "l/k/one", "l/k/sub"]),
            LanguageCase(
                "a new name of an old file",
                "RUN echo 1 > /one && mkdir /d\nRUN ln /one /d/link\nRUN chmod 600 /d/link",
                ["one|f|644|0:0|2|1 links", "d/link|f|600|0:0|2|1 links"]),
            // As in BuildKit's images: a layer does not say again what did not change, so the new names are one file and
            // the old name another.
            LanguageCase(
                "the new names of a file of an earlier layer",
                "RUN echo 1 > /one && mkdir /d\nRUN ln /one /d/link && ln /one /d/more",
                ["one|f|644|0:0|2|1 links", "d/link|f|644|0:0|2|2 links", "d/more|f|644|0:0|2|2 links"]),
            LanguageCase(
                "attributes alone",
                """
                RUN mkdir -p /a/b && echo 1 > /a/f && echo 2 > /a/g && chmod 4755 /a/f
                RUN chown 5:6 /a/f && chmod 700 /a/b && touch -d '2001-01-01 00:00:00' /a/g
                RUN chmod 1750 / && chmod 755 /
                """,
                ["a/f|f|755|5:6|2|1 links", "a/b|d|700|0:0"]),
            LanguageCase(
                "users and their groups",
                """
                RUN echo 'kim:x:1000:1001::/home/kim:/bin/sh' >> /etc/passwd; echo 'crew:x:50:kim' >> /etc/group
                RUN grep -q '^Groups:[[:space:]]*0 *$' /proc/self/status
                USER kim
                WORKDIR /work/place
                RUN touch new && test "$HOME" = /home/kim && grep -q '^Groups:[[:space:]]*50 1001 *$' /proc/self/status
                USER 77:crew
                RUN grep -q '^Groups:[[:space:]]*50 *$' /proc/self/status
                """,
                ["work|d|755|1000:1001", "work/place|d|755|1000:1001", "work/place/new|f|644|1000:1001|0|1 links"]),
        ]

        private static let words = [
            LanguageCase(
                "scopes of ARG and ENV",
                """
                ENV A=1 B=$A C="x y" D=${UNSET:-def} E=${A:+alt} F='$A' G=a\\ b
                ENV A=2 B=${A}b
                RUN test "$A|$B|$C|$D|$E|$F|$G" = '2|1b|x y|def||$A|a b'
                ARG A=three
                RUN test $A = three
                ENV P=${C#x} R=${C/x/k}
                RUN test "$P|$R" = ' y|k y'
                FROM alpine:3.19
                RUN test -z "$A$B" && touch /done
                """,
                ["done|f|644|0:0|0|1 links"]),
            LanguageCase(
                "lines go on over comments and blanks",
                "RUN echo a > /x && \\\r\n# comment\r\n   # indented\n  echo b >> /x\n  \t run echo low > /low # no comment\nRUN <<E\ncp /x /y\nE",
                ["x|f|644|0:0|4|1 links", "y|f|644|0:0|4|1 links", "low|f|644|0:0|4|1 links"]),
            LanguageCase(
                "heredocs",
                "ENV V=val\nCOPY <<A <<-'B' /h/\n$V\nA\n\t$V!\n\tB\nCOPY --chmod=755 --chown=4 <<E /e\nE",
                ["h/A|f|644|0:0|4|1 links", "h/B|f|644|0:0|4|1 links", "e|f|755|4:4|0|1 links"]),
        ]
    }
}
