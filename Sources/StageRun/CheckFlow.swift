// A Dockerfile checked without building it: what it says about itself, its context's ignore file, and the configs of base
// images as far as they are known.

import Glibc
import StageContext
import StageDockerfile
import StageGraph
import StageImage
import StageRegistry

/// What a check came to.
public struct CheckReport: Sendable {
    /// What messages call the file.
    public var file: String
    public var source: [UInt8]
    public var examination: Examination
    /// Base images whose configs are not known, so that no rule spoke about what they set. Sorted.
    public var unknownImages: [String]
}

/// A Dockerfile that is to be checked.
public struct DockerfileCheck: Sendable {
    private let request: BuildRequest
    private let source: DockerfileSource
    private let options: LoweringOptions

    /// Reads the Dockerfile and the ignore file that `request` names, and nothing else.
    ///
    /// - Parameter isOfTarget: only the target is looked at, the last stage when none is named.
    public init(_ request: BuildRequest, isOfTarget: Bool = false) throws(StageRunError) {
        if request.context != nil {
            throw .failed("only a Dockerfile on this machine can be looked at; give a directory as the context")
        }
        self.request = request
        source = try DockerfileSource(request)
        var options = request.loweringOptions(dockerfile: source.path)
        options.contexts = request.namedContexts
        // What a build needs to be allowed is no matter of how the file is written.
        options.entitlements = Set(Entitlement.allCases)
        options.leavesEpochOpen = true
        options.looksAtTargetOnly = isOfTarget
        self.options = options
    }

    /// Whether base images would tell more.
    public var wantsImages: Bool { !examination([:]).needs.isEmpty }

    /// The Dockerfile's bytes.
    public var bytes: [UInt8] { source.bytes }

    /// The stages that can be asked for.
    public func targets() throws(StageRunError) -> [Target] {
        do throws(DockerfileError) { return try Dockerfile.parse(source.bytes, file: source.name).targets } catch {
            throw .dockerfile(error, rendered: error.rendered(source: source.bytes))
        }
    }

    private func examination(_ images: [String: BaseImage]) -> Examination {
        Examination.of(source.bytes, file: source.name, options: options, images: images)
    }

    /// The findings.
    ///
    /// - Parameters:
    ///   - root: where base images are looked for; nil looks at none.
    ///   - fetching: whether a registry is asked for the config of an image that is not there. No layer is fetched, and
    ///     nothing is kept.
    ///   - own: whether stagerun's own rules are applied too; for them the context is walked, and no file in it is read.
    public func report(
        images root: StageRoot?, fetching: Bool, own: Bool
    ) async throws(StageRunError) -> CheckReport {
        var images: [String: BaseImage] = [:]
        var unknown: Set<String> = []
        while true {
            var examination = examination(images)
            let missing = examination.needs.filter { images[$0.key] == nil }
            if missing.isEmpty {
                if own { examination.add(ownFindings()) }
                return CheckReport(
                    file: source.name, source: source.bytes, examination: examination,
                    unknownImages: unknown.sorted())
            }
            for request in missing {
                let found = try await root?.baseImage(request, fetching: fetching, in: source)
                if found == nil { unknown.insert(request.name) }
                images[request.key] = found ?? .unknown(platform: request.platform)
            }
        }
    }
}

extension DockerfileCheck {
    private func ownFindings() -> [DockerfileWarning] {
        guard let dockerfile = try? Dockerfile.parse(source.bytes, file: source.name) else { return [] }
        return OwnChecks.findings(in: dockerfile, options: options, context: contextFacts(dockerfile))
    }

    /// Nil when nothing is taken from the context, or when it cannot be looked at.
    private func contextFacts(_ dockerfile: Dockerfile) -> ContextFacts? {
        let patterns = dockerfile.contextSources
        if patterns.isEmpty { return nil }
        guard
            let file = try? IgnoreRules.ignoreFile(context: request.contextPath, dockerfile: source.path).map({ $0 })
                .map({ try IgnoreRules(text: $0.text, file: $0.path) }) ?? IgnoreRules.none,
            let report = try? ContextReport.make(
                ContextRequest(path: request.contextPath, rules: file, patterns: patterns))
        else { return nil }
        let kinds: [ContextReport.Warning.Kind] = [.privateKey, .environment]
        return ContextFacts(
            hasIgnoreFile: report.ignoreFile != nil,
            secrets: report.warnings.filter { kinds.contains($0.kind) }.map {
                String($0.path.description.dropFirst())
            })
    }
}

extension BuildRequest {
    /// What lowering is told, with the ignore file of the context.
    func loweringOptions(dockerfile: String) -> LoweringOptions {
        var options = LoweringOptions(
            target: target, buildArguments: buildArguments, labels: labels, platform: platform)
        options.furtherTargets = furtherTargets.map(\.target)
        options.isPlatformAsked = isPlatformAsked
        // A mistake in the ignore file is told by the scan, when anything of the context is needed.
        if isDirectory, let file = try? IgnoreRules.ignoreFile(context: contextPath, dockerfile: dockerfile),
            let rules = try? IgnoreRules(text: file.text, file: file.path), !rules.isEmpty, !rules.hasExceptions
        {
            options.isIgnored = { rules.leavesOut($0) }
        }
        return options
    }
}

extension IgnoreRules {
    /// Whether `COPY` of a path finds nothing. The context as a whole is left out only by a pattern that means everything.
    fileprivate func leavesOut(_ path: String) -> Bool {
        if path == "." || path == "/", !ignoresEverything { return false }
        return isIgnored(Array(path.utf8), isDirectory: false)
    }
}

extension BuildFlow {
    /// `# check=error=true`: findings of docker's rules fail the build before anything runs.
    func refuseViolations(
        _ warnings: [DockerfileWarning], _ dockerfile: Dockerfile
    ) throws(StageRunError) {
        let violated = Set(warnings.filter { $0.check?.origin == .docker }.map(\.rule)).sorted()
        guard !violated.isEmpty else { return }
        let lowering = LoweringOptions(buildArguments: request.buildArguments)
        // A mistake in them has failed the lowering already.
        guard let options = try? lowering.checks(of: dockerfile), options.isError else { return }
        throw .failed(
            Examination.violationText(violated),
            advice: request.buildArguments["BUILDKIT_DOCKERFILE_CHECK"] == nil
                ? "the check directive of the Dockerfile makes warnings errors"
                : "the build argument BUILDKIT_DOCKERFILE_CHECK makes warnings errors")
    }
}

extension StageRoot {
    /// What is known of an image; nil when it is not in the store and no registry is to be asked.
    fileprivate func baseImage(
        _ request: ImageRequest, fetching: Bool, in source: DockerfileSource
    ) async throws(StageRunError) -> BaseImage? {
        if let image = try find(request.name), image.platform.matches(request.platform) {
            return BaseImage(
                settings: try configuration(of: image).config ?? ImageSettings(), platform: image.platform)
        }
        guard fetching else { return nil }
        do {
            let reference = try ImageReference(request.name)
            let client = registry()
            let manifest = try await client.resolve(reference, platform: request.platform)
            let bytes = try await client.readBlob(manifest.config, from: reference)
            let configuration = try ImageConfiguration(json: bytes)
            return BaseImage(
                settings: configuration.config ?? ImageSettings(),
                platform: configuration.platform)
        } catch {
            if Task.isCancelled { throw .cancelled }
            let located = DockerfileError("image \(request.name): \(error)", at: request.range)
            throw .dockerfile(located, rendered: located.rendered(source: source.bytes))
        }
    }
}
