// SHA-256 of a stream and of parts of it: where the processor has SHA extensions, in hardly more time than the stream alone.

import CSHA256

/// Hashes bytes that come in pieces, and names parts on the way.
public struct PartsHasher: Sendable {
    private var stream = csha256_stream()
    /// In place of `stream` where the processor lacks what that needs.
    private var plain: DigestHasher?

    public init() {
        if Digest.hasSHAExtensions { csha256_begin(&stream) } else { plain = DigestHasher() }
    }

    /// Feeds `bytes`, and gives the digest of each of `parts`, which may be any bytes.
    public mutating func update(_ bytes: UnsafeRawBufferPointer, parts: [UnsafeRawBufferPointer]) -> [Digest] {
        if plain != nil {
            plain?.update(bytes)
            return parts.map { Digest.of($0) }
        }
        let starts = parts.map { $0.baseAddress?.assumingMemoryBound(to: UInt8.self) }
        let sizes = parts.map(\.count)
        return withUnsafeTemporaryAllocation(byteCount: max(1, parts.count) * 32, alignment: 8) { out in
            csha256_feed(
                &stream, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count, starts, sizes,
                parts.count, out.baseAddress?.assumingMemoryBound(to: UInt8.self))
            return parts.indices.map { index in
                Digest(bytes: UnsafeRawBufferPointer(rebasing: out[(index * 32)..<(index * 32 + 32)])) ?? .zero
            }
        }
    }

    /// The digest of what was fed so far; more can follow.
    public func finalize() -> Digest {
        if let plain { return plain.finalize() }
        return withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { out in
            withUnsafePointer(to: stream) { csha256_end($0, out.baseAddress?.assumingMemoryBound(to: UInt8.self)) }
            return Digest(bytes: UnsafeRawBufferPointer(out)) ?? .zero
        }
    }
}
