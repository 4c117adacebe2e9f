// Git repositories as BuildKit writes them: `https://host/x.git#ref:dir`, `git@host:x`, `https://host/x.git?tag=v1&subdir=d`.

/// What of which repository.
public struct GitSource: Sendable, Hashable {
    /// What git itself is given.
    public var remote: String
    /// A branch, a tag, a full name (`refs/...`) or a commit; empty for the default branch.
    public var reference = ""
    /// A directory within the repository; empty for all of it.
    public var directory = ""
    /// The commit that `reference` has to be, or its beginning.
    public var commit: String?
    /// Nil when the address does not say.
    public var keepsGitDirectory: Bool?
    public var takesSubmodules = true

    public init(remote: String) { self.remote = remote }

    /// Why an address of a repository is none.
    public struct Fault: Error, Hashable, Sendable {
        public let message: String
    }

    /// Nil when `text` is no repository's address.
    ///
    /// - Parameter isContext: `github.com/owner/name` counts too.
    public init?(parsing text: String, isContext: Bool = false) throws(Fault) {
        if text.hasPrefix("./") || text.hasPrefix("../") { return nil }
        if isContext, text.hasPrefix("github.com/") {
            try self.init(address: "https://" + text)
            return
        }
        if let end = text.range(ofScheme: "://") {
            let scheme = text[..<end].lowercased()
            guard ["http", "https", "ssh", "git"].contains(scheme) else { return nil }
            if scheme.hasPrefix("http"), !Self.path(text).hasSuffix(".git") { return nil }
        } else if !Self.isSecureCopyAddress(text) {
            return nil
        }
        try self.init(address: text)
    }

    private init(address text: String) throws(Fault) {
        let parts = text.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let base = parts[0].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        remote = base[0]
        if parts.count == 2 { try take(fragment: PercentCoding.decoded(parts[1])) }
        if base.count == 2 { try take(query: base[1]) }
        if let commit, reference.isEmpty { reference = commit }
        for (name, value) in [("reference", reference), ("directory", directory), ("repository", remote)] {
            guard !value.hasPrefix("-"), !value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
                throw Fault(message: "`\(value)` is no \(name) of git")
            }
        }
        if let commit, commit.isEmpty || !commit.utf8.allSatisfy(Self.isHex) {
            throw Fault(message: "`\(commit)` is no commit: it is the hexadecimal name or its beginning")
        }
    }

    /// Asks for a commit, as `--checksum` does.
    public mutating func pin(_ commit: String) throws(Fault) {
        if let own = self.commit, own != commit {
            throw Fault(message: "checksum mismatch: `\(commit)` and `\(own)`")
        }
        guard !commit.isEmpty, commit.utf8.allSatisfy(Self.isHex) else {
            throw Fault(message: "invalid checksum `\(commit)`: for git it is a commit, or its beginning")
        }
        self.commit = commit
        if reference.isEmpty { reference = commit }
    }

    private static func isHex(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) || (0x41...0x46).contains(byte)
    }

    private static func path(_ text: String) -> String {
        String(Substring(text.utf8.prefix { $0 != UInt8(ascii: "#") && $0 != UInt8(ascii: "?") }))
    }

    /// `user@host:path`.
    private static func isSecureCopyAddress(_ text: String) -> Bool {
        func isWord(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x2D
        }
        let bytes = Array(text.utf8)
        guard let at = bytes.firstIndex(of: UInt8(ascii: "@")), at > 0,
            let colon = bytes[at...].firstIndex(of: UInt8(ascii: ":")), colon > at + 1
        else { return false }
        return bytes[..<at].allSatisfy { isWord($0) || $0 == UInt8(ascii: "_") }
            && bytes[(at + 1)..<colon].allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") }
    }

    // MARK: What it says of the repository

    /// `ref:dir`; `#ref=R,subdir=D,commit=C` after a second `#`.
    private mutating func take(fragment: String) throws(Fault) {
        guard fragment.hasPrefix("#") else {
            let parts = fragment.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            reference = parts[0]
            directory = parts.count == 2 ? parts[1] : ""
            return
        }
        for field in fragment.dropFirst().split(separator: ",") {
            let pair = field.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2 else { throw Fault(message: "`\(field)` after ## is not key=value") }
            switch pair[0].lowercased() {
            case "ref": reference = pair[1]
            case "commit": commit = pair[1]
            case "subdir": directory = pair[1]
            default:
                throw Fault(message: "unexpected key `\(pair[0])` after ##: there are ref, commit and subdir")
            }
        }
    }

    private static let queries = [
        "ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules", "mtime",
        "fetch-by-commit",
    ]

    private mutating func take(query: String) throws(Fault) {
        var values: [String: String] = [:]
        for field in query.split(separator: "&") {
            let pair = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let (key, value) = (pair[0], pair.count == 2 ? PercentCoding.decoded(pair[1]) : "")
            guard Self.queries.contains(key) else {
                let near = Spelling.hint(key, among: Self.queries).map { "; \($0)" } ?? ""
                throw Fault(message: "unexpected query `\(key)`\(near)")
            }
            guard values.updateValue(value, forKey: key) == nil else {
                throw Fault(message: "query `\(key)` is given twice")
            }
            if value.isEmpty, !["keep-git-dir", "submodules", "fetch-by-commit"].contains(key) {
                throw Fault(message: "query `\(key)` has no value")
            }
        }
        commit = values["checksum"] ?? values["commit"] ?? commit
        if let text = values["keep-git-dir"] { keepsGitDirectory = try Self.flag(text, "keep-git-dir") }
        if let text = values["submodules"] { takesSubmodules = try Self.flag(text, "submodules") }
        if let text = values["fetch-by-commit"] { _ = try Self.flag(text, "fetch-by-commit") }
        if let text = values["mtime"], text != "checkout", text != "commit" {
            throw Fault(message: "invalid mtime `\(text)`: it is checkout or commit")
        }
        try agree("subdir", values["subdir"], \.directory)
        try agree("ref", values["ref"], \.reference)
        if values["tag"] != nil, values["branch"] != nil { throw Fault(message: "branch conflicts with tag") }
        try agree("ref", values["tag"].map { $0.hasPrefix("refs/tags/") ? $0 : "refs/tags/" + $0 }, \.reference)
        try agree("ref", values["branch"].map { $0.hasPrefix("refs/heads/") ? $0 : "refs/heads/" + $0 }, \.reference)
    }

    private mutating func agree(
        _ name: String, _ value: String?, _ field: WritableKeyPath<GitSource, String>
    ) throws(Fault) {
        guard let value else { return }
        guard self[keyPath: field].isEmpty || self[keyPath: field] == value else {
            throw Fault(message: "\(name) conflicts: `\(self[keyPath: field])` and `\(value)`")
        }
        self[keyPath: field] = value
    }

    private static func flag(_ text: String, _ key: String) throws(Fault) -> Bool {
        switch text.lowercased() {
        case "", "1", "t", "true": return true
        case "0", "f", "false": return false
        default: throw Fault(message: "invalid \(key) value `\(text)`: it is true or false")
        }
    }

    /// The address for people: without a password.
    public var shown: String {
        guard let scheme = remote.range(ofScheme: "://") else { return remote }
        let start = remote.utf8.index(scheme, offsetBy: 3)
        let authority = remote.utf8[start...].prefix { $0 != UInt8(ascii: "/") }
        guard let at = authority.lastIndex(of: UInt8(ascii: "@")) else { return remote }
        return String(Substring(remote.utf8[..<start])) + "xxxxx" + String(Substring(remote.utf8[at...]))
    }

    /// Whether the reference is a commit already, of a repository with SHA-1 or SHA-256.
    public var namesCommit: Bool {
        [40, 64].contains(reference.utf8.count)
            && reference.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}

extension String {
    /// Where the scheme ends, if the text begins with one of letters and digits.
    fileprivate func range(ofScheme separator: String) -> String.Index? {
        let scheme = utf8.prefix {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
        }
        guard !scheme.isEmpty, utf8[scheme.endIndex...].starts(with: separator.utf8) else { return nil }
        return scheme.endIndex
    }
}
