// xz and bzip2, for reading only: archives that `ADD` meets and root filesystems that `import` is given.

import CBZip2
import CLZMA

/// The input that both decoders take by the piece.
private struct DecoderInput {
    let inner: any ByteSource
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    var available = 0
    var position = 0
    var inputEnded = false

    mutating func fill() throws(ImageError) {
        guard position == available, !inputEnded else { return }
        available = try inner.read(into: buffer)
        position = 0
        inputEnded = available == 0
    }
}

/// The plain bytes of an xz file of one or more streams.
final class XZSource: ByteSource {
    /// What a hostile header may make the decoder allocate; `xz -9` needs 65 MiB.
    private static let memoryLimit: UInt64 = 256 << 20

    private var pending: DecoderInput
    private var stream = lzma_stream()
    private var isOpen: Bool
    private var isDone = false

    init(_ inner: any ByteSource) {
        pending = DecoderInput(inner: inner)
        // LZMA_CONCATENATED: streams may follow each other, as xz itself writes with several threads.
        isOpen = lzma_stream_decoder(&stream, Self.memoryLimit, 0x08) == LZMA_OK
    }

    deinit {
        lzma_end(&stream)
        pending.buffer.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        guard isOpen else { throw .corruptCompression(format: "xz", reason: "there is no memory for its decoder") }
        if isDone || buffer.isEmpty { return 0 }
        while true {
            try pending.fill()
            stream.next_in = UnsafePointer(
                pending.buffer.baseAddress?.advanced(by: pending.position).assumingMemoryBound(to: UInt8.self))
            stream.avail_in = pending.available - pending.position
            stream.next_out = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.avail_out = buffer.count
            let status = lzma_code(&stream, pending.inputEnded ? LZMA_FINISH : LZMA_RUN)
            pending.position = pending.available - stream.avail_in
            let count = buffer.count - stream.avail_out
            switch status {
            case LZMA_STREAM_END:
                isDone = true
                return count
            case LZMA_OK:
                if count > 0 { return count }
            case LZMA_MEMLIMIT_ERROR:
                throw .corruptCompression(format: "xz", reason: "its dictionary needs more than 256 MiB")
            case LZMA_BUF_ERROR:
                throw .corruptCompression(format: "xz", reason: "it ends too early: the file is cut short")
            default:
                throw .corruptCompression(format: "xz", reason: "its data is damaged (liblzma says \(status.rawValue))")
            }
        }
    }
}

/// The plain bytes of a bzip2 file of one or more streams.
final class BZip2Source: ByteSource {
    private var pending: DecoderInput
    private var stream = bz_stream()
    private var isOpen = false

    init(_ inner: any ByteSource) { pending = DecoderInput(inner: inner) }

    deinit {
        if isOpen { BZ2_bzDecompressEnd(&stream) }
        pending.buffer.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        if buffer.isEmpty { return 0 }
        while true {
            try pending.fill()
            if pending.inputEnded {
                guard isOpen else { return 0 }
                throw .corruptCompression(format: "bzip2", reason: "it ends too early: the file is cut short")
            }
            if !isOpen {
                stream = bz_stream()
                guard BZ2_bzDecompressInit(&stream, 0, 0) == BZ_OK else {
                    throw .corruptCompression(format: "bzip2", reason: "there is no memory for its decoder")
                }
                isOpen = true
            }
            stream.next_in = pending.buffer.baseAddress?.advanced(by: pending.position).assumingMemoryBound(
                to: CChar.self)
            stream.avail_in = UInt32(pending.available - pending.position)
            stream.next_out = buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
            stream.avail_out = UInt32(clamping: buffer.count)
            let room = stream.avail_out
            let status = BZ2_bzDecompress(&stream)
            pending.position = pending.available - Int(stream.avail_in)
            let count = Int(room - stream.avail_out)
            if status == BZ_STREAM_END {
                BZ2_bzDecompressEnd(&stream)
                isOpen = false
            } else if status != BZ_OK {
                throw .corruptCompression(format: "bzip2", reason: "its data is damaged (libbz2 says \(status))")
            }
            if count > 0 { return count }
        }
    }
}
