// Answering a challenge: a token from the service that the registry names, or Basic; kept until it runs out.

import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import StageGraph
import Synchronization

/// What a grant is good for.
struct GrantScope: Hashable, Sendable {
    var registry: String
    var repository: String
    var actions: String

    init(_ reference: ImageReference) {
        registry = reference.registry
        repository = reference.repository
        actions = "pull"
    }

    /// As token services have it.
    var text: String { "repository:\(repository):\(actions)" }
}

/// A value of the Authorization header.
struct Grant: Sendable {
    var header: String
    var hasCredentials: Bool
    var expires: ContinuousClock.Instant?
}

/// Grants by scope. The mutex guards all of it.
final class GrantCache: Sendable {
    private let grants = Mutex<[GrantScope: Grant]>([:])

    subscript(scope: GrantScope) -> Grant? {
        get {
            grants.withLock { grants in
                guard let grant = grants[scope] else { return nil }
                if let expires = grant.expires, expires <= .now {
                    grants[scope] = nil
                    return nil
                }
                return grant
            }
        }
        set { grants.withLock { $0[scope] = newValue } }
    }
}

extension Transport {
    static let tokenLimit = 256 << 10

    /// Answers the best of `challenges`; nil when there is none that can be answered.
    func authorize(_ challenges: [Challenge], call: Call, origin: Origin) async throws(Failure) -> Grant? {
        let credentials = await configuration.credentials(call.reference.registry)
        if case .bearer(let token) = credentials {
            guard Self.isHeaderText(token) else { throw Failure(.noToken(realm: "given", detail: "it is not a token")) }
            return Grant(header: "Bearer " + token, hasCredentials: true)
        }
        var basic: String?
        if case .basic(let user, let password) = credentials {
            basic = "Basic " + Data("\(user):\(password)".utf8).base64EncodedString()
        }
        if let bearer = challenges.first(where: { $0.scheme == "bearer" && $0.parameters["realm"] != nil }) {
            return try await token(for: bearer, basic: basic, call: call, origin: origin)
        }
        guard let basic, challenges.contains(where: { $0.scheme == "basic" }) else { return nil }
        return Grant(header: basic, hasCredentials: true)
    }

    private struct WireToken: Decodable {
        enum CodingKeys: String, CodingKey {
            case token
            case accessToken = "access_token"
            case expiresIn = "expires_in"
        }
        var token: String?
        var accessToken: String?
        var expiresIn: Double?
    }

    private func token(
        for challenge: Challenge, basic: String?, call: Call, origin: Origin
    ) async throws(Failure) -> Grant {
        let realm = challenge.parameters["realm"] ?? ""
        let shown = RegistryError.printable(realm)
        guard let url = URL(string: realm), let service = Origin(url) else {
            throw Failure(.noToken(realm: shown, detail: "it is not an https address"))
        }
        // Plain HTTP stays on this machine, and a registry behind TLS does not lead out of it.
        if !service.isSecure, origin.isSecure || !service.isLoopback {
            throw Failure(
                .noToken(realm: shown, detail: "it is plain http, which credentials and tokens must not cross"))
        }
        let target = Self.tokenTarget(url, challenge: challenge, scope: GrantScope(call.reference))
        let request = Call(reference: call.reference, path: target, headers: [:], content: .token)
        let opened = try await follow(service, request, authorization: basic)
        switch opened.response.status.code {
        case 200: return try await grant(from: opened, realm: shown, hasCredentials: basic != nil)
        case 401: throw Failure(.unauthorized(message: "says \(service.name)", hasCredentials: basic != nil))
        case 403: throw Failure(.denied(message: "says \(service.name)", hasCredentials: basic != nil))
        case 408, 429, 500, 502, 503, 504:
            throw Failure(.noToken(realm: shown, detail: "status \(opened.response.status.code)"), .passing)
        default: throw Failure(.noToken(realm: shown, detail: "status \(opened.response.status.code)"))
        }
    }

    private func grant(from opened: Opened, realm: String, hasCredentials: Bool) async throws(Failure) -> Grant {
        let bytes = try await collect(opened, limit: Self.tokenLimit, content: .token)
        guard let wire = try? JSONDecoder().decode(WireToken.self, from: Data(bytes)),
            let token = [wire.token, wire.accessToken].compactMap({ $0 }).first(where: { !$0.isEmpty }),
            Self.isHeaderText(token)
        else { throw Failure(.noToken(realm: realm, detail: "its answer has no token")) }
        // Sixty seconds when nothing is said; a little less than promised, since the clock began at the service.
        let lifetime = min(max(wire.expiresIn ?? 60, 0), 86_400)
        return Grant(
            header: "Bearer " + token, hasCredentials: hasCredentials,
            expires: .now + .seconds(lifetime) - .seconds(min(5, lifetime / 2)))
    }

    /// The realm's path and query with `service` and each `scope` added.
    private static func tokenTarget(_ realm: URL, challenge: Challenge, scope: GrantScope) -> String {
        var pairs: [String] = []
        if let service = challenge.parameters["service"] { pairs.append("service=" + encoded(service)) }
        let scopes = challenge.parameters["scope"]?.split(separator: " ").map(String.init) ?? []
        for scope in scopes.isEmpty ? [scope.text] : scopes { pairs.append("scope=" + encoded(scope)) }
        let target = realm.requestTarget
        return target + (target.contains("?") ? "&" : "?") + pairs.joined(separator: "&")
    }

    private static func encoded(_ value: String) -> String {
        var out = ""
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"), UInt8(ascii: "/"), UInt8(ascii: ":"):
                out.unicodeScalars.append(Unicode.Scalar(byte))
            default: out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return out
    }

    /// Visible ASCII: nothing that could end the header line.
    private static func isHeaderText(_ token: String) -> Bool {
        !token.isEmpty && token.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}
