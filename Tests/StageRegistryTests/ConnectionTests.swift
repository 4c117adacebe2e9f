// Where requests go: redirects, loopback and TLS, registries that are not there or are something else.

import Foundation
import NIOCore
import NIOSSL
import StageGraph
import StageHash
import Testing

@testable import StageRegistry

@Suite struct RedirectTests {
    private static let blob: [UInt8] = [1, 2, 3]
    private static let descriptor = BlobDescriptor(mediaType: ociLayer, digest: Digest.of(blob), size: 3)

    @Test func authorizationStaysBehind() async throws {
        let storage = try await FakeRegistry { request in
            request.path == "/signed/blob" ? .init(200, body: Self.blob) : .init(404)
        }
        let port = storage.port
        let registry = try await FakeRegistry { request in
            guard request.authorization == "Basic bWU6cw==" else { return .init(401, [("WWW-Authenticate", "Basic")]) }
            return .init(307, [("Location", "http://127.0.0.1:\(port)/signed/blob?X-Amz-Signature=a%2Fb%3D&x=1+2")])
        }
        let client = RegistryClient(quick(credentials: .basic(user: "me", password: "s")))
        #expect(try await client.readBlob(Self.descriptor, from: registry.reference()) == Self.blob)
        let request = try #require(storage.requests.first)
        #expect(request.authorization == nil)
        #expect(request.query == "X-Amz-Signature=a%2Fb%3D&x=1+2")
        #expect(request.headers["cookie"] == nil)
    }

    @Test func relativeAndSameOriginKeepsIt() async throws {
        let registry = try await FakeRegistry { request in
            guard request.authorization == "Basic bWU6cw==" else { return .init(401, [("WWW-Authenticate", "Basic")]) }
            if request.path == "/elsewhere" { return .init(200, body: Self.blob) }
            return .init(302, [("Location", "/elsewhere")])
        }
        let client = RegistryClient(quick(credentials: .basic(user: "me", password: "s")))
        #expect(try await client.readBlob(Self.descriptor, from: registry.reference()) == Self.blob)
        #expect(registry.requests.last?.authorization == "Basic bWU6cw==")
    }

    @Test(arguments: [
        (nil, "it says no location"), ("", "it says no location"),
        ("http://example.com/x?secret=1", "it leads to plain http on another machine (http://example.com/x)"),
        ("ftp://127.0.0.1/x", "ftp://127.0.0.1/x is not an http or https address"),
        ("file:///etc/passwd", "file:///etc/passwd is not an http or https address"),
        (
            "http+unix://%2Fvar%2Frun%2Fdocker.sock/x",
            "http+unix://%2Fvar%2Frun%2Fdocker.sock/x is not an http or https address"
        ),
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock is not an http or https address"),
    ])
    func refuses(_ location: String?, _ detail: String) async throws {
        let registry = try await FakeRegistry { _ in .init(302, location.map { [("Location", $0)] } ?? []) }
        let error = await RegistryClient(quick()).failure(ofBlob: Self.descriptor, from: try registry.reference())
        #expect(error?.problem == .redirectRefused(from: registry.host, detail: detail))
    }

    @Test(.timeLimit(.minutes(5))) func aLongBodyOfARedirectIsNotRead() async throws {
        let registry = try await FakeRegistry { request in
            if request.path == "/elsewhere" { return .init(200, body: Self.blob) }
            var reply = FakeRegistry.Reply(
                302, [("Location", "/elsewhere")], body: [UInt8](repeating: 1, count: 100_000))
            reply.isChunked = true
            reply.cut = 50_000
            reply.ending = .hang
            return reply
        }
        let client = RegistryClient(quick(idle: .seconds(3600)))
        #expect(try await client.readBlob(Self.descriptor, from: registry.reference()) == Self.blob)
        await client.shutdown()
    }

    @Test func doesNotRunInCircles() async throws {
        let registry = try await FakeRegistry { request in .init(302, [("Location", request.path)]) }
        let error = await RegistryClient(quick(redirects: 3)).failure(
            ofBlob: Self.descriptor, from: try registry.reference())
        #expect(error?.problem == .redirectRefused(from: registry.host, detail: "more than 3 in a row"))
        #expect(registry.requests.count == 4)
    }

    @Test func aPermissionThatRanOutIsAskedForAgain() async throws {
        let count = Counter()
        let storage = try await FakeRegistry { _ in
            count.next() == 1 ? .init(403, text: "<Error>expired</Error>") : .init(200, body: Self.blob)
        }
        let port = storage.port
        let registry = try await FakeRegistry { _ in .init(307, [("Location", "http://127.0.0.1:\(port)/b")]) }
        #expect(try await RegistryClient(quick()).readBlob(Self.descriptor, from: registry.reference()) == Self.blob)
        #expect(registry.requests.count == 2)
    }
}

@Suite struct ConnectionTests {
    @Test func aRegistryThatIsDownIsReportedAtOnce() async throws {
        let registry = try await FakeRegistry { _ in .init(200) }
        let reference = try registry.reference()
        await registry.stop()
        let error = await RegistryClient(quick(attempts: 100)).failure(of: reference)
        guard case .unreachable(let host, let detail) = error?.problem else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(host == registry.host)
        #expect(detail == "Connection refused")
    }

    @Test func aNameThatDoesNotExist() async throws {
        let error = await RegistryClient(quick()).failure(of: try ImageReference("registry.invalid/app:1"))
        #expect(error?.problem == .nameNotResolved(host: "registry.invalid"))
    }

    @Test(arguments: [true, false]) func aServerOfSomethingElse(greets: Bool) async throws {
        let registry = try await FakeRegistry(greets: greets) { _ in
            var reply = FakeRegistry.Reply()
            reply.raw = Array("SSH-2.0-OpenSSH_9.2\r\n\r\n".utf8)
            reply.ending = .close
            return reply
        }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        guard case .protocolViolation(registry.host, _) = error?.problem else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func loopbackIsAskedWithoutCredentials() async throws {
        let registry = try await FakeRegistry(greets: false) { request in
            request.path == "/v2/" ? .init(401, [("WWW-Authenticate", "Basic")]) : .init(403)
        }
        let client = RegistryClient(quick(credentials: .bearer(token: "T")))
        for _ in 0..<2 { _ = await client.failure(of: try registry.reference()) }
        // The question is asked once, and its answer is remembered.
        #expect(registry.requests.map(\.path) == ["/v2/", "/v2/app/manifests/1", "/v2/app/manifests/1"])
        #expect(registry.requests.allSatisfy { $0.authorization == nil })
    }

    @Test func aPlainServerWhereTLSIsNeeded() async throws {
        let registry = try await FakeRegistry { _ in .init(200) }
        let transport = Transport(quick())
        let origin = Origin(isSecure: true, host: "127.0.0.1", port: registry.port)
        let failure = await #expect(throws: Failure.self) {
            try await transport.exchange(origin, path: "/v2/", headers: [:])
        }
        guard let problem = failure?.problem, case .tls(registry.host, _) = problem else {
            Issue.record("\(String(describing: failure))")
            return
        }
        let error = RegistryError(try registry.reference(), problem)
        #expect(
            error.description.contains(
                "\(registry.host) does not speak TLS; plain HTTP is only used with this machine's own addresses"))
        try await transport.http.shutdown()
    }

    @Test func aServerThatLikesNoRequest() async throws {
        let registry = try await FakeRegistry(greets: false) { _ in .init(400) }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(error?.problem == .protocolViolation(host: registry.host, detail: "status 400"))
    }

    @Test func headersWithoutEnd() async throws {
        let registry = try await FakeRegistry { _ in
            .init(200, (0..<10_000).map { ("X-\($0)", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa") })
        }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        guard case .protocolViolation(registry.host, _) = error?.problem else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test(arguments: [
        ("localhost", true), ("localhost:5000", true), ("127.0.0.1", true), ("127.9.8.7:1", true), ("[::1]:5000", true),
        ("[::1]", true), ("128.0.0.1", false), ("127.0.0.1.example.com", false), ("127.1:5000", false),
        ("127.0.0.256", false), ("localhost.example.com", false), ("[::2]:5000", false), ("10.0.0.1:5000", false),
        ("docker.io", false),
    ])
    func onlyLoopbackMaySpeakPlainHTTP(_ registry: String, _ isLoopback: Bool) throws {
        #expect(try ImageReference(registry + "/a/b").origin(isSecure: true).isLoopback == isLoopback)
    }

    @Test(arguments: [
        ("alpine", "https://registry-1.docker.io"), ("ghcr.io/a/b", "https://ghcr.io"),
        ("ghcr.io:443/a/b", "https://ghcr.io"), ("ghcr.io:8443/a/b", "https://ghcr.io:8443"),
        ("[::1]:5000/a", "https://[::1]:5000"), ("[::1]/a", "https://[::1]"),
    ])
    func registriesHaveAnOrigin(_ text: String, _ origin: String) throws {
        #expect(try ImageReference(text).origin(isSecure: true).text == origin)
    }
}

@Suite struct TLSTests {
    /// A certificate for localhost, made now, so that its time is right on every machine.
    struct Identity {
        var context: NIOSSLContext
        var pem: [UInt8]

        static func make() throws -> Identity? {
            guard let openssl = try ExternalTool.find("openssl") else { return nil }
            let directory = try TemporaryDirectory()
            let (key, certificate) = (directory.path + "/key.pem", directory.path + "/cert.pem")
            try openssl.run([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate,
            ])
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
            configuration.minimumTLSVersion = .tlsv12
            return Identity(
                context: try NIOSSLContext(configuration: configuration),
                pem: Array(try Data(contentsOf: URL(fileURLWithPath: certificate))))
        }
    }

    @Test func trustsTheGivenRootAndNoOther() async throws {
        guard let identity = try Identity.make() else { return }
        let image = manifest()
        let registry = try await FakeRegistry(tls: identity.context, answer: serve(["1": (ociManifest, image)]))
        let trusting = RegistryClient(quick(tls: try RegistryTLS(additionalRoots: identity.pem)))
        for host in ["127.0.0.1", "localhost"] {
            let resolved = try await trusting.resolve(
                ImageReference("\(host):\(registry.port)/app:1"), platform: amd64)
            #expect(resolved.bytes == image)
        }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        guard case .tls(registry.host, let detail) = error?.problem else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(detail.contains("CERTIFICATE_VERIFY_FAILED"))
        var lax = RegistryTLS()
        lax.verifiesCertificates = false
        #expect(try await RegistryClient(quick(tls: lax)).resolve(registry.reference(), platform: amd64).bytes == image)
    }

    @Test func neverLeadsToPlainHTTP() async throws {
        guard let identity = try Identity.make() else { return }
        let plain = try await FakeRegistry(answer: serve(["1": (ociManifest, manifest())]))
        let port = plain.port
        let redirecting = try await FakeRegistry(tls: identity.context) { request in
            .init(302, [("Location", "http://127.0.0.1:\(port)\(request.path)")])
        }
        let client = RegistryClient(quick(tls: try RegistryTLS(additionalRoots: identity.pem)))
        let error = await client.failure(of: try redirecting.reference())
        #expect(
            error?.problem
                == .redirectRefused(
                    from: redirecting.host,
                    detail: "it leads from https to plain http (http://127.0.0.1:\(port)/v2/app/manifests/1)"))
        let challenging = try await FakeRegistry(tls: identity.context) { request in
            .init(401, [("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:\(port)/token\"")])
        }
        let realm = await client.failure(of: try challenging.reference())
        #expect(
            realm?.problem
                == .noToken(
                    realm: "http://127.0.0.1:\(port)/token",
                    detail: "it is plain http, which credentials and tokens must not cross"))
        #expect(plain.requests.isEmpty)
    }

    @Test func refusesRootsThatAreNone() {
        #expect(throws: RegistryTLSError.self) { try RegistryTLS(additionalRoots: Array("hello".utf8)) }
    }
}
