// Where files come from: named contexts, archives, standard input, the web; through the binary, with real servers.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Sources {
        init() async throws { try await Lab.busybox() }

        // MARK: Named contexts

        @Test func namedContexts() async throws {
            let main = try scratchDirectory(
                "main",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS build
                    RUN exit 1
                    FROM base
                    COPY --from=build / /from-build/
                    COPY --from=packed deep/p.txt /p
                    RUN --mount=from=files,target=/m cp /m/kept.txt /mounted && test ! -e /m/left.md
                    COPY --from=files . /files/
                    """
                ])
            let files = try scratchDirectory(
                "named", ["kept.txt": "kept\n", "left.md": "left\n", ".dockerignore": "*.md\n"])
            let layout = try scratchDirectory("layout")
            let base = try scratchDirectory(
                "base", ["Dockerfile": "FROM alpine:3.19\nENV FROM_BASE=yes\nRUN echo b > /b\n"])
            try expectSuccess(
                try await Lab.stagerun("build", "-t", "named-base:1", "-o", "type=oci,tar=false,dest=\(layout)/x", base)
            )
            let packed = try scratchDirectory("packed", ["deep/p.txt": "p\n"])
            try expectSuccess(
                try await command("tar", "-czf", layout + "/p.tar.gz", "--owner=5", "--group=6", "-C", packed, "."))
            let listed = try await Lab.tree([
                "--build-context", "files=\(files)", "--build-context", "packed=\(layout)/p.tar.gz", "--build-context",
                "base=oci-layout://\(layout)/x", "--build-context", "build=docker-image://scratch", main,
            ])
            for line in [
                "b|f|644|0:0|2|1 links", "p|f|644|5:6|2|1 links", "mounted|f|644|0:0|5|1 links",
                "files/kept.txt|f|644|0:0|5|1 links",
            ] { #expect(listed.contains(line), "\(line)") }
            #expect(!listed.contains { $0.hasPrefix("files/left.md") || $0.hasPrefix("from-build/bin") })
        }

        @Test func namedContextsThatAreNone() async throws {
            let main = try scratchDirectory("main", ["Dockerfile": "FROM base\n"])
            let file = try scratchDirectory("file", ["x": "no archive"])
            #expect(try await Lab.refusal(["--build-context", "base=\(file)/y", main]).contains("\(file)/y"))
            #expect(
                try await Lab.refusal(["--build-context", "base=\(file)/x", main]).contains(
                    "neither a directory nor a tar")
            )
            #expect(
                try await Lab.refusal(["--build-context", "base=oci-layuot://\(file)", main]).contains("oci-layout://?")
            )
            #expect(
                try await Lab.refusal(["--build-context", "base=oci-layout://\(file)", main]).contains("index.json"))
            #expect(try await Lab.refusal(["--build-context", "base", main]).contains("NAME=SOURCE"))
        }

        // MARK: Standard input and archives

        private func withInput(_ file: String, _ arguments: String) async throws -> Outcome {
            try await command(
                "sh", "-c", "exec \"$0\" build \(arguments) < \(file)", Lab.binary,
                environment: ["STAGERUN_ROOT": Lab.store])
        }

        @Test func contextsOnStandardInput() async throws {
            let files = try scratchDirectory(
                "stdin",
                [
                    "Dockerfile": "FROM alpine:3.19\nCOPY a /a\nRUN grep -qx A /a\n", "a": "A\n",
                    "other": "FROM scratch\nCOPY a /b\n",
                ])
            let place = try scratchDirectory("tar")
            for (name, flags) in [("plain", "-cf"), ("gzip", "-czf"), ("xz", "-cJf"), ("zstd", "--zstd -cf")] {
                try expectSuccess(
                    try await command("sh", "-c", "tar \(flags) \(place)/\(name) --owner=7 --group=8 -C \(files) ."))
                try expectSuccess(try await withInput("\(place)/\(name)", "-"))
            }
            let listed = try await Lab.tree(["-f", "other", place + "/gzip"])
            #expect(listed.contains("b|f|644|7:8|2|1 links"), "\(listed)")
            let outcome = try await withInput("\(files)/Dockerfile", "-f - \(files)")
            try expectSuccess(outcome)
            let alone = try scratchDirectory(
                "alone", ["D": "FROM alpine:3.19\nRUN echo x > /x\n", "E": "FROM scratch\nCOPY a /a\n"])
            try expectSuccess(try await withInput("\(alone)/D", "-"))
            let missing = try await withInput("\(alone)/E", "-")
            #expect(missing.status == 1 && missing.errors.contains("a is not there"), "\(missing)")
            let both = try await withInput("\(alone)/D", "-f - -")
            #expect(both.status == 125 && both.errors.contains("standard input"))
            let report = try await Lab.stagerun("context", place + "/gzip")
            try expectSuccess(report)
            #expect(report.output.contains("1 file, "), "\(report)")
        }

        // MARK: The web

        @Test func filesOfTheWeb() async throws {
            let files = try scratchDirectory(
                "web", ["f.txt": "hello\n", "dir/Dockerfile": "FROM alpine:3.19\nCOPY in /in\n", "dir/in": "in\n"])
            try expectSuccess(try await command("touch", "-d", "2001-02-03 04:05:06 UTC", files + "/f.txt"))
            try expectSuccess(try await command("tar", "-czf", files + "/d.tar.gz", "-C", files + "/dir", "."))
            try await WebServer.with(files) { server in
                let main = try scratchDirectory(
                    "web-main",
                    [
                        "Dockerfile": """
                        FROM alpine:3.19
                        ADD \(server.address)/f.txt /a
                        ADD \(server.address)/f.txt \(server.address)/d.tar.gz /d/
                        ADD --unpack \(server.address)/d.tar.gz /u
                        ADD --chmod=644 --chown=3:4 --checksum=sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 \(server.address)/r/f.txt /c
                        RUN test "$(stat -c %Y /a)" = 981173106
                        """
                    ])
                let listed = try await Lab.tree([main])
                for line in [
                    "a|f|600|0:0|6|1 links", "d/f.txt|f|600|0:0|6|1 links", "u/in|f|644|0:0|3|1 links",
                    "c|f|644|3:4|6|1 links",
                ] {
                    #expect(listed.contains(line), "\(line) of \(listed.filter { !$0.hasPrefix("bin") })")
                }
                let before = try server.log()
                #expect(before.filter { $0.contains("/f.txt 200") }.count == 2, "\(before)")
                let again = try await Lab.build(main)
                #expect(again.ran.isEmpty)
                let after = try server.log().dropFirst(before.count)
                #expect(
                    after.contains { $0.contains("/f.txt 304") } && !after.contains { $0.contains(" 200") }, "\(after)")
                try "changed \(UUID().uuidString)\n".write(toFile: files + "/f.txt", atomically: false, encoding: .utf8)
                try expectSuccess(try await command("touch", "-d", "2001-02-03 04:05:06 UTC", files + "/f.txt"))
                // What has the checksum is here, so nobody is asked; what has not is fetched, and refused.
                #expect(try await Lab.build(main).ran.first?.hasPrefix("ADD") == true)
                let sum = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
                let pinned = try scratchDirectory(
                    "pinned", ["Dockerfile": "FROM scratch\nADD --checksum=\(sum) \(server.address)/f.txt /x\n"])
                #expect(try await Lab.refusal([pinned]).contains("digest mismatch"))

                let elsewhere = try await Lab.tree(["-f", "\(server.address)/dir/Dockerfile", files + "/dir"])
                #expect(elsewhere.contains("in|f|644|0:0|3|1 links"))
                try "FROM scratch\nCOPY in /other\n".write(
                    toFile: files + "/Other", atomically: false, encoding: .utf8)
                let over = try await Lab.tree(["-f", "\(server.address)/Other", "\(server.address)/d.tar.gz"])
                #expect(over.contains("other|f|644|0:0|3|1 links") && !over.contains { $0.hasPrefix("in|") })
                let unfetched = try await Lab.stagerun("check", "-f", "\(server.address)/only", files)
                #expect(unfetched.status == 1 && unfetched.errors.contains("has to be fetched first"), "\(unfetched)")

                // An archive that breaks off is said to do so, and not read as a Dockerfile.
                let pack = "head -c 200000 /dev/urandom > r && tar -czf w r && head -c 90000 w > cut.tar.gz"
                try expectSuccess(try await command("sh", "-c", "cd \(files) && \(pack)"))
                let broken = try await Lab.refusal(["\(server.address)/cut.tar.gz"])
                #expect(!broken.contains("instruction") && broken.contains("ends"), "\(broken)")
                #expect(broken.contains("error: \(server.address)/cut.tar.gz: "), "\(broken)")
                let cut = files + "/cut.tar.gz"
                #expect(try await Lab.refusal([cut]).contains("error: \(cut): the gzip data is damaged"))
                let piped = try await withInput(cut, "-")
                #expect(piped.errors.contains("error: standard input: the gzip data is damaged"), "\(piped)")
                let from = try scratchDirectory("cut", ["Dockerfile": "FROM scratch\nCOPY --from=n / /\n"])
                let named = try await Lab.refusal(["--build-context", "n=" + cut, from])
                #expect(named.contains("error: \(cut): the gzip data is damaged"), "\(named)")
                let context = try await Lab.tree(["\(server.address)/d.tar.gz"])
                #expect(context.contains("in|f|644|0:0|3|1 links"))
                try expectSuccess(try await Lab.stagerun("build", "\(server.address)/only"))
                let missing = try scratchDirectory(
                    "missing", ["Dockerfile": "FROM scratch\nADD \(server.address)/none /x\n"])
                #expect(try await Lab.refusal([missing]).contains("status 404"))
                let locked = try scratchDirectory(
                    "locked", ["Dockerfile": "FROM scratch\nADD \(server.address)/locked /x\n"])
                #expect(try await Lab.refusal([locked]).contains("status 401"))
                _ = try await Lab.tree(
                    ["--secret", "id=HTTP_AUTH_TOKEN_\(server.name),env=T", locked], environment: ["T": "sesame"])
            }
        }
    }
}

/// A web server that knows If-None-Match, redirects below /r/, says no times below /untimed/, and notes what it answered.
final class WebServer: Sendable {
    let name: String
    var address: String { "http://" + name }
    private let directory: String
    private let server: RunningCommand

    private init(_ files: String) throws {
        let port = try freePort()
        name = "127.0.0.1:\(port)"
        directory = try scratchDirectory("web-server")
        let program = """
            import hashlib, http.server, os, sys, email.utils
            root, log = sys.argv[2], open(sys.argv[3], 'a', buffering=1)
            class Handler(http.server.BaseHTTPRequestHandler):
                protocol_version = 'HTTP/1.1'
                def log_message(self, *words): pass
                def answer(self, status, body=b'', **headers):
                    log.write('%s %d\\n' % (self.path, status))
                    self.send_response(status)
                    for key, value in headers.items(): self.send_header(key.replace('_', '-'), value)
                    self.send_header('Content-Length', str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                def do_GET(self):
                    if self.path.startswith('/untimed/'): return self.answer(200, open(root + self.path[8:], 'rb').read())
                    if self.path.startswith('/r/'): return self.answer(302, Location=self.path[2:])
                    if self.path == '/only': return self.answer(200, b'FROM alpine:3.19\\nCOPY . /x\\nRUN test -e /x/context\\n')
                    if self.path == '/locked':
                        ok = self.headers.get('Authorization') == 'Bearer sesame'
                        return self.answer(200 if ok else 401, b'open\\n')
                    try: body = open(root + self.path, 'rb').read()
                    except OSError: return self.answer(404)
                    tag = '"' + hashlib.sha256(body).hexdigest()[:8] + '"'
                    time = email.utils.formatdate(int(os.stat(root + self.path).st_mtime), usegmt=True)
                    if self.headers.get('If-None-Match') == tag: return self.answer(304, ETag=tag)
                    self.answer(200, body, ETag=tag, Last_Modified=time)
            http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
            """
        server = try RunningCommand(["python3", "-c", program, "\(port)", files, directory + "/log"])
    }

    static func with<R>(_ files: String, _ body: (WebServer) async throws -> R) async throws -> R {
        let web = try WebServer(files)
        return try await web.server.serving {
            try await command("curl", "--silent", "\(web.address)/").succeeded
        } during: {
            try await body(web)
        }
    }

    /// The paths it was asked for, and what it answered.
    func log() throws -> [String] {
        try String(contentsOfFile: directory + "/log", encoding: .utf8).split(separator: "\n").map(String.init)
    }
}
