// Sizes and times as people write them: 20GB, 512MiB; 24h, 1h30m, 7d.

/// A number of bytes: a number with kB, MB, GB, TB (thousands) or KiB, MiB, GiB, TiB (1024s); B or nothing for bytes. A bare
/// k, m, g, t is as kB and its like.
func sizeOption(_ text: String, option: String) throws(UsageError) -> UInt64 {
    let units: [String: Double] = [
        "": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
        "kib": 1024, "mib": 1_048_576, "gib": 1_073_741_824, "tib": 1_099_511_627_776,
    ]
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    let unit = text.dropFirst(digits.count).drop { $0 == " " }.lowercased()
    guard let number = Double(digits), number.isFinite, let factor = units[unit], number * factor < 1e18 else {
        throw UsageError("\(option) \(text): write a size, such as 20GB or 512MiB")
    }
    return UInt64(number * factor)
}

/// Seconds: numbers with s, m, h, d or w, one after the other.
func durationOption(_ text: String, option: String) throws(UsageError) -> Double {
    let refusal = UsageError(
        "\(option)\(option.hasSuffix("=") ? "" : " ")\(text): write a time, such as 24h, 1h30m or 7d")
    let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800]
    var seconds = 0.0
    var rest = text[...]
    while !rest.isEmpty {
        let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        rest = rest.dropFirst(digits.count)
        guard let number = Double(digits), number.isFinite, let unit = rest.popFirst(), let factor = units[unit] else {
            throw refusal
        }
        seconds += number * factor
    }
    if text.isEmpty { throw refusal }
    return seconds
}
