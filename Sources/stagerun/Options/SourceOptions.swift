// What is built, and from what: the Dockerfile, the stage, the arguments and the contexts. `build`, `plan`, `context` and `check`
// take the same.

import ArgumentParser
import Glibc
import StageDockerfile
import StageGraph
import StageRun

struct SourceOptions: ParsableArguments, Sendable {
    @OptionGroup var selection: SelectionOptions

    @Argument(
        help: ArgumentHelp(
            "What COPY and ADD read: a directory, a tar archive, a git or web address, or - for standard input.",
            valueName: "context"))
    var context: String

    var targets: [String] { selection.targets }

    /// What is asked for.
    func request(_ environment: (String) -> String?) throws(UsageError) -> BuildRequest {
        try selection.request(context: context, environment)
    }
}

/// The same without the context, which `check` can do without.
struct SelectionOptions: ParsableArguments, Sendable {
    @Option(
        name: [.customShort("f", allowingJoined: true), .long],
        help: ArgumentHelp(
            "The Dockerfile (default: Dockerfile in the context): a path, - for standard input, or a web address.",
            valueName: "path"))
    var file: String?

    @Option(
        name: .customLong("target"),
        help: ArgumentHelp(
            "The stage (default: the last, for check all); build and check take several.",
            valueName: "stage"))
    var targets: [String] = []

    @Option(
        name: .customLong("build-arg"),
        help: ArgumentHelp(
            "A value for ARG; K alone takes it from the environment; may be repeated.", valueName: "k[=v]"))
    var buildArguments: [String] = []

    @Option(
        name: .customLong("build-context"),
        help: ArgumentHelp(
            """
            Another context, for FROM and --from: NAME=DIR, a tar archive, a git or web address, docker-image://IMAGE or \
            oci-layout://DIR[:TAG|@DIGEST]; may be repeated.
            """, valueName: "name=source"))
    var contexts: [String] = []

    /// What is asked for.
    func request(
        context: String, _ environment: (String) -> String?
    ) throws(UsageError) -> BuildRequest {
        var request = BuildRequest(contextPath: context)
        try request.take(buildArguments: buildArguments, environment)
        // As docker does: whoever sets it means every tool.
        if request.buildArguments["SOURCE_DATE_EPOCH"] == nil, let epoch = environment("SOURCE_DATE_EPOCH"),
            !epoch.isEmpty
        {
            request.buildArguments["SOURCE_DATE_EPOCH"] = epoch
        }
        try set(context, &request)
        request.dockerfile = file == "-" ? "/dev/stdin" : file
        if file == "" { throw UsageError("-f is empty; give the path of a Dockerfile") }
        request.target = targets.first
        for (index, target) in targets.enumerated() where index > 0 {
            if targets[..<index].contains(where: { $0.lowercased() == target.lowercased() }) {
                throw UsageError("--target \(target) is given twice")
            }
            request.furtherTargets.append(TargetRequest(target: target, names: [], outputs: []))
        }
        for text in contexts {
            let (name, source) = try Self.named(text)
            request.contexts[name] = source
        }
        request.tools = Self.tools(environment)
        return request
    }

    private func set(_ context: String, _ request: inout BuildRequest) throws(UsageError) {
        if context == "-" {
            if file == "-" {
                throw UsageError("-f - and the context - both read standard input; give one of them a path")
            }
            request.context = .descriptor(STDIN_FILENO)
        } else if let remote = try Self.remote(context) {
            request.context = .remote(remote)
            if case .git(var source) = remote, let text = request.buildArguments["BUILDKIT_CONTEXT_KEEP_GIT_DIR"] {
                source.keepsGitDirectory = booleanValue(text) ?? source.keepsGitDirectory
                request.context = .remote(.git(source))
            }
        } else {
            if context.isEmpty { throw UsageError("the context is empty; give a directory, such as .") }
            if let end = context.firstIndex(of: ":"), context[end...].hasPrefix("://") {
                throw UsageError("\(context): a context is a directory, a tar archive, or a git, http or https address")
            }
            request.contextPath = Self.withoutSlash(context)
            if Self.isFile(context) { request.context = .archive(context) }
        }
    }

    static func withoutSlash(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }

    private static func isFile(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFREG
    }

    /// Nil for a path.
    private static func remote(_ text: String) throws(UsageError) -> RemoteSource? {
        do throws(GitSource.Fault) {
            // A directory of that name is nearer than the site.
            let isShort = text.hasPrefix("github.com/") && access(text, F_OK) != 0
            if let source = try GitSource(parsing: text, isContext: isShort) { return .git(source) }
        } catch { throw UsageError("\(text): \(error.message)") }
        return WebFile.isAddress(text) ? .web(WebFile(url: text, name: "context")) : nil
    }

    /// `NAME=SOURCE`.
    private static func named(_ text: String) throws(UsageError) -> (String, ContextSource) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
            throw UsageError("--build-context \(text): write NAME=SOURCE")
        }
        let (name, value) = (NamedContext.name(of: parts[0]), parts[1])
        if let image = value.after("docker-image://") {
            if image != "scratch" { _ = try imageReference(image) }
            return (name, .image(image))
        }
        if let layout = value.after("oci-layout://") {
            guard !layout.isEmpty else { throw UsageError("--build-context \(text): write oci-layout://DIR[:TAG]") }
            return (name, .layout(layout))
        }
        if let remote = try remote(value) { return (name, .remote(remote)) }
        if let end = value.firstIndex(of: ":"), value[end...].hasPrefix("://") {
            let schemes = ["docker-image", "oci-layout", "https", "http", "git", "ssh"]
            let near = Spelling.closest(String(value[..<end]), among: schemes).map { "; did you mean \($0)://?" } ?? ""
            throw UsageError("--build-context \(text): \(value[..<end]):// is not known\(near)")
        }
        var info = stat()
        guard stat(value, &info) == 0 else {
            throw UsageError("--build-context \(text): cannot read \(value): \(String(cString: strerror(errno)))")
        }
        return (name, isFile(value) ? .archive(value) : .directory(withoutSlash(value)))
    }

    /// What fetching needs of the environment.
    private static func tools(_ environment: (String) -> String?) -> FetchTools {
        func value(_ name: String) -> String? {
            let value = environment(name.lowercased()) ?? environment(name)
            return value.flatMap { $0.isEmpty ? nil : $0 }
        }
        var tools = FetchTools()
        tools.searchPath = environment("PATH") ?? tools.searchPath
        tools.web.httpProxy = value("HTTP_PROXY")
        tools.web.httpsProxy = value("HTTPS_PROXY")
        tools.web.noProxy = (value("NO_PROXY") ?? "").split(separator: ",").map {
            String($0.drop { $0 == " " }.prefix { $0 != " " })
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"] {
            if let value = value(name) {
                tools.proxyEnvironment += ["\(name)=\(value)", "\(name.lowercased())=\(value)"]
            }
        }
        return tools
    }
}

extension BuildRequest {
    /// `--build-arg K=V`; `K` alone takes its value from the environment, and is nothing where that has none.
    mutating func take(buildArguments: [String], _ environment: (String) -> String?) throws(UsageError) {
        for text in buildArguments {
            if let pair = try NameValue.inheriting(text, option: "--build-arg", environment: environment) {
                self.buildArguments[pair.name] = pair.value
            }
        }
    }
}

extension Platform {
    /// `--platform OS/ARCHITECTURE`.
    init(option text: String) throws(UsageError) {
        guard let parsed = Platform(specifier: text, buildsOn: .host) else {
            throw UsageError("--platform \(text): write OS/ARCHITECTURE, such as linux/amd64")
        }
        self = parsed
    }
}

extension String {
    fileprivate func after(_ prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.utf8.count)) : nil
    }
}
