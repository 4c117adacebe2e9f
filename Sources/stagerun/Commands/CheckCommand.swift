// `stagerun check`, and what `stagerun build --check` and `--call` answer.

import ArgumentParser
import Glibc
import StageDockerfile
import StageGraph
import StageRun

struct CheckCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Check a Dockerfile without building it.",
        discussion: """
            Docker's rules and some of stagerun's own, which start with stagerun/. The exit status is 1 when the file could \
            not be built or a rule of docker's is broken, with --strict also for stagerun's. Base images are looked at \
            when they are in the store; no registry is asked, unless --pull says so.

            Examples:
              stagerun check
              stagerun check --sarif -f build/Dockerfile . > checks.sarif
              stagerun check --target app --build-context base=docker-image://alpine .
            """)
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @OptionGroup var selection: SelectionOptions

    @Option(help: ArgumentHelp("The platform to build for, such as linux/amd64.", valueName: "os/arch"))
    var platform: String?

    @Flag(help: "Ask registries about base images that are not in the store.")
    var pull = false

    @Flag(help: "Findings of stagerun's own rules count for the exit status too.")
    var strict = false

    @Flag(help: "Print a JSON object, as docker does.")
    var json = false

    @Flag(help: "Print a SARIF 2.1.0 document.")
    var sarif = false

    @Argument(help: ArgumentHelp("The directory that COPY and ADD read.", valueName: "context"))
    var context: String = "."

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        if json, sarif { throw UsageError("--json and --sarif ask for different things") }
        let check = try DockerfileCheck(try request(surroundings.environment))
        let report = try await surroundings.report(of: check, root, fetching: pull, own: true)
        let isBroken = report.examination.error != nil
        let counted = report.examination.warnings.filter { strict || $0.check?.origin != .stagerun }
        if sarif {
            try surroundings.output.write(SARIFText(report: report).document.pretty)
        } else if json {
            try surroundings.output.write(CheckDocument(report: report).json.pretty)
        } else {
            let colours = wantsColours(
                isTerminal: surroundings.output.isTerminal, environment: surroundings.environment)
            try surroundings.output.write(CheckText(report: report, colours: colours).page)
        }
        return isBroken || !counted.isEmpty ? 1 : 0
    }

    private func request(_ environment: (String) -> String?) throws(UsageError) -> BuildRequest {
        var request = try selection.request(context: context, environment)
        if let platform {
            request.platform = try Platform(option: platform)
            request.isPlatformAsked = true
        }
        return request
    }
}

extension Surroundings {
    /// The report of a check. The state directory is opened only when a base image is to be looked at, and not made for it.
    func report(
        of check: DockerfileCheck, _ options: RootOption, fetching: Bool, own: Bool
    ) async throws -> CheckReport {
        let path = try stateDirectory(option: options.root, isRoot: geteuid() == 0, environment: environment)
        guard check.wantsImages, fetching || access(path, F_OK) == 0 else {
            return try await check.report(images: nil, fetching: false, own: own)
        }
        return try await withRoot(options) { try await check.report(images: $0, fetching: fetching, own: own) }
    }
}

extension BuildCommand {
    /// `--call` and `--check`: docker's rules and docker's texts. Registries are asked about base images, as docker does.
    func answer(_ call: CallOption, _ request: BuildRequest, _ surroundings: Surroundings) async throws -> Int32 {
        let check = try DockerfileCheck(request, isOfTarget: call.method == .outline)
        if call.method == .targets {
            let text = TargetsText(targets: try check.targets(), source: check.bytes)
            try surroundings.output.write(call.isJSON ? text.json.pretty : text.table)
            return 0
        }
        let report = try await surroundings.report(of: check, root, fetching: true, own: false)
        if call.method == .outline, !request.furtherTargets.isEmpty {
            throw UsageError("--call=outline tells of one target")
        }
        if call.method == .check {
            let document = CheckDocument(report: report)
            try surroundings.output.write(call.isJSON ? document.json.pretty : document.text)
            if let error = report.examination.error, !call.isJSON {
                surroundings.tell("error: ", .red, document.text(of: error))
            }
            let isClean = report.examination.error == nil && document.warnings.isEmpty
            return isClean || call.ignoresStatus ? 0 : 1
        }
        if let error = report.examination.error { throw CheckFailure(text: error.rendered(source: report.source)) }
        if let violation = report.examination.violation { throw CheckFailure(text: violation) }
        guard let outline = report.examination.outline else { return 1 }
        let text = OutlineText(outline: outline, source: report.source)
        try surroundings.output.write(call.isJSON ? text.json.pretty : text.tables)
        return 0
    }
}

/// A Dockerfile of which nothing can be told.
struct CheckFailure: Error, CustomStringConvertible {
    let text: String
    var description: String { text }
}
