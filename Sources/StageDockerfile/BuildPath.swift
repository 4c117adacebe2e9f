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
