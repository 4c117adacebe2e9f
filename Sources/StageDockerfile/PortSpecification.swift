// `EXPOSE`: `80`, `80/udp`, `8000-8010`, and the forms with a host part that only `docker run -p` makes use of.

import StageGraph

struct PortSpecification {
    /// `80/tcp`, ranges written out.
    private(set) var ports: [String] = []
    private(set) var hasHostPart = false
    private(set) var hasCapitals = false

    init(_ text: String, at range: SourceRange) throws(DockerfileError) {
        func fault(_ what: String) -> DockerfileError {
            DockerfileError(
                "invalid \(what) `\(text)` in EXPOSE", at: range,
                hint: "write a port from 0 to 65535 or a range, and /tcp, /udp or /sctp after it")
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let (host, address) = (parts.dropLast().last ?? "", parts.dropLast(2).joined(separator: ":"))
        let container = parts[parts.count - 1].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let written = container.count == 2 ? String(container[1]) : ""
        let transport = written.isEmpty ? "tcp" : written.lowercased()
        hasCapitals = !written.isEmpty && transport != written
        guard ["tcp", "udp", "sctp"].contains(transport) else {
            throw DockerfileError(
                "invalid protocol `\(written)` in EXPOSE", at: range,
                hint: Spelling.hint(transport, among: ["tcp", "udp", "sctp"]) ?? "it is tcp, udp or sctp")
        }
        guard let ports = Self.range(container[0]) else { throw fault("port") }
        hasHostPart = !host.isEmpty || !address.isEmpty
        guard address.isEmpty || IPAddress.isValid(address) else { throw fault("address") }
        if !host.isEmpty {
            guard let hostPorts = Self.range(host), hostPorts.count == ports.count || ports.count == 1 else {
                throw fault("host port")
            }
        }
        self.ports = ports.map { "\($0)/\(transport)" }
    }

    private static func range(_ text: Substring) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        func number(_ text: Substring) -> UInt16? {
            let digits = text.first == "+" ? text.dropFirst() : text
            return digits.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(digits) : nil
        }
        guard ends.count <= 2, let first = number(ends[0]), let last = ends.count == 2 ? number(ends[1]) : first,
            first <= last
        else { return nil }
        return first...last
    }
}

enum IPAddress {
    /// `127.0.0.1`, `::1`, `[::1]`.
    static func isValid(_ text: String) -> Bool {
        if text.hasPrefix("[") { return text.hasSuffix("]") && isVersion6(text.dropFirst().dropLast()) }
        return isVersion4(text[...]) || isVersion6(text[...])
    }

    private static func isVersion4(_ text: Substring) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { part in
                part.utf8.allSatisfy { (0x30...0x39).contains($0) } && UInt8(part) != nil
                    && (part.count == 1 || !part.hasPrefix("0"))
            }
    }

    private static func isVersion6(_ text: Substring) -> Bool {
        guard text.contains(":") else { return false }
        let halves = text.split(separator: "::", omittingEmptySubsequences: false)
        guard halves.count <= 2 else { return false }
        var count = 0
        for (index, half) in halves.enumerated() where !half.isEmpty {
            let groups = half.split(separator: ":", omittingEmptySubsequences: false)
            for (place, group) in groups.enumerated() {
                let isLast = index == halves.count - 1 && place == groups.count - 1
                if isLast, group.contains(".") {
                    guard isVersion4(group) else { return false }
                    count += 2
                    continue
                }
                guard (1...4).contains(group.count), group.allSatisfy(\.isHexDigit), group.utf8.count == group.count
                else { return false }
                count += 1
            }
        }
        return halves.count == 2 ? count < 8 : count == 8
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

    /// A number other than 0, even a negative one, or a name with or without `SIG`: what docker takes.
    static func isKnown(_ text: String) -> Bool {
        if let number = Int(text) { return number != 0 }
        let name = text.uppercased()
        return names.contains(name.hasPrefix("SIG") ? name : "SIG" + name)
    }
}
