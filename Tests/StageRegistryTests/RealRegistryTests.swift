// Against the distribution registry itself: what skopeo pushes is what comes back, byte for byte.

import Foundation
import StageGraph
import StageHash
import StageRegistry
import Testing

@Suite(.serialized) struct RealRegistryTests {
    /// A `docker-registry serve` on a free loopback port, ended with its owner.
    final class Server {
        let port: Int
        let directory: TemporaryDirectory
        private let process: Process

        init(_ tool: ExternalTool) async throws {
            directory = try TemporaryDirectory()
            port = try await Self.freePort()
            let configuration = """
                version: 0.1
                storage: { filesystem: { rootdirectory: \(directory.path)/storage } }
                http: { addr: "127.0.0.1:\(port)" }
                """
            let file = directory.path + "/config.yml"
            try Data(configuration.utf8).write(to: URL(fileURLWithPath: file))
            process = try tool.start(["serve", file])
        }

        deinit { process.terminate() }

        private static func freePort() async throws -> Int {
            let other = try await FakeRegistry { _ in .init(404) }
            await other.stop()
            return other.port
        }

        /// Returns once something listens.
        func waitUntilReady() async throws {
            let client = RegistryClient(quick(attempts: 1))
            let reference = try ImageReference("127.0.0.1:\(port)/none:1")
            for _ in 0..<400 {
                do throws(RegistryError) {
                    _ = try await client.resolve(reference, platform: amd64)
                } catch {
                    if case .manifestUnknown = error.problem { return }
                }
                try await Task.sleep(for: .milliseconds(25))
            }
            throw ExternalTool.Failed(description: "docker-registry did not answer within ten seconds")
        }
    }

    /// An OCI layout with one image of two layers, of which the second is large.
    private struct Layout {
        var config: [UInt8]
        var layers: [[UInt8]]
        var manifest: [UInt8]

        init(at path: String) throws {
            layers = [noise(10_000, seed: 3), noise(400_000, seed: 4) + [UInt8](repeating: 1, count: 5_000_000)]
            let diffs = layers.map { "\"\(Digest.of($0))\"" }.joined(separator: ",")
            config = Array(
                #"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[\#(diffs)]}}"#
                    .utf8)
            let list = layers.map { descriptor("application/vnd.oci.image.layer.v1.tar", $0) }.joined(separator: ",")
            manifest = Array(
                #"{"schemaVersion":2,"mediaType":"\#(ociManifest)","config":\#(descriptor(ociConfig, config)),"layers":[\#(list)]}"#
                    .utf8)
            let blobs = path + "/blobs/sha256"
            try FileManager.default.createDirectory(atPath: blobs, withIntermediateDirectories: true)
            for bytes in layers + [config, manifest] {
                try Data(bytes).write(to: URL(fileURLWithPath: blobs + "/" + Digest.of(bytes).hex))
            }
            let entry = descriptor(
                ociManifest, manifest, more: #","annotations":{"org.opencontainers.image.ref.name":"1"}"#)
            try Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8).write(to: URL(fileURLWithPath: path + "/oci-layout"))
            try Data(#"{"schemaVersion":2,"manifests":[\#(entry)]}"#.utf8)
                .write(to: URL(fileURLWithPath: path + "/index.json"))
        }
    }

    @Test(arguments: ["oci", "v2s2"]) func pullsWhatSkopeoPushed(_ format: String) async throws {
        guard let tool = try ExternalTool.find("docker-registry"), let skopeo = try ExternalTool.find("skopeo") else {
            return
        }
        let server = try await Server(tool)
        try await server.waitUntilReady()
        let layout = try Layout(at: server.directory.path + "/layout")
        try skopeo.run(
            [
                "copy", "--insecure-policy", "--dest-tls-verify=false", "--format", format,
                "oci:\(server.directory.path)/layout:1", "docker://127.0.0.1:\(server.port)/team/app:1",
            ] + (format == "oci" ? ["--preserve-digests"] : []))
        let client = RegistryClient(quick())
        for host in ["127.0.0.1", "localhost"] {
            let reference = try ImageReference("\(host):\(server.port)/team/app:1")
            let resolved = try await client.resolve(reference, platform: amd64)
            #expect(resolved.digest == Digest.of(resolved.bytes))
            if format == "oci" {
                #expect(resolved.bytes == layout.manifest)
                #expect(try await client.readBlob(resolved.config, from: reference) == layout.config)
                for (layer, bytes) in zip(resolved.layers, layout.layers) {
                    #expect(try await client.readBlob(layer, from: reference, limit: 8 << 20) == bytes)
                }
            } else {
                // skopeo packs layers anew for this format; their descriptors are checked while they are read.
                #expect(resolved.mediaType == dockerManifest)
                for layer in resolved.layers { _ = try await client.readBlob(layer, from: reference, limit: 8 << 20) }
            }
            #expect(resolved.layers.count == 2)
            let pinned = try await client.resolve(reference.with(digest: resolved.digest), platform: amd64)
            #expect(pinned == resolved)
            #expect(
                await client.failure(of: try reference.with(tag: "2"))?.problem
                    == .manifestUnknown(message: "MANIFEST_UNKNOWN: manifest unknown"))
            let absent = BlobDescriptor(mediaType: ociLayer, digest: Digest.of("absent"), size: 6)
            #expect(await client.failure(ofBlob: absent, from: reference)?.problem == .blobUnknown(absent.digest))
        }
        await client.shutdown()
    }
}
