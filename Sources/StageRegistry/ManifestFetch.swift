// From a name through indexes to one image's manifest, each step checked against what led to it.

import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import StageGraph
import StageHash

/// A manifest or index whose bytes have been checked.
private struct Fetched {
    var digest: Digest
    var mediaType: String
    var bytes: [UInt8]
    var document: ManifestDocument
}

extension Transport {
    /// An index may list indexes; deeper than this it is a trap.
    static let indexDepth = 3

    func resolve(_ reference: ImageReference, platform: Platform) async throws(Failure) -> ResolvedManifest {
        var entry: IndexEntry?
        var index: Digest?
        var chosen: Platform?
        for _ in 0...Self.indexDepth {
            let (current, step) = (entry, reference)
            let fetched = try await retrying { () async throws(Failure) in try await self.manifest(step, entry: current)
            }
            switch fetched.document {
            case .image(let config, let layers):
                return ResolvedManifest(
                    digest: fetched.digest, mediaType: fetched.mediaType, bytes: fetched.bytes, config: config,
                    layers: layers, platform: chosen, index: index)
            case .index(let entries):
                index = index ?? fetched.digest
                do throws(RegistryError.Problem) {
                    entry = try entries.choose(platform)
                } catch {
                    throw Failure(error)
                }
                chosen = entry?.platform ?? chosen
            }
        }
        throw Failure(.invalidManifest(detail: "its indexes are nested more than \(Self.indexDepth) deep"))
    }

    /// What `entry` of an index names, or else what the reference names.
    private func manifest(_ reference: ImageReference, entry: IndexEntry?) async throws(Failure) -> Fetched {
        let expected = entry?.descriptor.digest ?? reference.digest
        let target = expected?.description ?? reference.tag ?? ImageReference.defaultTag
        let call = Call(
            reference: reference, path: "/v2/\(reference.repository)/manifests/\(target)",
            headers: ["Accept": MediaType.accepted.joined(separator: ", ")], content: .manifest)
        let opened = try await open(call)
        let status = Int(opened.response.status.code)
        if status != 200 { throw Failure(.unexpectedStatus(host: opened.sender.name, status: status, message: "")) }
        try refuseEncoding(opened)
        let type = MediaType.essence(of: opened.response.headers.first(name: "Content-Type") ?? "")
        let bytes = try await collect(opened, limit: configuration.manifestLimit, content: .manifest)
        let digest = Digest.of(bytes)
        do throws(RegistryError.Problem) {
            if let expected, expected != digest {
                throw .digestMismatch(.manifest, expected: expected, actual: digest)
            }
            if let stated = opened.response.headers.first(name: "Docker-Content-Digest") {
                let stated = try Digest.parse(wire: stated)
                if stated != digest { throw .digestMismatch(.manifest, expected: stated, actual: digest) }
            }
            if let size = entry?.descriptor.size, size != Int64(bytes.count) {
                throw .sizeMismatch(.manifest, expected: size, actual: Int64(bytes.count))
            }
            let (mediaType, document) = try ManifestDocument.parse(bytes, mediaType: type)
            if let listed = entry?.descriptor.mediaType, listed != mediaType {
                throw .invalidManifest(detail: "the index lists it as \(listed) and it was sent as \(mediaType)")
            }
            return Fetched(digest: digest, mediaType: mediaType, bytes: bytes, document: document)
        } catch {
            throw Failure(error)
        }
    }

    /// None was offered to the registry, and digests are of the bytes as they are.
    func refuseEncoding(_ opened: Opened) throws(Failure) {
        guard let encoding = opened.response.headers.first(name: "Content-Encoding"),
            encoding.lowercased() != "identity"
        else { return }
        throw Failure(
            .protocolViolation(
                host: opened.sender.name, detail: "content encoding \(RegistryError.printable(encoding)), not asked for"
            ))
    }
}
