// `COPY` and `ADD` into one graft: where each source comes from, who owns it, and where it goes.

import StageGraph

extension StageLowering {
    mutating func copy(_ copy: CopyCommand, _ instruction: ParsedInstruction) throws(DockerfileError) {
        adviseUnused(copy)
        let chown = try copy.chown.map { word throws(DockerfileError) in try owner(word) }
        let chmod = try copy.chmod.map { word throws(DockerfileError) in try mode(word) }
        var texts: [String] = []
        var inputs = [state.filesystem]
        var sources: [Copy.Source] = []
        for source in copy.sources {
            switch source {
            case .path(let word):
                let path = try expand(word)
                try checkPath(path, copy, word.range)
                if inputs.count == 1 { inputs.append(try origin(copy.from, instruction)) }
                let taken = copy.parents == nil ? .path(input: 1, pattern: BuildPath.source(path)) : parents(path)
                sources.append(taken)
                if copy.from == nil {
                    adviseIgnored(path, copy, word.range)
                    graph.takes(BuildPath.source(path), fromContext: "")
                }
                texts.append(path)
            case .heredoc(let heredoc):
                sources.append(try text(heredoc, instruction))
                texts.append("<<\(heredoc.name)")
            }
        }
        if copy.checksum != nil {
            throw DockerfileError(
                "checksum requires an HTTP(S) or Git source", at: copy.checksum?.range, hint: "leave --checksum out")
        }
        let destination = try expand(copy.destination)
        let operation = Operation.copy(
            Copy(
                sources: sources, destination: BuildPath.destination(destination, in: state.workingDirectory),
                chown: chown.flatMap { $0 }.map(Owner.init(parsing:)), chmod: chmod.flatMap { $0 },
                resetsOwner: copy.from == nil, unpacksArchives: copy.isAdd && copy.unpack != false,
                excludes: copy.excludes.map(\.text)))
        let step = addStep(operation, inputs, instruction)
        var words = [copy.isAdd ? "ADD" : "COPY"]
        if copy.parents != nil { words.append("--parents") }
        if let chown = chown.flatMap({ $0 }) { words.append("--chown=\(chown)") }
        if let chmod = chmod.flatMap({ $0 }) { words.append("--chmod=\(chmod)") }
        words += texts + [destination]
        state.record(words.joined(separator: " ") + " # buildkit", step: step)
    }

    /// `a/b/./c/d`: `a/b` is not part of the path that is kept.
    private func parents(_ path: String) -> Copy.Source {
        let slash = UInt8(ascii: "/")
        let bytes = Array(path.utf8)
        for index in bytes.indices.dropLast(2) where bytes[index...].starts(with: [slash, UInt8(ascii: "."), slash]) {
            let pivot = String(decoding: bytes[..<index], as: UTF8.self)
            let pattern = String(decoding: bytes[(index + 3)...], as: UTF8.self)
            return .parents(input: 1, pivot: BuildPath.source(pivot), pattern: BuildPath.source(pattern))
        }
        return .parents(input: 1, pivot: ".", pattern: BuildPath.source(path))
    }

    private mutating func adviseUnused(_ copy: CopyCommand) {
        if let word = copy.keepsGitDirectory {
            warnings.append(
                DockerfileWarning(
                    rule: "", "--keep-git-dir says nothing about a source that is no git repository", at: word.range))
        }
    }

    /// What a source path is taken from: a stage, an image, or the context.
    mutating func origin(_ from: Word?, _ instruction: ParsedInstruction) throws(DockerfileError) -> StepID {
        guard let from else {
            return graph.shared(.context(""), title: "load build context", source: instruction.range)
        }
        let name = try Self.sourceName(from, scope, state.variables)
        let reference = try layout.source(name, in: state.index, at: from.range)
        guard let filesystem = filesystems[reference] else {
            throw DockerfileError("nothing is known of `\(name)`", at: from.range)
        }
        return filesystem
    }

    /// A `--from` with its variables put in: the stage's, then the global arguments.
    static func sourceName(_ from: Word, _ scope: GlobalScope, _ variables: Variables) throws(DockerfileError) -> String
    {
        let result: Expansion.Result
        do {
            result = try scope.expansion.expand(from.text, ScopedVariables(inner: variables, outer: scope.variables))
        } catch { throw DockerfileError(error.message, at: from.range) }
        guard !result.value.isEmpty else {
            let names = result.unmatched.map { "$\($0)" }.joined(separator: ", ")
            throw DockerfileError(
                names.isEmpty ? "--from names nothing" : "--from names nothing: \(names) is not set", at: from.range,
                hint: "declare it with ARG before this line, or before the first FROM")
        }
        return result.value
    }

    private func checkPath(_ path: String, _ copy: CopyCommand, _ range: SourceRange) throws(DockerfileError) {
        let isGit = RemoteSource.isGit(path)
        guard isGit || RemoteSource.isHTTP(path) else { return }
        let kind = isGit ? "a git repository" : "a URL"
        guard copy.isAdd else {
            throw DockerfileError("source can't be \(kind) for COPY: `\(path)`", at: range, hint: "ADD takes one")
        }
        throw DockerfileError(
            "ADD of \(kind) is not supported by this version: `\(path)`", at: range,
            hint: isGit ? "clone it with RUN git clone" : "download it with RUN curl or wget")
    }

    private mutating func text(
        _ heredoc: Heredoc, _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> Copy.Source {
        let name = heredoc.name.utf8.first == UInt8(ascii: "/") ? String(heredoc.name.dropFirst()) : heredoc.name
        guard !name.isEmpty, name != ".", name != "..", !name.utf8.contains(UInt8(ascii: "/")) else {
            throw DockerfileError(
                "`\(heredoc.name)` is no file name for a heredoc", at: instruction.range,
                hint: "the word after << names the file; the destination says where it goes")
        }
        guard heredoc.expands else { return .text(name: name, content: heredoc.text) }
        var expansion = Expansion()
        expansion.ignoresQuotes = true
        expansion.splitsWords = false
        return .text(name: name, content: try expand(heredoc.text, with: expansion, at: instruction.range).value)
    }

    /// Nil for an empty value, which asks for nothing.
    private mutating func owner(_ word: Word) throws(DockerfileError) -> String? {
        let text = try expand(word)
        if text.isEmpty { return nil }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.contains(where: { !$0.isEmpty }) else {
            throw DockerfileError("invalid --chown value `\(text)`", at: word.range, hint: "write USER or USER:GROUP")
        }
        return text
    }

    private mutating func mode(_ word: Word) throws(DockerfileError) -> String? {
        let text = try expand(word)
        if text.isEmpty { return nil }
        guard FileMode.isValid(text) else {
            throw DockerfileError(
                "invalid --chmod value `\(text)`", at: word.range,
                hint: "write an octal mode up to 7777, or a symbolic one such as u=rwX,go=rX")
        }
        return text
    }
}

/// Sources of `ADD` that are no paths.
enum RemoteSource {
    static func isHTTP(_ source: String) -> Bool { source.hasPrefix("http://") || source.hasPrefix("https://") }

    /// `git@host:path`, `git://`, `ssh://`, and `http(s)` addresses of a `.git`.
    static func isGit(_ source: String) -> Bool {
        if source.hasPrefix("git://") || source.hasPrefix("ssh://") { return true }
        if isHTTP(source) {
            let path = source.utf8.prefix { $0 != UInt8(ascii: "#") && $0 != UInt8(ascii: "?") }
            return (String(path) ?? "").hasSuffix(".git")
        }
        // user@host:path, as ssh has it; a local path may hold an @ too, but not before a colon and a slash.
        guard source.hasPrefix("git@"), let colon = source.utf8.firstIndex(of: UInt8(ascii: ":")) else { return false }
        return source.utf8[..<colon].allSatisfy { $0 != UInt8(ascii: "/") }
    }
}

enum FileMode {
    /// Octal to 07777, or symbolic as chmod(1) has it.
    static func isValid(_ text: String) -> Bool {
        if let first = text.utf8.first, (0x30...0x39).contains(first) {
            guard let value = UInt32(text, radix: 8) else { return false }
            return value <= 0o7777
        }
        return text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { isClause(Array($0.utf8)) }
    }

    private static func isClause(_ clause: [UInt8]) -> Bool {
        var rest = clause[...]
        rest = rest.drop { "ugoa".utf8.contains($0) }
        guard !rest.isEmpty else { return false }
        while let sign = rest.first {
            guard "+-=".utf8.contains(sign) else { return false }
            rest = rest.dropFirst()
            if let copied = rest.first, "ugo".utf8.contains(copied) {
                rest = rest.dropFirst()
            } else {
                rest = rest.drop { "rwxXst".utf8.contains($0) }
            }
        }
        return true
    }
}
