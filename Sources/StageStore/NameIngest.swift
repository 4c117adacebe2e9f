// A content in pieces that is named and not kept.

import StageHash

/// Computes a content's name and lets its bytes go.
public struct NameIngest: ContentIngest {
    private var hasher = DigestHasher()
    private var size: UInt64 = 0

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        hasher.update(bytes)
        size += UInt64(bytes.count)
    }

    public mutating func finish() throws(StoreError) -> (digest: Digest, size: UInt64) { (hasher.finalize(), size) }
}
