// From an instruction as it is written to what it says: each instruction's own demands on its arguments and flags.

import StageGraph

struct CommandParser {
    private(set) var warnings: [DockerfileWarning] = []

    mutating func parse(_ instruction: Instruction) throws(DockerfileError) -> ParsedInstruction {
        guard let keyword = instruction.known else {
            throw DockerfileError(
                "unknown instruction: \(instruction.keyword.text)", at: instruction.keyword.range,
                hint: Spelling.hint(instruction.name.uppercased(), among: Keyword.names))
        }
        return ParsedInstruction(syntax: instruction, command: try command(keyword, instruction))
    }

    private mutating func command(_ keyword: Keyword, _ instruction: Instruction) throws(DockerfileError) -> Command {
        switch keyword {
        case .from: return try from(instruction)
        case .arg:
            let declared = try declarations(instruction)
            noteIgnoredFlags(instruction)
            checkDescription("ARG", declared.map(\.name), instruction)
            return .argument(declared)
        case .env: return .environment(try pairs(instruction))
        case .label: return .label(try pairs(instruction))
        case .run: return .run(try run(instruction))
        case .copy, .add: return .copy(try copy(instruction))
        case .cmd:
            _ = try FlagValues(instruction, [:])
            return .command(commandLine(instruction))
        case .entrypoint:
            _ = try FlagValues(instruction, [:])
            return .entrypoint(commandLine(instruction))
        case .healthcheck:
            let check = try HealthcheckSyntax.parse(instruction)
            if check.test == ["NONE"] { noteIgnoredFlags(instruction) }
            return .healthcheck(check)
        case .onbuild: return .onBuild(try trigger(instruction))
        case .shell: return .shell(try shell(instruction))
        case .expose:
            return .expose(try several(instruction).sorted { $0.text.utf8.lexicographicallyPrecedes($1.text.utf8) })
        case .volume: return .volume(try volumes(instruction))
        case .user: return .user(try single(instruction))
        case .workdir: return .workdir(try single(instruction))
        case .stopsignal:
            // Docker never looks at its flags, nor at those of ARG and HEALTHCHECK NONE.
            noteIgnoredFlags(instruction)
            return .stopSignal(try only(instruction))
        case .maintainer:
            warnings.add(.maintainerDeprecated, in: instruction)
            return .maintainer(try single(instruction).text)
        }
    }

    private func only(_ instruction: Instruction) throws(DockerfileError) -> Word {
        guard let word = instruction.arguments.first, instruction.arguments.count == 1 else {
            throw DockerfileError(
                "\(instruction.name.uppercased()) requires exactly one argument", at: instruction.range)
        }
        return word
    }

    private func single(_ instruction: Instruction) throws(DockerfileError) -> Word {
        let word = try only(instruction)
        _ = try FlagValues(instruction, [:])
        return word
    }

    /// What is accepted and does nothing is at least said.
    private mutating func noteIgnoredFlags(_ instruction: Instruction) {
        for flag in instruction.flags {
            warnings.append(
                DockerfileWarning(rule: "", "\(flag.text) says nothing to \(instruction.keyword.text)", at: flag.range))
        }
    }

    private func several(_ instruction: Instruction) throws(DockerfileError) -> [Word] {
        guard !instruction.arguments.isEmpty else { throw tooFew(instruction) }
        _ = try FlagValues(instruction, [:])
        return instruction.arguments
    }

    private func tooFew(_ instruction: Instruction) -> DockerfileError {
        DockerfileError("\(instruction.name.uppercased()) requires at least one argument", at: instruction.range)
    }

    private func commandLine(_ instruction: Instruction) -> CommandLine {
        CommandLine(arguments: instruction.arguments.map(\.text), usesShell: !instruction.isJSON)
    }

    // MARK: FROM

    private static let fromFlags: KeyValuePairs<String, FlagKind> = ["platform": .text]

    private mutating func from(_ instruction: Instruction) throws(DockerfileError) -> Command {
        let words = instruction.arguments
        if words.count == 3 { checkCases(instruction) }
        guard words.count == 1 || (words.count == 3 && words[1].text.lowercased() == "as") else {
            throw DockerfileError(
                "FROM requires either one or three arguments", at: instruction.range,
                hint: "write `FROM IMAGE` or `FROM IMAGE AS NAME`")
        }
        var name: Word?
        if words.count == 3 {
            name = try stageName(words[2])
        }
        let flags = try FlagValues(instruction, Self.fromFlags)
        if let name { checkDescription("FROM", [name.text], instruction) }
        return .from(FromCommand(base: words[0], name: name, platform: flags.text("platform")))
    }

    private func stageName(_ word: Word) throws(DockerfileError) -> Word {
        let name = word.text.lowercased()
        let isLetter = name.utf8.first.map { (0x61...0x7A).contains($0) } ?? false
        let isName = name.utf8.allSatisfy {
            (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D || $0 == 0x5F || $0 == 0x2E
        }
        guard isLetter, isName else {
            throw DockerfileError(
                "invalid name for build stage: `\(word.text)`", at: word.range,
                hint: "a name starts with a letter and holds letters, digits, `-`, `_` and `.`")
        }
        return Word(name, at: word.range)
    }

    private mutating func checkCases(_ instruction: Instruction) {
        let (separator, name) = (instruction.arguments[1], instruction.arguments[2])
        if name.text != name.text.lowercased() {
            warnings.add(.stageNameCasing, name.text, at: name.range, in: instruction)
        }
        // A keyword in mixed case is another rule's matter.
        let keyword = instruction.keyword.text
        let wanted: String
        if keyword == keyword.lowercased() {
            wanted = separator.text.lowercased()
        } else if keyword == keyword.uppercased() {
            wanted = separator.text.uppercased()
        } else {
            return
        }
        if separator.text != wanted {
            warnings.add(.fromAsCasing, separator.text, keyword, at: separator.range, in: instruction)
        }
    }

    /// A comment right above FROM or ARG is shown as the description of what it names, and starts with that name.
    private mutating func checkDescription(_ keyword: String, _ names: [String], _ instruction: Instruction) {
        guard let comment = instruction.comments.last else { return }
        let first = comment.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)[0]
        if names.contains(where: { $0 == first }) { return }
        warnings.add(
            .invalidDefinitionDescription, keyword, names.count == 1 ? names[0] : "<arg_key>", in: instruction)
    }

    // MARK: ARG, ENV, LABEL

    private func declarations(_ instruction: Instruction) throws(DockerfileError) -> [ArgumentDeclaration] {
        guard !instruction.arguments.isEmpty else { throw tooFew(instruction) }
        var result: [ArgumentDeclaration] = []
        for word in instruction.arguments {
            let name = String(word.text.utf8.prefix { $0 != UInt8(ascii: "=") }) ?? ""
            guard !name.isEmpty else { throw DockerfileError("ARG names can not be blank", at: word.range) }
            let hasValue = name.utf8.count < word.text.utf8.count
            let value = hasValue ? String(word.text.utf8.dropFirst(name.utf8.count + 1)) : nil
            result.append(ArgumentDeclaration(name: name, value: value, range: word.range))
        }
        return result
    }

    private func pairs(_ instruction: Instruction) throws(DockerfileError) -> [KeyValue] {
        _ = try FlagValues(instruction, [:])
        let words = instruction.arguments
        guard !words.isEmpty else { throw tooFew(instruction) }
        let keyword = instruction.name.uppercased()
        var result: [KeyValue] = []
        for index in stride(from: 0, to: words.count - 2, by: 3) {
            guard !words[index].text.isEmpty else {
                throw DockerfileError("\(keyword) names can not be blank", at: words[index].range)
            }
            result.append(
                KeyValue(key: words[index], value: words[index + 1], isLegacy: words[index + 2].text.isEmpty))
        }
        return result
    }

    // MARK: RUN

    private static let runFlags: KeyValuePairs<String, FlagKind> = [
        "mount": .texts, "network": .text, "security": .text, "device": .texts,
    ]

    private func run(_ instruction: Instruction) throws(DockerfileError) -> RunCommand {
        let flags = try FlagValues(instruction, Self.runFlags)
        var mounts: [Mount] = []
        var fault: DockerfileError?
        for word in flags.texts("mount") {
            _ = try CommaSeparatedRecord.fields(word, of: "--mount")
            // As in docker, a stage that nobody needs may have mounts that make no sense.
            do throws(DockerfileError) { mounts.append(try Mount(word)) } catch { fault = fault ?? error }
        }
        var devices: [Device] = []
        for word in flags.texts("device") { devices.append(try Device(word)) }
        return RunCommand(
            line: commandLine(instruction), mounts: mounts, mountFault: fault,
            network: try choice(flags.text("network"), "network", otherwise: .default),
            security: try choice(flags.text("security"), "security", otherwise: .sandbox), devices: devices)
    }

    private func choice<Choice: RawRepresentable & CaseIterable>(
        _ word: Word?, _ flag: String, otherwise: Choice
    ) throws(DockerfileError) -> Choice where Choice.RawValue == String {
        guard let word else { return otherwise }
        if let value = Choice(rawValue: word.text) { return value }
        let names = Choice.allCases.map(\.rawValue)
        throw DockerfileError(
            "invalid \(flag) mode: `\(word.text)`", at: word.range,
            hint: Spelling.hint(word.text, among: names) ?? "it is one of \(names.joined(separator: ", "))")
    }

    // MARK: SHELL, VOLUME, ONBUILD

    private func shell(_ instruction: Instruction) throws(DockerfileError) -> [String] {
        _ = try FlagValues(instruction, [:])
        guard !instruction.arguments.isEmpty else { throw tooFew(instruction) }
        guard instruction.isJSON else {
            throw DockerfileError(
                "SHELL requires the arguments to be in JSON form", at: instruction.arguments[0].range,
                hint: "write SHELL [\"executable\", \"parameters\"]")
        }
        return instruction.arguments.map(\.text)
    }

    private func volumes(_ instruction: Instruction) throws(DockerfileError) -> [Word] {
        var result: [Word] = []
        for word in try several(instruction) {
            let text = Blank.trimmed(word.text)
            guard !text.isEmpty else {
                throw DockerfileError("VOLUME specified can not be an empty string", at: word.range)
            }
            result.append(Word(text, at: word.range))
        }
        return result
    }

    private mutating func trigger(_ instruction: Instruction) throws(DockerfileError) -> String {
        guard let inner = instruction.trigger.first else { throw tooFew(instruction) }
        _ = try FlagValues(instruction, [:])
        if inner.name == "onbuild" {
            throw DockerfileError("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", at: inner.keyword.range)
        }
        if inner.name == "from" || inner.name == "maintainer" {
            throw DockerfileError(
                "\(inner.name.uppercased()) isn't allowed as an ONBUILD trigger", at: inner.keyword.range)
        }
        // A broken trigger fails only in the build that uses the image; its author is here now.
        var trial = CommandParser()
        do throws(DockerfileError) { _ = try trial.parse(inner) } catch {
            warnings.append(
                DockerfileWarning(
                    rule: "", "a build that is FROM this image will be refused: \(error.message)", at: error.range))
        }
        let words = instruction.original.utf8.dropFirst(instruction.keyword.text.utf8.count)
        let text = Substring(words.drop { Blank.separates($0) && $0 != 0x0B })
        return text + inner.heredocs.map { "\n" + $0.content + $0.name }.joined()
    }
}

extension Blank {
    static func trimmed(_ text: String) -> String {
        let bytes = Array(text.utf8)
        return String(decoding: bytes[trimmed(bytes, 0..<bytes.count)], as: UTF8.self)
    }
}
