// `stagerun images`

import ArgumentParser
import StageGraph
import StageRun

struct ImagesCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "List the images in the store, newest first.",
        discussion: "Example:\n  stagerun images --json")

    @OptionGroup var root: RootOption

    @Flag(name: .shortAndLong, help: "Print the IDs and nothing else.")
    var quiet = false

    @Flag(help: "Print a JSON array.")
    var json = false

    @Flag(help: "Do not cut IDs.")
    var noTrunc = false

    @Flag(help: "Show the digests that names have.")
    var digests = false

    @Argument(help: ArgumentHelp("Only images of this name, with any tag when none is given.", valueName: "name"))
    var name: String?

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let filter: ImageReference? = if let name { try imageReference(name) } else { nil }
        let images = try await surroundings.withRoot(root) { root in try root.images() }
        let selected = select(images, filter)
        let text: String
        if json {
            text = JSONText.array(selected.map(Self.document)).pretty
        } else if quiet {
            text = selected.map { (noTrunc ? $0.id.description : $0.id.short) + "\n" }.joined()
        } else {
            text = table(selected, now: currentSeconds())
        }
        try surroundings.output.write(text)
        return 0
    }

    /// The images with a name that `filter` means, each with only those names.
    func select(_ images: [ImageSummary], _ filter: ImageReference?) -> [ImageSummary] {
        guard let filter else { return images }
        // `app` means every tag of app, though a reference made from it says `latest`.
        let anyTag = name.map { !$0.contains("@") && !($0.split(separator: "/").last ?? "").contains(":") } ?? true
        return images.compactMap { image in
            var image = image
            image.names = image.names.filter { $0.name == filter.name && (anyTag || $0 == filter) }
            return image.names.isEmpty ? nil : image
        }
    }

    private static func document(_ image: ImageSummary) -> JSONText {
        .members([
            "Id": .string(image.id.description), "RepoTags": .strings(image.names.map(\.familiar)),
            "Created": .string(calendarText(seconds: image.created.seconds, nanoseconds: image.created.nanoseconds)),
            "Size": .number(Int64(clamping: image.size)),
        ])
    }

    /// A row for each name; an image without one has `<none>`.
    func table(_ images: [ImageSummary], now: Int64) -> String {
        var rows: [[String]] = []
        for image in images {
            let id = noTrunc ? image.id.description : image.id.short
            let end = [id, ageText(seconds: now - image.created.seconds), sizeText(image.size)]
            let names: [ImageReference?] = image.names.isEmpty ? [nil] : image.names
            for name in names {
                let start = [name?.familiarName ?? "<none>", name?.tag ?? "<none>"]
                rows.append(start + (digests ? [name?.digest?.description ?? "<none>"] : []) + end)
            }
        }
        let header = ["REPOSITORY", "TAG"] + (digests ? ["DIGEST"] : []) + ["IMAGE ID", "CREATED", "SIZE"]
        return tableText(header: header, rows: rows)
    }
}
