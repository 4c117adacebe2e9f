// `-o`: where a build's result goes, spelled as docker spells it.

import StageGraph

/// One `--output`.
struct OutputOption: Hashable, Sendable {
    enum Kind: String, Hashable, Sendable, CaseIterable { case oci, docker, tar, local }

    enum Place: Hashable, Sendable {
        case standardOutput
        case path(String)
    }

    var kind: Kind
    var place: Place
    /// One tar file (true) or a directory.
    var asTar: Bool

    init(kind: Kind, place: Place, asTar: Bool) {
        self.kind = kind
        self.place = place
        self.asTar = asTar
    }

    /// `type=oci,dest=FILE[,tar=false]`, or the short forms: `-` is a tar on standard output, `DIR` a local directory.
    init(parsing text: String) throws(UsageError) {
        let fields = try commaSeparatedFields(text)
        if fields.count == 1, fields[0] == text, !text.hasPrefix("type=") {
            guard !text.isEmpty else { throw UsageError("--output is empty; give a directory, or type=oci,dest=FILE") }
            self =
                text == "-"
                ? OutputOption(kind: .tar, place: .standardOutput, asTar: true)
                : OutputOption(kind: .local, place: .path(text), asTar: false)
            return
        }
        let attributes = try Self.attributes(fields, of: text)
        guard let name = attributes["type"] else {
            throw UsageError("--output \(text): type= is missing; it is one of \(Self.kindNames)")
        }
        try self.init(kind: try Self.kind(name, of: text), attributes: attributes, text: text)
    }

    private init(kind: Kind, attributes: [String: String], text: String) throws(UsageError) {
        let destination = attributes["dest"] ?? ""
        var asTar = kind != .local
        if let value = attributes["tar"] {
            guard kind == .oci else { throw UsageError("--output \(text): tar= belongs to type=oci only") }
            guard let flag = booleanValue(value) else {
                throw UsageError("--output \(text): tar=\(value) is neither true nor false")
            }
            asTar = flag
        }
        switch (asTar, destination) {
        case (false, ""): throw UsageError("--output \(text): dest=DIRECTORY is missing")
        case (false, "-"): throw UsageError("--output \(text): a directory cannot go to standard output")
        case (true, "") where kind == .docker:
            throw UsageError(
                "--output \(text): dest=FILE is missing (dest=- for standard output). "
                    + "Without -o the image is kept in the store; there is no daemon to load it into")
        case (true, ""), (true, "-"): self.init(kind: kind, place: .standardOutput, asTar: true)
        default: self.init(kind: kind, place: .path(destination), asTar: asTar)
        }
    }

    private static var kindNames: String { Kind.allCases.map(\.rawValue).joined(separator: ", ") }

    private static func kind(_ name: String, of text: String) throws(UsageError) -> Kind {
        if let kind = Kind(rawValue: name) { return kind }
        switch name {
        case "image", "cacheonly":
            throw UsageError("--output \(text): without -o the image is kept in the store; name it with -t")
        case "registry":
            throw UsageError(
                "--output \(text): this version does not push; "
                    + "write type=oci,dest=FILE and copy that with skopeo or crane")
        default:
            let nearest =
                Spelling.closest(name, among: Kind.allCases.map(\.rawValue)).map { "; did you mean \($0)?" } ?? ""
            throw UsageError("--output \(text): there is no type=\(name)\(nearest) It is one of \(kindNames)")
        }
    }

    private static func attributes(_ fields: [String], of text: String) throws(UsageError) -> [String: String] {
        var attributes: [String: String] = [:]
        let known = ["type", "dest", "tar"]
        for field in fields {
            guard let equals = field.firstIndex(of: "=") else {
                throw UsageError("--output \(text): \"\(field)\" is not key=value")
            }
            let key = field[..<equals].lowercased()
            guard known.contains(key) else {
                let nearest = Spelling.closest(key, among: known).map { "; did you mean \($0)=?" } ?? ""
                throw UsageError("--output \(text): \(key)= is not known\(nearest)")
            }
            attributes[key] = String(field[field.index(after: equals)...])
        }
        return attributes
    }
}

/// As docker reads booleans: 1, t, true, 0, f, false in any of the usual spellings.
func booleanValue(_ text: String) -> Bool? {
    switch text {
    case "1", "t", "T", "true", "TRUE", "True": true
    case "0", "f", "F", "false", "FALSE", "False": false
    default: nil
    }
}
