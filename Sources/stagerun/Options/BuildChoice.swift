// Which build of the root `explain` and `logs` are about.

import ArgumentParser
import StageEngine
import StageRun

/// The last build of all, or of one Dockerfile or context.
struct BuildChoice: ParsableArguments, Sendable {
    @Option(
        name: [.customShort("f", allowingJoined: true), .long],
        help: ArgumentHelp("The last build of this Dockerfile (default: of any).", valueName: "path"))
    var file: String?

    @Option(help: ArgumentHelp("The last build of this context (default: of any).", valueName: "dir"))
    var context: String?

    func build(in root: StageRoot) throws -> BuildRecord { try root.lastBuild(file: file, context: context) }
}
