// Sizes of memory as docker writes them: `64m`, `1.5GiB`, `4096`.

public enum MemorySize {
    /// Bytes; nil when `text` is no size, or more than an Int64 holds. Units are powers of 1,024.
    public static func bytes(_ text: String) -> UInt64? {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text.dropFirst(digits.count).lowercased().filter { $0 != " " }
        let shifts = ["": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50]
        guard let value = Double(digits), let first = shifts[String(unit.prefix(1))],
            ["", "b", "ib"].contains(String(unit.dropFirst(1))), unit != "bb", unit != "bib"
        else { return nil }
        let bytes = value * Double(UInt64(1) << UInt64(first))
        return bytes < 9.2e18 ? UInt64(bytes) : nil
    }
}
