// `COPY` and `ADD` into one graft: where each source comes from, who owns it, and where it goes.

import StageGraph

extension StageLowering {
    mutating func copy(_ copy: CopyCommand, _ instruction: ParsedInstruction) throws(DockerfileError) {
        let chown = try copy.chown.map { word throws(DockerfileError) in try owner(word) }.flatMap { $0 }
        let chmod = try copy.chmod.map { word throws(DockerfileError) in try mode(word) }.flatMap { $0 }
        let remote = try remoteOptions(copy)
        // A link looks at nothing that was there before. With a mode BuildKit makes a plain copy of it.
        let isLink = copy.link && chmod == nil
        var texts: [String] = []
        var inputs = [
            isLink ? graph.shared(.scratch, title: "FROM scratch", source: instruction.range) : state.filesystem
        ]
        var sources: [Copy.Source] = []
        var local: Int?
        for source in copy.sources {
            switch source {
            case .path(let word):
                let path = try expand(word)
                texts.append(path)
                if let fetched = try remoteSource(path, copy, remote, word.range) {
                    sources.append(fetched.source(input: inputs.count))
                    inputs.append(graph.shared(fetched.operation, title: fetched.title, source: instruction.range))
                    continue
                }
                if local == nil {
                    local = inputs.count
                    inputs.append(try origin(copy.from, instruction))
                }
                if copy.from == nil { adviseIgnored(path, copy, word.range) }
                let pattern = BuildPath.source(path)
                try takes(copy.parents == nil ? BuildPath.flattened(pattern) : pattern, from: copy.from)
                sources.append(
                    copy.parents == nil
                        ? .path(input: local ?? 1, pattern: pattern) : parents(path, input: local ?? 1))
            case .heredoc(let heredoc):
                sources.append(try text(heredoc, instruction))
                texts.append("<<\(heredoc.name)")
            }
        }
        adviseUnused(copy, sources: inputs.dropFirst())
        let destination = try expand(copy.destination)
        texts.append(destination)
        let value = Copy(
            sources: sources, destination: BuildPath.destination(destination, in: state.workingDirectory),
            chown: chown.map(Owner.init(parsing:)), chmod: chmod, resetsOwner: copy.from == nil,
            unpacksArchives: copy.unpack ?? copy.isAdd, excludes: copy.excludes.map(\.text), time: scope.epoch)
        let step = isLink ? addLink(value, inputs, instruction) : addStep(.copy(value), inputs, instruction)
        record(copy, chown: chown, chmod: chmod, texts, step)
    }

    private mutating func record(
        _ copy: CopyCommand, chown: String?, chmod: String?, _ paths: [String], _ step: StepID
    ) {
        var text = copy.isAdd ? "ADD" : "COPY"
        if copy.parents != nil { text += " --parents" }
        if let chown { text += " --chown=\(chown)" }
        if let chmod { text += " --chmod=\(chmod)" }
        for path in paths {
            text += " "
            text += path
        }
        state.record(text + " # buildkit", step: step)
    }

    private mutating func adviseUnused(_ copy: CopyCommand, sources: ArraySlice<StepID>) {
        guard let word = copy.keepsGitDirectory else { return }
        let isGit = sources.contains { step in
            if case .remote(.git) = graph.steps[step.index].operation { true } else { false }
        }
        if isGit { return }
        warnings.append(
            DockerfileWarning(
                rule: "", "--keep-git-dir says nothing about a source that is no git repository", at: word.range))
    }

    /// The copy onto nothing, which is the same whatever lies below, and its laying over what is there.
    private mutating func addLink(
        _ copy: Copy, _ inputs: [StepID], _ instruction: ParsedInstruction
    ) -> StepID {
        let title = StepTitle.text(instruction.syntax, scope.expansion, state.variables)
        let alone = graph.add(
            .copy(copy), inputs: inputs, stage: state.name, title: title, source: instruction.range)
        return addStep(.merge(time: copy.time), [state.filesystem, alone], instruction)
    }

    /// Notes what is taken from a context, the main one or one with a name.
    mutating func takes(_ pattern: String, from: Word?) throws(DockerfileError) {
        guard let from else { return graph.takes(pattern, fromContext: "") }
        let name = try Self.sourceName(from, scope, state.variables)
        if case .context(let context) = try layout.source(name, in: state.index, at: from.range) {
            graph.takes(pattern, fromContext: context)
        }
    }

    /// `a/b/./c/d`: `a/b` is not part of the path that is kept.
    private func parents(_ path: String, input: Int) -> Copy.Source {
        let slash = UInt8(ascii: "/")
        let bytes = Array(path.utf8)
        for index in bytes.indices.dropLast(2) where bytes[index...].starts(with: [slash, UInt8(ascii: "."), slash]) {
            let pivot = String(decoding: bytes[..<index], as: UTF8.self)
            let pattern = String(decoding: bytes[(index + 3)...], as: UTF8.self)
            return .parents(input: input, pivot: BuildPath.source(pivot), pattern: BuildPath.source(pattern))
        }
        return .parents(input: input, pivot: ".", pattern: BuildPath.source(path))
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
        return text.isEmpty ? nil : text
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
