// From an instruction as it is written to what it says: each instruction's own demands on its arguments and flags.

import StageGraph

struct CommandParser {
    private(set) var warnings: [DockerfileWarning] = []

    mutating func parse(_ instruction: Instruction) throws(DockerfileError) -> ParsedInstruction {
        guard let keyword = Keyword(rawValue: instruction.name) else {
            throw DockerfileError(
                "unknown instruction: \(instruction.keyword.text)", at: instruction.keyword.range,
                hint: Spelling.hint(instruction.name.uppercased(), among: Keyword.names))
        }
        return ParsedInstruction(syntax: instruction, command: try command(keyword, instruction))
    }

    private mutating func warn(_ rule: String, _ message: String, _ range: SourceRange) {
        warnings.append(DockerfileWarning(rule: rule, message, at: range))
    }

    private mutating func command(_ keyword: Keyword, _ instruction: Instruction) throws(DockerfileError) -> Command {
        switch keyword {
        case .from: return try from(instruction)
        case .arg: return .argument(try declarations(instruction))
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
        case .healthcheck: return .healthcheck(try HealthcheckSyntax.parse(instruction))
        case .onbuild: return .onBuild(try trigger(instruction))
        case .shell: return .shell(try shell(instruction))
        case .expose:
            return .expose(try several(instruction).sorted { $0.text.utf8.lexicographicallyPrecedes($1.text.utf8) })
        case .volume: return .volume(try volumes(instruction))
        case .user: return .user(try single(instruction))
        case .workdir: return .workdir(try single(instruction))
        case .stopsignal: return .stopSignal(try single(instruction))
        case .maintainer:
            let name = try single(instruction)
            warn(
                "MaintainerDeprecated", "Maintainer instruction is deprecated in favor of using label",
                instruction.range)
            return .maintainer(name.text)
        }
    }

    private func single(_ instruction: Instruction) throws(DockerfileError) -> Word {
        guard let word = instruction.arguments.first, instruction.arguments.count == 1 else {
            throw DockerfileError(
                "\(instruction.name.uppercased()) requires exactly one argument", at: instruction.range)
        }
        _ = try FlagValues(instruction, [:])
        return word
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

    private mutating func from(_ instruction: Instruction) throws(DockerfileError) -> Command {
        let words = instruction.arguments
        guard words.count == 1 || (words.count == 3 && words[1].text.lowercased() == "as") else {
            throw DockerfileError(
                "FROM requires either one or three arguments", at: instruction.range,
                hint: "write `FROM IMAGE` or `FROM IMAGE AS NAME`")
        }
        var name: Word?
        if words.count == 3 {
            name = try stageName(words[2])
            lintName(words[2], keyword: instruction.keyword.text, separator: words[1])
        }
        let flags = try FlagValues(instruction, ["platform": .text])
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

    private mutating func lintName(_ name: Word, keyword: String, separator: Word) {
        if name.text != name.text.lowercased() {
            warn("StageNameCasing", "Stage name '\(name.text)' should be lowercase", name.range)
        }
        if ["scratch", "context"].contains(name.text.lowercased()) {
            warn(
                "ReservedStageName", "Stage name should not use the same name as reserved stage '\(name.text)'",
                name.range)
        }
        func isUpper(_ text: String) -> Bool? {
            text == text.uppercased() ? true : text == text.lowercased() ? false : nil
        }
        if let upper = isUpper(keyword), isUpper(separator.text) != upper {
            warn(
                "FromAsCasing", "'\(separator.text)' and '\(keyword)' keywords' casing do not match", separator.range)
        }
    }

    // MARK: ARG, ENV, LABEL

    private func declarations(_ instruction: Instruction) throws(DockerfileError) -> [ArgumentDeclaration] {
        // Flags are not looked at here by docker either, but nothing is dropped silently.
        var result: [ArgumentDeclaration] = []
        for word in try several(instruction) {
            let name = String(word.text.utf8.prefix { $0 != UInt8(ascii: "=") }) ?? ""
            guard !name.isEmpty else { throw DockerfileError("ARG names can not be blank", at: word.range) }
            let hasValue = name.utf8.count < word.text.utf8.count
            let value = hasValue ? String(word.text.utf8.dropFirst(name.utf8.count + 1)) : nil
            result.append(ArgumentDeclaration(name: name, value: value, range: word.range))
        }
        return result
    }

    private mutating func pairs(_ instruction: Instruction) throws(DockerfileError) -> [KeyValue] {
        _ = try FlagValues(instruction, [:])
        let words = instruction.arguments
        guard !words.isEmpty else { throw tooFew(instruction) }
        let keyword = instruction.name.uppercased()
        var result: [KeyValue] = []
        for index in stride(from: 0, to: words.count - 2, by: 3) {
            guard !words[index].text.isEmpty else {
                throw DockerfileError("\(keyword) names can not be blank", at: words[index].range)
            }
            if words[index + 2].text.isEmpty {
                warn(
                    "LegacyKeyValueFormat",
                    "\"\(keyword) key=value\" should be used instead of legacy \"\(keyword) key value\" format",
                    instruction.range)
            }
            result.append(KeyValue(key: words[index], value: words[index + 1]))
        }
        return result
    }

    // MARK: RUN

    private func run(_ instruction: Instruction) throws(DockerfileError) -> RunCommand {
        let flags = try FlagValues(
            instruction, ["mount": .texts, "network": .text, "security": .text, "device": .texts])
        var mounts: [Mount] = []
        for word in flags.texts("mount") { mounts.append(try Mount(word)) }
        let devices = flags.texts("device")
        for device in devices { try checkDevice(device) }
        return RunCommand(
            line: commandLine(instruction), mounts: mounts,
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

    private func checkDevice(_ word: Word) throws(DockerfileError) {
        let fields = word.text.split(separator: ",", omittingEmptySubsequences: false)
        for (index, field) in fields.enumerated() {
            let key = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            // A device's own name may hold an equals sign: vendor/class=name.
            let isName =
                index == 0 && !field.isEmpty && key.first != "required" || key.first == "name" && key.count == 2
            let isRequired =
                key.first == "required" && (key.count == 1 || FlagValue.boolean(String(key[1])) != nil)
            guard isName || isRequired else {
                throw DockerfileError(
                    "invalid field `\(field)` in --device", at: word.range, hint: "write --device=NAME[,required]")
            }
        }
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
        // Docker finds a broken trigger only in the build that uses the image; its author is here now.
        _ = try parse(inner)
        return inner.original + inner.heredocs.map { "\n" + $0.content + $0.name }.joined()
    }
}

extension Blank {
    static func trimmed(_ text: String) -> String {
        let bytes = Array(text.utf8)
        return String(decoding: bytes[trimmed(bytes, 0..<bytes.count)], as: UTF8.self)
    }
}
