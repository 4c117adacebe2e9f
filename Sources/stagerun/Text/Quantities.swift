// Sizes and times as people read them, in docker's words.

/// `value` with exactly `digits` decimals. Values out of range are held to what an Int64 carries.
func fixedPoint(_ value: Double, digits: Int) -> String {
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value * Double(scale)).rounded()
    let limit = 9.0e18
    let number = scaled.isNaN ? 0 : Int(min(max(scaled, -limit), limit))
    let magnitude = number.magnitude
    let whole = (number < 0 ? "-" : "") + String(magnitude / UInt(scale))
    guard digits > 0 else { return whole }
    let fraction = String(magnitude % UInt(scale))
    return whole + "." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// `bytes` in decimal units with three significant digits: "0B", "512B", "7.66MB", "1.2GB".
func sizeText(_ bytes: UInt64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    var value = Double(bytes)
    var unit = 0
    // 999.5 would print as 1000: it belongs to the next unit.
    while value >= 999.5, unit < units.count - 1 {
        value /= 1000
        unit += 1
    }
    let digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
    var text = fixedPoint(value, digits: digits)
    if text.contains(".") {
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
    }
    return text + units[unit]
}

/// How long something took: "0.4s", "12.3s", "1m 05s", "2h 03m".
func durationText(_ seconds: Double) -> String {
    let tenths = (max(0, seconds) * 10).rounded() / 10
    if tenths < 60 { return fixedPoint(tenths, digits: 1) + "s" }
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let whole = Int(min(seconds.rounded(), 1e15))
    if whole < 3600 { return "\(whole / 60)m \(two(whole % 60))s" }
    return "\(whole / 3600)h \(two(whole / 60 % 60))m"
}

/// How long ago, as `docker images` says it: "5 minutes ago".
func ageText(seconds: Int64) -> String {
    let hour: Int64 = 3600
    let day = 24 * hour
    func plural(_ count: Int64, _ unit: String) -> String { "\(count) \(unit)s ago" }
    switch seconds {
    case ..<1: return "Less than a second ago"
    case 1: return "1 second ago"
    case ..<60: return plural(seconds, "second")
    case ..<120: return "About a minute ago"
    case ..<hour: return plural(seconds / 60, "minute")
    default: break
    }
    let hours = (seconds + hour / 2) / hour
    switch hours {
    case ...1: return "About an hour ago"
    case ..<48: return plural(hours, "hour")
    case ..<(24 * 14): return plural(seconds / day, "day")
    case ..<(24 * 60): return plural(seconds / day / 7, "week")
    case ..<(24 * 365 * 2): return plural(seconds / day / 30, "month")
    default: return plural(seconds / day / 365, "year")
    }
}

/// "1 step", "3 steps".
func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
