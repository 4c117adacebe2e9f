// `stagerun prune`

import ArgumentParser
import Glibc
import StageRun

struct PruneCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Remove what is not needed: contents nobody uses, old steps, caches, workspaces.",
        discussion: """
            Without options: images without a name, and what was not used for a week. Images with a name always stay.

            Examples:
              stagerun prune --dry-run
              stagerun prune --force --keep-storage 20GB
              stagerun prune --force --filter until=24h --filter type=cache
            """)

    @OptionGroup var root: RootOption

    @Flag(name: .shortAndLong, help: "Also what was used lately: every step, cache mount, context and workspace.")
    var all = false

    @Option(
        name: [.customLong("keep-storage"), .customLong("max-used-space")],
        help: ArgumentHelp("Remove what is worth least until no more than this is left.", valueName: "size"))
    var keepStorage: String?

    @Option(
        help: ArgumentHelp(
            "until=24h (not used for so long), type=image|step|build|context|cache|workspace|content, id=ID; may be repeated.",
            valueName: "filter"))
    var filter: [String] = []

    @Flag(help: "Say what would go and what that would free; change nothing.")
    var dryRun = false

    @Flag(name: .shortAndLong, help: "Do not ask.")
    var force = false

    @Flag(help: "Print a JSON object.")
    var json = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let request = try request()
        if !dryRun && !force && !asks(request, surroundings) {
            surroundings.tell("", .plain, "Nothing was removed.")
            return 1
        }
        let report = try await surroundings.withRoot(root) { root in try await root.prune(request) }
        let text = PruneText(report: report, isDryRun: dryRun)
        try surroundings.output.write(json ? text.document.pretty : text.page)
        return 0
    }

    /// What is asked for, from the options.
    func request() throws(UsageError) -> PruneRequest {
        var request = PruneRequest()
        request.all = all
        request.dryRun = dryRun
        if let keepStorage { request.keepStorage = try sizeOption(keepStorage, option: "--keep-storage") }
        for text in filter {
            let pair = try NameValue.plain(text, option: "--filter")
            switch pair.name {
            case "until": request.unusedFor = try durationOption(pair.value, option: "--filter until=")
            case "type": request.kinds.insert(try Self.kind(pair.value))
            case "id":
                let id = pair.value.hasPrefix("sha256:") ? String(pair.value.dropFirst(7)) : pair.value
                if id.isEmpty { throw UsageError("--filter id=: the ID is missing; `stagerun du --json` shows them") }
                request.ids.append(id)
            default: throw UsageError("--filter \(text): a filter is until=, type= or id=")
            }
        }
        return request
    }

    private static func kind(_ text: String) throws(UsageError) -> PruneRequest.Kind {
        if let kind = PruneRequest.Kind(rawValue: text) { return kind }
        // What docker's builders call them.
        switch text {
        case "exec.cachemount": return .cache
        case "source.local": return .context
        case "regular": return .step
        default:
            let kinds = PruneRequest.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("--filter type=\(text): it is one of \(kinds)")
        }
    }

    /// As docker asks: anything but y is a no, and so is the end of the input.
    private func asks(_ request: PruneRequest, _ surroundings: Surroundings) -> Bool {
        var lines = ["This will remove:", "  - images without a name"]
        if request.keepStorage != nil {
            lines.append("  - what is worth least, until the rest fits")
        } else if request.all {
            lines.append("  - all steps, logs, cache mounts, contexts and workspaces that nothing is using")
        } else {
            let age = request.unusedFor.map { durationText($0) } ?? "a week"
            lines.append("  - steps, logs, cache mounts, contexts and workspaces not used for \(age)")
        }
        lines.append("  - contents that nothing leads to then")
        for line in lines { surroundings.tell("", .plain, line) }
        try? surroundings.error.write("Are you sure you want to continue? [y/N] ")
        let answer = readLine(strippingNewline: true)?.trimmedLowercase ?? ""
        return answer == "y" || answer == "yes"
    }
}

extension String {
    fileprivate var trimmedLowercase: String { lowercased().filter { !$0.isWhitespace } }
}
