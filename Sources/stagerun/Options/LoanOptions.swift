// `--secret` and `--ssh`: what the person lends to `RUN --mount`, spelled as docker spells it.

import Glibc
import StageEngine
import StageGraph

/// One `--secret`.
struct SecretOption: Hashable, Sendable {
    var id: String
    var origin: SecretOrigin

    /// `id=NAME[,type=file|env][,src=FILE][,env=VARIABLE]`. Without either, the variable of that name, else the file of that
    /// name.
    init(parsing text: String, environment: (String) -> String?) throws(UsageError) {
        var values: [String: String] = [:]
        let keys = ["type", "id", "source", "src", "env"]
        for field in try commaSeparatedFields(text) {
            guard let equals = field.firstIndex(of: "=") else {
                throw UsageError("--secret \(text): \"\(field)\" is not key=value; write id=NAME,src=FILE")
            }
            let key = field[..<equals].lowercased()
            guard keys.contains(key) else {
                let near = Spelling.closest(key, among: keys).map { "; did you mean \($0)=?" } ?? ""
                throw UsageError("--secret \(text): \(key)= is not known\(near)")
            }
            values[key == "source" ? "src" : key] = String(field[field.index(after: equals)...])
        }
        func value(_ key: String) -> String? { values[key].flatMap { $0.isEmpty ? nil : $0 } }
        guard let id = value("id") else { throw UsageError("--secret \(text): id=NAME is missing") }
        self.id = id
        var (file, variable) = (value("src"), value("env"))
        switch value("type") {
        case nil, "file": break
        case "env":
            // docker takes the source for the variable's name.
            if variable == nil { (file, variable) = (nil, file) }
        case let type?:
            let near = Spelling.closest(type, among: ["file", "env"]).map { "; did you mean \($0)?" } ?? ""
            throw UsageError("--secret \(text): there is no type=\(type)\(near) It is file or env")
        }
        if file == nil, variable == nil {
            if environment(id) ?? "" != "" { variable = id } else { file = id }
        }
        if let variable {
            origin = .value(SecretValue(Array((environment(variable) ?? "").utf8)))
        } else {
            origin = .file(file ?? id)
        }
    }
}

/// One `--ssh`.
struct AgentOption: Hashable, Sendable {
    var id: String
    /// Where an agent listens; nil when it is keys.
    var socket: String?
    /// Files with private keys; nil when it is an agent.
    var keys: [String]?

    /// `default`, `ID`, `ID=SOCKET` or `ID=KEYFILE[,KEYFILE]`; without a path, the socket of SSH_AUTH_SOCK.
    init(parsing text: String, environment: (String) -> String?) throws(UsageError) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        id = parts[0].isEmpty ? "default" : parts[0]
        let paths = parts.count > 1 ? parts[1].split(separator: ",").map(String.init) : []
        let kinds = paths.map(Self.kind)
        if paths.count > 1, kinds.contains(S_IFSOCK) {
            throw UsageError("--ssh \(text): one socket, or files with private keys")
        }
        if paths.count > 1 || kinds.first == S_IFREG {
            keys = paths
            return
        }
        guard let socket = paths.first ?? environment("SSH_AUTH_SOCK"), !socket.isEmpty else {
            throw UsageError(
                "--ssh \(text): SSH_AUTH_SOCK is not set; start ssh-agent, or write --ssh \(id)=SOCKET or "
                    + "\(id)=KEYFILE")
        }
        self.socket = socket
    }

    private static func kind(of path: String) -> mode_t {
        var info = stat()
        return stat(path, &info) == 0 ? info.st_mode & S_IFMT : 0
    }
}
