// Flags of instructions: which an instruction has, how often, and with what kind of value.

import StageGraph

enum FlagKind {
    case boolean
    case text
    /// May be given more than once.
    case texts
}

/// The flags of one instruction, checked against those that it has.
struct FlagValues {
    /// Few: looked through rather than looked up.
    private var given: [(name: String, value: Word)] = []

    init(_ instruction: Instruction, _ known: KeyValuePairs<String, FlagKind>) throws(DockerfileError) {
        for flag in instruction.flags {
            let body = flag.text.utf8.dropFirst(2)
            let name = String(body.prefix { $0 != UInt8(ascii: "=") }) ?? ""
            let hasValue = name.utf8.count < body.count
            let value = hasValue ? String(body.dropFirst(name.utf8.count + 1)) ?? "" : ""
            guard let kind = known.first(where: { $0.key == name })?.value else {
                throw Self.unknown(name, flag, instruction, known)
            }
            if kind != .texts, text(name) != nil {
                throw DockerfileError("duplicate flag: --\(name)", at: flag.range, hint: "give it once")
            }
            if kind == .boolean, !hasValue {
                given.append((name, Word("true", at: flag.range)))
                continue
            }
            guard hasValue, kind != .boolean || !value.isEmpty else {
                throw DockerfileError(
                    "missing a value on flag: --\(name)", at: flag.range, hint: "write --\(name)=VALUE")
            }
            if kind == .boolean, !["true", "false"].contains(value.lowercased()) {
                throw DockerfileError("flag --\(name) is true or false, not `\(value)`", at: flag.range)
            }
            given.append((name, Word(kind == .boolean ? value.lowercased() : value, at: flag.range)))
        }
    }

    private static func unknown(
        _ name: String, _ flag: Word, _ instruction: Instruction, _ known: KeyValuePairs<String, FlagKind>
    ) -> DockerfileError {
        let names = known.map { "--" + $0.key }
        let keyword = instruction.name.uppercased()
        let list = names.isEmpty ? "\(keyword) has no flags" : "\(keyword) has \(names.joined(separator: ", "))"
        return DockerfileError(
            "unknown flag: --\(name)", at: flag.range, hint: Spelling.hint("--" + name, among: names) ?? list)
    }

    func text(_ name: String) -> Word? { given.last { $0.name == name }?.value }
    func texts(_ name: String) -> [Word] { given.filter { $0.name == name }.map(\.value) }
    func boolean(_ name: String) -> Bool? { text(name).map { $0.text == "true" } }
}

enum FlagValue {
    /// The spellings of truth that mount options and check options take.
    static func boolean(_ text: String) -> Bool? {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": true
        case "0", "f", "F", "false", "FALSE", "False": false
        default: nil
        }
    }
}
