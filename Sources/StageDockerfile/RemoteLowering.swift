// Sources of `ADD` that are no paths: files of the web and git repositories.

import StageGraph

/// What `ADD` says of sources that are fetched.
struct RemoteOptions {
    var checksum: Word?
    var checksumText: String?
    var keepsGitDirectory: Bool?
}

/// One source that is fetched, and how the copy takes it.
struct FetchedSource {
    let remote: RemoteSource
    let unpacks: Bool

    var operation: Operation { .remote(remote) }

    var title: String {
        switch remote {
        case .web(let file): "fetch \(file.shown)"
        case .git(let source): "fetch \(source.shown)\(source.reference.isEmpty ? "" : "#" + source.reference)"
        }
    }

    /// A repository is copied as a directory is: what is in it.
    func source(input: Int) -> Copy.Source {
        switch remote {
        case .web: .fetched(input: input, unpacks: unpacks)
        case .git: .path(input: input, pattern: ".")
        }
    }
}

extension WebFile {
    /// Without what is private in it: a password, and the query, where services put their tokens.
    public var shown: String {
        let address = String(Substring(url.utf8.prefix { $0 != UInt8(ascii: "?") }))
        return GitSource(remote: address).shown
    }
}

extension StageLowering {
    mutating func remoteOptions(_ copy: CopyCommand) throws(DockerfileError) -> RemoteOptions {
        var options = RemoteOptions(checksum: copy.checksum)
        if let word = copy.checksum {
            options.checksumText = try expand(word)
            guard copy.sources.count == 1 else {
                throw DockerfileError(
                    "checksum can't be specified for multiple sources", at: word.range, hint: "write an ADD for each")
            }
            let source: String
            switch copy.sources[0] {
            case .path(let path): source = try expand(path)
            case .heredoc: source = ""
            }
            let isGit = try git(source, word.range) != nil
            guard isGit || WebFile.isAddress(source) else {
                throw DockerfileError(
                    "checksum requires an HTTP(S) or Git source", at: word.range, hint: "leave --checksum out")
            }
        }
        if let word = copy.keepsGitDirectory { options.keepsGitDirectory = word.text == "true" }
        return options
    }

    private func git(_ text: String, _ range: SourceRange) throws(DockerfileError) -> GitSource? {
        do throws(GitSource.Fault) { return try GitSource(parsing: text) } catch {
            throw DockerfileError(error.message, at: range)
        }
    }

    /// Nil for a path.
    func remoteSource(
        _ text: String, _ copy: CopyCommand, _ options: RemoteOptions, _ range: SourceRange
    ) throws(DockerfileError) -> FetchedSource? {
        let remote: RemoteSource
        if let source = try git(text, range) {
            remote = .git(try completed(source, options, range))
        } else if WebFile.isAddress(text) {
            remote = .web(WebFile(url: text, checksum: try checksum(options)))
        } else {
            return nil
        }
        guard copy.isAdd else {
            let kind = if case .git = remote { "a git ref" } else { "a URL" }
            throw DockerfileError("source can't be \(kind) for COPY: `\(text)`", at: range, hint: "ADD takes one")
        }
        return FetchedSource(remote: remote, unpacks: copy.unpack ?? false)
    }

    private func checksum(_ options: RemoteOptions) throws(DockerfileError) -> String? {
        guard let word = options.checksum, let text = options.checksumText, !text.isEmpty else { return nil }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "sha256", parts[1].utf8.count == 64,
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else {
            throw DockerfileError(
                "invalid checksum `\(text)`", at: word.range, hint: "write sha256: and 64 digits in lower case")
        }
        return text
    }

    private func completed(
        _ source: GitSource, _ options: RemoteOptions, _ range: SourceRange
    ) throws(DockerfileError) -> GitSource {
        var source = source
        if let flag = options.keepsGitDirectory, let own = source.keepsGitDirectory, flag != own {
            throw DockerfileError(
                "inconsistent keep-git-dir configuration", at: range,
                hint: "the flag and the address say different things")
        }
        source.keepsGitDirectory = source.keepsGitDirectory ?? options.keepsGitDirectory
        guard let given = options.checksumText, !given.isEmpty else { return source }
        do throws(GitSource.Fault) { try source.pin(given) } catch {
            throw DockerfileError(error.message, at: options.checksum?.range ?? range)
        }
        return source
    }
}
