// What an instruction says, once its own arguments and flags have been checked. Variables are not expanded yet.

import StageGraph

/// `NAME=value` of `ENV` and `LABEL`.
public struct KeyValue: Sendable, Hashable {
    public var key: Word
    public var value: Word
    /// Written `NAME value`.
    public var isLegacy = false
}

/// One item of `ARG`.
public struct ArgumentDeclaration: Sendable, Hashable {
    public var name: String
    /// The default, as written.
    public var value: String?
    public var range: SourceRange
}

/// The line of `RUN`, `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.
public struct CommandLine: Sendable, Hashable {
    public var arguments: [String]
    /// False for the JSON form, which no shell sees.
    public var usesShell: Bool
}

/// `RUN`.
public struct RunCommand: Sendable, Hashable {
    public enum Network: String, Sendable, Hashable, CaseIterable { case `default`, none, host }
    public enum Security: String, Sendable, Hashable, CaseIterable { case sandbox, insecure }

    public var line: CommandLine
    public var mounts: [Mount]
    /// What is wrong with the first `--mount` that makes no sense; it counts when the command is to run.
    public var mountFault: DockerfileError?
    public var network: Network
    public var security: Security
    public var devices: [Device]
}

/// `RUN --device`: a device that the machine's CDI specifications describe.
public struct Device: Sendable, Hashable {
    /// `vendor/class`, for the first of a class, or `vendor/class=name`.
    public var name: String
    /// Without the device, a command that requires it does not run, and another one runs without it.
    public var isRequired: Bool
    public var range: SourceRange
}

/// `COPY` and `ADD`.
public struct CopyCommand: Sendable, Hashable {
    /// A source is a path or the text of a heredoc.
    public enum Source: Sendable, Hashable {
        case path(Word)
        case heredoc(Heredoc)
    }

    public var isAdd: Bool
    public var sources: [Source]
    public var destination: Word
    public var from: Word?
    public var chown: Word?
    public var chmod: Word?
    public var link: Bool
    public var parents: Word?
    public var excludes: [Word]
    public var keepsGitDirectory: Word?
    public var checksum: Word?
    /// `--unpack`: nil when not given.
    public var unpack: Bool?
}

/// `FROM`.
public struct FromCommand: Sendable, Hashable {
    public var base: Word
    /// In lower case.
    public var name: Word?
    public var platform: Word?
}

/// Indirect: an instruction is copied often, and the largest of these would be copied with each.
public indirect enum Command: Sendable, Hashable {
    case from(FromCommand)
    case argument([ArgumentDeclaration])
    case environment([KeyValue])
    case label([KeyValue])
    case run(RunCommand)
    case copy(CopyCommand)
    case workdir(Word)
    case user(Word)
    case command(CommandLine)
    case entrypoint(CommandLine)
    case shell([String])
    case expose([Word])
    case volume([Word])
    case stopSignal(Word)
    case healthcheck(Healthcheck)
    /// The text of the trigger, as it is recorded in the image.
    case onBuild(String)
    case maintainer(String)
}

/// An instruction that has been understood.
public struct ParsedInstruction: Sendable, Hashable {
    public var syntax: Instruction
    public var command: Command

    public var range: SourceRange { syntax.range }
}
