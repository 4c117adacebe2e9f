// One request to a registry, all the way: scheme, authorization, redirects, and what a refusal means.

import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOSSL
import StageGraph
import StageHash
import Synchronization

/// What is asked of a registry. Only GET so far: every call can be repeated.
struct Call: Sendable {
    var reference: ImageReference
    /// After the origin: `/v2/library/golang/manifests/1.22`.
    var path: String
    var headers: HTTPHeaders
    var content: RegistryError.Content
}

/// A successful response whose body is still to be read, and who sends it.
struct Opened {
    var response: HTTPClientResponse
    var sender: Origin
}

final class Transport: Sendable {
    let configuration: RegistryConfiguration
    let http: HTTPClient
    let grants = GrantCache()
    /// Whether a loopback registry speaks TLS, once known.
    private let speaksTLS = Mutex<[String: Bool]>([:])

    init(_ configuration: RegistryConfiguration) {
        self.configuration = configuration
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        tls.certificateVerification = configuration.tls.verifiesCertificates ? .fullVerification : .none
        tls.additionalTrustRoots = configuration.tls.roots.isEmpty ? [] : [.certificates(configuration.tls.roots)]
        var options = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(
                connect: TimeAmount(configuration.timeouts.connect), read: TimeAmount(configuration.timeouts.idle)))
        // One connection per parallel download: over one HTTP/2 connection they would share its window.
        options.httpVersion = .http1Only
        // How many is the caller's choice: the pool would fail those that wait longer than a connection may take.
        options.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 1024
        // The retry rules are here; the pool would hide a refused connection for as long as it may take to connect.
        options.connectionPool.retryConnectionEstablishment = false
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: options)
    }

    /// Sends `call` and returns the first answer that is a success.
    func open(_ call: Call) async throws(Failure) -> Opened {
        let origin = try await origin(of: call.reference)
        let scope = GrantScope(call.reference)
        var grant = grants[scope]
        var isRenewed = false
        while true {
            let opened = try await follow(origin, call, authorization: grant?.header)
            guard opened.response.status == .unauthorized, opened.sender == origin, !isRenewed,
                let renewed = try await renew(grant, after: opened, call: call)
            else { return try await accept(opened, of: call, origin: origin, grant: grant) }
            await discard(opened)
            grants[scope] = renewed
            grant = renewed
            isRenewed = true
        }
    }

    /// What to try instead of `grant`, which was refused; nil when there is nothing.
    private func renew(_ grant: Grant?, after refusal: Opened, call: Call) async throws(Failure) -> Grant? {
        // Of many downloads whose token ran out, one asks for the next.
        if let newer = grants[GrantScope(call.reference)], newer.header != grant?.header { return newer }
        grants[GrantScope(call.reference)] = nil
        let challenges = Challenge.parse(refusal.response.headers["WWW-Authenticate"])
        return try await authorize(challenges, call: call, origin: refusal.sender)
    }

    /// HTTPS, but for a loopback registry that turns out to speak plain HTTP.
    ///
    /// Plain HTTP is asked first, with a question that carries nothing: most loopback registries speak it, and loading
    /// all trusted authorities only to find that out would cost more than the pull of a small image.
    func origin(of reference: ImageReference) async throws(Failure) -> Origin {
        let (secure, plain) = (reference.origin(isSecure: true), reference.origin(isSecure: false))
        guard secure.isLoopback else { return secure }
        if let known = speaksTLS.withLock({ $0[reference.registry] }) { return known ? secure : plain }
        let doubt: Failure?
        do throws(Failure) {
            let response = try await exchange(plain, path: "/v2/", headers: [:])
            await discard(Opened(response: response, sender: plain))
            // What servers of TLS say to those who come without it.
            doubt =
                response.status == .badRequest
                ? Failure(.protocolViolation(host: plain.name, detail: "status 400")) : nil
        } catch {
            if error.problem == .cancelled { throw error }
            // Nobody there, and the same port with TLS would be no other.
            if error.kind == .unconnected, secure.port == plain.port { throw error }
            doubt = error
        }
        if let doubt { try await probeTLS(secure, after: doubt) }
        speaksTLS.withLock { $0[reference.registry] = doubt != nil }
        return doubt == nil ? plain : secure
    }

    /// Fails with `doubt` when TLS is not spoken either, and with the reason when it is and is not trusted.
    private func probeTLS(_ secure: Origin, after doubt: Failure) async throws(Failure) {
        do throws(Failure) {
            await discard(Opened(response: try await exchange(secure, path: "/v2/", headers: [:]), sender: secure))
        } catch {
            if error.problem == .cancelled { throw error }
            if case .tls(_, let detail) = error.problem, Self.isAboutTrust(detail) { throw error }
            throw doubt
        }
    }

    /// A server that does speak TLS and shows a certificate that is not trusted.
    private static func isAboutTrust(_ detail: String) -> Bool {
        detail.contains("CERTIFICATE_VERIFY_FAILED") || detail.contains("failedToValidateHostname")
            || detail.contains("unableToValidateCertificate")
    }

    /// Follows redirects. Authorization goes to `start` only: what it names elsewhere carries its own permission.
    func follow(
        _ start: Origin, _ call: Call, authorization: String?
    ) async throws(Failure) -> Opened {
        var (origin, path) = (start, call.path)
        for _ in 0...max(0, configuration.maximumRedirects) {
            var headers = call.headers
            if let authorization, origin == start { headers.replaceOrAdd(name: "Authorization", value: authorization) }
            let response = try await exchange(origin, path: path, headers: headers)
            guard [301, 302, 303, 307, 308].contains(response.status.code) else {
                return Opened(response: response, sender: origin)
            }
            await discard(Opened(response: response, sender: origin))
            (origin, path) = try redirect(from: origin, path: path, to: response.headers.first(name: "Location"))
        }
        throw Failure(
            .redirectRefused(from: start.name, detail: "more than \(configuration.maximumRedirects) in a row"))
    }

    private func redirect(
        from origin: Origin, path: String, to location: String?
    ) throws(Failure) -> (Origin, String) {
        func refused(_ detail: String) -> Failure { Failure(.redirectRefused(from: origin.name, detail: detail)) }
        guard let location, !location.isEmpty else { throw refused("it says no location") }
        let shown = RegistryError.printable(location.prefix { $0 != "?" })
        guard let url = URL(string: location, relativeTo: URL(string: origin.text + path))?.absoluteURL,
            let target = Origin(url)
        else { throw refused("\(shown) is not an http or https address") }
        if !target.isSecure {
            if origin.isSecure { throw refused("it leads from https to plain http (\(shown))") }
            if !target.isLoopback { throw refused("it leads to plain http on another machine (\(shown))") }
        }
        return (target, url.requestTarget)
    }

    /// One request, one response head.
    func exchange(_ origin: Origin, path: String, headers: HTTPHeaders) async throws(Failure) -> HTTPClientResponse {
        var request = HTTPClientRequest(url: origin.text + path)
        request.headers = headers
        request.headers.replaceOrAdd(name: "User-Agent", value: configuration.userAgent)
        do {
            let deadline = NIODeadline.now() + TimeAmount(configuration.timeouts.response)
            return try await http.execute(request, deadline: deadline)
        } catch {
            if Task.isCancelled { throw Failure(.cancelled) }
            throw Failure(error, host: origin.name, waitingFor: .response)
        }
    }

    /// A short rest of a response is read, so that its connection can be used again.
    func discard(_ opened: Opened) async {
        guard let length = opened.response.headers.first(name: "Content-Length").flatMap({ Int($0) }),
            (0...4096).contains(length)
        else { return }
        _ = try? await opened.response.body.collect(upTo: 4096)
    }
}

extension URL {
    /// Path and query, percent-encoded as they came.
    var requestTarget: String {
        let path = path(percentEncoded: true)
        return (path.isEmpty ? "/" : path) + (query(percentEncoded: true).map { "?" + $0 } ?? "")
    }
}

extension TimeAmount {
    /// At least a nanosecond; at most what fits.
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        self = overflow ? .nanoseconds(.max / 4) : .nanoseconds(max(1, whole + attoseconds / 1_000_000_000))
    }
}
