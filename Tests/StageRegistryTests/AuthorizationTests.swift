// Challenges, tokens and logins: who is asked, what is sent to whom, and what is kept.

import StageGraph
import StageHash
import Testing

@testable import StageRegistry

@Suite struct ChallengeTests {
    static let rows: [([String], [Challenge])] = [
        ([], []), ([""], []), ([",, ,"], []),
        (["Basic"], [.init(scheme: "basic", parameters: [:])]),
        (["Basic realm=\"x\""], [.init(scheme: "basic", parameters: ["realm": "x"])]),
        (["basic REALM = x"], [.init(scheme: "basic", parameters: ["realm": "x"])]),
        (
            ["Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull,push\""],
            [
                .init(
                    scheme: "bearer",
                    parameters: ["realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"])
            ]
        ),
        (
            ["Bearer realm=\"a\" , service=b,error=\"invalid_token\"", "Basic realm=\"c\""],
            [
                .init(scheme: "bearer", parameters: ["realm": "a", "service": "b", "error": "invalid_token"]),
                .init(scheme: "basic", parameters: ["realm": "c"]),
            ]
        ),
        (
            ["Negotiate, Basic realm=\"a, b=c\", Bearer realm=d"],
            [
                .init(scheme: "negotiate", parameters: [:]), .init(scheme: "basic", parameters: ["realm": "a, b=c"]),
                .init(scheme: "bearer", parameters: ["realm": "d"]),
            ]
        ),
        (
            ["Negotiate YII/+a==, Basic realm=x"],
            [.init(scheme: "negotiate", parameters: [:]), .init(scheme: "basic", parameters: ["realm": "x"])]
        ),
        (["Basic realm=\"a\\\"b\\\\\""], [.init(scheme: "basic", parameters: ["realm": "a\"b\\"])]),
        (["Basic realm=a, realm=b"], [.init(scheme: "basic", parameters: ["realm": "a"])]),
        (["Basic realm=\"a"], [.init(scheme: "basic", parameters: [:])]),
        (["Basic realm=\"a\\"], [.init(scheme: "basic", parameters: [:])]),
        (["realm=x"], []), (["=x"], []), (["\"x\""], []), (["(Basic)"], []),
        (["Basic (", "Bearer realm=x"], [.init(scheme: "basic", parameters: [:])]),
    ]

    @Test(arguments: rows) func parses(_ values: [String], _ expected: [Challenge]) {
        #expect(Challenge.parse(values) == expected)
    }

    @Test func readsOnlySoMuch() {
        let long = "Basic realm=\"" + String(repeating: "a", count: 1 << 20) + "\""
        #expect(Challenge.parse([long]) == [Challenge(scheme: "basic", parameters: [:])])
        let many = Array(repeating: "Basic", count: 100_000)
        #expect(Challenge.parse(many).count < 2000)
    }

    @Test func anyTextIsSurvived() {
        var generator = SystemRandomNumberGenerator()
        let pieces = ["Bearer", "Basic", " ", ",", "=", "\"", "\\", "realm", "x", "==", "\t", "(", "\u{E9}"]
        var found = 0
        for _ in 0..<5000 {
            let text = (0..<Int.random(in: 0..<15, using: &generator))
                .compactMap { _ in pieces.randomElement(using: &generator) }.joined()
            found += Challenge.parse([text]).count
        }
        #expect(found > 300)
    }
}

@Suite struct AuthorizationTests {
    /// A registry whose one image needs the token that its own token service gives.
    private static func guarded(
        token: @escaping @Sendable (FakeRegistry.Request) -> FakeRegistry.Reply,
        accepts: @escaping @Sendable (String) -> Bool = { $0 == "Bearer T" },
        challenge: @escaping @Sendable (FakeRegistry.Request) -> String = Self.challenge
    ) async throws -> FakeRegistry {
        let answer = serve(["1": (ociManifest, manifest())], blobs: [[1, 2, 3]])
        return try await FakeRegistry { request in
            if request.path == "/token" { return token(request) }
            if let authorization = request.authorization, accepts(authorization) { return answer(request) }
            return .init(
                401, [("WWW-Authenticate", challenge(request))],
                text: #"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
        }
    }

    private static let challenge: @Sendable (FakeRegistry.Request) -> String = { request in
        "Bearer realm=\"http://\(request.headers["host"] ?? "")/token\",service=\"the registry+1\",scope=\"repository:app:pull\""
    }

    private static func token(_ text: String) -> @Sendable (FakeRegistry.Request) -> FakeRegistry.Reply {
        { _ in .init(200, text: text) }
    }

    @Test(arguments: [
        #"{"token":"T"}"#, #"{"access_token":"T","expires_in":300}"#, #"{"token":"","access_token":"T"}"#,
    ])
    func asksForATokenOnceAndKeepsIt(_ answer: String) async throws {
        let registry = try await Self.guarded(token: Self.token(answer))
        let (client, reference) = (RegistryClient(quick()), try registry.reference())
        let resolved = try await client.resolve(reference, platform: amd64)
        let layer = try #require(resolved.layers.first)
        #expect(try await client.readBlob(layer, from: reference) == [1, 2, 3])
        #expect(registry.requests.map(\.path).filter { $0 == "/token" }.count == 1)
        #expect(registry.requests.count == 4)
        let asked = try #require(registry.requests.first { $0.path == "/token" })
        #expect(asked.query == "service=the%20registry%2B1&scope=repository:app:pull")
        #expect(asked.authorization == nil)
    }

    @Test func asksForItsOwnScopeWhenNoneIsNamed() async throws {
        let registry = try await Self.guarded(
            token: Self.token(#"{"token":"T"}"#),
            challenge: { "Bearer realm=\"http://\($0.headers["host"] ?? "")/token?a=b\"" })
        _ = try await RegistryClient(quick()).resolve(registry.reference(), platform: amd64)
        #expect(registry.requests.first { $0.path == "/token" }?.query == "a=b&scope=repository:app:pull")
    }

    @Test func renewsATokenThatRanOut() async throws {
        let count = Counter()
        // Each token is good for two requests.
        let uses = Counter()
        let registry = try await Self.guarded(
            token: { _ in .init(200, text: #"{"token":"T\#(count.next())"}"#) },
            accepts: { authorization in
                let use = uses.next()
                return authorization == "Bearer T\((use + 2) / 3)" && use % 3 != 0
            })
        let (client, reference) = (RegistryClient(quick()), try registry.reference())
        for _ in 0..<4 { _ = try await client.resolve(reference, platform: amd64) }
        #expect(registry.requests.map(\.path).filter { $0 == "/token" }.count == 2)
    }

    @Test func forgetsATokenByItsTime() async throws {
        let registry = try await Self.guarded(token: Self.token(#"{"token":"T","expires_in":0}"#))
        let (client, reference) = (RegistryClient(quick()), try registry.reference())
        for _ in 0..<2 { _ = try await client.resolve(reference, platform: amd64) }
        #expect(registry.requests.map(\.path).filter { $0 == "/token" }.count == 2)
    }

    @Test func givesCredentialsToTheTokenServiceOnly() async throws {
        let registry = try await Self.guarded(token: Self.token(#"{"token":"T"}"#))
        let client = RegistryClient(quick(credentials: .basic(user: "me", password: "se:cret")))
        _ = try await client.resolve(registry.reference(), platform: amd64)
        let sent = registry.requests.map { ($0.path, $0.authorization) }
        #expect(sent.first { $0.0 == "/token" }?.1 == "Basic bWU6c2U6Y3JldA==")
        #expect(sent.filter { $0.0 != "/token" }.allSatisfy { $0.1 == nil || $0.1 == "Bearer T" })
    }

    @Test func logsInWithBasic() async throws {
        let registry = try await Self.guarded(
            token: Self.token(""), accepts: { $0 == "Basic bWU6c2VjcmV0" }, challenge: { _ in "Basic realm=\"r\"" })
        let client = RegistryClient(quick(credentials: .basic(user: "me", password: "secret")))
        for _ in 0..<2 { _ = try await client.resolve(registry.reference(), platform: amd64) }
        #expect(registry.requests.count == 3)
        let wrong = await RegistryClient(quick(credentials: .basic(user: "me", password: "x")))
            .failure(of: try registry.reference())
        #expect(wrong?.problem == .unauthorized(message: "UNAUTHORIZED: authentication required", hasCredentials: true))
        let none = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(none?.problem == .unauthorized(message: "UNAUTHORIZED: authentication required", hasCredentials: false))
    }

    @Test func sendsAGivenToken() async throws {
        let registry = try await Self.guarded(token: Self.token(""))
        let client = RegistryClient(quick(credentials: .bearer(token: "T")))
        _ = try await client.resolve(registry.reference(), platform: amd64)
        #expect(registry.requests.map(\.authorization) == [nil, "Bearer T"])
        let split = await RegistryClient(quick(credentials: .bearer(token: "T\r\nHost: evil")))
            .failure(of: try registry.reference())
        #expect(split?.problem == .noToken(realm: "given", detail: "it is not a token"))
    }

    @Test(arguments: [
        ("", "its answer has no token"), ("{}", "its answer has no token"),
        (#"{"token":7}"#, "its answer has no token"),
        (#"{"token":"a\r\nHost: evil"}"#, "its answer has no token"), (#"{"token":"a b"}"#, "its answer has no token"),
    ])
    func refusesABadToken(_ answer: String, _ detail: String) async throws {
        let registry = try await Self.guarded(token: Self.token(answer))
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(error?.problem == .noToken(realm: "http://\(registry.host)/token", detail: detail))
    }

    @Test func refusesATokenThatDoesNotEnd() async throws {
        let registry = try await Self.guarded { _ in
            var reply = FakeRegistry.Reply(200, body: [UInt8](repeating: 0x20, count: 300_000))
            reply.isChunked = true
            return reply
        }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(error?.problem == .tooLarge(.token, limit: 256 << 10))
    }

    @Test func doesNotLoopOnATokenThatIsNotTaken() async throws {
        let registry = try await Self.guarded(token: Self.token(#"{"token":"other"}"#))
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(
            error?.problem == .unauthorized(message: "UNAUTHORIZED: authentication required", hasCredentials: false))
        #expect(registry.requests.count == 3)
    }

    @Test(arguments: [(401, 1), (403, 1), (404, 1), (503, 3), (429, 3)])
    func saysWhatTheTokenServiceSaid(_ status: Int, _ tries: Int) async throws {
        let registry = try await Self.guarded { _ in .init(status) }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        let expected: RegistryError.Problem =
            switch status {
            case 401: .unauthorized(message: "says \(registry.host)", hasCredentials: false)
            case 403: .denied(message: "says \(registry.host)", hasCredentials: false)
            default: .noToken(realm: "http://\(registry.host)/token", detail: "status \(status)")
            }
        #expect(error?.problem == expected)
        #expect(registry.requests.filter { $0.path == "/token" }.count == tries)
    }

    @Test(arguments: [
        ("http://auth.example.com/token", "it is plain http, which credentials and tokens must not cross"),
        ("http://127.0.0.1.example.com/token", "it is plain http, which credentials and tokens must not cross"),
        ("file:///etc/passwd", "it is not an https address"), ("/token", "it is not an https address"),
        ("", "it is not an https address"), ("http+unix://%2Frun%2Fx.sock/token", "it is not an https address"),
    ])
    func goesToNoOtherRealm(_ realm: String, _ detail: String) async throws {
        let registry = try await Self.guarded(token: Self.token(""), challenge: { _ in "Bearer realm=\"\(realm)\"" })
        let client = RegistryClient(quick(credentials: .basic(user: "me", password: "secret")))
        let error = await client.failure(of: try registry.reference())
        #expect(error?.problem == .noToken(realm: realm, detail: detail))
    }

    @Test func anUnknownSchemeIsARefusal() async throws {
        let registry = try await Self.guarded(token: Self.token(""), challenge: { _ in "Negotiate" })
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(
            error?.problem == .unauthorized(message: "UNAUTHORIZED: authentication required", hasCredentials: false))
    }
}
