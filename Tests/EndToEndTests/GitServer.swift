// Repositories for the tests, and who gives them out: git's own server, and a plain web server that asks for a password.

import Foundation
import Testing

/// git's server, over what a script made.
final class GitServer: Sendable {
    /// The directory that holds the repositories.
    let place: String
    let port: Int
    private let daemon: RunningCommand

    func address(_ name: String) -> String { "git://127.0.0.1:\(port)/\(name)" }

    private init() throws {
        place = try scratchDirectory("git")
        port = try freePort()
        daemon = try RunningCommand([
            "git", "daemon", "--reuseaddr", "--listen=127.0.0.1", "--port=\(port)", "--export-all",
            "--base-path=\(place)", place,
        ])
    }

    /// Runs `script` with nobody's configuration, in the directory of the repositories; `$1` is the port.
    static func with<R>(_ script: String, _ body: (GitServer) async throws -> R) async throws -> R {
        let server = try GitServer()
        return try await server.daemon.serving {
            try await command("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/\(server.port)").succeeded
        } during: {
            try expectSuccess(
                try await command("bash", "-ec", prelude + script, "git", "\(server.port)", directory: server.place))
            return try await body(server)
        }
    }

    private static let prelude = """
        export GIT_AUTHOR_DATE='1999-01-01T00:00:00Z' GIT_COMMITTER_DATE='2001-02-03T04:05:06Z' HOME=/nonexistent
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=n
        export GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=e
        export GIT_CONFIG_KEY_2=protocol.file.allow GIT_CONFIG_VALUE_2=always

        """

    /// What the script wrote into the file `name`.
    func text(_ name: String) throws -> String {
        try String(contentsOfFile: "\(place)/\(name)", encoding: .utf8)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

/// Gives out the files of repositories (after `git update-server-info`), and notes who showed which credentials.
final class PlainGitServer: Sendable {
    /// `127.0.0.1:PORT`
    let name: String
    private let log: String
    private let server: RunningCommand

    /// - Parameters:
    ///   - password: `user:password`, without which there is nothing.
    ///   - target: where every request is sent on to.
    private init(_ files: String, password: String, target: String) throws {
        let port = try freePort()
        name = "127.0.0.1:\(port)"
        log = try scratchDirectory("git-web") + "/log"
        let program = """
            import base64, http.server, sys
            root, password, target = sys.argv[2], sys.argv[4], sys.argv[5]
            log = open(sys.argv[3], 'a', buffering=1)
            class Handler(http.server.SimpleHTTPRequestHandler):
                def __init__(self, *words): super().__init__(*words, directory=root)
                def log_message(self, *words): pass
                def do_GET(self):
                    shown = self.headers.get('Authorization') or '-'
                    log.write(shown + '\\n')
                    def bare(status, name, value):
                        self.send_response(status)
                        self.send_header(name, value)
                        self.send_header('Content-Length', '0')
                        self.end_headers()
                    if target: return bare(302, 'Location', target + self.path)
                    if password and shown != 'Basic ' + base64.b64encode(password.encode()).decode():
                        return bare(401, 'WWW-Authenticate', 'Basic realm="x"')
                    super().do_GET()
            http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
            """
        server = try RunningCommand(["python3", "-c", program, "\(port)", files, log, password, target])
    }

    static func with<R>(
        _ files: String, password: String = "", target: String = "", _ body: (PlainGitServer) async throws -> R
    ) async throws -> R {
        let web = try PlainGitServer(files, password: password, target: target)
        return try await web.server.serving {
            try await command("curl", "--silent", "--output", "/dev/null", "http://\(web.name)/").succeeded
        } during: {
            try await body(web)
        }
    }

    /// The Authorization headers that came, `-` for none, each once.
    func headers() throws -> Set<String> {
        Set(try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").map(String.init))
    }
}
