// Sources of `ADD` and contexts that come over the network, as values: what to fetch, not how.

/// A file of the web or a git repository.
public enum RemoteSource: Sendable, Hashable {
    case web(WebFile)
    case git(GitSource)
}

/// What an `http` or `https` address leads to.
public struct WebFile: Sendable, Hashable {
    /// Without its fragment.
    public var url: String
    /// What it is called once it is here.
    public var name: String
    /// `sha256:HEX`, which the contents must have; nil when nobody knows.
    public var checksum: String?

    /// The last component of the address' path, decoded; `__unnamed__` when there is none.
    public static func name(of url: String) -> String {
        let start = url.utf8.firstIndex(of: UInt8(ascii: ":")).map { url.utf8.index($0, offsetBy: 3) }
        let rest = start.map { url.utf8[$0...] } ?? url.utf8[...]
        let address = rest.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
        let path = address.drop { $0 != UInt8(ascii: "/") }
        let decoded = PercentCoding.decoded(String(Substring(path)))
        let name = decoded.split(separator: "/").last.map(String.init) ?? ""
        let isName = !["", ".", ".."].contains(name) && !name.utf8.contains(0) && name.utf8.count <= 255
        return isName ? name : "__unnamed__"
    }

    public init(url: String, name: String? = nil, checksum: String? = nil) {
        self.url = String(Substring(url.utf8.prefix { $0 != UInt8(ascii: "#") }))
        self.name = name ?? Self.name(of: url)
        self.checksum = checksum
    }

    public static func isAddress(_ text: String) -> Bool { text.hasPrefix("http://") || text.hasPrefix("https://") }
}

/// `%2F` and its kin.
enum PercentCoding {
    /// What does not decode stays as it is.
    static func decoded(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
                let value = UInt8(String(decoding: bytes[(index + 1)...(index + 2)], as: UTF8.self), radix: 16)
            {
                result.append(value)
                index += 3
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
