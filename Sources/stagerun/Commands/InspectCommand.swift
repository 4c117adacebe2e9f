// `stagerun inspect`

import ArgumentParser
import StageGraph
import StageRun

struct InspectCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show all about images, as a JSON array.",
        discussion: "Example:\n  stagerun inspect app:1")

    @OptionGroup var root: RootOption

    @Argument(help: ArgumentHelp("Names or IDs.", valueName: "image"))
    var images: [String]

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        try await surroundings.withRoot(root) { root in
            var documents: [JSONText] = []
            var errors: [String] = []
            for name in images {
                do throws(StageRunError) {
                    documents.append(Self.document(try root.inspect(name)))
                } catch {
                    errors.append(error.description)
                }
            }
            try surroundings.output.write(JSONText.array(documents).pretty)
            for error in errors { surroundings.tell("error: ", .red, error) }
            return errors.isEmpty ? 0 : 1
        }
    }

    /// What `docker inspect` shows of an image, in its order.
    static func document(_ image: ImageDetails) -> JSONText {
        .members([
            "Id": .string(image.id.description),
            "RepoTags": .strings(image.names.filter { $0.digest == nil }.map(\.familiar)),
            "RepoDigests": .strings(image.names.filter { $0.digest != nil }.map(\.familiar)),
            "Comment": .string(image.history.last?.comment ?? ""),
            "Created": .string(
                calendarText(seconds: image.created.seconds, nanoseconds: image.created.nanoseconds)),
            "Author": .string(image.author ?? ""),
            "Architecture": .string(image.platform.architecture),
            "Variant": .string(image.platform.variant ?? ""),
            "Os": .string(image.platform.os),
            "Size": .number(Int64(clamping: image.size)),
            "Config": settings(image.settings),
            "RootFS": .members([
                "Type": .string("layers"), "Layers": .strings(image.layers.map(\.diffID.description)),
            ]),
        ])
    }

    private static func settings(_ settings: ImageSettings) -> JSONText {
        func set(_ names: [String]) -> JSONText { .object(names.map { .init(key: $0, value: .object([])) }) }
        func list(_ strings: [String]?) -> JSONText { strings.map { .strings($0) } ?? .null }
        let labels = settings.labels.sorted { $0.key < $1.key }
        var members: [JSONText.Member] = [
            .init(key: "User", value: .string(settings.user ?? "")),
            .init(key: "ExposedPorts", value: set(settings.exposedPorts)),
            .init(key: "Env", value: .strings(settings.environment)),
            .init(key: "Entrypoint", value: list(settings.entrypoint)),
            .init(key: "Cmd", value: list(settings.command)),
            .init(key: "Volumes", value: set(settings.volumes)),
            .init(key: "WorkingDir", value: .string(settings.workingDirectory ?? "")),
            .init(key: "Labels", value: .object(labels.map { .init(key: $0.key, value: .string($0.value)) })),
            .init(key: "OnBuild", value: .strings(settings.onBuild)),
        ]
        if let signal = settings.stopSignal { members.append(.init(key: "StopSignal", value: .string(signal))) }
        if let shell = settings.shell { members.append(.init(key: "Shell", value: .strings(shell))) }
        if let check = settings.healthcheck { members.append(.init(key: "Healthcheck", value: healthcheck(check))) }
        return .object(members)
    }

    private static func healthcheck(_ check: Healthcheck) -> JSONText {
        var members: [JSONText.Member] = []
        if let test = check.test { members.append(.init(key: "Test", value: .strings(test))) }
        let numbers: [(String, Int64?)] = [
            ("Interval", check.interval), ("Timeout", check.timeout), ("StartPeriod", check.startPeriod),
            ("StartInterval", check.startInterval), ("Retries", check.retries.map(Int64.init)),
        ]
        for (key, value) in numbers {
            if let value { members.append(.init(key: key, value: .number(value))) }
        }
        return .object(members)
    }
}
