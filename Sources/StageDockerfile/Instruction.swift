// An instruction as it is written: its words, flags and heredocs, each with its place, before anything is made of them.

import StageGraph

/// The instructions of the language.
enum Keyword: String, CaseIterable {
    case add, arg, cmd, copy, entrypoint, env, expose, from, healthcheck, label, maintainer, onbuild, run, shell
    case stopsignal, user, volume, workdir

    private static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.rawValue, $0) })

    /// The instruction of that name, which is in lower case. As `init(rawValue:)`, which compares with one name after the other.
    init?(named name: String) {
        guard let keyword = Self.byName[name] else { return nil }
        self = keyword
    }

    static var names: [String] { allCases.map { $0.rawValue.uppercased() } }

    /// Whether a heredoc can belong to it.
    var takesHeredocs: Bool { self == .add || self == .copy || self == .run }
}

/// `<<EOF` and the lines up to `EOF`.
public struct Heredoc: Sendable, Hashable {
    /// The delimiter without its quotes; `COPY` names the file by it.
    public var name: String
    /// As written, each line with its ending.
    public var content: String
    /// False when any part of the delimiter is quoted: variables in the content stay as they are.
    public var expands: Bool
    /// `<<-`: tabs at the start of each line are no content.
    public var chomps: Bool
    /// The number before `<<`; 0 when there is none.
    public var descriptor: UInt

    /// The content as whoever reads it gets it.
    public var text: String {
        guard chomps else { return content }
        var result: [UInt8] = []
        var isAtStart = true
        for byte in content.utf8 {
            if isAtStart, byte == UInt8(ascii: "\t") { continue }
            result.append(byte)
            isAtStart = byte == UInt8(ascii: "\n")
        }
        return String(decoding: result, as: UTF8.self)
    }
}

/// One instruction, syntax only.
public struct Instruction: Sendable, Hashable {
    /// As written.
    public var keyword: Word
    /// In lower case.
    public let name: String
    /// What the name is in the language; nil for none of it.
    let known: Keyword?
    /// `--name=value`, without the quotes around parts of it.
    public var flags: [Word]
    /// What follows the flags: the elements of a JSON form, words, or the rest of the line as one string, as the
    /// instruction has it. `ENV` and `LABEL` have three for each pair: key, value, and `=` (empty in the old form).
    public var arguments: [Word]
    public var isJSON: Bool
    public var heredocs: [Heredoc]
    /// What `ONBUILD` wraps: one instruction or none.
    public var trigger: [Instruction]
    /// The comments right above it, without `#`.
    public var comments: [String]
    /// The whole line with its continuations joined, and with the blanks at its end.
    public var original: String
    /// All its lines, with its heredocs.
    public var range: SourceRange

    /// Whether the language has an instruction of this name.
    public var isKnown: Bool { known != nil }
}
