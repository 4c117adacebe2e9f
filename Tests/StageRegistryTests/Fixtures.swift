// Images as text, clients that lose no time, and a way to say what a call failed with.

import StageGraph
import StageHash
import StageRegistry
import Testing

let ociManifest = "application/vnd.oci.image.manifest.v1+json"
let ociIndex = "application/vnd.oci.image.index.v1+json"
let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
let dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
let ociConfig = "application/vnd.oci.image.config.v1+json"
let ociLayer = "application/vnd.oci.image.layer.v1.tar+gzip"
let amd64 = Platform(os: "linux", architecture: "amd64")

/// `{"mediaType":...,"digest":...,"size":...}` with `more` behind.
func descriptor(_ type: String, _ bytes: [UInt8], more: String = "") -> String {
    #"{"mediaType":"\#(type)","digest":"\#(Digest.of(bytes))","size":\#(bytes.count)\#(more)}"#
}

/// An image of a config and layers.
func manifest(
    type: String = ociManifest, config: String = ociConfig, layers: [[UInt8]] = [[1, 2, 3]], more: String = ""
) -> [UInt8] {
    let list = layers.map { descriptor(ociLayer, $0) }.joined(separator: ",")
    return Array(
        #"{"schemaVersion":2,"mediaType":"\#(type)","config":\#(descriptor(config, [7])),"layers":[\#(list)]\#(more)}"#
            .utf8)
}

/// An index of entries that `entry` makes.
func index(type: String = ociIndex, _ entries: [String]) -> [UInt8] {
    Array(#"{"schemaVersion":2,"mediaType":"\#(type)","manifests":[\#(entries.joined(separator: ","))]}"#.utf8)
}

func entry(_ bytes: [UInt8], _ platform: String?, type: String = ociManifest) -> String {
    let parts = platform.map { $0.split(separator: "/").map(String.init) } ?? []
    var more = ""
    if parts.count >= 2 { more = #","platform":{"os":"\#(parts[0])","architecture":"\#(parts[1])""# }
    if parts.count == 3 { more += #","variant":"\#(parts[2])""# }
    return descriptor(type, bytes, more: more.isEmpty ? "" : more + "}")
}

/// Deterministic bytes that do not repeat.
func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
    }
}

/// A configuration that gives up soon.
func quick(
    attempts: Int = 3, idle: Duration = .seconds(10), response: Duration = .seconds(10), minimumBytes: Int = 16 << 10,
    progressBytes: Int64 = 1 << 20, tls: RegistryTLS = RegistryTLS(), redirects: Int = 5,
    credentials: RegistryCredentials? = nil
) -> RegistryConfiguration {
    RegistryConfiguration(
        userAgent: "stagerun-tests/1",
        timeouts: RegistryTimeouts(
            connect: .seconds(5), response: response, idle: idle, minimumBytes: minimumBytes),
        retries: RegistryRetries(
            attempts: attempts, delay: .milliseconds(5), longestDelay: .seconds(2), progressBytes: progressBytes),
        tls: tls, maximumRedirects: redirects, credentials: { _ in credentials })
}

/// A registry with one image `app:1` and its blobs at `registry/app`; everything else is unknown.
func serve(
    _ manifests: [String: (type: String, bytes: [UInt8])], blobs: [[UInt8]] = []
) -> @Sendable (FakeRegistry.Request) -> FakeRegistry.Reply {
    let byDigest = Dictionary(blobs.map { ("/v2/app/blobs/\(Digest.of($0))", $0) }) { a, _ in a }
    return { request in
        let prefix = "/v2/app/manifests/"
        if request.path.hasPrefix(prefix), let found = manifests[String(request.path.dropFirst(prefix.count))] {
            return .init(200, [("Content-Type", found.type)], body: found.bytes)
        }
        if let blob = byDigest[request.path] { return .init(200, body: blob) }
        return .init(404, text: #"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
    }
}

extension RegistryClient {
    /// What `resolve` fails with.
    func failure(of reference: ImageReference, platform: Platform = amd64) async -> RegistryError? {
        do {
            let manifest = try await resolve(reference, platform: platform)
            Issue.record("\(reference) resolved to \(manifest.digest)")
            return nil
        } catch {
            expectSentence(error)
            return error
        }
    }

    /// What reading a blob fails with.
    func failure(ofBlob descriptor: BlobDescriptor, from reference: ImageReference) async -> RegistryError? {
        do {
            let bytes = try await readBlob(descriptor, from: reference)
            Issue.record("\(descriptor.digest) was read: \(bytes.count) bytes")
            return nil
        } catch {
            expectSentence(error)
            return error
        }
    }
}

/// Every error names the image and its registry, on one line that a terminal does not act on.
func expectSentence(_ error: RegistryError) {
    let text = error.description
    #expect(text.contains(error.reference.familiar) && text.contains(error.reference.registry))
    #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
    #expect(text.utf8.count < 1200)
    #expect(text.hasPrefix("cannot pull ") && text.utf8.count > "cannot pull  from registry : ".utf8.count + 20)
}

extension FakeRegistry {
    func reference(_ rest: String = "app:1") throws -> ImageReference { try ImageReference(host + "/" + rest) }
}
