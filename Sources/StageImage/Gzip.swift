// gzip by ISA-L: several times as fast as zlib in both directions, at the ratio of zlib's fast levels.

import CISAL

/// The plain bytes of a gzip stream of one or more members. Checksums are verified.
final class GzipSource: ByteSource {
    private let inner: any ByteSource
    private let input: UnsafeMutableRawBufferPointer
    private let state: UnsafeMutablePointer<inflate_state>
    private var inputEnded = false
    private var isDone = false
    /// Between the end of one member and the start of what may be the next.
    private var isBetweenMembers = false

    init(_ inner: any ByteSource) {
        self.inner = inner
        input = .allocate(byteCount: 256 << 10, alignment: 64)
        state = .allocate(capacity: 1)
        isal_inflate_init(state)
        state.pointee.crc_flag = UInt32(ISAL_GZIP)
        state.pointee.avail_in = 0
    }

    deinit {
        input.deallocate()
        state.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        let capacity = min(buffer.count, 1 << 30)
        while !isDone, capacity > 0 {
            if state.pointee.avail_in == 0 { try refill() }
            if isBetweenMembers {
                try startMember()
                continue
            }
            state.pointee.next_out = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
            state.pointee.avail_out = UInt32(capacity)
            let before = state.pointee.avail_in
            let status = isal_inflate(state)
            if status != ISAL_DECOMP_OK && status != ISAL_END_INPUT && status != ISAL_OUT_OVERFLOW {
                throw Self.error(status)
            }
            let produced = capacity - Int(state.pointee.avail_out)
            if state.pointee.block_state == ISAL_BLOCK_FINISH {
                isBetweenMembers = true
            } else if produced == 0, before == state.pointee.avail_in, inputEnded {
                throw .corruptCompression(format: "gzip", reason: "it ends too early: the file is cut short")
            }
            if produced > 0 { return produced }
        }
        return 0
    }

    private func refill() throws(ImageError) {
        if inputEnded { return }
        let count = try inner.read(into: input)
        if count == 0 { inputEnded = true }
        state.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        state.pointee.avail_in = UInt32(count)
    }

    /// Another member may follow, or zeros that fill up a block; anything else is no gzip.
    private func startMember() throws(ImageError) {
        guard state.pointee.avail_in > 0, let next = state.pointee.next_in else {
            isDone = true
            return
        }
        if next[0] == 0 {
            state.pointee.next_in = next + 1
            state.pointee.avail_in -= 1
            return
        }
        guard next[0] == 0x1F else {
            throw .corruptCompression(format: "gzip", reason: "something else follows the compressed data")
        }
        isal_inflate_reset(state)
        state.pointee.crc_flag = UInt32(ISAL_GZIP)
        isBetweenMembers = false
    }

    private static func error(_ status: CInt) -> ImageError {
        let reason =
            switch status {
            case ISAL_INVALID_WRAPPER: "its header is wrong"
            case ISAL_UNSUPPORTED_METHOD: "its header names a method other than deflate"
            case ISAL_INCORRECT_CHECKSUM: "the checksum does not match"
            default: "invalid deflate data"
            }
        return .corruptCompression(format: "gzip", reason: reason)
    }
}

/// Compresses to gzip: one member, no name, time 0, OS unknown, so that the same bytes come out every time.
public final class GzipWriter {
    private let sink: ByteSink
    private let stream: UnsafeMutablePointer<isal_zstream>
    private let levelBuffer: UnsafeMutableRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer

    /// - Parameter sink: gets the compressed bytes.
    public init(_ sink: @escaping ByteSink) {
        self.sink = sink
        stream = .allocate(capacity: 1)
        // ISAL_DEF_LVL1_LARGE of the library's header, whose arithmetic is not imported: 4 KiB, two bytes for each of
        // the 8 Ki slots of the hash table, and four for each of 128 Ki tokens.
        levelBuffer = .allocate(byteCount: (4 << 10) + 2 * (8 << 10) + 4 * (128 << 10), alignment: 64)
        output = .allocate(byteCount: 256 << 10, alignment: 64)
        isal_deflate_init(stream)
        stream.pointee.level = 1
        stream.pointee.level_buf = levelBuffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.level_buf_size = UInt32(levelBuffer.count)
        stream.pointee.gzip_flag = UInt16(IGZIP_GZIP)
        stream.pointee.flush = UInt16(NO_FLUSH)
        stream.pointee.end_of_stream = 0
    }

    deinit {
        stream.deallocate()
        levelBuffer.deallocate()
        output.deallocate()
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        var rest = bytes
        while !rest.isEmpty {
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            // The library reads through a pointer that is not const and never writes to it.
            stream.pointee.next_in = UnsafeMutablePointer(
                mutating: piece.baseAddress?.assumingMemoryBound(to: UInt8.self))
            stream.pointee.avail_in = UInt32(piece.count)
            try run()
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(piece.count))
        }
    }

    /// Ends the stream; call it once, last.
    public func finish() throws(ImageError) {
        stream.pointee.next_in = nil
        stream.pointee.avail_in = 0
        stream.pointee.end_of_stream = 1
        try run()
        guard stream.pointee.internal_state.state == ZSTATE_END else {
            throw .corruptCompression(format: "gzip", reason: "the compressor did not end its stream")
        }
    }

    private func run() throws(ImageError) {
        repeat {
            stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_out = UInt32(output.count)
            let status = isal_deflate(stream)
            guard status == COMP_OK else {
                throw .corruptCompression(format: "gzip", reason: "the compressor failed with status \(status)")
            }
            let produced = output.count - Int(stream.pointee.avail_out)
            if produced > 0 { try sink(UnsafeRawBufferPointer(rebasing: output[..<produced])) }
        } while stream.pointee.avail_out == 0 || stream.pointee.avail_in > 0
    }
}
