// Where a registry's name leads: which host serves it, and whether plain HTTP is allowed there.

import FoundationEssentials
import StageGraph

/// Scheme, host and port: what a request's credentials belong to.
struct Origin: Hashable, Sendable {
    var isSecure: Bool
    /// Lower case, IPv6 in brackets.
    var host: String
    var port: Int

    /// `https://host` or `https://host:port`.
    var text: String {
        let standard = isSecure ? 443 : 80
        return (isSecure ? "https://" : "http://") + host + (port == standard ? "" : ":\(port)")
    }

    /// `host` or `host:port`, for people.
    var name: String { host + (port == (isSecure ? 443 : 80) ? "" : ":\(port)") }

    /// Only http and https, with a host; nil for anything else, such as the sockets that the HTTP stack would also take.
    init?(_ url: URL) {
        guard let scheme = url.scheme?.lowercased(), scheme == "https" || scheme == "http",
            var host = url.host()?.lowercased(), !host.isEmpty
        else { return nil }
        if host.contains(":") && !host.hasPrefix("[") { host = "[\(host)]" }
        isSecure = scheme == "https"
        self.host = host
        port = url.port ?? (isSecure ? 443 : 80)
        guard (1...65535).contains(port) else { return nil }
    }

    init(isSecure: Bool, host: String, port: Int?) {
        self.isSecure = isSecure
        self.host = host
        self.port = port ?? (isSecure ? 443 : 80)
    }

    /// Judged by what is written, never by a look-up: a name that resolves to 127.0.0.1 today is somebody else's word.
    var isLoopback: Bool {
        if host == "localhost" || host == "[::1]" { return true }
        let octets = host.split(separator: ".", omittingEmptySubsequences: false)
        return octets.count == 4 && octets[0] == "127" && octets.allSatisfy { UInt8($0) != nil && $0.utf8.count <= 3 }
    }
}

extension ImageReference {
    /// The origin that serves this reference's registry, over TLS or not.
    func origin(isSecure: Bool) -> Origin {
        // docker.io is a name for people; its registry has another host.
        if registry == Self.defaultRegistry {
            return Origin(isSecure: isSecure, host: "registry-1.docker.io", port: nil)
        }
        guard let colon = registry.lastIndex(of: ":"), !registry.hasSuffix("]") else {
            return Origin(isSecure: isSecure, host: registry, port: nil)
        }
        return Origin(
            isSecure: isSecure, host: String(registry[..<colon]), port: Int(registry[registry.index(after: colon)...]))
    }
}
