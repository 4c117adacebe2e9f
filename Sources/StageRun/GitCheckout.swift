// Repositories into the store by the `git` command, in surroundings of its own: no configuration of the machine or the person, no
// hooks, no prompts, and no protocol that reads files of this machine. The commit is found first; a commit that was checked out
// before is not fetched again.

import Glibc
import StageContext
import StageEngine
import StageGraph
import StageHash
import StageRunner
import StageStore
import StageSystem

extension RemoteFetch {
    /// What is at the reference: files 0644 or 0755, directories 0755, all root's, all of the commit's time.
    func checkOut(_ source: GitSource) async throws(SourceError) -> TreeRef {
        let git = GitCommand(tools: tools, agent: loans.agents["default"], pool: root.pool, login: login(source))
        let (commit, name) = try await resolve(source, git)
        if let expected = source.commit, !commit.hasPrefix(expected.lowercased()) {
            throw SourceError("expected checksum to match \(expected), got \(commit) (\(source.shown))")
        }
        let key = Array("git ".utf8) + Digest.of("\(source.shown)\0\(commit)\0\(source.flags)").bytes
        do {
            if let known = try known(key) { return known }
            let scratch = try RunDirectory(root: root.path)
            let place = scratch.path + "/upper"
            try await fetch(source, commit: commit, name: name, into: place, git)
            let time = try await git.line("-C", place, "log", "-1", "--format=%ct", commit, "--")
            let scan = ContextRequest(
                path: place,
                rules: source.keepsGitDirectory == true
                    ? .none
                    : try IgnoreRules(patterns: [
                        Array("**/.git".utf8), Array(".git".utf8),
                    ]), patterns: nil, indexPath: nil, leftOut: nil)
            let scanned = try await ContextScanner(store: root.store, pool: root.pool).scan(scan).tree
            let part = try directory(source, in: scanned)
            let normal = NormalTree(store: root.store, time: Timestamp(seconds: Int64(time) ?? 0))
            let tree = try normal.tree(part)
            root.store.set(.facts, key, tree.identity.bytes + tree.object.bytes)
            return tree
        } catch let error as SourceError { throw error } catch {
            throw SourceError("cannot check out \(source.shown): \(error)")
        }
    }

    private func login(_ source: GitSource) -> String? {
        guard source.remote.hasPrefix("http"), let host = source.remote.split(separator: "/").dropFirst().first else {
            return nil
        }
        let name = host.split(separator: "@").last.map(String.init) ?? ""
        for suffix in ["." + name, ""] {
            if let header = value(of: "GIT_AUTH_HEADER" + suffix) { return header }
            if let token = value(of: "GIT_AUTH_TOKEN" + suffix) {
                return "basic " + Base64.text(Array("x-access-token:\(token)".utf8))
            }
        }
        return nil
    }

    // MARK: The commit

    /// The commit that the reference is, and its full name in the repository; of a branch and a tag, the branch.
    private func resolve(
        _ source: GitSource, _ git: GitCommand
    ) async throws(SourceError) -> (commit: String, name: String) {
        if source.namesCommit { return (source.reference, source.reference) }
        let reference = source.reference.isEmpty ? "HEAD" : source.reference
        let listed: String
        do throws(GitFailure) {
            listed = try await git.output("ls-remote", "--", source.remote, reference, reference + "^{}")
        } catch { throw SourceError("cannot reach \(source.shown): \(error.message)") }
        var found: [String: String] = [:]
        for line in listed.split(separator: "\n") {
            let words = line.split(separator: "\t")
            if words.count == 2, words[0].utf8.count >= 40 { found[String(words[1])] = String(words[0]) }
        }
        func bare(_ prefix: String) -> String {
            reference.hasPrefix(prefix) ? String(reference.dropFirst(prefix.utf8.count)) : reference
        }
        let names = [
            "refs/heads/" + bare("refs/heads/"), "refs/tags/" + bare("refs/tags/"), "refs/" + bare("refs/"), reference,
        ]
        for name in names {
            if let commit = found[name + "^{}"] ?? found[name] { return (commit, name) }
        }
        throw SourceError("repository does not contain ref \(reference): \(source.shown)")
    }

    private func fetch(
        _ source: GitSource, commit: String, name: String, into place: String, _ git: GitCommand
    ) async throws {
        do throws(GitFailure) {
            try await git.run("init", "--quiet", "--template=", place)
            do throws(GitFailure) {
                try await git.run(
                    "-C", place, "fetch", "--quiet", "--depth=1", "--no-tags", "--", source.remote, commit)
            } catch {
                // Servers may give whole references only.
                let what =
                    source.namesCommit ? ["+refs/heads/*:refs/build/*", "+refs/tags/*:refs/tags/*"] : ["+" + name]
                let depth = source.namesCommit ? [] : ["--depth=1"]
                try await git.run(
                    ["-C", place, "fetch", "--quiet"] + depth + ["--no-tags", "--", source.remote] + what)
            }
            try await git.run("-C", place, "checkout", "--quiet", "--detach", commit)
            if source.takesSubmodules, access(place + "/.gitmodules", F_OK) == 0 {
                try await git.run("-C", place, "remote", "add", "origin", source.remote)
                try await git.run(
                    "-C", place, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
                try await git.run("-C", place, "remote", "remove", "origin")
            }
            if source.keepsGitDirectory == true {
                try await git.run("-C", place, "remote", "add", "origin", source.shown)
                // It names the address as it was given, a password included.
                unlink(place + "/.git/FETCH_HEAD")
                try await git.run("-C", place, "reflog", "expire", "--all", "--expire=now")
            }
        } catch { throw SourceError("cannot fetch \(source.shown): \(error.message)") }
    }

    // MARK: The tree

    private func known(_ key: [UInt8]) throws(StoreError) -> TreeRef? {
        guard let bytes = try root.store.get(.facts, key), bytes.count == 64,
            let identity = bytes[..<32].withUnsafeBytes({ Digest(bytes: $0) }),
            let object = bytes[32...].withUnsafeBytes({ Digest(bytes: $0) })
        else { return nil }
        let tree = TreeRef(identity: identity, object: object)
        // What nobody refers to may have been collected.
        return (try? root.store.isWhole(tree)) == true ? tree : nil
    }

    private func directory(_ source: GitSource, in tree: TreeRef) throws -> TreeRef {
        let path = TreePath(source.directory)
        if path.isRoot { return tree }
        guard let target = try root.store.resolve(path, in: tree),
            case .directory(let part)? = try root.store.entry(at: target, in: tree)
        else { throw SourceError("\(source.shown) has no directory \(source.directory)") }
        return part
    }
}

extension GitSource {
    /// All that decides what a commit becomes, but the commit.
    fileprivate var flags: String { "\(directory)\0\(keepsGitDirectory == true)\0\(takesSubmodules)" }
}

extension Store {
    /// Whether all that the tree names is here.
    fileprivate func isWhole(_ tree: TreeRef) throws(StoreError) -> Bool {
        for item in try directory(tree.object).items {
            switch item.entry {
            case .directory(let child): if try !isWhole(child) { return false }
            case .node(let node):
                if let file = node.file, try size(of: file.digest) != file.size { return false }
            }
        }
        return true
    }
}

/// A tree with the modes that git knows, and one time.
private struct NormalTree {
    let store: Store
    let time: Timestamp

    func tree(_ tree: TreeRef) throws(StoreError) -> TreeRef {
        let directory = try store.directory(tree.object)
        var items = directory.items
        for index in items.indices {
            switch items[index].entry {
            case .directory(let child): items[index].entry = .directory(try self.tree(child))
            case .node(var node):
                let isProgram = node.attributes.mode & 0o111 != 0
                let mode: UInt16
                if case .symlink = node.content { mode = 0o777 } else { mode = isProgram ? 0o755 : 0o644 }
                node.attributes = Attributes(mode: mode, time: time)
                node.linkGroup = 0
                items[index].entry = .node(node)
            }
        }
        return try store.put(DirectoryObject(attributes: Attributes(mode: 0o755, time: time), items: items))
    }
}

enum Base64 {
    static func text(_ bytes: [UInt8]) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var result: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(0) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - group.count))
            for place in 0..<4 {
                let digit = digits[Int(bits >> UInt32(18 - 6 * place)) & 63]
                result.append(place <= group.count ? digit : UInt8(ascii: "="))
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
