// `RUN --mount`: its options, read in full.

import StageGraph

/// One `--mount` as it is written; variables in its values are not expanded yet.
public struct Mount: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable { case bind, cache, tmpfs, secret, ssh }

    public var kind: Kind = .bind
    /// Values by key, aliases under their main name: `source`, `target`, `readonly`, `readwrite`.
    public var options: [String: String] = [:]
    public var range: SourceRange

    private static let aliases = [
        "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite",
    ]
    private static let keys = [
        "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size", "mode", "uid",
        "gid", "env",
    ]

    init(_ word: Word) throws(DockerfileError) {
        range = word.range
        var isReadOnly: Bool?
        for field in try Self.fields(word) {
            let name = String(field.utf8.prefix { $0 != UInt8(ascii: "=") }) ?? ""
            let hasValue = name.utf8.count < field.utf8.count
            let value = hasValue ? String(field.utf8.dropFirst(name.utf8.count + 1)) ?? "" : ""
            let key = Self.aliases[name.lowercased()] ?? name.lowercased()
            guard Self.keys.contains(key) else {
                throw DockerfileError(
                    "unexpected key `\(name)` in --mount", at: range,
                    hint: Spelling.hint(name, among: Self.keys + Self.aliases.keys.sorted()))
            }
            let isFlag = ["readonly", "readwrite", "required"].contains(key)
            guard hasValue || isFlag else {
                throw DockerfileError("key `\(name)` in --mount has no value", at: range, hint: "write \(name)=VALUE")
            }
            if isFlag {
                guard let flag = hasValue ? (value.contains("$") ? true : FlagValue.boolean(value)) : true else {
                    throw DockerfileError("key `\(name)` in --mount is true or false, not `\(value)`", at: range)
                }
                if key != "required" { isReadOnly = key == "readonly" ? flag : !flag }
                options[key] = value.contains("$") ? value : String(flag)
            } else {
                if key == "type" { kind = try Self.kind(value, range) }
                options[key] = value
            }
        }
        try check(isReadOnly: isReadOnly)
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
    private func check(isReadOnly: Bool?) throws(DockerfileError) {
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
        if kind == .ssh || kind == .tmpfs { try allow("source", .bind, .cache, .secret) }
        try checkValues()
        let needsTarget = kind == .bind || kind == .cache || kind == .tmpfs
        if needsTarget, options["target"] ?? "" == "" {
            throw DockerfileError(
                "a mount of type `\(kind.rawValue)` needs a target", at: range, hint: "add target=PATH")
        }
        if kind == .bind, options["target"] == "/" {
            throw DockerfileError("invalid mount target `/`", at: range, hint: "mount it at a directory of its own")
        }
        if kind == .secret, options["id"] == nil, options["source"] == nil, options["target"] == nil {
            throw DockerfileError("a secret mount needs an id", at: range, hint: "add id=NAME")
        }
        if kind == .tmpfs, isReadOnly == true {
            throw DockerfileError("a tmpfs mount can not be read-only", at: range)
        }
    }

    private func checkValues() throws(DockerfileError) {
        if let sharing = options["sharing"], !sharing.contains("$") {
            let names = ["shared", "private", "locked"]
            guard names.contains(sharing.lowercased()) else {
                throw DockerfileError(
                    "unsupported sharing value `\(sharing)`", at: range,
                    hint: Spelling.hint(sharing, among: names) ?? "it is one of \(names.joined(separator: ", "))")
            }
        }
        for key in ["uid", "gid"] {
            if let value = options[key], !value.contains("$"), UInt32(value) == nil {
                throw DockerfileError("invalid value `\(value)` for \(key)", at: range, hint: "it is a number")
            }
        }
        if let mode = options["mode"], !mode.contains("$"), UInt32(mode, radix: 8) == nil {
            throw DockerfileError("invalid value `\(mode)` for mode", at: range, hint: "it is an octal number")
        }
        if let size = options["size"], !size.contains("$"), !Self.isSize(size) {
            throw DockerfileError("invalid value `\(size)` for size", at: range, hint: "write 512m or 1g")
        }
    }

    static func isSize(_ text: String) -> Bool {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text.dropFirst(digits.count).lowercased().filter { $0 != " " }
        return Double(digits) != nil
            && ["", "b", "k", "kb", "kib", "m", "mb", "mib", "g", "gb", "gib", "t", "tb", "tib"].contains(unit)
    }
}
