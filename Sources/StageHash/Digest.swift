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
    public init?(_ text: String) { self.init(text[...]) }

    /// The same of a part of a text.
    public init?(_ text: Substring) {
        let hex = (text.hasPrefix("sha256:") ? text.dropFirst(7) : text).utf8
        guard hex.count == 64 else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (index, character) in hex.enumerated() {
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
        if hasSHAExtensions && bytes.count <= smallMessage { return ofSmall(bytes) }
        var hasher = DigestHasher()
        hasher.update(bytes)
        return hasher.finalize()
    }

    /// What a library spends on setting up counts for messages up to this size.
    private static let smallMessage = 1024

    private static func ofSmall(_ bytes: UnsafeRawBufferPointer) -> Digest {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { out in
            csha256_one(
                bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count,
                out.baseAddress?.assumingMemoryBound(to: UInt8.self))
            return Digest(bytes: UnsafeRawBufferPointer(out)) ?? .zero
        }
    }

    /// The digest of `bytes`.
    public static func of(_ bytes: RawSpan) -> Digest { bytes.withUnsafeBytes { of($0) } }

    /// The digest of `bytes`.
    public static func of(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { of($0) } }

    /// The digests of two contents, in less time than one after the other where the processor has SHA extensions.
    public static func of(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer
    ) -> (first: Digest, second: Digest) {
        guard hasSHAExtensions else { return (of(first), of(second)) }
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

    /// The digests of contents, two at a time.
    public static func of(_ contents: [UnsafeRawBufferPointer]) -> [Digest] {
        var digests: [Digest] = []
        digests.reserveCapacity(contents.count)
        for first in stride(from: 0, to: contents.count - 1, by: 2) {
            let both = of(contents[first], contents[first + 1])
            digests.append(both.first)
            digests.append(both.second)
        }
        if contents.count % 2 == 1, let last = contents.last { digests.append(of(last)) }
        return digests
    }

    /// Whether the processor has SHA extensions.
    static let hasSHAExtensions = csha256_available() != 0

    /// The digest of the UTF-8 of `text`.
    public static func of(_ text: String) -> Digest { of(Array(text.utf8)) }

    /// The 32 bytes.
    public var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { out, count in
            write(to: UnsafeMutableRawBufferPointer(out))
            count = 32
        }
    }

    /// The first eight bytes as a number: as evenly spread as any hash.
    @inlinable public var leadingWord: UInt64 { a }

    /// One word is enough: a digest is as good as random.
    public func hash(into hasher: inout Hasher) { hasher.combine(a) }

    /// Appends the 32 bytes to `buffer`.
    public func append(to buffer: inout [UInt8]) {
        withUnsafeBytes(of: (a.bigEndian, b.bigEndian, c.bigEndian, d.bigEndian)) { buffer.append(contentsOf: $0) }
    }

    /// Writes the 32 bytes to the start of `buffer`, which has room for them.
    public func write(to buffer: UnsafeMutableRawBufferPointer) {
        buffer.storeBytes(of: a.bigEndian, as: UInt64.self)
        buffer.storeBytes(of: b.bigEndian, toByteOffset: 8, as: UInt64.self)
        buffer.storeBytes(of: c.bigEndian, toByteOffset: 16, as: UInt64.self)
        buffer.storeBytes(of: d.bigEndian, toByteOffset: 24, as: UInt64.self)
    }

    /// 64 lower-case hex digits.
    public var hex: String {
        String(unsafeUninitializedCapacity: 64) { out in
            writeHex(to: UnsafeMutableRawBufferPointer(out))
            return 64
        }
    }

    /// `sha256:` and the hex digits, at the end of `buffer`.
    func appendText(to buffer: inout [UInt8]) {
        buffer.append(contentsOf: [0x73, 0x68, 0x61, 0x32, 0x35, 0x36, 0x3A])
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { out in
            writeHex(to: out)
            buffer.append(contentsOf: UnsafeRawBufferPointer(out))
        }
    }

    private func writeHex(to out: UnsafeMutableRawBufferPointer) {
        Self.writeHex(a, to: out, at: 0)
        Self.writeHex(b, to: out, at: 16)
        Self.writeHex(c, to: out, at: 32)
        Self.writeHex(d, to: out, at: 48)
    }

    private static func writeHex(_ word: UInt64, to out: UnsafeMutableRawBufferPointer, at start: Int) {
        for index in 0..<16 {
            let digit = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * index)) & 15
            out[start + index] = digit < 10 ? 0x30 + digit : 0x57 + digit
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
