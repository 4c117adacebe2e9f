// What is read of the process's surroundings: variables, who runs it, where.

import Glibc

/// The variable's value; nil when it is not set.
func environmentVariable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// Seconds that only go forward.
func monotonicSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Seconds since 1970.
func currentSeconds() -> Int64 { Int64(time(nil)) }

/// Whether text is coloured: https://no-color.org, and terminals that know no colours.
func wantsColours(isTerminal: Bool, environment: (String) -> String?) -> Bool {
    guard isTerminal, environment("TERM") != "dumb" else { return false }
    return environment("NO_COLOR").map(\.isEmpty) ?? true
}

/// Signs for the live view: ASCII where the locale is set to one without UTF-8.
func glyphs(environment: (String) -> String?) -> Glyphs {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment($0) }.first { !$0.isEmpty }
    guard let locale = locale?.lowercased() else { return .unicode }
    return locale.contains("utf-8") || locale.contains("utf8") ? .unicode : .ascii
}

/// Where the process is.
func currentDirectory() -> String {
    guard let path = getcwd(nil, 0) else { return "." }
    defer { free(path) }
    return String(cString: path)
}
