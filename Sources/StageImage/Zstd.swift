// zstd by libzstd, streaming, in both directions.

import CZstd

/// The plain bytes of a zstd stream of one or more frames.
final class ZstdSource: ByteSource {
    private let inner: any ByteSource
    private let input: UnsafeMutableRawBufferPointer
    private let context: OpaquePointer?
    private var pending = ZSTD_inBuffer(src: nil, size: 0, pos: 0)
    private var inputEnded = false
    /// What the decoder still expects; 0 between frames.
    private var expected = 0

    init(_ inner: any ByteSource) {
        self.inner = inner
        input = .allocate(byteCount: 256 << 10, alignment: 64)
        context = ZSTD_createDCtx()
        // A frame may ask for any window; 128 MiB is what the zstd tool takes without being told otherwise.
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27)
    }

    deinit {
        ZSTD_freeDCtx(context)
        input.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        guard !buffer.isEmpty else { return 0 }
        while true {
            if pending.pos == pending.size, !inputEnded {
                let count = try inner.read(into: input)
                if count == 0 { inputEnded = true }
                pending = ZSTD_inBuffer(src: input.baseAddress, size: count, pos: 0)
            }
            var output = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
            let atEnd = inputEnded && pending.pos == pending.size
            if atEnd && expected == 0 { return 0 }
            let before = pending.pos
            let status = ZSTD_decompressStream(context, &output, &pending)
            if ZSTD_isError(status) != 0 {
                throw .corruptCompression(format: "zstd", reason: String(cString: ZSTD_getErrorName(status)))
            }
            expected = status
            if output.pos > 0 { return output.pos }
            if atEnd, before == pending.pos, status != 0 {
                throw .corruptCompression(format: "zstd", reason: "it ends too early: the file is cut short")
            }
        }
    }
}

/// Compresses to zstd with a checksum: one frame, the same bytes every time.
public final class ZstdWriter {
    private let sink: ByteSink
    private let context: OpaquePointer?
    private let output: UnsafeMutableRawBufferPointer

    /// - Parameters:
    ///   - level: 1 is fastest; 3 is the zstd tool's own default.
    ///   - sink: gets the compressed bytes.
    public init(level: Int = 3, _ sink: @escaping ByteSink) {
        self.sink = sink
        context = ZSTD_createCCtx()
        output = .allocate(byteCount: 256 << 10, alignment: 64)
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, CInt(clamping: level))
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
    }

    deinit {
        ZSTD_freeCCtx(context)
        output.deallocate()
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        while input.pos < input.size { _ = try run(&input, ZSTD_e_continue) }
    }

    /// Ends the stream; call it once, last.
    public func finish() throws(ImageError) {
        var input = ZSTD_inBuffer(src: nil, size: 0, pos: 0)
        while try run(&input, ZSTD_e_end) > 0 {}
    }

    private func run(_ input: inout ZSTD_inBuffer, _ mode: ZSTD_EndDirective) throws(ImageError) -> Int {
        var out = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let status = ZSTD_compressStream2(context, &out, &input, mode)
        if ZSTD_isError(status) != 0 {
            throw .corruptCompression(format: "zstd", reason: String(cString: ZSTD_getErrorName(status)))
        }
        if out.pos > 0 { try sink(UnsafeRawBufferPointer(rebasing: output[..<out.pos])) }
        return status
    }
}
