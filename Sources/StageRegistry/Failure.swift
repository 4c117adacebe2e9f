// A call that failed, with what the retry rules need to know; and what the network stack's errors mean.

import AsyncHTTPClient
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import StageGraph

/// One failed try.
struct Failure: Error {
    enum Kind: Hashable {
        /// Trying again cannot help.
        case lasting
        /// There was no connection to begin with: lasting at first, worth a try once the registry has answered.
        case unconnected
        /// A broken connection, a stall, a busy server.
        case passing
    }

    var problem: RegistryError.Problem
    var kind: Kind
    /// What the registry asked to wait.
    var retryAfter: Duration?

    init(_ problem: RegistryError.Problem, _ kind: Kind = .lasting, retryAfter: Duration? = nil) {
        self.problem = problem
        self.kind = kind
        self.retryAfter = retryAfter
    }
}

extension Failure {
    /// What an error of the network stack means, while talking with `host`.
    init(_ error: any Error, host: String, waitingFor wait: RegistryError.Wait) {
        let detail = RegistryError.printable("\(error)")
        switch error {
        case is CancellationError: self.init(.cancelled)
        case let error as HTTPClientError: self.init(error, host: host, waitingFor: wait)
        case let error as NIOConnectionError:
            let isUnknown = error.connectionErrors.isEmpty && (error.dnsAError ?? error.dnsAAAAError) != nil
            let cause = error.connectionErrors.first.map { Self.reason($0.error) } ?? detail
            self.init(isUnknown ? .nameNotResolved(host: host) : .unreachable(host: host, detail: cause), .unconnected)
        case is SocketAddressError: self.init(.nameNotResolved(host: host), .unconnected)
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
            self.init(.tls(host: host, detail: detail), .unconnected)
        case ChannelError.connectTimeout: self.init(.timedOut(host: host, .connection), .unconnected)
        case is ChannelError: self.init(.connectionBroken(host: host, detail: detail), .passing)
        case let error as IOError:
            let isUnconnected = [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, EADDRNOTAVAIL].contains(
                error.errnoCode)
            let reason = Self.reason(error)
            self.init(
                isUnconnected
                    ? .unreachable(host: host, detail: reason) : .connectionBroken(host: host, detail: reason),
                isUnconnected ? .unconnected : .passing)
        case HTTPParserError.invalidEOFState:
            self.init(.connectionBroken(host: host, detail: "closed by the other side"), .passing)
        case is HTTPParserError: self.init(.protocolViolation(host: host, detail: detail))
        default: self.init(.connectionBroken(host: host, detail: detail), .passing)
        }
    }

    /// The system's own words where it is the system that says no.
    private static func reason(_ error: any Error) -> String {
        if let error = error as? IOError { return String(cString: strerror(error.errnoCode)) }
        return RegistryError.printable("\(error)")
    }

    private init(_ error: HTTPClientError, host: String, waitingFor wait: RegistryError.Wait) {
        switch error {
        case .cancelled: self.init(.cancelled)
        case .connectTimeout, .tlsHandshakeTimeout, .getConnectionFromPoolTimeout, .socksHandshakeTimeout:
            self.init(.timedOut(host: host, .connection), .unconnected)
        case .readTimeout, .deadlineExceeded, .writeTimeout: self.init(.timedOut(host: host, wait), .passing)
        case .remoteConnectionClosed, .uncleanShutdown:
            self.init(.connectionBroken(host: host, detail: "closed by the other side"), .passing)
        default: self.init(.protocolViolation(host: host, detail: RegistryError.printable("\(error)")))
        }
    }
}
