// A real registry on a loopback port, filled by skopeo, whose stored blobs a test may damage.

import Foundation
import Testing

/// Debian's docker-registry, serving a directory of its own.
final class Registry: Sendable {
    let address: String
    private let directory: String

    private init(address: String, directory: String) {
        self.address = address
        self.directory = directory
    }

    /// Starts a registry, waits until it answers, and stops it after `body`.
    static func with<R>(_ body: (Registry) async throws -> R) async throws -> R {
        let port = try freePort()
        let directory = try scratchDirectory(
            "registry",
            [
                "config.yml": """
                version: 0.1
                log: {level: error}
                storage:
                  filesystem: {rootdirectory: ./data}
                http: {addr: "127.0.0.1:\(port)"}
                """
            ])
        let server = try RunningCommand(["docker-registry", "serve", "config.yml"], directory: directory)
        let registry = Registry(address: "127.0.0.1:\(port)", directory: directory)
        return try await server.serving {
            try await command("curl", "--silent", "--fail", "http://\(registry.address)/v2/").succeeded
        } during: {
            try await body(registry)
        }
    }

    /// Puts an image there by skopeo.
    func push(_ source: String, as name: String) async throws {
        try expectSuccess(
            try await command(
                "skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, "docker://\(address)/\(name)"))
    }

    /// The files of all blobs, largest first.
    func blobs() async throws -> [String] {
        let found = try await command(
            "sh", "-c", "find data/docker/registry/v2/blobs -name data -printf '%s %p\\n' | sort -rn | cut -d' ' -f2",
            directory: directory)
        return found.output.split(separator: "\n").map { "\(directory)/\($0)" }
    }

    /// Changes one byte in the middle of a stored blob: the registry goes on serving it under the old digest.
    func damage(_ blob: String) throws {
        guard let file = FileHandle(forUpdatingAtPath: blob) else { throw LabFailure("no blob at \(blob)") }
        let middle = try file.seekToEnd() / 2
        try file.seek(toOffset: middle)
        let byte = try file.read(upToCount: 1)?.first ?? 0
        try file.seek(toOffset: middle)
        try file.write(contentsOf: [byte ^ 0x20])
        try file.close()
    }
}
