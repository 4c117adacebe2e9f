// `SOURCE_DATE_EPOCH` that is no number: the name of something that has a time of its own.

import StageGraph

/// What `SOURCE_DATE_EPOCH` takes its time from.
public enum EpochSource: Sendable, Hashable {
    /// The main context.
    case context
    /// A context of `--build-context`, by `NamedContext.name(of:)`.
    case named(String)
    /// What the one `ADD` of a stage fetches.
    case remote(RemoteSource)
}

extension Dockerfile {
    /// Nil where it is a number, or nothing.
    public func epochSource(_ options: LoweringOptions) throws(DockerfileError) -> EpochSource? {
        var options = options
        options.leavesEpochOpen = true
        let scope = try GlobalScope(self, options)
        let text = scope.epochText
        if text.isEmpty || Int64(text) != nil { return nil }
        if text == "context" { return .context }
        let name = NamedContext.name(of: text)
        if options.contexts[name] != nil { return .named(name) }
        guard let stage = stages.first(where: { $0.name == text.lowercased() }) else {
            throw GlobalScope.invalidEpoch(text)
        }
        return .remote(try Source(scope).remote(of: stage))
    }

    /// Reads a stage that is there for what it fetches: `FROM scratch`, any `ARG`, one `ADD`.
    private struct Source {
        let options: LoweringOptions
        let expansion: Expansion
        var variables = Variables()

        init(_ scope: GlobalScope) {
            options = scope.options
            expansion = scope.expansion
            for name in scope.variables.orderedNames where name != "SOURCE_DATE_EPOCH" {
                variables.set(name, scope.variables.value(of: name) ?? "")
            }
        }

        func remote(of stage: Stage) throws(DockerfileError) -> RemoteSource {
            guard try expand(stage.from.base) == "scratch" else {
                throw unfit("has to start FROM scratch", stage.from.base.range)
            }
            var scope = self
            var found: RemoteSource?
            for instruction in stage.instructions {
                switch instruction.command {
                case .argument(let declarations):
                    for declaration in declarations { try scope.declare(declaration) }
                case .copy(let copy) where copy.isAdd:
                    if found != nil { throw unfit("has to have one ADD", instruction.range) }
                    found = try scope.source(of: copy, instruction.range)
                default: throw unfit("may have nothing but ARG and one ADD", instruction.range)
                }
            }
            guard let found else { throw unfit("has to have one ADD", stage.range) }
            return found
        }

        private func unfit(_ what: String, _ range: SourceRange) -> DockerfileError {
            DockerfileError("the stage that SOURCE_DATE_EPOCH names \(what)", at: range)
        }

        private func expand(_ word: Word) throws(DockerfileError) -> String {
            do { return try expansion.expand(word.text, variables).value } catch {
                throw DockerfileError(error.message, at: word.range)
            }
        }

        private mutating func declare(_ declaration: ArgumentDeclaration) throws(DockerfileError) {
            if let given = options.buildArguments[declaration.name] {
                variables.set(declaration.name, given)
            } else if let value = declaration.value {
                variables.set(declaration.name, try expand(Word(value, at: declaration.range)))
            }
        }

        private func source(of copy: CopyCommand, _ range: SourceRange) throws(DockerfileError) -> RemoteSource {
            guard copy.sources.count == 1, case .path(let word) = copy.sources[0] else {
                throw unfit("has to have one ADD of one source", range)
            }
            let text = try expand(word)
            let checksum = try copy.checksum.map { word throws(DockerfileError) in try expand(word) }
            do throws(GitSource.Fault) {
                if var source = try GitSource(parsing: text) {
                    if let keeps = copy.keepsGitDirectory { source.keepsGitDirectory = keeps.text == "true" }
                    if let checksum, !checksum.isEmpty { try source.pin(checksum) }
                    return .git(source)
                }
            } catch { throw DockerfileError(error.message, at: word.range) }
            guard WebFile.isAddress(text) else {
                throw unfit("has to ADD something of the web or of git", word.range)
            }
            return .web(WebFile(url: text, checksum: checksum))
        }
    }
}
