// `stagerun build`

import ArgumentParser
import Glibc
import StageEngine
import StageGraph
import StageHash
import StageRun

struct BuildCommand: StageCommand {
    static let configuration = CommandConfiguration(
        // As long as it is no root of its own: nothing looks for completion scripts then, when it is read by itself.
        commandName: "build", _superCommandName: "stagerun", abstract: "Build an image from a Dockerfile.",
        discussion: """
            Examples:
              stagerun build -t app:1 .
              stagerun build --target test -o type=local,dest=out .
            """)
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption
    @OptionGroup var sources: SourceOptions
    @OptionGroup var commands: CommandOptions

    @Option(
        name: [.customShort("t", allowingJoined: true), .customLong("tag")],
        help: ArgumentHelp("A name for the image; may be repeated.", valueName: "name"))
    var tags: [String] = []

    @Option(name: .customLong("label"), help: ArgumentHelp("A label of the image; may be repeated.", valueName: "k=v"))
    var labels: [String] = []

    @Flag(help: "Run every step, whatever is known.")
    var noCache = false

    @Option(
        name: .customLong("no-cache-filter"),
        help: ArgumentHelp("Run every step of these stages; may be repeated.", valueName: "stage,..."))
    var uncachedStages: [String] = []

    @Flag(help: "Say at the end why each step ran that did.")
    var explain = false

    @Option(help: ArgumentHelp("auto, tty, plain, json or quiet.", valueName: "form"))
    var progress: ProgressMode = .auto

    @Flag(name: .shortAndLong, help: "Print the image ID and nothing else.")
    var quiet = false

    @Option(
        name: [.customShort("o", allowingJoined: true), .customLong("output")],
        help: ArgumentHelp(
            """
            Where the result goes: type=oci|docker|tar|local,dest=PATH[,tar=false]. DIR alone is a local directory, - a \
            tar on standard output; may be repeated.
            """, valueName: "output"))
    var outputs: [String] = []

    @Option(
        help: ArgumentHelp(
            "Write a trace of the build to a file, in Chrome's format (for Perfetto).", valueName: "path"))
    var trace: String?

    @Option(help: ArgumentHelp("Write the image ID to a file.", valueName: "path"))
    var iidfile: String?

    @Option(help: ArgumentHelp("Write what was made to a file, as JSON.", valueName: "path"))
    var metadataFile: String?

    @Option(help: ArgumentHelp("Steps that may run at once (default: the processors).", valueName: "n"))
    var jobs: Int?

    @Option(
        help: ArgumentHelp(
            "How large the store may be after the build: 20GB, none (or set STAGERUN_KEEP_STORAGE).", valueName: "size")
    )
    var keepStorage: String?

    @Option(help: ArgumentHelp("The platform to build for, such as linux/amd64.", valueName: "os/arch"))
    var platform: String?

    @Option(
        help: ArgumentHelp(
            "Tell something instead of building: check, outline or targets[,format=json].", valueName: "method"))
    var call: String?

    @Flag(help: "Check the Dockerfile instead of building; the same as --call=check.")
    var check = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let mode = progress.resolved(
            quiet: quiet, isTerminal: surroundings.error.isTerminal, terminalType: surroundings.environment("TERM"))
        let request = try request(mode: mode, isTerminal: surroundings.output.isTerminal, surroundings.environment)
        if let call = try CallOption(call, check: check) { return try await answer(call, request, surroundings) }
        if let jobs, jobs < 1 { throw UsageError("--jobs \(jobs): at least 1") }
        _ = try storageCap(option: keepStorage, environment: surroundings.environment, filesystemSize: { 0 })
        // An ID from an earlier build must not pass for this one's.
        let results = TargetResults(targets: sources.targets, tags: tags, outputs: outputs, idFile: iidfile)
        for path in results.idFiles where !isSpecial(path) { unlink(path) }
        let display = makeDisplay(mode, request, surroundings)
        let report: BuildReport
        var explanation = ""
        var storage = ""
        do {
            report = try await surroundings.withRoot(root, jobs: jobs) { root in
                do {
                    let report = try await root.build(request) { display.observe($0) }
                    explanation = explained(request, root, mode, surroundings)
                    storage = try await surroundings.keepUnder(keepStorage, root)
                    return report
                } catch {
                    explanation = explained(request, root, mode, surroundings)
                    throw error
                }
            }
        } catch {
            _ = display.finish()
            surroundings.interruption.onRestore(nil)
            // The failure is the news, so a trace that cannot be written is none.
            try? writeTrace(display)
            if display.isBroken || surroundings.output.hasNoReader { return exitStatus(ofSignal: SIGPIPE) }
            if let status = surroundings.interruption.requestedExit {
                surroundings.tell("cancelled", .yellow, "")
                return status
            }
            guard let error = error as? StageRunError else { throw error }
            let text = failureText(error, colours: surroundings.colours)
            try? progress(mode, surroundings).write(explanation)
            try? surroundings.error.write(text)
            throw ReportedFailure(status: Self.failureStatus)
        }
        _ = display.finish()
        surroundings.interruption.onRestore(nil)
        try writeTrace(display)
        try progress(mode, surroundings).write(explanation)
        try conclude(report, mode, surroundings)
        if mode != .quiet && mode != .json { try? surroundings.error.write(storage) }
        return 0
    }

    /// For `--explain`: the report on the build that just ended. A build that did not come to its steps has none.
    private func explained(
        _ request: BuildRequest, _ root: StageRoot, _ mode: ProgressMode, _ surroundings: Surroundings
    ) -> String {
        guard explain, let build = try? root.lastBuild(of: request), let steps = try? root.explain(build) else {
            return ""
        }
        let text = ExplainText(build: build, colours: surroundings.colours, now: currentSeconds())
        if mode != .json { return text.page(steps) + "\n" }
        return JSONText.members(["explanation": text.document(steps)]).compact + "\n"
    }

    private func writeTrace(_ display: ProgressDisplay) throws {
        if let trace, let document = display.trace { try writeFile(trace, document) }
    }

    private func progress(_ mode: ProgressMode, _ surroundings: Surroundings) -> StandardStream {
        mode == .json ? surroundings.output : surroundings.error
    }

    private func makeDisplay(
        _ mode: ProgressMode, _ request: BuildRequest, _ surroundings: Surroundings
    ) -> ProgressDisplay {
        let interruption = surroundings.interruption
        let display = ProgressDisplay(
            mode: mode, traces: trace != nil, subject: "Building " + (request.names.first?.familiar ?? sources.context),
            stream: progress(mode, surroundings), colours: surroundings.colours,
            glyphs: glyphs(environment: surroundings.environment), onBrokenPipe: { interruption.cancel() })
        interruption.onRestore { display.close() }
        interruption.onNotice { display.tellCancelling() }
        return display
    }

    /// What is asked for, from the options.
    func request(
        mode: ProgressMode, isTerminal: Bool, _ environment: (String) -> String?
    ) throws(UsageError) -> BuildRequest {
        var request = try sources.request(environment)
        for text in labels {
            let pair = try NameValue.plain(text, option: "--label")
            request.labels[pair.name] = pair.value
        }
        let results = TargetResults(targets: sources.targets, tags: tags, outputs: outputs, idFile: iidfile)
        try results.check()
        request.names = try results.names(of: request.target)
        try commands.apply(to: &request, environment)
        request.useCache = !noCache
        request.uncachedStages = uncachedStages.flatMap { $0.split(separator: ",").map(String.init) }
        request.outputs = try imageOutputs(results.outputs(of: request.target), mode: mode, isTerminal: isTerminal)
        for index in request.furtherTargets.indices {
            let target = request.furtherTargets[index].target
            request.furtherTargets[index].names = try results.names(of: target)
            request.furtherTargets[index].outputs = try imageOutputs(
                results.outputs(of: target), mode: mode, isTerminal: isTerminal)
        }
        if let platform {
            request.platform = try Platform(option: platform)
            request.isPlatformAsked = true
        }
        return request
    }

    private func imageOutputs(
        _ outputs: [String], mode: ProgressMode, isTerminal: Bool
    ) throws(UsageError) -> [ImageOutput] {
        var result: [ImageOutput] = []
        var usesOutput = mode == .json || mode == .quiet
        for text in outputs {
            let option = try OutputOption(parsing: text)
            if option.place == .standardOutput {
                if usesOutput, mode == .json || !result.isEmpty {
                    throw UsageError("-o \(text): standard output is taken; give dest=FILE")
                }
                if isTerminal { throw UsageError("-o \(text): not to a terminal; redirect it or give dest=FILE") }
                usesOutput = true
            }
            result.append(option.imageOutput)
        }
        return result
    }

    /// True when an output goes where the image ID would be printed.
    private var writesImageToOutput: Bool {
        outputs.contains { (try? OutputOption(parsing: $0))?.place == .standardOutput }
    }

    private func conclude(_ report: BuildReport, _ mode: ProgressMode, _ surroundings: Surroundings) throws {
        let identifiers = [report.imageID] + report.furtherTargets.map(\.imageID)
        let results = TargetResults(targets: sources.targets, tags: tags, outputs: outputs, idFile: iidfile)
        for (path, id) in zip(results.idFiles, identifiers) { try writeFile(path, id.description) }
        if let metadataFile { try writeFile(metadataFile, metadata(of: report, targets: sources.targets).pretty) }
        switch mode {
        case .quiet:
            if !writesImageToOutput {
                try surroundings.output.write(identifiers.map { $0.description + "\n" }.joined())
            }
        case .json: break
        case .auto, .tty, .plain:
            let colours = surroundings.colours
            var summary = BuildSummary(report)
            if !report.furtherTargets.isEmpty { summary.target = sources.targets.first }
            let further = report.furtherTargets.map { BuildSummary($0, of: report) }
            try surroundings.error.write(summary.text(colours: colours, further: further))
        }
    }
}

extension OutputOption {
    /// The facade's form.
    var imageOutput: ImageOutput {
        let destination: Destination
        switch place {
        case .standardOutput: destination = .descriptor(STDOUT_FILENO)
        case .path(let path):
            if kind == .local { return .local(path) }
            destination = .path(path)
        }
        switch kind {
        case .oci: return .oci(destination, asTar: asTar)
        case .docker: return .docker(destination)
        case .tar, .local: return .tar(destination)
        }
    }
}

extension BuildSummary {
    init(_ report: BuildReport) {
        self.init(
            image: report.imageID, names: report.names.map(\.familiar), size: report.size, seconds: report.seconds,
            cached: report.states[.hit] ?? 0, ran: report.states[.ran] ?? 0,
            sameOutcome: report.states[.ranSameOutcome] ?? 0, stagesNotNeeded: report.states[.notNeeded] ?? 0)
    }
}

extension BuildSummary {
    /// A further target: the steps were told of once.
    init(_ target: TargetReport, of report: BuildReport) {
        self.init(report)
        self.target = target.target
        (image, names, size) = (target.imageID, target.names.map(\.familiar), target.size)
    }
}

/// The metadata file's document, with buildx's keys; with several targets one of each, by its name, as bake has it.
func metadata(of report: BuildReport, targets: [String] = []) -> JSONText {
    let main = metadata(report.imageID, report.manifestDigest, report.names)
    guard targets.count > 1 else { return main }
    let further = report.furtherTargets.map {
        JSONText.Member(key: $0.target, value: metadata($0.imageID, $0.manifestDigest, $0.names))
    }
    return .object([JSONText.Member(key: targets[0], value: main)] + further)
}

private func metadata(_ image: Digest, _ manifest: Digest?, _ names: [ImageReference]) -> JSONText {
    var members = [JSONText.Member(key: "containerimage.config.digest", value: .string(image.description))]
    if let manifest { members.append(.init(key: "containerimage.digest", value: .string(manifest.description))) }
    if !names.isEmpty {
        members.append(.init(key: "image.name", value: .string(names.map(\.canonical).joined(separator: ","))))
    }
    return .object(members)
}

/// Puts `text` at `path`, whole or not at all.
func writeFile(_ path: String, _ text: String) throws(UsageError) {
    // A rename would put a file in the place of /dev/null or a pipe.
    let isSpecial = isSpecial(path)
    let partial = isSpecial ? path : path + ".partial-\(getpid())"
    func fail() -> UsageError { UsageError("cannot write \(path): \(String(cString: strerror(errno)))") }
    let descriptor = open(
        partial, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_CREAT | (isSpecial ? O_TRUNC : O_EXCL), 0o666)
    guard descriptor >= 0 else { throw fail() }
    do throws(StandardStream.WriteFailure) {
        try StandardStream(descriptor: descriptor).write(text)
    } catch {
        close(descriptor)
        if !isSpecial { unlink(partial) }
        throw UsageError("cannot write \(path): \(String(cString: strerror(error.errno)))")
    }
    guard close(descriptor) == 0, isSpecial || rename(partial, path) == 0 else {
        let error = fail()
        if !isSpecial { unlink(partial) }
        throw error
    }
}

/// Whether something other than a regular file is there, a link to anything included.
func isSpecial(_ path: String) -> Bool {
    var info = stat()
    return lstat(path, &info) == 0 && info.st_mode & S_IFMT != S_IFREG
}
