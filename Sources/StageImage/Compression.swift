// Compression of layers: which there are, how they are recognised, and streams that undo them.

/// A form of compression that layers and archives come in.
public enum Compression: String, Sendable, Hashable, Codable {
    case none
    case gzip
    case zstd
    /// Read, never written.
    case xz
    /// Read, never written.
    case bzip2

    /// How many bytes `init(detecting:)` wants to see.
    static let magicLength = 6

    /// What the first bytes of a stream say.
    init(detecting start: some Collection<UInt8>) {
        let start = Array(start.prefix(Self.magicLength))
        if start.starts(with: [0x1F, 0x8B]) {
            self = .gzip
        } else if start.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) || Self.isSkippableFrame(start) {
            self = .zstd
        } else if start.starts(with: Array("BZh".utf8)) {
            self = .bzip2
        } else if start.starts(with: [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]) {
            self = .xz
        } else {
            self = .none
        }
    }

    /// zstd archives may start with a frame of somebody's notes.
    private static func isSkippableFrame(_ start: [UInt8]) -> Bool {
        start.count >= 4 && start[0] & 0xF0 == 0x50 && start[1...3] == [0x2A, 0x4D, 0x18]
    }

    /// The stream that undoes this compression.
    ///
    /// - Parameter limit: the most bytes that may come out; `.tooLarge` beyond.
    public func decompressed(_ source: any ByteSource, limit: UInt64 = .max) -> any ByteSource {
        let plain: any ByteSource
        switch self {
        case .none: plain = source
        case .gzip: plain = GzipSource(source)
        case .zstd: plain = ZstdSource(source)
        case .xz: plain = XZSource(source)
        case .bzip2: plain = BZip2Source(source)
        }
        return limit == .max ? plain : LimitedSource(plain, limit: limit)
    }
}

/// The plain bytes of `source`, whatever it is compressed with, by its first bytes.
///
/// - Parameter limit: the most bytes that may come out; `.tooLarge` beyond.
public func decompressing(
    _ source: any ByteSource, limit: UInt64 = .max
) throws(ImageError) -> (source: any ByteSource, compression: Compression) {
    let start = try source.peek(Compression.magicLength)
    let compression = Compression(detecting: start)
    return (compression.decompressed(PrefixedSource(start, source), limit: limit), compression)
}

extension ByteSource {
    /// Takes at most `count` bytes from the front.
    func peek(_ count: Int) throws(ImageError) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { buffer.deallocate() }
        let filled = try readFull(into: buffer)
        return Array(buffer[..<filled])
    }
}

/// Ends in an error once more than `limit` bytes came.
final class LimitedSource: ByteSource {
    private let inner: any ByteSource
    private let limit: UInt64
    private var count: UInt64 = 0

    init(_ inner: any ByteSource, limit: UInt64) {
        self.inner = inner
        self.limit = limit
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        let read = try inner.read(into: buffer)
        count += UInt64(read)
        if count > limit { throw .tooLarge(limit: limit) }
        return read
    }
}
