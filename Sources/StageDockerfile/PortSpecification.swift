// `EXPOSE`: `80`, `80/udp`, `8000-8010`, and the forms with a host part that only `docker run -p` makes use of.

import StageGraph

struct PortSpecification {
    /// `80/tcp`, ranges written out.
    private(set) var ports: [String] = []
    private(set) var hasHostPart = false
    private(set) var hasCapitals = false

    init(_ text: String, at range: SourceRange) throws(DockerfileError) {
        var address = Substring(text)
        var transport = "tcp"
        if let slash = text.lastIndex(of: "/") {
            address = text[..<slash]
            let written = String(text[text.index(after: slash)...])
            transport = written.lowercased()
            hasCapitals = transport != written
            guard ["tcp", "udp", "sctp"].contains(transport) else {
                throw DockerfileError(
                    "invalid protocol `\(written)` in EXPOSE", at: range,
                    hint: Spelling.hint(transport, among: ["tcp", "udp", "sctp"]) ?? "it is tcp, udp or sctp")
            }
        }
        var port = address
        if let colon = address.lastIndex(of: ":") {
            hasHostPart = true
            port = address[address.index(after: colon)...]
        }
        let ends = port.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        func number(_ text: Substring) -> UInt16? {
            text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(text) : nil
        }
        guard let first = number(ends[0]), let last = ends.count == 2 ? number(ends[1]) : first, first <= last else {
            throw DockerfileError(
                "invalid port `\(text)` in EXPOSE", at: range,
                hint: "write a port from 0 to 65535 or a range, and /tcp, /udp or /sctp after it")
        }
        ports = (first...last).map { "\($0)/\(transport)" }
    }
}

/// `STOPSIGNAL`.
enum StopSignal {
    static let names: [String] =
        [
            "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT",
            "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT",
            "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2",
            "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN", "SIGRTMAX",
        ] + (1...15).map { "SIGRTMIN+\($0)" } + (1...14).map { "SIGRTMAX-\($0)" }

    /// A number other than 0, or a name with or without `SIG`.
    static func isKnown(_ text: String) -> Bool {
        if let number = Int(text) { return number > 0 }
        let name = text.uppercased()
        return names.contains(name.hasPrefix("SIG") ? name : "SIG" + name)
    }
}
