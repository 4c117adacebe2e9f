// The pull side of the OCI distribution protocol: a name to a checked manifest, a descriptor to checked bytes.

import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import StageGraph
import StageHash

/// Talks with registries. One client serves any number of registries and parallel calls; connections and tokens are
/// shared among them. Each call ends promptly when its task is cancelled.
public final class RegistryClient: Sendable {
    private let transport: Transport

    public init(_ configuration: RegistryConfiguration = RegistryConfiguration()) {
        transport = Transport(configuration)
    }

    // Connections are closed in the background; `shutdown` is for those who want to wait for that.
    deinit { transport.http.shutdown { _ in } }

    /// Closes all connections. Calls after it fail.
    public func shutdown() async { try? await transport.http.shutdown() }

    /// The manifest that `reference` leads to for `platform`; of an index, the entry that fits best.
    ///
    /// Its bytes have the digest it is returned with, which is the reference's digest if that has one and no index
    /// stands between.
    public func resolve(
        _ reference: ImageReference, platform: Platform
    ) async throws(RegistryError) -> ResolvedManifest {
        do throws(Failure) {
            return try await transport.resolve(reference, platform: platform)
        } catch {
            throw RegistryError(reference, error.problem)
        }
    }

    /// Gives the bytes of a blob to `sink`, piece by piece and in order.
    ///
    /// The pieces are checked as they come: never more bytes than declared are given. Only when this returns are they
    /// the right ones; when it throws, discard them. A broken connection is taken up again where it broke.
    ///
    /// - Throws: `RegistryError`, or what `sink` throws, which ends the download.
    public func fetchBlob(
        _ descriptor: BlobDescriptor, from reference: ImageReference, into sink: ([UInt8]) async throws -> Void
    ) async throws {
        do {
            try await transport.download(descriptor, from: reference, into: sink)
        } catch let failure as Failure {
            throw RegistryError(reference, failure.problem)
        }
    }

    /// A small blob as a whole, such as an image's config.
    /// - Parameter limit: a descriptor of more bytes is refused before anything is asked for.
    public func readBlob(
        _ descriptor: BlobDescriptor, from reference: ImageReference, limit: Int = 4 << 20
    ) async throws(RegistryError) -> [UInt8] {
        if descriptor.size > Int64(limit) {
            throw RegistryError(reference, .tooLarge(.blob(descriptor.digest), limit: Int64(limit)))
        }
        var bytes: [UInt8] = []
        do {
            try await transport.download(descriptor, from: reference) { bytes += $0 }
        } catch let failure as Failure {
            throw RegistryError(reference, failure.problem)
        } catch {
            // Nothing but failures is thrown there, since the sink throws nothing.
            throw RegistryError(reference, .cancelled)
        }
        return bytes
    }
}
