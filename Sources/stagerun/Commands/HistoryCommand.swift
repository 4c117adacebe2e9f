// `stagerun history`

import ArgumentParser
import StageRun

struct HistoryCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "history", abstract: "Show the instructions that made an image, newest first.",
        discussion: "Example:\n  stagerun history --no-trunc app:1")

    @OptionGroup var root: RootOption

    @Flag(help: "Do not cut IDs and instructions.")
    var noTrunc = false

    @Flag(help: "Print a JSON array.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print the IDs and nothing else.")
    var quiet = false

    @Argument(help: ArgumentHelp("A name or an ID.", valueName: "image"))
    var image: String

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let details = try await surroundings.withRoot(root) { root in try root.inspect(image) }
        let text: String
        if json {
            text = document(details).pretty
        } else if quiet {
            text = rows(details, now: 0).map { $0[0] + "\n" }.joined()
        } else {
            text = tableText(
                header: ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"],
                rows: rows(details, now: currentSeconds()))
        }
        try surroundings.output.write(text)
        return 0
    }

    private func document(_ details: ImageDetails) -> JSONText {
        .array(
            details.history.reversed().enumerated().map { index, entry in
                .members([
                    "Id": .string(index == 0 ? details.id.description : "<missing>"),
                    "Created": .optional(
                        entry.created.map { calendarText(seconds: $0.seconds, nanoseconds: $0.nanoseconds) }),
                    "CreatedBy": .string(entry.createdBy), "Size": .number(Int64(clamping: entry.layerSize ?? 0)),
                    "Comment": .string(entry.comment),
                ])
            })
    }

    /// The cells of each entry; only the newest has the image's ID, as docker has it.
    func rows(_ details: ImageDetails, now: Int64) -> [[String]] {
        details.history.reversed().enumerated().map { index, entry in
            let id = noTrunc ? details.id.description : details.id.short
            let created = singleLine(entry.createdBy)
            let cut = noTrunc || created.count <= 45 ? created : created.prefix(44) + "…"
            return [
                index == 0 ? id : "<missing>", entry.created.map { ageText(seconds: now - $0.seconds) } ?? "N/A",
                String(cut), sizeText(entry.layerSize ?? 0), singleLine(entry.comment),
            ]
        }
    }
}
