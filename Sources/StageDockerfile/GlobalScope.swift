// What holds before the first FROM: platform arguments, global ARGs, and the build arguments that override them.

import StageGraph

struct GlobalScope {
    let options: LoweringOptions
    let expansion: Expansion
    /// What `FROM` can use, and what `ARG NAME` takes into a stage.
    private(set) var variables = Variables()

    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: the time of all that the build copies and makes, and of the image.
    private(set) var epoch: Int64?
    /// The same as it is written.
    private(set) var epochText = ""

    private static let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"]
    /// Build arguments that mean something without being declared.
    private static let builtIn: Set<String> = [
        "BUILDKIT_BUILD_NAME", "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_CONTEXT_KEEP_GIT_DIR", "BUILDKIT_INLINE_CACHE",
        "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_SANDBOX_HOSTNAME", "BUILDKIT_SYNTAX", "BUILDKIT_DOCKERFILE_CHECK",
        "BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE", "SOURCE_DATE_EPOCH",
    ]
    /// Arguments that are no environment variables of `RUN`.
    static let unexported: Set<String> = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"]

    init(_ dockerfile: Dockerfile, _ options: LoweringOptions) throws(DockerfileError) {
        self.options = options
        var expansion = Expansion(escape: dockerfile.directives.escape)
        expansion.splitsWords = false
        self.expansion = expansion
        setPlatform("BUILD", options.buildPlatform)
        setPlatform("TARGET", options.platform)
        setPredefined("TARGETSTAGE", options.target ?? dockerfile.stages.last?.name ?? "default")
        for instruction in dockerfile.globalArguments {
            guard case .argument(let declarations) = instruction.command else { continue }
            for declaration in declarations { try declare(declaration) }
        }
        epochText = options.buildArguments["SOURCE_DATE_EPOCH"] ?? variables.value(of: "SOURCE_DATE_EPOCH") ?? ""
        if !options.leavesEpochOpen { epoch = try Self.epoch(epochText) }
    }

    private static func epoch(_ text: String) throws(DockerfileError) -> Int64? {
        if text.isEmpty { return nil }
        guard let seconds = Int64(text), seconds >= 0 else { throw invalidEpoch(text) }
        return seconds
    }

    static func invalidEpoch(_ text: String) -> DockerfileError {
        DockerfileError(
            "invalid SOURCE_DATE_EPOCH: `\(text)`",
            hint:
                "give seconds since 1970, such as those of `git log -1 --format=%ct`, context, or the name of a context "
                + "or stage that is fetched")
    }

    /// Build arguments that mean something to BuildKit and nothing here.
    var idleArguments: [String] {
        [
            "BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_SBOM_SCAN_CONTEXT",
            "BUILDKIT_SBOM_SCAN_STAGE",
            "BUILDKIT_SYNTAX",
        ].filter { !["", "0", "false"].contains(options.buildArguments[$0] ?? "") }
    }

    private mutating func setPlatform(_ prefix: String, _ platform: Platform) {
        setPredefined(prefix + "PLATFORM", platform.description)
        setPredefined(prefix + "OS", platform.os)
        setPredefined(prefix + "OSVERSION", "")
        setPredefined(prefix + "ARCH", platform.architecture)
        setPredefined(prefix + "VARIANT", platform.variant ?? "")
    }

    private mutating func setPredefined(_ name: String, _ value: String) {
        variables.set(name, options.buildArguments[name] ?? value)
    }

    private mutating func declare(_ declaration: ArgumentDeclaration) throws(DockerfileError) {
        if let given = options.buildArguments[declaration.name] {
            variables.set(declaration.name, given)
        } else if let value = declaration.value {
            do { variables.set(declaration.name, try expansion.expand(value, variables).value) } catch {
                throw DockerfileError(error.message, at: declaration.range)
            }
        }
    }

    /// The proxy settings among the build arguments, under both spellings: for commands, never in keys or history.
    var proxyEnvironment: [String] {
        var result: [String] = []
        for name in Self.proxies {
            let given = options.buildArguments.keys.filter { $0.uppercased() == name }.max()
            guard let given, let value = options.buildArguments[given], !value.isEmpty else { continue }
            result += ["\(name)=\(value)", "\(name.lowercased())=\(value)"]
        }
        return result
    }

    /// Build arguments that nothing in the file declares and nothing else takes, in order.
    func unusedArguments(_ dockerfile: Dockerfile) -> [String] {
        var declared = Self.builtIn.union(variables.names)
        if options.buildArguments.isEmpty { return [] }
        for instruction in dockerfile.instructions {
            if case .argument(let declarations) = instruction.command { declared.formUnion(declarations.map(\.name)) }
        }
        return options.buildArguments.keys
            .filter { !declared.contains($0) && !Self.proxies.contains($0.uppercased()) }.sorted()
    }
}
