// A Dockerfile that has been read: directives, global arguments and stages, each instruction checked on its own.

import StageGraph

/// One `FROM` and what follows it.
public struct Stage: Sendable, Hashable {
    public var index: Int
    /// In lower case; nil when the stage has none.
    public var name: String?
    public var from: FromCommand
    public var fromInstruction: Instruction
    /// Without the `FROM`.
    public var instructions: [ParsedInstruction]

    /// The name, or `stage-N` for one without.
    public var title: String { name ?? "stage-\(index)" }
    public var range: SourceRange { fromInstruction.range }
}

public struct Dockerfile: Sendable, Hashable {
    public var directives: Directives
    /// The `ARG` instructions before the first `FROM`.
    public var globalArguments: [ParsedInstruction]
    public var stages: [Stage]
    /// What reading alone shows; `# check=skip=` is not applied yet.
    public var warnings: [DockerfileWarning]

    /// Every instruction in order, `FROM` and the global `ARG`s included. Made anew at each call.
    public var instructions: [ParsedInstruction] {
        globalArguments
            + stages.flatMap {
                [ParsedInstruction(syntax: $0.fromInstruction, command: .from($0.from))] + $0.instructions
            }
    }

    /// Reads a Dockerfile: syntax and what each instruction demands of its own arguments and flags.
    ///
    /// - Parameter file: the name that error messages and source ranges carry.
    /// - Throws: the first error in the file. Time and memory are linear in the file.
    public static func parse(_ bytes: [UInt8], file: String) throws(DockerfileError) -> Dockerfile {
        var warnings: [DockerfileWarning] = []
        return try parse(bytes, file: file, warnings: &warnings)
    }

    /// - Parameter warnings: what was noticed before the error, when there is one.
    static func parse(
        _ bytes: [UInt8], file: String, warnings: inout [DockerfileWarning]
    ) throws(DockerfileError) -> Dockerfile {
        var parser = SyntaxParser(bytes: bytes, file: file)
        let syntax = try parser.parse()
        warnings = parser.warnings
        var commands = CommandParser()
        defer { warnings += commands.warnings }
        var dockerfile = Dockerfile(
            directives: parser.directives, globalArguments: [], stages: [], warnings: parser.warnings)
        for instruction in syntax { try dockerfile.add(commands.parse(instruction)) }
        guard !dockerfile.stages.isEmpty else {
            throw DockerfileError(
                "the Dockerfile contains no stages to build", at: syntax.last?.range, hint: "add a `FROM`")
        }
        dockerfile.warnings += commands.warnings
        dockerfile.warnings += dockerfile.fileWarnings()
        return dockerfile
    }

    public static func parse(_ text: String, file: String = "Dockerfile") throws(DockerfileError) -> Dockerfile {
        try parse(Array(text.utf8), file: file)
    }

    /// The instructions as they are written, without looking at what they demand. NUL and bytes that are no UTF-8, which a
    /// build refuses, are taken; the latter become U+FFFD.
    public static func parseSyntax(_ bytes: [UInt8], file: String) throws(DockerfileError) -> [Instruction] {
        var parser = SyntaxParser(bytes: bytes, file: file, takesAnyBytes: true)
        return try parser.parse()
    }

    private mutating func add(_ instruction: ParsedInstruction) throws(DockerfileError) {
        if case .from(let from) = instruction.command {
            stages.append(
                Stage(
                    index: stages.count, name: from.name?.text, from: from, fromInstruction: instruction.syntax,
                    instructions: []))
        } else if !stages.isEmpty {
            stages[stages.count - 1].instructions.append(instruction)
        } else if case .argument = instruction.command {
            globalArguments.append(instruction)
        } else {
            throw DockerfileError(
                "no build stage in current context: \(instruction.syntax.name.uppercased()) stands before the first FROM",
                at: instruction.syntax.keyword.range, hint: "only ARG may come before FROM")
        }
    }

    /// One trigger of a base image or base stage, as if it stood at `range`.
    static func trigger(_ text: String, at range: SourceRange) throws(DockerfileError) -> ParsedInstruction {
        var parser = SyntaxParser(bytes: Array(text.utf8), file: range.file, fixedRange: range)
        let instructions = try parser.parse()
        guard let instruction = instructions.first, instructions.count == 1 else {
            throw DockerfileError(
                "an ONBUILD trigger of the base image is not a single instruction: `\(text)`", at: range)
        }
        if ["onbuild", "from", "maintainer"].contains(instruction.name) {
            throw DockerfileError(
                "\(instruction.name.uppercased()) isn't allowed as an ONBUILD trigger of the base image", at: range)
        }
        var commands = CommandParser()
        return try commands.parse(instruction)
    }
}
