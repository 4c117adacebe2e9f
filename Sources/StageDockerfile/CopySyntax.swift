// The arguments and flags of `COPY` and `ADD`.

import StageGraph

extension CommandParser {
    private static let addFlags: KeyValuePairs<String, FlagKind> = [
        "chown": .text, "chmod": .text, "link": .boolean, "keep-git-dir": .boolean, "checksum": .text,
        "unpack": .boolean, "exclude": .texts,
    ]
    private static let copyFlags: KeyValuePairs<String, FlagKind> = [
        "from": .text, "chown": .text, "chmod": .text, "link": .boolean, "parents": .boolean, "exclude": .texts,
    ]

    func copy(_ instruction: Instruction) throws(DockerfileError) -> CopyCommand {
        let isAdd = instruction.known == .add
        guard let destination = instruction.arguments.last, instruction.arguments.count >= 2 else {
            let keyword = instruction.name.uppercased()
            throw DockerfileError(
                instruction.arguments.isEmpty
                    ? "\(keyword) requires at least two arguments"
                    : "\(keyword) requires at least two arguments, but only one was provided",
                at: instruction.range, hint: "write \(keyword) SOURCE... DESTINATION")
        }
        let flags = try FlagValues(instruction, isAdd ? Self.addFlags : Self.copyFlags)
        if heredoc(destination, instruction) != nil {
            throw DockerfileError(
                "\(instruction.name.uppercased()) cannot accept a heredoc as a destination", at: destination.range)
        }
        // The texts come after the paths.
        var sources: [CopyCommand.Source] = []
        sources.reserveCapacity(instruction.arguments.count - 1)
        var texts: [CopyCommand.Source] = []
        for source in instruction.arguments.dropLast() {
            if let heredoc = heredoc(source, instruction) {
                texts.append(.heredoc(heredoc))
            } else {
                sources.append(.path(source))
            }
        }
        sources += texts
        return CopyCommand(
            isAdd: isAdd, sources: sources, destination: destination,
            from: flags.text("from").flatMap { $0.text.isEmpty ? nil : $0 },
            chown: flags.text("chown"), chmod: flags.text("chmod"), link: flags.boolean("link") ?? false,
            parents: flags.boolean("parents") == true ? flags.text("parents") : nil, excludes: flags.texts("exclude"),
            keepsGitDirectory: flags.text("keep-git-dir"), checksum: flags.text("checksum"),
            unpack: flags.boolean("unpack"))
    }

    /// The heredoc that a word opens; nil when it opens none. In the JSON form too, where it has no content.
    private func heredoc(_ word: Word, _ instruction: Instruction) -> Heredoc? {
        guard word.text.utf8.contains(UInt8(ascii: "<")), let opening = (try? HeredocWord(word.text)) ?? nil else {
            return nil
        }
        return instruction.heredocs.last { $0.name == opening.name }
            ?? Heredoc(
                name: opening.name, content: "", expands: opening.expands, chomps: opening.chomps,
                descriptor: opening.descriptor)
    }
}
