// Which commit a reference is: asked of the repository before anything is fetched.

import StageEngine
import StageGraph
import StageRunner

/// A commit, and what it was found by.
struct GitRevision: Sendable, Hashable {
    /// The commit's name; a tag's, where a repository was asked for that by its own name.
    var commit: String
    /// The branch or tag in full (`refs/...`), or `HEAD`; nil where a commit was named.
    var name: String?
    /// The object of an annotated tag, which leads to the commit.
    var tag: String?

    /// `--checksum` may be the commit's beginning, or that of the tag's object.
    func check(_ source: GitSource) throws(SourceError) {
        guard let expected = source.commit?.lowercased() else { return }
        let names = [commit] + (tag.map { [$0] } ?? [])
        guard !names.contains(where: { $0.hasPrefix(expected) }) else { return }
        throw SourceError(
            "expected checksum to match \(expected), got \(names.joined(separator: " or ")) (\(source.shown))")
    }
}

extension RemoteFetch {
    /// The commit that the reference is; of a branch and a tag of one name, the branch.
    func revision(of source: GitSource, _ git: GitCommand) async throws(SourceError) -> GitRevision {
        if source.namesCommit { return GitRevision(commit: source.reference) }
        let reference = source.reference.isEmpty ? "HEAD" : source.reference
        let listed: String
        do throws(GitFailure) {
            listed = try await git.output("ls-remote", "--symref", "--", source.shown, reference, reference + "^{}")
        } catch { throw SourceError("cannot reach \(source.shown): \(error.message)") }
        if let revision = RemoteListing(listed).revision(of: reference) { return revision }
        guard source.commit == reference else {
            throw SourceError("repository does not contain ref \(reference): \(source.shown)")
        }
        return GitRevision(commit: try await commit(beginningWith: reference.lowercased(), source, git))
    }

    /// The whole name of a commit that is given by its beginning. Only its history tells.
    private func commit(
        beginningWith start: String, _ source: GitSource, _ git: GitCommand
    ) async throws(SourceError) -> String {
        do {
            let any = try await git.line("ls-remote", "--", source.shown).prefix { $0 != "\t" }
            let scratch = try RunDirectory(root: root.path)
            let place = scratch.path + "/upper"
            try await git.makeRepository(at: place, for: String(any))
            try await git.fetch(from: source.shown, into: place, [GitCommand.everything])
            let found = try? await git.line("-C", place, "rev-parse", "--verify", "--quiet", start + "^{commit}")
            if Task.isCancelled { throw SourceError("cancelled") }
            if let found, !found.isEmpty { return found }
            throw SourceError("repository does not contain one commit that begins with \(start): \(source.shown)")
        } catch let error as SourceError { throw error } catch let error as GitFailure {
            throw SourceError("cannot fetch \(source.shown): \(error.message)")
        } catch { throw SourceError("cannot fetch \(source.shown): \(error)") }
    }
}

/// What `git ls-remote --symref` says.
struct RemoteListing {
    private var objects: [String: String] = [:]
    /// Where `HEAD` leads.
    private var targets: [String: String] = [:]

    init(_ text: String) {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: "\t").map(String.init)
            guard words.count == 2 else { continue }
            if words[0].hasPrefix("ref: ") {
                targets[words[1]] = String(words[0].dropFirst(5))
            } else if words[0].utf8.count >= 40 {
                objects[words[1]] = words[0]
            }
        }
    }

    func revision(of reference: String) -> GitRevision? {
        func full(_ prefix: String) -> String { reference.hasPrefix(prefix) ? reference : prefix + reference }
        // A full name is that alone before it is the end of another: a branch may be called `refs/tags/v1`.
        for name in [full("refs/"), full("refs/heads/"), full("refs/tags/"), reference] {
            guard let object = objects[name] else { continue }
            let peeled = objects[name + "^{}"]
            return GitRevision(
                commit: peeled ?? object, name: targets[name] ?? name, tag: peeled == nil ? nil : object)
        }
        return nil
    }
}
