// Single files of the web: `ADD https://...`, and contexts by address. One request with what is known of the file, redirects
// followed, the body handed on as it comes.

import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOSSL
import StageGraph
import Synchronization

/// Everything a `WebClient` depends on; it reads no environment.
public struct WebConfiguration: Sendable, Hashable {
    public var userAgent = "stagerun"
    public var timeouts = RegistryTimeouts()
    public var maximumRedirects = 10
    /// Bytes of one file at most.
    public var limit: Int64 = 64 << 30
    /// Addresses of proxies (`http://host:port`), by the scheme of what is fetched; nil goes there directly.
    public var httpProxy: String?
    public var httpsProxy: String?
    /// Hosts that are reached directly: names, `.domain`, addresses, `*`.
    public var noProxy: [String] = []

    public init() {}
}

/// What is asked for.
public struct WebRequest: Sendable {
    public var url: String
    /// What the server called the contents that are here already: then it need not send them again.
    public var entityTag: String?
    /// When they were changed last, as the server said it.
    public var lastModified: String?
    /// The value of the Authorization header; it goes to the address' own origin only.
    public var authorization: String?

    public init(url: String) { self.url = url }
}

/// What came of it.
public enum WebAnswer: Sendable, Hashable {
    /// As known, nothing was handed on.
    case unchanged
    case fetched(entityTag: String?, lastModified: String?)
}

/// Why a file could not be had, in a sentence.
public struct WebError: Error, Sendable, Hashable, CustomStringConvertible {
    public let description: String
    /// Whether another try may do better.
    public let mayHeal: Bool
}

public final class WebClient: Sendable {
    private let configuration: WebConfiguration
    /// By proxy; the empty name goes directly.
    private let clients = Mutex<[String: HTTPClient]>([:])

    public init(_ configuration: WebConfiguration = WebConfiguration()) { self.configuration = configuration }

    deinit { for client in clients.withLock({ $0.values.map { $0 } }) { client.shutdown { _ in } } }

    /// Closes all connections.
    public func shutdown() async {
        for client in clients.withLock({ clients in
            defer { clients = [:] }; return Array(clients.values)
        }) {
            try? await client.shutdown()
        }
    }

    /// Fetches what `request` asks for.
    ///
    /// - Parameter sink: gets the pieces in order. Only when this returns are they the whole file.
    /// - Throws: `WebError`, or what `sink` throws.
    public func fetch(_ request: WebRequest, into sink: ([UInt8]) async throws -> Void) async throws -> WebAnswer {
        do {
            return try await answer(request, into: sink)
        } catch let failure as Failure {
            throw WebError(description: failure.sentence, mayHeal: failure.kind == .passing)
        }
    }

    private func answer(_ request: WebRequest, into sink: ([UInt8]) async throws -> Void) async throws -> WebAnswer {
        guard let url = URL(string: request.url), let start = Origin(url) else {
            throw WebError(
                description: "\(RegistryError.printable(request.url[...])) is no http or https address", mayHeal: false)
        }
        let opened = try await follow(request, url, start)
        let headers = opened.response.headers
        switch opened.response.status.code {
        case 304 where request.entityTag != nil || request.lastModified != nil: return .unchanged
        case 200..<300: break
        default:
            throw Failure(
                .unexpectedStatus(host: opened.sender.name, status: Int(opened.response.status.code), message: ""),
                opened.response.status.code >= 500 || opened.response.status.code == 429 ? .passing : .lasting)
        }
        let length = headers.first(name: "Content-Length").flatMap { Int64($0) }
        if let length, length > configuration.limit { throw tooLarge }
        var received: Int64 = 0
        var reader = BodyReader(opened, timeouts: configuration.timeouts)
        while let chunk = try await reader.next() {
            received += Int64(chunk.readableBytes)
            if received > configuration.limit { throw tooLarge }
            try await sink(Array(buffer: chunk))
        }
        if let length, headers.first(name: "Content-Encoding") == nil, received < length {
            throw Failure(
                .connectionBroken(host: opened.sender.name, detail: "after \(received) of \(length) bytes"), .passing)
        }
        return .fetched(
            entityTag: headers.first(name: "ETag"), lastModified: headers.first(name: "Last-Modified"))
    }

    private var tooLarge: WebError {
        WebError(description: "it has more than \(configuration.limit) bytes", mayHeal: false)
    }

    private func follow(_ request: WebRequest, _ url: URL, _ start: Origin) async throws(Failure) -> Opened {
        var (origin, target) = (start, url)
        for _ in 0...max(0, configuration.maximumRedirects) {
            let response = try await exchange(request, origin, target.requestTarget, isStart: origin == start)
            guard [301, 302, 303, 307, 308].contains(response.status.code) else {
                return Opened(response: response, sender: origin)
            }
            guard let location = response.headers.first(name: "Location"),
                let next = URL(string: location, relativeTo: URL(string: origin.text + target.requestTarget))?
                    .absoluteURL,
                let place = Origin(next)
            else { throw Failure(.redirectRefused(from: origin.name, detail: "it leads to no http or https address")) }
            (origin, target) = (place, next)
        }
        throw Failure(
            .redirectRefused(from: start.name, detail: "more than \(configuration.maximumRedirects) in a row"))
    }

    private func exchange(
        _ asked: WebRequest, _ origin: Origin, _ path: String, isStart: Bool
    ) async throws(Failure) -> HTTPClientResponse {
        var request = HTTPClientRequest(url: origin.text + path)
        request.headers.add(name: "User-Agent", value: configuration.userAgent)
        request.headers.add(name: "Accept", value: "*/*")
        // What is stored is what is there, not how it travels.
        request.headers.add(name: "Accept-Encoding", value: "identity")
        if let tag = asked.entityTag { request.headers.add(name: "If-None-Match", value: tag) }
        if let time = asked.lastModified { request.headers.add(name: "If-Modified-Since", value: time) }
        if isStart, let authorization = asked.authorization {
            request.headers.add(name: "Authorization", value: authorization)
        }
        do {
            let deadline = NIODeadline.now() + TimeAmount(configuration.timeouts.response)
            return try await client(for: origin).execute(request, deadline: deadline)
        } catch let failure as Failure {
            throw failure
        } catch {
            if Task.isCancelled { throw Failure(.cancelled) }
            throw Failure(error, host: origin.name, waitingFor: .response)
        }
    }

    // MARK: Proxies

    private func proxy(for origin: Origin) -> String? {
        guard let proxy = origin.isSecure ? configuration.httpsProxy : configuration.httpProxy, !proxy.isEmpty,
            !origin.isLoopback
        else { return nil }
        let isDirect = configuration.noProxy.contains { entry in
            let name = entry.lowercased().split(separator: ":").first.map(String.init) ?? ""
            let domain = name.hasPrefix(".") ? name : "." + name
            return name == "*" || origin.host == name || origin.host.hasSuffix(domain)
        }
        return isDirect ? nil : proxy
    }

    private func client(for origin: Origin) throws(Failure) -> HTTPClient {
        let proxy = proxy(for: origin)
        if let client = clients.withLock({ $0[proxy ?? ""] }) { return client }
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        var options = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(
                connect: TimeAmount(configuration.timeouts.connect), read: TimeAmount(configuration.timeouts.idle)))
        options.httpVersion = .http1Only
        options.connectionPool.retryConnectionEstablishment = false
        if let proxy {
            guard let url = URL(string: proxy.contains("://") ? proxy : "http://" + proxy), let place = Origin(url)
            else {
                throw Failure(.protocolViolation(host: origin.name, detail: "the proxy's address is no http address"))
            }
            let login: HTTPClient.Authorization? = url.user().map {
                .basic(username: $0, password: url.password() ?? "")
            }
            options.proxy = .server(host: place.host, port: place.port, authorization: login)
        }
        let made = HTTPClient(eventLoopGroupProvider: .singleton, configuration: options)
        let kept = clients.withLock { clients in
            let kept = clients[proxy ?? ""] ?? made
            clients[proxy ?? ""] = kept
            return kept
        }
        if kept !== made { made.shutdown { _ in } }
        return kept
    }
}

extension Failure {
    /// What went wrong with a file of the web.
    fileprivate var sentence: String {
        switch problem {
        case .nameNotResolved(let host): "the name \(host) cannot be resolved"
        case .unreachable(let host, let detail): "no connection to \(host) (\(detail))"
        case .tls(let host, let detail): "TLS with \(host) failed (\(detail))"
        case .timedOut(let host, .connection): "\(host) took too long to accept a connection"
        case .timedOut(let host, .response): "\(host) took too long to answer"
        case .timedOut(let host, .body): "\(host) stopped sending, or sends too slowly"
        case .connectionBroken(let host, let detail): "the connection to \(host) broke (\(detail))"
        case .unexpectedStatus(let host, let status, _): "\(host) answered with status \(status)"
        case .redirectRefused(let host, let detail): "a redirect by \(host) was refused: \(detail)"
        case .protocolViolation(let host, let detail): "\(host) does not answer as a web server does (\(detail))"
        case .cancelled: "cancelled"
        default: "it cannot be fetched"
        }
    }
}
