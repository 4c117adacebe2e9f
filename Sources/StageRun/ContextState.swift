// What is kept of each context that was built from: its stat index, and its last tree with the path it lay at.

import Glibc
import StageHash
import StageStore
import StageSystem

/// The files ROOT/contexts/NAME.index and NAME-SELECTION.tree, the last one for each Dockerfile and target.
struct ContextState: Sendable {
    /// The SHA-256 of the context's path, in hex.
    var name: String
    var trees: [TreeRef] = []
    /// Where the context lay; nil for one that an earlier version kept.
    var path: String?
    /// Seconds since 1970; days count.
    var lastUsed: Int64 = 0
    /// The names of its files.
    var fileNames: [String] = []

    var links: [Link] { trees.map { .directory($0.object) } }

    /// All contexts of the root directory.
    static func all(in root: String) -> [ContextState] {
        guard let directory = try? OwnedFD.open(root + "/contexts", O_RDONLY | O_DIRECTORY),
            let entries = try? readEntries(directory.raw)
        else { return [] }
        var states: [String: ContextState] = [:]
        for entry in entries {
            let file = entry.name.description
            guard file.hasSuffix(".index") || file.hasSuffix(".tree"),
                let info = try? statEntry(directory.raw, entry.name)
            else { continue }
            let name = String(file.prefix(64))
            guard name.utf8.count == 64, Digest(name) != nil else { continue }
            var state = states[name] ?? ContextState(name: name)
            state.lastUsed = max(state.lastUsed, info.mtime_sec)
            state.fileNames.append(file)
            if file.hasSuffix(".tree"), let last = LastTree(file: root + "/contexts/" + file) {
                state.trees.append(last.tree)
                state.path = last.path ?? state.path
            }
            states[name] = state
        }
        return states.values.sorted { $0.name < $1.name }
    }

    /// The paths of its files.
    func files(in root: String) -> [String] { fileNames.sorted().map { "\(root)/contexts/\($0)" } }
}

/// The file that remembers the last tree of a context.
struct LastTree {
    var tree: TreeRef
    var path: String?

    init(tree: TreeRef, path: String?) { (self.tree, self.path) = (tree, path) }

    init?(file: String) {
        guard let bytes = try? readFile(file, limit: 64 << 10) else { return nil }
        let lines = bytes.split(separator: 0x0A, maxSplits: 1, omittingEmptySubsequences: false)
        let words = String(decoding: lines.first ?? [], as: UTF8.self).split(separator: " ")
        guard words.count == 2, let identity = Digest(String(words[0])), let object = Digest(String(words[1]))
        else { return nil }
        tree = TreeRef(identity: identity, object: object)
        if lines.count == 2, !lines[1].isEmpty { path = String(decoding: lines[1], as: UTF8.self) }
    }

    var encoded: [UInt8] {
        Array("\(tree.identity.hex) \(tree.object.hex)\n\(path ?? "")".utf8)
    }
}
