// The name of an image, by docker's grammar and normalisation: `golang:1.22` is `docker.io/library/golang:1.22`.

import StageHash

/// A parsed and normalised image name. Two spellings of one name are equal.
///
/// `tag` is nil only when a digest was given without one; with neither, the tag is `latest`. With both, the digest says
/// which image it is and the tag is for people.
public struct ImageReference: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// `docker.io`, `localhost:5000`, `[::1]:5000`: in lower case, with the port when one was written.
    public let registry: String
    /// `library/golang`: the path within the registry.
    public let repository: String
    public let tag: String?
    public let digest: Digest?

    /// The registry of names that give none.
    public static let defaultRegistry = "docker.io"
    /// The tag of names that give neither a tag nor a digest.
    public static let defaultTag = "latest"
    /// Bytes in a repository's path, in a tag (both as the distribution spec has them), in a host name (DNS), and in a
    /// whole reference.
    public static let repositoryLimit = 255
    public static let tagLimit = 128
    public static let hostLimit = 253
    public static let textLimit = 1024

    /// Parses `text` as `docker pull` does: `[registry/]repository[:tag][@digest]`.
    public init(_ text: String) throws(ImageReferenceError) {
        var parser = ReferenceParser(text)
        try parser.parse()
        registry = parser.registry
        repository = parser.repository
        digest = parser.digest
        tag = parser.tag ?? (parser.digest == nil ? Self.defaultTag : nil)
    }

    private init(registry: String, repository: String, tag: String?, digest: Digest?) {
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest
    }

    /// The same repository at exactly this digest; the tag is kept for people unless `keepingTag` is false.
    public func with(digest: Digest, keepingTag: Bool = true) -> ImageReference {
        ImageReference(registry: registry, repository: repository, tag: keepingTag ? tag : nil, digest: digest)
    }

    /// The same repository with this tag and no digest.
    public func with(tag: String) throws(ImageReferenceError) -> ImageReference {
        let parser = ReferenceParser(tag)
        try parser.checkTag(parser.bytes[...])
        return ImageReference(registry: registry, repository: repository, tag: tag, digest: nil)
    }

    /// `docker.io/library/golang`: the name without tag and digest.
    public var name: String { registry + "/" + repository }

    /// `golang`: the name as people see it, without what parsing adds again.
    public var familiarName: String {
        guard registry == Self.defaultRegistry else { return name }
        if let last = repository.droppingPrefix("library/"), !last.contains("/"), !ReferenceParser.isImageID(last.utf8)
        {
            return last
        }
        let first = repository.prefix { $0 != "/" }
        // Without its registry, `docker.io/my.org/app` would be read as a repository of the registry `my.org`; and
        // `docker.io/app` never gets here, since parsing makes it `docker.io/library/app`.
        return first == "localhost" || first.contains(".") ? name : repository
    }

    /// `docker.io/library/golang:1.22`: complete, for storing and comparing.
    public var canonical: String { name + suffix }

    /// `golang:1.22`: for people; parses to the same reference.
    public var familiar: String { familiarName + suffix }

    public var description: String { familiar }

    private var suffix: String { (tag.map { ":" + $0 } ?? "") + (digest.map { "@" + $0.description } ?? "") }

    public static func < (a: ImageReference, b: ImageReference) -> Bool { a.canonical < b.canonical }

    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        self = try ImageReference(text)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(canonical)
    }
}

extension String {
    fileprivate func droppingPrefix(_ prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}

/// What is wrong with a text that should be an image name, and where.
public struct ImageReferenceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The part of a reference that a problem is in.
    public enum Part: String, Hashable, Sendable {
        case registry, repository, tag, digest
    }

    public enum Problem: Hashable, Sendable {
        case empty
        /// More than `ImageReference.textLimit` bytes.
        case tooLong(bytes: Int)
        /// It begins with `https://` or the like.
        case scheme(String)
        /// 64 hex digits: an image ID, not a name.
        case imageID
        case upperCaseRepository
        case emptyPart(Part)
        case partTooLong(Part, bytes: Int, limit: Int)
        /// A character that the part may not hold, or not in that place.
        case character(Part, String)
        /// Not a number from 1 to 65535.
        case port(String)
        /// An algorithm other than sha256.
        case digestAlgorithm(String)
        /// Not 64 lower-case hex digits.
        case digestHex
    }

    public let problem: Problem
    /// The whole text that was to be parsed.
    public let text: String
    /// 1-based, in UTF-8 bytes.
    public let column: Int

    public var description: String { "invalid image reference \(quoted(text)): \(explanation)" }

    private var explanation: String {
        switch problem {
        case .empty: "it is empty; write a name such as alpine:3.19"
        case .tooLong(let bytes): "it has \(bytes) bytes, at most \(ImageReference.textLimit) are allowed"
        case .scheme(let scheme): "write the registry without \(scheme), as in registry.example.com/app:1"
        case .imageID: "it is an image ID, not a name; give the image a name with a tag first"
        case .upperCaseRepository:
            "the repository has an upper-case letter at column \(column); repositories are lower case: "
                + quoted(lowerCased)
        case .emptyPart(let part): "the \(part.rawValue) is empty at column \(column)"
        case .partTooLong(let part, let bytes, let limit):
            "the \(part.rawValue) has \(bytes) bytes, at most \(limit) are allowed"
        case .character(let part, let character):
            "the \(part.rawValue) cannot have \(quoted(character)) at column \(column); \(rule(of: part))"
        case .port(let port): "\(quoted(port)) at column \(column) is not a port; ports are 1 to 65535"
        case .digestAlgorithm(let name):
            "digests made with \(quoted(name)) are not supported at column \(column); use sha256"
        case .digestHex: "the digest at column \(column) is not sha256: and 64 lower-case hex digits"
        }
    }

    /// The text with its repository in lower case, and its tag and digest as they are.
    private var lowerCased: String {
        let repository = text.utf8.index(text.startIndex, offsetBy: column - 1)
        let end = text[repository...].firstIndex { $0 == ":" || $0 == "@" } ?? text.endIndex
        return text[..<end].lowercased() + text[end...]
    }

    private func rule(of part: Part) -> String {
        switch part {
        case .registry: "a registry is a host name or address and may have a port, as in registry.example.com:5000"
        case .repository:
            "repositories are lower-case letters and digits, parted by one \".\", one or two \"_\", any \"-\", or \"/\""
        case .tag: "tags are letters, digits, \"_\", \".\" and \"-\", and do not begin with \".\" or \"-\""
        case .digest: "digests are sha256: and 64 lower-case hex digits"
        }
    }

    /// Quoted, cut to a readable length, with nothing in it that a terminal would act on.
    private func quoted(_ value: String) -> String {
        var out = "\""
        for (index, scalar) in value.unicodeScalars.enumerated() {
            if index == 200 { return out + "...\"" }
            let isPlain = scalar.isASCII ? (0x20..<0x7F).contains(scalar.value) : scalar.properties.isAlphabetic
            out += isPlain ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
        }
        return out + "\""
    }
}

/// One left-to-right reading of a reference's bytes.
private struct ReferenceParser {
    let text: String
    let bytes: [UInt8]
    var registry = ImageReference.defaultRegistry
    var repository = ""
    var tag: String?
    var digest: Digest?

    init(_ text: String) {
        self.text = text
        bytes = Array(text.utf8)
    }

    mutating func parse() throws(ImageReferenceError) {
        if bytes.isEmpty { throw error(.empty, at: 0) }
        if bytes.count > ImageReference.textLimit { throw error(.tooLong(bytes: bytes.count), at: 0) }
        for scheme in ["https://", "http://", "docker://", "oci://"] where text.hasPrefix(scheme) {
            throw error(.scheme(scheme), at: 0)
        }
        if Self.isImageID(bytes) || (text.hasPrefix("sha256:") && Self.isImageID(bytes.dropFirst(7))) {
            throw error(.imageID, at: 0)
        }
        var rest = bytes[...]
        if let at = rest.firstIndex(of: UInt8(ascii: "@")) {
            try parseDigest(rest[(at + 1)...])
            rest = rest[..<at]
        }
        var isDefault = true
        if let slash = rest.firstIndex(of: UInt8(ascii: "/")), Self.isRegistry(rest[..<slash]) {
            try parseRegistry(rest[..<slash])
            isDefault = registry == ImageReference.defaultRegistry
            rest = rest[(slash + 1)...]
        }
        if let colon = rest.firstIndex(of: UInt8(ascii: ":")) {
            try checkTag(rest[(colon + 1)...])
            tag = Self.string(rest[(colon + 1)...])
            rest = rest[..<colon]
        }
        try checkRepository(rest)
        repository = (isDefault && !rest.contains(UInt8(ascii: "/")) ? "library/" : "") + Self.string(rest)
        if repository.utf8.count > ImageReference.repositoryLimit {
            throw error(
                .partTooLong(.repository, bytes: repository.utf8.count, limit: ImageReference.repositoryLimit),
                at: rest.startIndex)
        }
    }

    /// Whether what stands before the first slash is a registry: docker's rule, but for an upper-case first part
    /// without a dot or port, which docker takes for a host and which is a repository with a slip of the shift key.
    static func isRegistry(_ first: ArraySlice<UInt8>) -> Bool {
        first.contains { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: ":") }
            || string(first).lowercased() == "localhost"
    }

    static func isImageID(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.count == 64 && bytes.allSatisfy(isLowerHex)
    }

    private static func isLowerHex(_ byte: UInt8) -> Bool {
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    private static func isLower(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }
    private static func isUpper(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }
    private static func isAlphanumeric(_ byte: UInt8) -> Bool { isDigit(byte) || isLower(byte) || isUpper(byte) }

    private static func string(_ slice: ArraySlice<UInt8>) -> String { String(decoding: slice, as: UTF8.self) }

    private mutating func parseRegistry(_ part: ArraySlice<UInt8>) throws(ImageReferenceError) {
        var host = part
        if part.first == UInt8(ascii: "[") {
            guard let close = part.firstIndex(of: UInt8(ascii: "]")) else {
                throw character(.registry, part.startIndex)
            }
            host = part[...close]
            try checkAddress(part[(part.startIndex + 1)..<close])
        } else {
            host = part[..<(part.firstIndex(of: UInt8(ascii: ":")) ?? part.endIndex)]
            try checkHostName(host)
        }
        if host.endIndex < part.endIndex {
            guard part[host.endIndex] == UInt8(ascii: ":") else { throw character(.registry, host.endIndex) }
            let port = part[(host.endIndex + 1)...]
            let value = port.allSatisfy(Self.isDigit) && port.count <= 5 ? Int(Self.string(port)) ?? 0 : 0
            guard (1...65535).contains(value) else { throw error(.port(Self.string(port)), at: host.endIndex + 1) }
        }
        registry = Self.string(part).lowercased()
        // The name that docker itself used before, and the host that serves docker.io.
        if registry == "index.docker.io" { registry = ImageReference.defaultRegistry }
    }

    private func checkAddress(_ address: ArraySlice<UInt8>) throws(ImageReferenceError) {
        if address.isEmpty { throw error(.emptyPart(.registry), at: address.startIndex) }
        if address.count > 39 { throw tooLong(.registry, address, 39) }
        for (index, byte) in zip(address.indices, address) {
            let isHex = Self.isLowerHex(byte) || (UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte)
            if !isHex && byte != UInt8(ascii: ":") { throw character(.registry, index) }
        }
    }

    private func checkHostName(_ host: ArraySlice<UInt8>) throws(ImageReferenceError) {
        if host.isEmpty { throw error(.emptyPart(.registry), at: host.startIndex) }
        if host.count > ImageReference.hostLimit { throw tooLong(.registry, host, ImageReference.hostLimit) }
        for label in host.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            if label.isEmpty { throw error(.emptyPart(.registry), at: label.startIndex) }
            for (index, byte) in zip(label.indices, label) {
                let isInner = index != label.startIndex && index != label.endIndex - 1
                if !(Self.isAlphanumeric(byte) || (byte == UInt8(ascii: "-") && isInner)) {
                    throw character(.registry, index)
                }
            }
        }
    }

    private func checkRepository(_ part: ArraySlice<UInt8>) throws(ImageReferenceError) {
        // Before the characters: `Foo/bar` is told about its capital, not about a bad character.
        for component in part.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            try checkComponent(component)
        }
    }

    /// Letters and digits, parted by ".", "_", "__" or any number of "-".
    private func checkComponent(_ component: ArraySlice<UInt8>) throws(ImageReferenceError) {
        if component.isEmpty { throw error(.emptyPart(.repository), at: component.startIndex) }
        var separator: ArraySlice<UInt8> = component[component.startIndex..<component.startIndex]
        for (index, byte) in zip(component.indices, component) {
            if Self.isUpper(byte) { throw error(.upperCaseRepository, at: index) }
            if Self.isLower(byte) || Self.isDigit(byte) {
                separator = component[(index + 1)..<(index + 1)]
                continue
            }
            separator = component[separator.startIndex...index]
            let isKnown =
                separator.allSatisfy { $0 == UInt8(ascii: "-") }
                || [".", "_", "__"].contains { separator.elementsEqual($0.utf8) }
            if !isKnown || separator.startIndex == component.startIndex || index == component.endIndex - 1 {
                throw character(.repository, index)
            }
        }
    }

    /// 1 to 128 of letters, digits, "_", "." and "-", not beginning with "." or "-".
    func checkTag(_ tag: ArraySlice<UInt8>) throws(ImageReferenceError) {
        if tag.isEmpty { throw error(.emptyPart(.tag), at: tag.startIndex) }
        for (index, byte) in zip(tag.indices, tag) {
            let isWord = Self.isAlphanumeric(byte) || byte == UInt8(ascii: "_")
            let isInner = (byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")) && index != tag.startIndex
            if !(isWord || isInner) { throw character(.tag, index) }
        }
        if tag.count > ImageReference.tagLimit { throw tooLong(.tag, tag, ImageReference.tagLimit) }
    }

    private mutating func parseDigest(_ part: ArraySlice<UInt8>) throws(ImageReferenceError) {
        if part.isEmpty { throw error(.emptyPart(.digest), at: part.startIndex) }
        guard let colon = part.firstIndex(of: UInt8(ascii: ":")) else { throw error(.digestHex, at: part.startIndex) }
        let algorithm = Self.string(part[..<colon])
        if algorithm != "sha256" { throw error(.digestAlgorithm(algorithm), at: part.startIndex) }
        guard let value = Digest(Self.string(part)) else { throw error(.digestHex, at: part.startIndex) }
        digest = value
    }

    private func error(_ problem: ImageReferenceError.Problem, at index: Int) -> ImageReferenceError {
        ImageReferenceError(problem: problem, text: text, column: index + 1)
    }

    private func tooLong(_ part: ImageReferenceError.Part, _ slice: ArraySlice<UInt8>, _ limit: Int)
        -> ImageReferenceError
    {
        error(.partTooLong(part, bytes: slice.count, limit: limit), at: slice.startIndex)
    }

    /// The whole character that the byte at `index` belongs to, as the offender.
    private func character(_ part: ImageReferenceError.Part, _ index: Int) -> ImageReferenceError {
        var end = index + 1
        while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end += 1 }
        return error(.character(part, Self.string(bytes[index..<end])), at: index)
    }
}
