// Image names, checked as far as a Dockerfile's author can get them wrong; resolving them is the registry client's.

enum ImageName {
    /// What is wrong with a name, or nil. `repository/name:tag@algorithm:hex`.
    static func fault(_ name: String) -> String? {
        let bytes = Array(name.utf8)
        guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            return "it holds a blank or a character that no image name can have"
        }
        var rest = bytes[...]
        if let at = rest.firstIndex(of: UInt8(ascii: "@")) {
            if let fault = digestFault(rest[(at + 1)...]) { return fault }
            rest = rest[..<at]
        }
        let lastSlash = rest.lastIndex(of: UInt8(ascii: "/")) ?? rest.startIndex - 1
        if let colon = rest[(lastSlash + 1)...].firstIndex(of: UInt8(ascii: ":")) {
            if let fault = tagFault(rest[(colon + 1)...]) { return fault }
            rest = rest[..<colon]
        }
        var components = rest.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        if components.count > 1, isHost(components[0]) {
            let host = Array(components.removeFirst())
            if !isHostName(host) { return "`\(String(decoding: host, as: UTF8.self))` is no registry" }
        }
        if rest.count == 64, rest.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) {
            return "it could be an image ID, which cannot be named here"
        }
        if components.reduce(components.count - 1, { $0 + $1.count }) > 255 {
            return "it is longer than 255 characters"
        }
        for component in components {
            if component.isEmpty { return "a part of it is empty" }
            if component.contains(where: { (0x41...0x5A).contains($0) }) { return "repository names are lower case" }
            if !isComponent(Array(component)) {
                return "`\(String(decoding: component, as: UTF8.self))` is no repository name"
            }
        }
        return nil
    }

    private static func isHost(_ part: ArraySlice<UInt8>) -> Bool {
        part.elementsEqual("localhost".utf8) || part.contains(UInt8(ascii: ".")) || part.contains(UInt8(ascii: ":"))
            || part.contains { (0x41...0x5A).contains($0) }
    }

    /// `host`, `host:port`, `[v6]:port`; the names between dots are letters, digits and inner dashes.
    private static func isHostName(_ host: [UInt8]) -> Bool {
        var name = host[...]
        if name.first == UInt8(ascii: "[") {
            guard let end = name.firstIndex(of: UInt8(ascii: "]")) else { return false }
            let inside = name[1..<end]
            guard !inside.isEmpty,
                inside.allSatisfy({
                    (0x30...0x39).contains($0) || (0x41...0x46).contains($0 & 0xDF) || $0 == UInt8(ascii: ":")
                })
            else { return false }
            name = name[(end + 1)...]
            return name.isEmpty || isPort(name)
        }
        if let colon = name.firstIndex(of: UInt8(ascii: ":")) {
            guard isPort(name[colon...]) else { return false }
            name = name[..<colon]
        }
        return name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.first, let last = part.last else { return false }
            func isPart(_ byte: UInt8) -> Bool { isAlphanumeric(byte) || (0x41...0x5A).contains(byte) }
            return isPart(first) && isPart(last) && part.allSatisfy { isPart($0) || $0 == UInt8(ascii: "-") }
        }
    }

    private static func isPort(_ text: ArraySlice<UInt8>) -> Bool {
        text.count > 1 && text.first == UInt8(ascii: ":") && text.dropFirst().allSatisfy { (0x30...0x39).contains($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
    }

    /// Letters and digits, joined by `.`, `_`, `__` or dashes.
    private static func isComponent(_ part: [UInt8]) -> Bool {
        guard let first = part.first, let last = part.last, isAlphanumeric(first), isAlphanumeric(last) else {
            return false
        }
        var separator: [UInt8] = []
        for byte in part {
            if isAlphanumeric(byte) {
                let isDashes = separator.allSatisfy { $0 == UInt8(ascii: "-") }
                guard isDashes || separator.count == 1 || separator.elementsEqual("__".utf8) else { return false }
                separator = []
            } else if byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") {
                separator.append(byte)
            } else {
                return false
            }
        }
        return true
    }

    private static func tagFault(_ tag: ArraySlice<UInt8>) -> String? {
        func isWord(_ byte: UInt8) -> Bool {
            isAlphanumeric(byte) || (0x41...0x5A).contains(byte) || byte == UInt8(ascii: "_")
        }
        guard let first = tag.first else { return "its tag is empty" }
        guard isWord(first), tag.count <= 128,
            tag.allSatisfy({ isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") })
        else { return "`\(String(decoding: tag, as: UTF8.self))` is no tag" }
        return nil
    }

    private static func digestFault(_ digest: ArraySlice<UInt8>) -> String? {
        let parts = digest.split(separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
        let algorithm = String(decoding: parts[0], as: UTF8.self)
        guard parts.count == 2, let length = ["sha256": 64, "sha384": 96, "sha512": 128][algorithm] else {
            return "its digest is not of the form sha256:HEX"
        }
        guard parts[1].allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) else {
            return "its digest holds something else than the digits 0-9 and a-f"
        }
        guard parts[1].count == length else {
            return "its \(algorithm) digest has \(parts[1].count) digits instead of \(length)"
        }
        return nil
    }
}
