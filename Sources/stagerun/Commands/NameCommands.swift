// `stagerun tag` and `stagerun rmi`

import ArgumentParser
import StageRun

struct TagCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "tag", abstract: "Give an image another name.",
        discussion: "Example:\n  stagerun tag app:1 registry.example.com/app:1")

    @OptionGroup var root: RootOption

    @Argument(help: ArgumentHelp("A name or an ID.", valueName: "image"))
    var source: String

    @Argument(help: ArgumentHelp("The new name.", valueName: "name"))
    var name: String

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let reference = try imageReference(name)
        if reference.digest != nil { throw UsageError("\(name): a name to give cannot have a digest") }
        try await surroundings.withRoot(root) { root in try root.tag(source, as: reference) }
        return 0
    }
}

struct RemoveCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "rmi", abstract: "Remove names, and images without any other name.",
        discussion: "Example:\n  stagerun rmi app:1")

    @OptionGroup var root: RootOption

    @Flag(name: .shortAndLong, help: "Remove an image with all its names; a missing one is no error.")
    var force = false

    @Argument(help: ArgumentHelp("Names or IDs.", valueName: "image"))
    var images: [String]

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        try await surroundings.withRoot(root) { root in
            var status: Int32 = 0
            var hasDeleted = false
            for name in images {
                do {
                    let removed = try root.remove(name, force: force)
                    try surroundings.output.write(removed.map(Self.line).joined())
                    hasDeleted = hasDeleted || removed.contains { if case .deleted = $0 { true } else { false } }
                } catch let error as StageRunError {
                    if force, case .noSuchImage = error { continue }
                    surroundings.tell("error: ", .red, error.description)
                    status = 1
                }
            }
            if hasDeleted {
                surroundings.tell("", .plain, "What only they used is freed by the next `stagerun prune`.")
            }
            return status
        }
    }

    static func line(_ item: RemovedItem) -> String {
        switch item {
        case .untagged(let name): "Untagged: \(name.familiar)\n"
        case .deleted(let id): "Deleted: \(id)\n"
        }
    }
}
