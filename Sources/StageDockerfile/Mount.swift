// `RUN --mount`: its options, read in full.

import StageGraph

/// One `--mount`. As the parser gives it, variables in its values are not expanded yet, and what hangs on them is not
/// checked; `expanded` gives one that is checked in full.
public struct Mount: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable { case bind, cache, tmpfs, secret, ssh }

    public var kind: Kind = .bind
    /// Values by key, aliases under their main name: `source`, `target`, `readonly`, `readwrite`.
    public var options: [String: String] = [:]
    public var range: SourceRange
    /// As written, in order; no value is a key alone.
    private var fields: [Field] = []

    private struct Field: Sendable, Hashable {
        var name: String
        var value: String?

        var key: String { Mount.aliases[name.lowercased()] ?? name.lowercased() }
        var isOpen: Bool { value?.utf8.contains(UInt8(ascii: "$")) ?? false }
    }

    private static let aliases = [
        "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite",
    ]
    private static let keys = [
        "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size", "mode", "uid",
        "gid", "env",
    ]

    init(_ word: Word) throws(DockerfileError) {
        range = word.range
        for field in try Self.fields(word) {
            let name = String(field.utf8.prefix { $0 != UInt8(ascii: "=") }) ?? ""
            let hasValue = name.utf8.count < field.utf8.count
            fields.append(
                Field(name: name, value: hasValue ? String(field.utf8.dropFirst(name.utf8.count + 1)) ?? "" : nil))
        }
        try read()
    }

    /// The mount with the variables of its values put in, all but those of `from`, which names what has been found.
    func expanded(_ expand: (String) throws(DockerfileError) -> String) throws(DockerfileError) -> Mount {
        var mount = self
        mount.options = [:]
        for index in fields.indices where fields[index].isOpen && fields[index].key != "from" {
            mount.fields[index].value = try expand(fields[index].value ?? "")
        }
        // A value that still has a dollar has it for itself now.
        try mount.read(isFinal: true)
        return mount
    }

    /// The values that `expanded` asks for.
    var openValues: [String] { fields.filter { $0.isOpen && $0.key != "from" }.compactMap(\.value) }

    /// Reads the fields one by one: what a key may be hangs on the type, which may come last.
    private mutating func read(isFinal: Bool = false) throws(DockerfileError) {
        var isReadOnly: Bool?
        var isTypeOpen = false
        for field in fields {
            let (key, name) = (field.key, field.name)
            guard Self.keys.contains(key) else {
                throw DockerfileError(
                    "unexpected key `\(name)` in --mount", at: range,
                    hint: Spelling.hint(name, among: Self.keys + Self.aliases.keys.sorted()))
            }
            let isFlag = ["readonly", "readwrite", "required"].contains(key)
            guard field.value != nil || isFlag else {
                throw DockerfileError("key `\(name)` in --mount has no value", at: range, hint: "write \(name)=VALUE")
            }
            let isOpen = field.isOpen && !isFinal
            if isFlag {
                guard let flag = isOpen ? true : field.value.map(FlagValue.boolean) ?? true else {
                    throw DockerfileError(
                        "key `\(name)` in --mount is true or false, not `\(field.value ?? "")`", at: range)
                }
                if key != "required" { isReadOnly = key == "readonly" ? flag : !flag }
                options[key] = String(flag)
                if key == "readwrite" { options["readonly"] = String(!flag) }
            } else if key == "type" {
                if isOpen { isTypeOpen = true } else { kind = try Self.kind(field.value ?? "", range) }
            } else {
                options[key] = field.value ?? ""
            }
        }
        if isTypeOpen { return }
        try check(isReadOnly: isReadOnly, isFinal: isFinal)
    }

    private static func kind(_ text: String, _ range: SourceRange) throws(DockerfileError) -> Kind {
        if let kind = Kind(rawValue: text.lowercased()) { return kind }
        let names = Kind.allCases.map(\.rawValue)
        throw DockerfileError(
            "unsupported mount type `\(text)`", at: range,
            hint: Spelling.hint(text, among: names) ?? "it is one of \(names.joined(separator: ", "))")
    }

    /// One line of comma separated values; a quoted one may hold commas.
    private static func fields(_ word: Word) throws(DockerfileError) -> [String] {
        let bytes = Array(word.text.utf8)
        let quote = UInt8(ascii: "\"")
        var fields: [String] = []
        var field: [UInt8] = []
        var index = 0
        while index <= bytes.count {
            if index < bytes.count, field.isEmpty, bytes[index] == quote {
                index += 1
                while true {
                    guard index < bytes.count else {
                        throw DockerfileError("--mount has a quote that is not closed", at: word.range)
                    }
                    if bytes[index] == quote {
                        index += 1
                        guard index < bytes.count, bytes[index] == quote else { break }
                    }
                    field.append(bytes[index])
                    index += 1
                }
            }
            if index >= bytes.count || bytes[index] == UInt8(ascii: ",") {
                fields.append(String(decoding: field, as: UTF8.self))
                field = []
            } else {
                field.append(bytes[index])
            }
            index += 1
        }
        return fields
    }

    /// What goes with which type.
    private func check(isReadOnly: Bool?, isFinal: Bool) throws(DockerfileError) {
        func allow(_ key: String, _ kinds: Kind...) throws(DockerfileError) {
            guard options[key] == nil || kinds.contains(kind) else {
                throw DockerfileError(
                    "key `\(key)` does not go with a mount of type `\(kind.rawValue)`", at: range,
                    hint: "it belongs to \(kinds.map(\.rawValue).joined(separator: ", "))")
            }
        }
        try allow("sharing", .cache)
        try allow("size", .tmpfs)
        try allow("required", .secret, .ssh)
        try allow("env", .secret)
        for key in ["mode", "uid", "gid"] { try allow(key, .secret, .ssh, .cache) }
        if kind == .ssh { try allow("source", .bind, .cache, .secret) }
        try checkValues(isFinal: isFinal)
        let needsTarget = kind == .bind || kind == .cache || kind == .tmpfs
        if needsTarget, options["target"] ?? "" == "" {
            throw DockerfileError(
                "a mount of type `\(kind.rawValue)` needs a target", at: range, hint: "add target=PATH")
        }
        if kind == .bind, options["target"] == "/" {
            throw DockerfileError("invalid mount target `/`", at: range, hint: "mount it at a directory of its own")
        }
        if kind == .secret { try checkSecret() }
        if kind == .tmpfs, isReadOnly == true {
            throw DockerfileError("a tmpfs mount can not be read-only", at: range)
        }
    }

    private func checkSecret() throws(DockerfileError) {
        if options["from"] ?? "" != "" {
            throw DockerfileError("a secret mount has no from", at: range, hint: "id=NAME says which secret it is")
        }
        let (id, source) = (options["id"] ?? "", options["source"] ?? "")
        if id.isEmpty, source.isEmpty, options["target"] ?? "" == "" {
            throw DockerfileError("a secret mount needs an id", at: range, hint: "add id=NAME")
        }
        if !id.isEmpty, !source.isEmpty {
            throw DockerfileError(
                "a secret mount has an id or a source, not both", at: range, hint: "leave out source=")
        }
    }

    private func checkValues(isFinal: Bool) throws(DockerfileError) {
        func isClosed(_ text: String) -> Bool { isFinal || !text.contains("$") }
        if let sharing = options["sharing"], isClosed(sharing) {
            let names = ["shared", "private", "locked"]
            guard names.contains(sharing.lowercased()) else {
                throw DockerfileError(
                    "unsupported sharing value `\(sharing)`", at: range,
                    hint: Spelling.hint(sharing, among: names) ?? "it is one of \(names.joined(separator: ", "))")
            }
        }
        for key in ["uid", "gid"] {
            if let value = options[key], isClosed(value), UInt32(value) == nil {
                throw DockerfileError("invalid value `\(value)` for \(key)", at: range, hint: "it is a number")
            }
        }
        if let mode = options["mode"], isClosed(mode), UInt32(mode, radix: 8) == nil {
            throw DockerfileError("invalid value `\(mode)` for mode", at: range, hint: "it is an octal number")
        }
        if let size = options["size"], isClosed(size), MemorySize.bytes(size) == nil {
            throw DockerfileError("invalid value `\(size)` for size", at: range, hint: "write 512m or 1g")
        }
    }
}
