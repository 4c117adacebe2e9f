// Paths inside images and contexts: lexical, `/`-separated, never above the root.

enum BuildPath {
    /// Absolute, without `.`, `..`, doubled or trailing slashes.
    static func cleaned(_ path: String, in directory: String = "/") -> String {
        let whole = path.utf8.first == UInt8(ascii: "/") ? path : directory + "/" + path
        var parts: [Substring] = []
        for part in whole.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
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
