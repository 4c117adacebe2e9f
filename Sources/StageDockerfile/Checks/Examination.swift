// A Dockerfile looked at without building: its findings, and what a target takes from outside.

import StageGraph

/// What looking at a Dockerfile shows.
public struct Examination: Sendable {
    /// Findings in order of their lines, by the `check` options that apply.
    public var warnings: [DockerfileWarning] = []
    /// Why it could not be built; then the findings are those up to there.
    public var error: DockerfileError?
    /// Images that must be known before all is said; look again with them.
    public var needs: [ImageRequest] = []
    /// Warnings of docker's rules fail a build.
    public var failsOnWarnings = false
    /// Nil when there is an error, or images are missing.
    public var outline: Outline?

    /// Reads a Dockerfile and looks at the target, or at every stage when none is named.
    ///
    /// - Parameter images: what earlier looks asked for, by `ImageRequest.key`.
    public static func of(
        _ bytes: [UInt8], file: String, options: LoweringOptions, images: [String: BaseImage]
    ) -> Examination {
        var warnings: [DockerfileWarning] = []
        do throws(DockerfileError) {
            let dockerfile = try Dockerfile.parse(bytes, file: file, warnings: &warnings)
            return Lowering(dockerfile, options: options).examine(images: images)
        } catch {
            let checks = (try? Dockerfile.directives(of: bytes, file: file).checkOptions()) ?? CheckOptions()
            return Examination(warnings: sorted(warnings.filter { checks.keeps($0) }), error: error)
        }
    }

    static func sorted(_ warnings: [DockerfileWarning]) -> [DockerfileWarning] {
        func place(_ warning: DockerfileWarning) -> (Int, Int) {
            ((warning.lines ?? warning.range)?.firstLine ?? 0, warning.range?.firstColumn ?? 0)
        }
        return warnings.enumerated().sorted {
            let (first, second) = (place($0.element), place($1.element))
            return first == second ? $0.offset < $1.offset : first < second
        }.map(\.element)
    }

    /// What is said when findings fail a build; nil when they do not.
    public var violation: String? {
        failsOnWarnings && !violatedRules.isEmpty ? Self.violationText(violatedRules) : nil
    }

    /// Docker's words for it.
    public static func violationText(_ rules: [String]) -> String {
        "lint violation found for rules: \(rules.joined(separator: ", "))"
    }

    /// Puts more findings in their places.
    public mutating func add(_ more: [DockerfileWarning]) { warnings = Self.sorted(warnings + more) }

    /// The names of docker's rules among the findings, each once.
    public var violatedRules: [String] {
        Set(warnings.filter { $0.check?.origin == .docker }.map(\.rule)).sorted()
    }
}

extension LoweringOptions {
    /// What the `check` directive asks for, or the build argument `BUILDKIT_DOCKERFILE_CHECK` in its place.
    public func checks(of dockerfile: Dockerfile) throws(DockerfileError) -> CheckOptions {
        if let text = buildArguments["BUILDKIT_DOCKERFILE_CHECK"] { return try CheckOptions(text) }
        return try dockerfile.directives.checkOptions()
    }
}

extension Dockerfile {
    /// The directives alone, of a file that may be wrong further down.
    static func directives(of bytes: [UInt8], file: String) -> Directives {
        var parser = SyntaxParser(bytes: bytes, file: file)
        _ = try? parser.parse()
        return parser.directives
    }
}

extension LoweringRound {
    mutating func examine() -> Examination {
        var found = Examination()
        var checks = CheckOptions()
        do throws(DockerfileError) {
            checks = try options.checks(of: dockerfile)
            found.failsOnWarnings = checks.isError
            try validateStages()
            let targets = try targets()
            // Without a target all stages are looked at; the last one's outline is told.
            let everything = (options.target ?? "").isEmpty && !options.looksAtTargetOnly
            for index in everything ? Array(layout.stages.indices) : targets { try lower(index) }
            found.needs = requests
            if requests.isEmpty { found.outline = try outline(of: targets[0]) }
        } catch { found.error = error }
        found.warnings = Examination.sorted(warnings.filter { checks.keeps($0) })
        return found
    }
}
