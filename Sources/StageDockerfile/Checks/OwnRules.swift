// The rules of our own: what a static reading shows and costs people time or secrets. Docker has none of them, so they do
// not count for docker's exit status.

import StageGraph

extension CheckRule {
    private init(own name: String, _ summary: String, message: String, help: String) {
        self.init("stagerun/" + name, summary, help: help, origin: .stagerun, message: message)
    }

    static let own: [CheckRule] = [
        .copyWholeStage, .copySourceTree, .copyBeforeInstall, .unpinnedBase, .missingIgnoreFile, .secretCopied,
    ]

    static let copyWholeStage = CheckRule(
        own: "CopyWholeStage", "A stage should hand over what is needed of it, not all of its files",
        message: "All files of {} are copied",
        help: "Name the paths that the image needs: the rest makes it larger, and any change there a new layer.")

    static let copySourceTree = CheckRule(
        own: "CopySourceTree", "A stage should hand over what it made, not the sources that it was given",
        message: "{} of {} holds the build context, which is copied with it",
        help: "Copy only what the stage made there, or write that to a directory of its own.")

    static let copyBeforeInstall = CheckRule(
        own: "CopyBeforeInstall", "Dependencies should be installed before the whole context is copied",
        message: "`{}` runs again whenever any file of the context changes",
        help: "Copy the files that name the dependencies first, install, and copy the rest after that.")

    static let unpinnedBase = CheckRule(
        own: "UnpinnedBase", "A base image should be named by a version",
        message: "Base image {} has {}: what it means changes over time",
        help: "Name a version, or a digest when every build has to be the same.")

    static let missingIgnoreFile = CheckRule(
        own: "MissingIgnoreFile", "A context that is copied as a whole should have an ignore file",
        message: "The whole context is copied, and there is no .dockerignore",
        help: "Make .dockerignore, with lines such as .git for what the image must not hold.")

    static let secretCopied = CheckRule(
        own: "SecretCopied", "Files that look like secrets should not enter an image",
        message: "{} looks like a secret, and is copied",
        help: "Add it to .dockerignore; hand secrets to RUN by --mount=type=secret.")
}

/// What a look into the context shows.
public struct ContextFacts: Sendable, Hashable {
    public var hasIgnoreFile: Bool
    /// Paths of files that look like secrets and that the instructions select, relative to the context.
    public var secrets: [String]

    public init(hasIgnoreFile: Bool, secrets: [String]) {
        self.hasIgnoreFile = hasIgnoreFile
        self.secrets = secrets
    }
}

extension Dockerfile {
    /// Whether a source is fetched, and none of the context's.
    fileprivate static func isRemote(_ source: String) -> Bool {
        WebFile.isAddress(source) || ["git@", "git://", "ssh://"].contains { source.hasPrefix($0) }
    }

    /// What `COPY` and `ADD` take from the context, as far as it is written without variables.
    public var contextSources: [String] {
        stages.flatMap(\.instructions).flatMap { instruction -> [String] in
            guard case .copy(let copy) = instruction.command, copy.from == nil else { return [] }
            return copy.sources.compactMap {
                guard case .path(let word) = $0, !word.text.contains("$"), !Self.isRemote(word.text)
                else { return nil }
                return BuildPath.source(word.text)
            }
        }
    }
}

/// Our own rules applied to one file, as far as it can be read without variables.
public struct OwnChecks {
    private let dockerfile: Dockerfile
    private let layout: StageLayout
    private let scope: GlobalScope?
    private var warnings: [DockerfileWarning] = []
    /// Where each stage has put the whole context; for stages that copy from it.
    private var contextPlaces: [Int: Set<String>] = [:]
    private var directories: [Int: String] = [:]

    /// The findings, by the `check` options that apply, in order of their lines.
    ///
    /// - Parameter context: nil when nobody looked into it.
    public static func findings(
        in dockerfile: Dockerfile, options: LoweringOptions, context: ContextFacts?
    ) -> [DockerfileWarning] {
        var checks = OwnChecks(dockerfile, options)
        for stage in dockerfile.stages { checks.visit(stage, context) }
        let kept = (try? options.checks(of: dockerfile)) ?? CheckOptions()
        return Examination.sorted(checks.warnings.filter { kept.keeps($0) })
    }

    private init(_ dockerfile: Dockerfile, _ options: LoweringOptions) {
        self.dockerfile = dockerfile
        layout = StageLayout(dockerfile)
        scope = try? GlobalScope(dockerfile, options)
    }

    private mutating func visit(_ stage: Stage, _ context: ContextFacts?) {
        var isOnScratch = false
        var directory: String?
        switch base(of: stage) {
        case .stage(let parent):
            directory = directories[parent]
            contextPlaces[stage.index] = contextPlaces[parent]
        case .scratch:
            isOnScratch = true
            directory = "/"
        case .image(let name): adviseUnpinned(name, stage)
        case .context, nil: break
        }
        var hasContext = false
        for instruction in stage.instructions {
            switch instruction.command {
            case .workdir(let path) where !path.text.utf8.contains(UInt8(ascii: "$")):
                if path.text.hasPrefix("/") || directory != nil {
                    directory = BuildPath.cleaned(path.text, in: directory ?? "/")
                }
            case .copy(let copy):
                if copy.from == nil {
                    hasContext = takeContext(copy, instruction, stage, directory, context) || hasContext
                } else {
                    adviseWhole(copy, instruction, stage, isFlattening: isOnScratch)
                }
            case .run(let run):
                if hasContext, let command = Self.install(in: run.line.arguments.joined(separator: " ")) {
                    warnings.add(.copyBeforeInstall, command, in: instruction.syntax)
                    hasContext = false
                }
            default: break
            }
        }
        directories[stage.index] = directory
    }

    private func base(of stage: Stage) -> SourceReference? {
        guard let scope, let name = try? scope.expansion.expand(stage.from.base.text, scope.variables).value else {
            return nil
        }
        return try? layout.base(name, in: stage.index, at: stage.from.base.range)
    }

    private mutating func adviseUnpinned(_ name: String, _ stage: Stage) {
        if name.contains("@") { return }
        let last = name.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
        let tag = last.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).dropFirst().first
        guard tag == nil || tag == "latest" else { return }
        warnings.add(
            .unpinnedBase, name, tag == nil ? "no tag" : "the tag latest", at: stage.from.base.range,
            in: stage.fromInstruction)
    }

    // MARK: COPY

    /// True when the whole context is taken.
    private mutating func takeContext(
        _ copy: CopyCommand, _ instruction: ParsedInstruction, _ stage: Stage, _ directory: String?,
        _ context: ContextFacts?
    ) -> Bool {
        var takesAll = false
        for case .path(let word) in copy.sources where !Dockerfile.isRemote(word.text) {
            let source = BuildPath.source(word.text)
            if source == "." {
                takesAll = true
                if context?.hasIgnoreFile == false {
                    warnings.add(.missingIgnoreFile, at: word.range, in: instruction.syntax)
                }
                if copy.destination.text.hasPrefix("/") || directory != nil {
                    let place = BuildPath.cleaned(copy.destination.text, in: directory ?? "/")
                    contextPlaces[stage.index, default: []].insert(place)
                }
            }
            // Whether --exclude leaves it out is not looked at.
            let secrets = copy.excludes.isEmpty ? context?.secrets ?? [] : []
            for secret in secrets where source == "." || secret == source || secret.hasPrefix(source + "/") {
                warnings.add(.secretCopied, secret, at: word.range, in: instruction.syntax)
            }
        }
        return takesAll
    }

    private mutating func adviseWhole(
        _ copy: CopyCommand, _ instruction: ParsedInstruction, _ stage: Stage, isFlattening: Bool
    ) {
        guard let from = copy.from,
            let reference = try? layout.source(from.text, in: stage.index, at: from.range)
        else { return }
        for case .path(let word) in copy.sources {
            let path = BuildPath.cleaned(word.text)
            if path == "/" {
                // All files onto nothing is how people make one layer of many.
                if !isFlattening { warnings.add(.copyWholeStage, from.text, at: word.range, in: instruction.syntax) }
            } else if case .stage(let index) = reference, contextPlaces[index]?.contains(path) == true {
                warnings.add(.copySourceTree, path, from.text, at: word.range, in: instruction.syntax)
            }
        }
    }

    // MARK: RUN

    private static let installs = [
        "npm ci", "npm install", "yarn install", "pnpm install", "pip install", "pip3 install", "poetry install",
        "uv sync", "bundle install", "composer install", "go mod download", "cargo fetch", "dotnet restore",
        "apt-get install", "apt install", "apk add", "dnf install", "yum install",
    ]

    /// The command that installs dependencies, when there is one. Installing the project itself is none.
    private static func install(in line: String) -> String? {
        let words = line.split { $0 == " " || $0 == "\t" || $0 == "\n" }.map(String.init)
        for index in words.indices.dropLast() {
            for known in installs {
                let name = known.split(separator: " ").map(String.init)
                guard words[index] == name[0] else { continue }
                // Options may stand between the program and its command.
                let rest = words[(index + 1)...].drop { $0.hasPrefix("-") }
                guard rest.starts(with: name.dropFirst()) else { continue }
                let arguments = rest.dropFirst(name.count - 1).prefix { !["&&", ";", "||"].contains($0) }
                if name[0].hasPrefix("pip"), arguments.contains(where: { $0.hasPrefix(".") }) { continue }
                return known
            }
        }
        return nil
    }
}
