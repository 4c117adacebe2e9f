// `stagerun verify`

import ArgumentParser
import StageRun

struct VerifyCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read everything in the store, and say what is damaged and what that affects.",
        discussion: """
            The exit status is 1 when something is wrong; with --repair, when something is left that cannot be made again.

            Cache mounts are not looked at: commands write there as they like, and nothing says what should be in them.

            Example:
              stagerun verify --repair
            """)
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @Flag(
        help:
            "Drop what is damaged and can be made again: steps, images that a build or a pull made; and unpacked trees."
    )
    var repair = false

    @Flag(help: "Print a JSON object.")
    var json = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        // Before the store is opened: LMDB ends a process that opens a damaged index.
        let index = try VerificationReport.index(at: surroundings.statePath(root), repair: repair)
        if let index, !repair { return try show(index, surroundings) }
        var report = try await surroundings.withRoot(root) { root in try await root.verify(repair: repair) }
        if let index { report.add(before: index) }
        return try show(report, surroundings)
    }

    /// Gives the exit status.
    private func show(_ report: VerificationReport, _ surroundings: Surroundings) throws -> Int32 {
        let text = VerificationText(report: report)
        try surroundings.output.write(json ? text.document.pretty : text.page)
        return report.isSound ? 0 : 1
    }
}
