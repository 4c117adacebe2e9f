// Trees made by hand in a store, an executor on a scratch directory, and `RUN` in one line.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageRunner
import StageStore
import StageSystem
import Synchronization

/// A store, an executor and a busybox image as a tree.
final class TreeFixture: Sendable {
    let scratch = Scratch()
    let store: MemoryStore
    let executor: NamespaceExecutor
    let image: TreeRef
    static let time = Timestamp(seconds: 1_600_000_000, nanoseconds: 123_456_789)

    init() throws {
        store = MemoryStore()
        image = try Self.busyboxImage(store)
        executor = try NamespaceExecutor(root: scratch.path, store: store)
    }

    static func file(_ text: String, _ store: any TreeStore, mode: UInt16 = 0o644, uid: UInt32 = 0) throws -> Entry {
        let bytes = Array(text.utf8)
        let digest = try store.put(bytes)
        return .node(
            Node(
                attributes: Attributes(mode: mode, uid: uid, time: time),
                content: .file(digest, size: UInt64(bytes.count))))
    }

    static func link(_ target: String) -> Entry {
        .node(Node(attributes: Attributes(mode: 0o777, time: time), content: .symlink(Array(target.utf8))))
    }

    static func tree(_ entries: [(String, Entry)], on base: TreeRef? = nil, _ store: any TreeStore) throws -> TreeRef {
        var editor = TreeEditor(base, store: store)
        for (path, entry) in entries {
            try editor.put(entry, at: TreePath(path), parents: Attributes(mode: 0o755, time: time))
        }
        return try editor.commit()
    }

    static func busyboxImage(_ store: any TreeStore) throws -> TreeRef {
        let bytes = try readFile("/bin/busybox")
        let busybox = try store.put(bytes)
        let applets = [
            "sh", "true", "cat", "echo", "id", "sleep", "ls", "mkdir", "rm", "touch", "ln", "mv", "chmod", "chown",
            "rmdir",
            "test", "grep", "hostname", "pwd", "env", "mknod", "mkfifo", "cp", "stat", "find", "seq", "dd", "readlink",
            "wc",
            "sort", "sed", "printf", "nc",
        ]
        var entries: [(String, Entry)] = applets.map { ("/bin/" + $0, link("busybox")) }
        entries.append(
            (
                "/bin/busybox",
                .node(
                    Node(
                        attributes: Attributes(mode: 0o755, time: time),
                        content: .file(busybox, size: UInt64(bytes.count))))
            ))
        entries.append(
            ("/etc/passwd", try file("root:x:0:0:root:/root:/bin/sh\nkim:x:1000:1001::/home/kim:/bin/sh\n", store)))
        entries.append(("/etc/group", try file("root:x:0:\nkim:x:1001:\nwheel:x:10:kim\n", store)))
        entries.append(("/data/a", try file("a", store)))
        entries.append(("/data/sub/b", try file("b", store, mode: 0o640, uid: 7)))
        return try tree(entries, store)
    }

    struct Outcome {
        var exit: StageEngine.ExitStatus
        var tree: TreeRef?
        var output: String
    }

    static let environment = ["PATH=/bin"]

    func run(
        _ shell: String, chain: [TreeRef]? = nil, key: String = "step", user: String = "", directory: String = "/",
        network: Run.Network = .host, environment: [String] = TreeFixture.environment
    ) async throws -> Outcome {
        let run = Run(
            arguments: ["/bin/sh", "-ec", shell], environment: environment, workingDirectory: directory, user: user,
            network: network)
        return try await self.run(run, chain: chain, key: key)
    }

    func run(_ run: Run, chain: [TreeRef]? = nil, key: String = "step") async throws -> Outcome {
        let collected = Mutex("")
        let request = ExecRequest(key: StepKey(Digest.of(key)), run: run, chain: chain ?? [image])
        let outcome = try await executor.execute(request) { _, bytes in
            collected.withLock { $0 += String(decoding: bytes, as: UTF8.self) }
        }
        return Outcome(exit: outcome.exit, tree: outcome.tree, output: collected.withLock { $0 })
    }

    /// The names of what differs, `+` for new or changed, `-` for gone.
    func changes(from: TreeRef, to: TreeRef) throws -> [String] {
        var lines: [String] = []
        try store.difference(from: from, to: to) { change in
            switch change {
            case .directory(let path, _, let existed): if !existed { lines.append("+\(path)/") }
            case .node(let path, _): lines.append("+\(path)")
            case .removed(let path): lines.append("-\(path)")
            }
        }
        return lines
    }

    func node(_ path: TreePath, in tree: TreeRef) throws -> Node? {
        guard case .node(let node)? = try store.entry(at: path, in: tree) else { return nil }
        return node
    }
}
