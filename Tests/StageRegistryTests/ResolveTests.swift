// Names to manifests: what is taken, and every way in which a registry can be wrong about one.

import StageGraph
import StageHash
import Testing

@testable import StageRegistry

@Suite struct ResolveTests {
    @Test func resolvesATag() async throws {
        let bytes = manifest(layers: [[1], [2, 2]])
        let registry = try await FakeRegistry(answer: serve(["1": (ociManifest, bytes)]))
        let client = RegistryClient(quick())
        let resolved = try await client.resolve(registry.reference(), platform: amd64)
        #expect(resolved.bytes == bytes)
        #expect(resolved.digest == Digest.of(bytes))
        #expect(resolved.mediaType == ociManifest)
        #expect(resolved.config == BlobDescriptor(mediaType: ociConfig, digest: Digest.of([7]), size: 1))
        #expect(resolved.layers.map(\.digest) == [Digest.of([1]), Digest.of([2, 2])])
        #expect(resolved.layers.map(\.size) == [1, 2])
        #expect(resolved.platform == nil)
        #expect(resolved.index == nil)
        let request = try #require(registry.requests.last)
        #expect(request.method == "GET")
        #expect(request.headers["user-agent"] == "stagerun-tests/1")
        for type in [ociManifest, ociIndex, dockerManifest, dockerList] {
            #expect(request.headers["accept"]?.contains(type) == true)
        }
        #expect(request.authorization == nil)
        #expect(request.headers["accept-encoding"] == nil)
    }

    @Test func resolvesADigestAndDockerTypes() async throws {
        let bytes = manifest(type: dockerManifest, config: "application/vnd.docker.container.image.v1+json")
        let digest = Digest.of(bytes)
        let registry = try await FakeRegistry(answer: serve(["\(digest)": (dockerManifest, bytes)]))
        let resolved = try await RegistryClient(quick()).resolve(
            registry.reference("app:other@\(digest)"), platform: amd64)
        #expect(resolved.digest == digest)
        #expect(resolved.mediaType == dockerManifest)
    }

    @Test(arguments: [
        ("linux/amd64", 0), ("linux/amd64/v3", 0), ("linux/arm64", 1), ("linux/arm64/v8", 1), ("linux/arm64/v9", 1),
        ("linux/arm", 2), ("linux/arm/v7", 2), ("linux/arm/v8", 2), ("linux/arm/v6", 3), ("linux/386", 4),
        ("linux/x86_64", 0), ("linux/aarch64", 1),
    ])
    func choosesThePlatform(_ wanted: String, _ expected: Int) async throws {
        let images = (0..<5).map { manifest(layers: [[UInt8($0)]]) }
        let list = index([
            entry([0xFF], "unknown/unknown"), entry(images[0], "linux/amd64"), entry(images[1], "linux/arm64/v8"),
            entry(images[3], "linux/arm/v6"), entry(images[2], "linux/arm/v7"), entry(images[4], "linux/386"),
            entry([9], "linux/amd64", type: "application/vnd.example.other+json"),
        ])
        var manifests = ["1": (type: ociIndex, bytes: list)]
        for image in images { manifests["\(Digest.of(image))"] = (ociManifest, image) }
        let registry = try await FakeRegistry(answer: serve(manifests))
        let platform = try #require(Platform(wanted))
        let resolved = try await RegistryClient(quick()).resolve(registry.reference(), platform: platform)
        #expect(resolved.digest == Digest.of(images[expected]))
        #expect(resolved.index == Digest.of(list))
        #expect(resolved.platform?.os == "linux")
    }

    @Test func listsThePlatformsThatThereAre() async throws {
        let image = manifest()
        let list = index(
            type: dockerList,
            [entry(image, "linux/arm64", type: dockerManifest), entry(image, "windows/amd64", type: dockerManifest)])
        let registry = try await FakeRegistry(answer: serve(["1": (dockerList, list)]))
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        let arm = Platform(os: "linux", architecture: "arm64")
        let windows = Platform(os: "windows", architecture: "amd64")
        #expect(error?.problem == .platformMissing(wanted: amd64, available: [arm, windows]))
        #expect(
            error?.description.hasSuffix("there is no image for linux/amd64; available: linux/arm64, windows/amd64")
                == true)
    }

    @Test func followsNestedIndexesButNotForever() async throws {
        let image = manifest()
        var manifests = ["\(Digest.of(image))": (type: ociManifest, bytes: image)]
        var (inner, type) = (image, ociManifest)
        for depth in 1...5 {
            inner = index([entry(inner, depth == 1 ? "linux/amd64" : nil, type: type)])
            type = ociIndex
            manifests["\(Digest.of(inner))"] = (ociIndex, inner)
            manifests["\(depth)"] = (ociIndex, inner)
        }
        let registry = try await FakeRegistry(answer: serve(manifests))
        let client = RegistryClient(quick())
        let resolved = try await client.resolve(registry.reference("app:3"), platform: amd64)
        #expect(resolved.digest == Digest.of(image))
        #expect(resolved.platform == amd64)
        let error = await client.failure(of: try registry.reference("app:5"))
        #expect(error?.problem == .invalidManifest(detail: "its indexes are nested more than 3 deep"))
    }

    struct Lie: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var reply: FakeRegistry.Reply
        var reference = "app:1"
        var problem: RegistryError.Problem
        var requests = 1

        init(
            _ name: String, _ reply: FakeRegistry.Reply, _ problem: RegistryError.Problem, reference: String = "app:1",
            requests: Int = 1
        ) {
            testDescription = name
            self.reply = reply
            self.reference = reference
            self.problem = problem
            self.requests = requests
        }
    }

    private static let image = manifest()
    private static let wrong = Digest.of("wrong")

    private static func sent(
        _ bytes: [UInt8], _ type: String = ociManifest, more: [(String, String)] = [],
        _ change: (inout FakeRegistry.Reply) -> Void = { _ in }
    ) -> FakeRegistry.Reply {
        var reply = FakeRegistry.Reply(200, [("Content-Type", type)] + more, body: bytes)
        change(&reply)
        return reply
    }

    private static func sent(_ text: String, _ type: String = ociManifest) -> FakeRegistry.Reply {
        sent(Array(text.utf8), type)
    }

    private static func errorBody(_ code: String) -> String {
        #"{"errors":[{"code":"\#(code)","message":"no\u001b[2J"}]}"#
    }

    static let lies: [Lie] = [
        Lie(
            "other bytes than the digest asked for", sent(image),
            .digestMismatch(.manifest, expected: wrong, actual: Digest.of(image)), reference: "app@\(wrong)"),
        Lie(
            "a header digest that is not the body's", sent(image, more: [("Docker-Content-Digest", "\(wrong)")]),
            .digestMismatch(.manifest, expected: wrong, actual: Digest.of(image))),
        Lie(
            "a sha512 header digest", sent(image, more: [("Docker-Content-Digest", "sha512:00")]),
            .unsupportedDigest("sha512:00")),
        Lie(
            "a header digest without algorithm", sent(image, more: [("Docker-Content-Digest", wrong.hex)]),
            .unsupportedDigest(wrong.hex)),
        Lie("a web page", sent("<html>", "text/html; charset=utf-8"), .unexpectedContentType("text/html")),
        Lie("no type", FakeRegistry.Reply(200, body: image), .unexpectedContentType("")),
        Lie(
            "generic JSON that says nothing", sent("{\"schemaVersion\":2}", "application/json"),
            .unexpectedContentType("application/json")),
        Lie(
            "schema 1", sent("{\"schemaVersion\":1}", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
            .schema1),
        Lie("schema 1 under another type", sent("{\"schemaVersion\":1}"), .schema1),
        Lie("no version", sent("{}"), .invalidManifest(detail: "its schemaVersion is not 2")),
        Lie("no JSON", sent("{"), .invalidManifest(detail: "it is not JSON of that form")),
        Lie(
            "JSON nested without end", sent(String(repeating: "[", count: 100_000)),
            .invalidManifest(detail: "it is not JSON of that form")),
        Lie(
            "another type than sent", sent(image, dockerManifest),
            .invalidManifest(detail: "it calls itself \(ociManifest) and was sent as \(dockerManifest)")),
        Lie(
            "an image that is an index too", sent(manifest(more: #","manifests":[]"#)),
            .invalidManifest(detail: "it is an image manifest and lists manifests")),
        Lie(
            "an index that is an image too", sent(manifest(type: ociIndex, more: #","manifests":[]"#), ociIndex),
            .invalidManifest(detail: "it is an index and has a config or layers")),
        Lie(
            "an index without a list", sent("{\"schemaVersion\":2}", ociIndex),
            .invalidManifest(detail: "it is an index without a list of manifests")),
        Lie("an empty index", sent(index([]), ociIndex), .platformMissing(wanted: amd64, available: [])),
        Lie(
            "an image without a config", sent("{\"schemaVersion\":2,\"layers\":[]}"),
            .invalidManifest(detail: "it has no config")),
        Lie(
            "an image without layers", sent("{\"schemaVersion\":2,\"config\":\(descriptor(ociConfig, []))}"),
            .invalidManifest(detail: "it has no layers")),
        Lie(
            "a chart", sent(manifest(config: "application/vnd.cncf.helm.config.v1+json")),
            .notAnImage(mediaType: "application/vnd.cncf.helm.config.v1+json")),
        Lie(
            "a sha512 layer",
            sent(
                "{\"schemaVersion\":2,\"config\":\(descriptor(ociConfig, [])),\"layers\":[{\"mediaType\":\"a\",\"digest\":\"sha512:ab\",\"size\":1}]}"
            ),
            .unsupportedDigest("sha512:ab")),
        Lie(
            "a digest that leads elsewhere",
            sent(
                "{\"schemaVersion\":2,\"config\":\(descriptor(ociConfig, [])),\"layers\":[{\"mediaType\":\"a\",\"digest\":\"sha256:../../x\",\"size\":1}]}"
            ),
            .invalidManifest(detail: "sha256:../../x is not a digest")),
        Lie(
            "a negative size",
            sent(
                "{\"schemaVersion\":2,\"config\":\(descriptor(ociConfig, [])),\"layers\":[{\"mediaType\":\"a\",\"digest\":\"\(wrong)\",\"size\":-1}]}"
            ),
            .invalidManifest(detail: "a descriptor has the size -1")),
        Lie(
            "a size that no number holds",
            sent(
                "{\"schemaVersion\":2,\"config\":\(descriptor(ociConfig, [])),\"layers\":[{\"mediaType\":\"a\",\"digest\":\"\(wrong)\",\"size\":1e300}]}"
            ),
            .invalidManifest(detail: "it is not JSON of that form")),
        Lie(
            "a layer without a size",
            sent(
                "{\"schemaVersion\":2,\"config\":\(descriptor(ociConfig, [])),\"layers\":[{\"mediaType\":\"a\",\"digest\":\"\(wrong)\"}]}"
            ),
            .invalidManifest(detail: "a descriptor lacks its mediaType, digest or size")),
        Lie(
            "too many layers", sent(manifest(layers: Array(repeating: [1], count: 4097))),
            .invalidManifest(detail: "it has 4097 layers, at most 4096 are read")),
        Lie(
            "a manifest that states too much", sent(image) { $0.statedLength = 5 << 20 },
            .tooLarge(.manifest, limit: 4 << 20)),
        Lie(
            "a manifest that does not end", sent([UInt8](repeating: 0x20, count: 5 << 20)) { $0.isChunked = true },
            .tooLarge(.manifest, limit: 4 << 20)),
        Lie(
            "unknown", FakeRegistry.Reply(404, text: errorBody("MANIFEST_UNKNOWN")),
            .manifestUnknown(message: "MANIFEST_UNKNOWN: no?[2J")),
        Lie("unknown, with a web page", FakeRegistry.Reply(404, text: "<html>"), .manifestUnknown(message: "")),
        Lie(
            "login, without a challenge", FakeRegistry.Reply(401, text: errorBody("UNAUTHORIZED")),
            .unauthorized(message: "UNAUTHORIZED: no?[2J", hasCredentials: false)),
        Lie("denied", FakeRegistry.Reply(403), .denied(message: "", hasCredentials: false)),
        Lie(
            "a part", FakeRegistry.Reply(206, [("Content-Type", ociManifest)], body: image),
            .unexpectedStatus(host: "H", status: 206, message: "")),
        Lie("gone", FakeRegistry.Reply(410), .unexpectedStatus(host: "H", status: 410, message: "")),
        Lie("a joke", FakeRegistry.Reply(418), .unexpectedStatus(host: "H", status: 418, message: "")),
        Lie("down", FakeRegistry.Reply(503), .unexpectedStatus(host: "H", status: 503, message: ""), requests: 3),
        Lie(
            "bad gateway", FakeRegistry.Reply(502, text: "<html>"),
            .unexpectedStatus(host: "H", status: 502, message: ""), requests: 3),
        Lie("not implemented", FakeRegistry.Reply(501), .unexpectedStatus(host: "H", status: 501, message: "")),
        Lie("busy", FakeRegistry.Reply(429), .rateLimited(retryAfter: nil), requests: 3),
        Lie("busy for an hour", FakeRegistry.Reply(429, [("Retry-After", "3600")]), .rateLimited(retryAfter: 3600)),
        Lie(
            "busy for ever", FakeRegistry.Reply(429, [("Retry-After", "9223372036854775807")]),
            .rateLimited(retryAfter: .max)),
        Lie(
            "busy for a moment", FakeRegistry.Reply(429, [("Retry-After", "0")]), .rateLimited(retryAfter: 0),
            requests: 3),
    ]

    @Test(arguments: lies) func refuses(_ lie: Lie) async throws {
        let registry = try await FakeRegistry { _ in lie.reply }
        let error = await RegistryClient(quick()).failure(of: try registry.reference(lie.reference))
        var expected = lie.problem
        if case .unexpectedStatus(_, let status, let message) = expected {
            expected = .unexpectedStatus(host: registry.host, status: status, message: message)
        }
        #expect(error?.problem == expected)
        #expect(registry.requests.count == lie.requests)
    }

    @Test func refusesACompressedManifest() async throws {
        let registry = try await FakeRegistry { _ in Self.sent(Self.image, more: [("Content-Encoding", "gzip")]) }
        let error = await RegistryClient(quick()).failure(of: try registry.reference())
        #expect(
            error?.problem == .protocolViolation(host: registry.host, detail: "content encoding gzip, not asked for"))
    }

    @Test func takesGenericJSONThatSaysWhatItIs() async throws {
        let registry = try await FakeRegistry { _ in Self.sent(Self.image, "application/json; charset=utf-8") }
        let resolved = try await RegistryClient(quick()).resolve(registry.reference(), platform: amd64)
        #expect(resolved.mediaType == ociManifest)
    }

    @Test func holdsAnEntryAgainstWhatItLeadsTo() async throws {
        let image = manifest()
        let digest = Digest.of(image)
        let longer =
            #"{"mediaType":"\#(ociManifest)","digest":"\#(digest)","size":\#(image.count + 1),"platform":{"os":"linux","architecture":"amd64"}}"#
        let registry = try await FakeRegistry(
            answer: serve([
                "size": (ociIndex, index([longer])),
                "type": (ociIndex, index([entry(image, "linux/amd64", type: dockerManifest)])),
                "\(digest)": (ociManifest, image),
            ]))
        let client = RegistryClient(quick())
        let size = await client.failure(of: try registry.reference("app:size"))
        #expect(
            size?.problem
                == .sizeMismatch(.manifest, expected: Int64(image.count + 1), actual: Int64(image.count)))
        let type = await client.failure(of: try registry.reference("app:type"))
        #expect(
            type?.problem
                == .invalidManifest(detail: "the index lists it as \(dockerManifest) and it was sent as \(ociManifest)")
        )
    }

    @Test func normalisesPlatforms() throws {
        for (text, expected) in [
            ("linux/arm64/v8", "linux/arm64"), ("linux/aarch64", "linux/arm64"), ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"), ("linux/armel", "linux/arm/v6"), ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v1", "linux/amd64"), ("linux/x86_64", "linux/amd64"), ("linux/i686", "linux/386"),
            ("linux/riscv64", "linux/riscv64"), ("linux/amd64/v2", "linux/amd64/v2"),
        ] {
            #expect(try #require(Platform(text)).normalized.description == expected)
        }
    }
}
