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
        let git = GitCommand(
            tools: tools, agent: loans.agents["default"], pool: root.pool, access: GitAccess(source, header: header))
        do {
            let revision = try await revision(of: source, git)
            try revision.check(source)
            let key = Array("git ".utf8) + Digest.of("\(source.shown)\0\(source.key(revision))").bytes
            if let known = try known(key) { return known }
            let scratch = try RunDirectory(root: root.path)
            let place = scratch.path + "/upper"
            try await fetch(source, revision, into: place, git)
            let time = try await git.line("-C", place, "log", "-1", "--format=%ct", revision.commit, "--")
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
        } catch let error as SourceError { throw error } catch let error as GitFailure {
            throw SourceError("cannot check out \(source.shown): \(error.message)")
        } catch {
            throw SourceError("cannot check out \(source.shown): \(error)")
        }
    }

    /// What the secrets have for the host, as BuildKit names them.
    private func header(for host: String) -> String? {
        for suffix in ["." + host, ""] {
            if let header = value(of: "GIT_AUTH_HEADER" + suffix) { return header }
            if let token = value(of: "GIT_AUTH_TOKEN" + suffix) {
                return "basic " + Base64.text(Array("x-access-token:\(token)".utf8))
            }
        }
        return nil
    }

    // MARK: The commit

    private func fetch(
        _ source: GitSource, _ revision: GitRevision, into place: String, _ git: GitCommand
    ) async throws(SourceError) {
        do throws(GitFailure) {
            try await git.makeRepository(at: place, for: revision.commit)
            var attempts = [["--depth=1", revision.commit]]
            // Servers may give whole references only, and plain files on a web server whole histories.
            if let name = revision.name {
                attempts += [["--depth=1", "+" + name], ["+" + name]]
            } else {
                attempts.append(GitCommand.everything)
            }
            try await git.fetch(from: source.shown, into: place, attempts)
            try await git.run("-C", place, "checkout", "--quiet", "--detach", revision.commit)
            if source.takesSubmodules, access(place + "/.gitmodules", F_OK) == 0 {
                try await takeSubmodules(source, in: place, git)
            }
            if source.keepsGitDirectory == true { try await finish(source, revision, in: place, git) }
        } catch { throw SourceError("cannot fetch \(source.shown): \(error.message)") }
    }

    private func takeSubmodules(_ source: GitSource, in place: String, _ git: GitCommand) async throws(GitFailure) {
        try await git.run("-C", place, "remote", "add", "origin", source.shown)
        let update = ["-C", place, "submodule", "--quiet", "update", "--init", "--recursive"]
        do throws(GitFailure) { try await git.run(update + ["--depth=1"]) } catch { try await git.run(update) }
        try await git.run("-C", place, "remote", "remove", "origin")
    }

    /// The repository that is kept: it knows the branch or the tag, and where it is from, and nothing of this fetch.
    private func finish(
        _ source: GitSource, _ revision: GitRevision, in place: String, _ git: GitCommand
    ) async throws(GitFailure) {
        if let name = revision.name, name.hasPrefix("refs/") {
            if revision.tag == nil {
                try await git.run("-C", place, "update-ref", name, revision.commit)
            } else {
                let what = "+\(name):\(name)"
                try await git.fetch(from: source.shown, into: place, [["--depth=1", what], [what]])
            }
        }
        try await git.run("-C", place, "remote", "add", "origin", source.shown)
        // It names the address as it was given, a password included.
        unlink(place + "/.git/FETCH_HEAD")
        try await git.run("-C", place, "reflog", "expire", "--all", "--expire=now")
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
        guard case .directory(let part)? = try root.store.find(path, in: tree)?.entry else {
            throw SourceError("\(source.shown) has no directory \(source.directory)")
        }
        return part
    }
}

extension GitSource {
    /// All that decides what a commit becomes. A repository that is kept knows what it was fetched by.
    fileprivate func key(_ revision: GitRevision) -> String {
        let key = "\(revision.commit)\0\(directory)\0\(keepsGitDirectory == true)\0\(takesSubmodules)"
        return keepsGitDirectory == true ? "\(key)\0\(revision.name ?? "")" : key
    }
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
