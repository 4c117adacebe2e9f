// A directory, a store and a pool for one test.

import CLinux
import Glibc
import StageContext
import StageStore
import StageSystem
import Testing

final class Fixture: Sendable {
    let base: String
    let root: String
    let index: String
    let store: Store
    let pool = BlockingPool(threads: 6)

    init() throws {
        var template = Array("/tmp/stage-context-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        base = template.withUnsafeBufferPointer { String(cString: $0.baseAddress.unsafelyUnwrapped) }
        root = base + "/context"
        index = base + "/index"
        if mkdir(root, 0o755) != 0 { throw SystemError.last("mkdir", root) }
        store = try Store(path: base + "/store")
    }

    deinit {
        pool.close()
        try? removeTree(base)
    }

    /// Writes a file, making the directories above it.
    func write(_ path: String, _ text: String = "") throws {
        try write(path, Array(text.utf8))
    }

    func write(_ path: String, _ bytes: [UInt8]) throws {
        try directory(String(path.split(separator: "/").dropLast().joined(separator: "/")))
        let fd = try OwnedFD.open("\(root)/\(path)", O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
        try bytes.withUnsafeBytes { try writeAll(fd.raw, $0) }
    }

    func directory(_ path: String) throws {
        var here = root
        for part in path.split(separator: "/") {
            here += "/" + part
            if mkdir(here, 0o755) != 0 && errno != EEXIST { throw SystemError.last("mkdir", here) }
        }
    }

    func link(_ target: String, _ path: String) throws {
        if symlink(target, "\(root)/\(path)") != 0 { throw SystemError.last("symlink", path) }
    }

    /// Waits until what was written is older than the clock's grain.
    func settle() { usleep(30_000) }

    func scan(_ ignore: String = "", patterns: [String]? = nil, indexed: Bool = true) async throws -> ContextScan {
        let rules = ignore.isEmpty ? IgnoreRules.none : try IgnoreRules(text: Array(ignore.utf8), file: ".dockerignore")
        return try await ContextScanner(store: store, pool: pool).scan(
            ContextRequest(path: root, rules: rules, patterns: patterns, indexPath: indexed ? index : nil))
    }

    /// Everything in a tree, as paths; directories end in `/`, symlinks show their target.
    func listing(_ tree: TreeRef) throws -> [String] {
        var lines: [String] = []
        try store.walk(tree) { path, entry in
            let name = String(path.description.dropFirst())
            switch entry {
            case .directory: lines.append(name + "/")
            case .node(let node):
                if case .symlink(let target) = node.content {
                    lines.append(name + " -> " + String(decoding: target, as: UTF8.self))
                } else {
                    lines.append(name)
                }
            }
        }
        return lines
    }

    func text(_ path: TreePath, _ tree: TreeRef) throws -> String? {
        guard case .node(let node)? = try store.entry(at: path, in: tree), let file = node.file else { return nil }
        return String(decoding: try store.read(file.digest), as: UTF8.self)
    }
}
