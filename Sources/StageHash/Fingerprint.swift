// XXH3-128: "has this changed since I last looked?" Never a name for content that somebody else can choose.

import CXXHash

/// An XXH3-128 hash. It does not resist collisions made on purpose; see `Digest` for names.
public struct Fingerprint: Hashable, Sendable {
    public let low: UInt64
    public let high: UInt64

    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The fingerprint of `bytes`, by libxxhash's widest code path for this processor.
    @inline(__always)
    public static func of(_ bytes: UnsafeRawBufferPointer) -> Fingerprint {
        #if arch(x86_64)
            let hash = XXH3_128bits_dispatch(bytes.baseAddress, bytes.count)
        #else
            let hash = XXH3_128bits(bytes.baseAddress, bytes.count)
        #endif
        return Fingerprint(low: hash.low64, high: hash.high64)
    }

    public static func of(_ bytes: RawSpan) -> Fingerprint { bytes.withUnsafeBytes { of($0) } }

    public static func of(_ bytes: [UInt8]) -> Fingerprint { bytes.withUnsafeBytes { of($0) } }
}

/// XXH3-64 of `bytes`: the checksum of a stored block against bit rot.
@inline(__always)
public func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    #if arch(x86_64)
        XXH3_64bits_dispatch(bytes.baseAddress, bytes.count)
    #else
        XXH3_64bits(bytes.baseAddress, bytes.count)
    #endif
}

/// XXH3-128 of bytes that come in pieces.
public struct FingerprintHasher: ~Copyable {
    private let state: OpaquePointer

    public init() {
        state = XXH3_createState()
        XXH3_128bits_reset(state)
    }

    deinit { XXH3_freeState(state) }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        #if arch(x86_64)
            XXH3_128bits_update_dispatch(state, bytes.baseAddress, bytes.count)
        #else
            XXH3_128bits_update(state, bytes.baseAddress, bytes.count)
        #endif
    }

    public mutating func update(_ bytes: RawSpan) { bytes.withUnsafeBytes { update($0) } }

    public func finalize() -> Fingerprint {
        let hash = XXH3_128bits_digest(state)
        return Fingerprint(low: hash.low64, high: hash.high64)
    }
}
