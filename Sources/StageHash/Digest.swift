// SHA-256: the name of everything stored, shared or exported.

import CSHA256
import Crypto

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits, as OCI writes it.
public struct Digest: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    // Four big-endian words, so that the synthesized order is byte order.
    @usableFromInline let a: UInt64
    @usableFromInline let b: UInt64
    @usableFromInline let c: UInt64
    @usableFromInline let d: UInt64

    /// All zero: no content has it in practice; stands for "none" in fixed-size encodings.
    public static let zero = Digest(words: 0, 0, 0, 0)

    init(words a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64) {
        (self.a, self.b, self.c, self.d) = (a, b, c, d)
    }

    /// The first 32 bytes of `bytes`; nil when there are fewer.
    public init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 32 else { return nil }
        func word(_ index: Int) -> UInt64 {
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        }
        self.init(words: word(0), word(1), word(2), word(3))
    }

    /// Exactly 64 hex digits, with or without `sha256:` in front.
    public init?(_ text: some StringProtocol) {
        let hex = text.hasPrefix("sha256:") ? text.dropFirst(7) : text[...]
        guard hex.utf8.count == 64 else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (index, character) in hex.utf8.enumerated() {
            let value: UInt8
            switch character {
            case 0x30...0x39: value = character - 0x30
            case 0x61...0x66: value = character - 0x61 + 10
            default: return nil
            }
            words[index / 16] = words[index / 16] << 4 | UInt64(value)
        }
        self.init(words: words[0], words[1], words[2], words[3])
    }

    /// The digest of `bytes`.
    public static func of(_ bytes: UnsafeRawBufferPointer) -> Digest {
        var hasher = DigestHasher()
        hasher.update(bytes)
        return hasher.finalize()
    }

    /// The digest of `bytes`.
    public static func of(_ bytes: RawSpan) -> Digest { bytes.withUnsafeBytes { of($0) } }

    /// The digest of `bytes`.
    public static func of(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { of($0) } }

    /// The digests of two contents, in less time than one after the other where the processor has SHA extensions.
    public static func of(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer
    ) -> (first: Digest, second: Digest) {
        guard hashesTwo else { return (of(first), of(second)) }
        return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { out in
            let bytes = out.assumingMemoryBound(to: UInt8.self)
            csha256_two(
                first.baseAddress?.assumingMemoryBound(to: UInt8.self), first.count,
                second.baseAddress?.assumingMemoryBound(to: UInt8.self), second.count, bytes.baseAddress,
                bytes.baseAddress.map { $0 + 32 })
            let raw = UnsafeRawBufferPointer(out)
            return (
                Digest(bytes: UnsafeRawBufferPointer(rebasing: raw[..<32])) ?? .zero,
                Digest(bytes: UnsafeRawBufferPointer(rebasing: raw[32...])) ?? .zero
            )
        }
    }

    static let hashesTwo = csha256_available() != 0

    /// The digest of the UTF-8 of `text`.
    public static func of(_ text: String) -> Digest { of(Array(text.utf8)) }

    /// The 32 bytes.
    public var bytes: [UInt8] {
        [a, b, c, d].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * UInt64($0))) } }
    }

    /// The first eight bytes as a number: as evenly spread as any hash.
    @inlinable public var leadingWord: UInt64 { a }

    /// Appends the 32 bytes to `buffer`.
    public func append(to buffer: inout [UInt8]) {
        for word in [a, b, c, d] { withUnsafeBytes(of: word.bigEndian) { buffer.append(contentsOf: $0) } }
    }

    /// Writes the 32 bytes to the start of `buffer`, which has room for them.
    public func write(to buffer: UnsafeMutableRawBufferPointer) {
        for (index, word) in [a, b, c, d].enumerated() {
            buffer.storeBytes(of: word.bigEndian, toByteOffset: index * 8, as: UInt64.self)
        }
    }

    /// 64 lower-case hex digits.
    public var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(unsafeUninitializedCapacity: 64) { out in
            var index = 0
            for word in [a, b, c, d] {
                for shift in stride(from: 60, through: 0, by: -4) {
                    out[index] = digits[Int(truncatingIfNeeded: word >> UInt64(shift)) & 15]
                    index += 1
                }
            }
            return 64
        }
    }

    /// The first twelve hex digits, as people see image IDs.
    public var short: String { String(hex.prefix(12)) }

    /// `sha256:` and the hex digits.
    public var description: String { "sha256:" + hex }

    @inlinable
    public static func < (x: Digest, y: Digest) -> Bool { (x.a, x.b, x.c, x.d) < (y.a, y.b, y.c, y.d) }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let digest = Digest(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is not a sha256 digest")
        }
        self = digest
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// SHA-256 of bytes that come in pieces.
public struct DigestHasher: Sendable {
    private var state = SHA256()

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) { state.update(bufferPointer: bytes) }

    public mutating func update(_ bytes: RawSpan) { bytes.withUnsafeBytes { state.update(bufferPointer: $0) } }

    public mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { state.update(bufferPointer: $0) } }

    /// The digest of what was fed so far; more can follow.
    public func finalize() -> Digest {
        state.finalize().withUnsafeBytes { Digest(bytes: $0) ?? .zero }
    }
}
