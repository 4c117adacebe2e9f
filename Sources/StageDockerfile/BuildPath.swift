// Paths inside images and contexts: lexical, `/`-separated, never above the root.

enum BuildPath {
    /// Absolute, without `.`, `..`, doubled or trailing slashes.
    static func cleaned(_ path: String, in directory: String = "/") -> String {
        let isAbsolute = path.utf8.first == UInt8(ascii: "/")
        let whole = isAbsolute ? path : directory == "/" ? "/" + path : directory + "/" + path
        if isClean(whole) { return whole }
        var parts: [Substring] = []
        for part in whole.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Whether an absolute path certainly has nothing to clean. Of ASCII alone: what comes after a slash can make another
    /// character of it.
    private static func isClean(_ path: String) -> Bool {
        var isAfterSlash = false
        for byte in path.utf8 {
            let isSlash = byte == UInt8(ascii: "/")
            if byte >= 0x80 || isAfterSlash && (isSlash || byte == UInt8(ascii: ".")) { return false }
            isAfterSlash = isSlash
        }
        return !isAfterSlash || path.utf8.count == 1
    }

    /// The working directory that `WORKDIR path` sets: as BuildKit keeps it, one that is absolute is left as it is written.
    static func workingDirectory(_ path: String, after directory: String) -> String {
        if path.isEmpty { return directory }
        return path.utf8.first == UInt8(ascii: "/") ? path : cleaned(path, in: directory)
    }

    /// A pattern for one level a component: `**` means `*` then.
    static func flattened(_ pattern: String) -> String {
        guard pattern.utf8.contains(UInt8(ascii: "*")) else { return pattern }
        var bytes: [UInt8] = []
        var isQuoted = false
        var followsStar = false
        for byte in pattern.utf8 {
            let isStar = byte == UInt8(ascii: "*") && !isQuoted
            if !isStar || !followsStar { bytes.append(byte) }
            followsStar = isStar
            isQuoted = byte == UInt8(ascii: "\\") && !isQuoted
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A destination: absolute, with a slash at the end when a directory is meant.
    static func destination(_ path: String, in directory: String) -> String {
        let clean = cleaned(path, in: directory)
        let isDirectory =
            path.isEmpty || path == "." || path == ".." || path.hasSuffix("/") || path.hasSuffix("/.")
            || path.hasSuffix("/..")
        return isDirectory && clean != "/" ? clean + "/" : clean
    }

    /// A source: relative to the root of what it is taken from; the root itself is `.`.
    static func source(_ path: String) -> String {
        let clean = cleaned(path)
        return clean == "/" ? "." : String(clean.dropFirst())
    }
}
