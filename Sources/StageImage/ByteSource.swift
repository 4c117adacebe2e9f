// Streams of bytes: pulled from sources, pushed into sinks. Both block; both move large pieces and copy nothing twice.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// Where a stream of bytes comes from. Not shared between tasks.
public protocol ByteSource: AnyObject {
    /// Fills the front of `buffer` with what comes next; the count, 0 only at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int
}

/// Where a stream of bytes goes. The bytes are valid during the call only.
public typealias ByteSink = (UnsafeRawBufferPointer) throws(ImageError) -> Void

/// Bytes in memory.
public final class MemorySource: ByteSource {
    private let bytes: [UInt8]
    private var position = 0

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(buffer.count, bytes.count - position)
        bytes.withUnsafeBytes { all in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: all[position..<(position + count)]))
        }
        position += count
        return count
    }
}

/// A descriptor that somebody else owns and keeps open: from its position on, or a range of a file.
public final class DescriptorSource: ByteSource {
    private let fd: CInt
    private let name: String
    fileprivate var range: (offset: Int64, end: Int64)?

    /// Reads from the present position to the end: pipes and terminals too.
    public init(_ fd: CInt, name: String) {
        self.fd = fd
        self.name = name
    }

    /// Reads `size` bytes of a file from `offset`, leaving the descriptor's position alone.
    public init(_ fd: CInt, offset: UInt64, size: UInt64, name: String) {
        self.fd = fd
        self.name = name
        let start = Int64(clamping: offset)
        let (end, overflow) = start.addingReportingOverflow(Int64(clamping: size))
        range = (start, overflow ? .max : end)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        do throws(SystemError) {
            guard let (offset, end) = range else {
                return try retrying("read", name) { Glibc.read(fd, buffer.baseAddress, buffer.count) }
            }
            let wanted = Int(min(Int64(buffer.count), end - offset))
            if wanted == 0 { return 0 }
            let count = try retrying("pread", name) { pread(fd, buffer.baseAddress, wanted, off_t(offset)) }
            range = (offset + Int64(count), end)
            return count
        } catch {
            throw .system(error)
        }
    }
}

extension DescriptorSource {
    /// Passes over at most `count` bytes without reading them, where that can be done; how many it were.
    func skip(_ count: UInt64) -> UInt64 {
        guard let (offset, end) = range else { return 0 }
        let skipped = min(count, UInt64(max(0, end - offset)))
        range = (offset + Int64(skipped), end)
        return skipped
    }
}

/// Passes a stream on and keeps the digest and the count of what went through.
public final class MeasuredSource: ByteSource {
    private let inner: any ByteSource
    private var hasher = DigestHasher()
    public private(set) var count: UInt64 = 0

    public init(_ inner: any ByteSource) { self.inner = inner }

    public var digest: Digest { hasher.finalize() }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        let read = try inner.read(into: buffer)
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
        count += UInt64(read)
        return read
    }
}

/// Gives some bytes first, then the rest of another stream: for looking at the start of what cannot be rewound.
final class PrefixedSource: ByteSource {
    private let prefix: MemorySource
    private let rest: any ByteSource

    init(_ prefix: [UInt8], _ rest: any ByteSource) {
        self.prefix = MemorySource(prefix)
        self.rest = rest
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        let count = prefix.read(into: buffer)
        return count > 0 || buffer.isEmpty ? count : try rest.read(into: buffer)
    }
}

extension ByteSource {
    /// Reads until `buffer` is full or the stream ends.
    func readFull(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// Hands the whole rest to `sink`, in pieces of at most 256 KiB.
    public func drain(to sink: ByteSink) throws(ImageError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let count = try read(into: buffer)
            if count == 0 { return }
            try sink(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// The whole rest, in memory; `.tooLarge` beyond `limit`.
    func readAll(limit: Int) throws(ImageError) -> [UInt8] {
        var bytes: [UInt8] = []
        try drain { piece throws(ImageError) in
            if piece.count > limit - bytes.count { throw ImageError.tooLarge(limit: UInt64(limit)) }
            bytes.append(contentsOf: piece)
        }
        return bytes
    }
}

extension ContentSource {
    /// Hands a content to `sink`, in order.
    public func stream(_ digest: Digest, to sink: ByteSink) throws(ImageError) {
        try stream([digest]) { _, piece throws(ImageError) in try sink(piece) }
    }

    /// Hands contents to `sink` one after the other, with the place of each in `digests`.
    func stream(
        _ digests: [Digest], to sink: (Int, UnsafeRawBufferPointer) throws(ImageError) -> Void
    ) throws(ImageError) {
        try storing { () throws(StoreError) in try lookUp(digests) }.stream(to: sink)
    }
}

extension ContentBatch {
    /// Hands the contents to `sink` one after the other, with the place of each.
    func stream(to sink: (Int, UnsafeRawBufferPointer) throws(ImageError) -> Void) throws(ImageError) {
        // The store's closure throws the store's errors only: what the sink throws waits here meanwhile.
        var failure: ImageError?
        do throws(StoreError) {
            try read { place, piece throws(StoreError) in
                do throws(ImageError) { try sink(place, piece) } catch {
                    failure = error
                    throw StoreError.corrupt("writing stopped")
                }
            }
        } catch {
            throw failure ?? .store(error)
        }
    }
}

/// Runs what throws the store's errors.
@inline(__always)
@discardableResult
func storing<R>(_ body: () throws(StoreError) -> R) throws(ImageError) -> R {
    do throws(StoreError) { return try body() } catch { throw .store(error) }
}

/// Runs what throws the system's errors.
@inline(__always)
@discardableResult
func calling<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(ImageError) -> R {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}

/// Hands `bytes` to `sink` in one piece.
func push(_ bytes: [UInt8], to sink: ByteSink) throws(ImageError) {
    let result: Result<Void, ImageError> = bytes.withUnsafeBytes { buffer in
        do throws(ImageError) { return .success(try sink(buffer)) } catch { return .failure(error) }
    }
    try result.get()
}
