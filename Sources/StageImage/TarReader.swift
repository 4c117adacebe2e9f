// Reads a tar archive from a stream, member by member. Everything in it is taken as hostile: sizes are only ever used to
// count bytes that really came, extended headers are bounded, and whatever does not fit together ends the reading.

import StageHash
import StageStore

/// A tar archive being read. Not shared between tasks.
///
/// Call `next()`, then at most one of `content`, `contiguousContent`; repeat until `next()` is nil.
public final class TarReader {
    /// Gets every byte of the stream that is not the content of a member, in order: headers, padding, skipped contents,
    /// and all that follows the end of the archive.
    var literal: ByteSink?

    private let source: any ByteSource
    private let buffer: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0
    private var ended = false
    private var hasher: DigestHasher?
    /// Bytes of the stream before `buffer[start]`.
    private(set) var offset: UInt64 = 0
    private var remaining: UInt64 = 0
    private var padding = 0
    private var finished = false

    /// The largest extended header or long name that is taken.
    static let headerLimit: UInt64 = 1 << 20
    /// The largest content that `contiguousContent` gives.
    static let contiguousLimit = 256 << 10

    /// - Parameter measured: whether the SHA-256 of the whole stream is kept; see `digest`.
    public init(_ source: any ByteSource, measured: Bool = false) {
        self.source = source
        buffer = .allocate(byteCount: 1 << 20, alignment: 64)
        hasher = measured ? DigestHasher() : nil
    }

    deinit { buffer.deallocate() }

    /// The digest of the stream so far; of all of it once `next()` was nil. Nil unless measured.
    public var digest: Digest? { hasher?.finalize() }

    /// The length of the stream so far; of all of it once `next()` was nil.
    public var size: UInt64 { offset }

    /// The next member; nil at the end, after which the whole stream has been read.
    public func next() throws(ImageError) -> TarMember? {
        if finished { return nil }
        try skipContent()
        var records = PAXRecords()
        var longName: [UInt8]?
        var longLink: [UInt8]?
        while let block = try block() {
            let type = block.bytes[TarField.type]
            switch type {
            case UInt8(ascii: "x"):
                records = PAXRecords()
                if let reason = records.add(try extendedHeader(block)) { throw malformed(reason) }
            case UInt8(ascii: "g"):
                // As every container runtime does: what global headers say is not applied.
                _ = try extendedHeader(block)
            case UInt8(ascii: "L"):
                longName = Array(try extendedHeader(block).prefix { $0 != 0 })
            case UInt8(ascii: "K"):
                longLink = Array(try extendedHeader(block).prefix { $0 != 0 })
            case UInt8(ascii: "V"):
                // A volume label: a name for the archive, nothing to unpack.
                try consumeHeader()
            default:
                let member = try member(block, type, records, longName, longLink)
                try consumeHeader()
                remaining = member.size
                padding = tarPadding(member.size)
                return member
            }
        }
        finished = true
        try finish()
        return nil
    }

    /// Hands out the content of the current member, in pieces.
    public func content(_ body: ByteSink) throws(ImageError) {
        while remaining > 0 {
            let available = try fill(1)
            if available == 0 { throw truncated() }
            let count = Int(min(UInt64(available), remaining))
            try body(UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)]))
            advance(count)
            remaining -= UInt64(count)
        }
    }

    /// The whole content of the current member when it is small (256 KiB), else nil. Valid until the next call.
    public func contiguousContent() throws(ImageError) -> UnsafeRawBufferPointer? {
        guard remaining <= UInt64(Self.contiguousLimit) else { return nil }
        let count = Int(remaining)
        if try fill(count) < count { throw truncated() }
        let content = UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)])
        advance(count)
        remaining = 0
        return content
    }

    func malformed(_ reason: String) -> ImageError { .malformedTar(offset: offset, reason: reason) }

    private func truncated() -> ImageError { malformed("it ends in the middle of a member: the archive is cut short") }

    // MARK: The buffer

    /// Has at least `wanted` bytes in one piece from `start`, unless the stream ends before; the count there is.
    private func fill(_ wanted: Int) throws(ImageError) -> Int {
        if end - start >= wanted { return end - start }
        if start > 0 {
            // Only a few bytes are left: callers take all that is there before they ask for more.
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
            end -= start
            start = 0
        }
        while end < wanted, !ended {
            let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[end...]))
            if count == 0 { ended = true }
            hasher?.update(UnsafeRawBufferPointer(rebasing: buffer[end..<(end + count)]))
            end += count
        }
        return end
    }

    private func advance(_ count: Int) {
        start += count
        offset += UInt64(count)
    }

    private func passLiteral(_ count: Int) throws(ImageError) {
        try literal?(UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)]))
        advance(count)
    }

    private func consumeHeader() throws(ImageError) { try passLiteral(TarField.block) }

    // MARK: Between members

    private func skipContent() throws(ImageError) {
        var rest = remaining + UInt64(padding)
        remaining = 0
        padding = 0
        while rest > 0 {
            if start == end, literal == nil, hasher == nil, !ended, let file = source as? DescriptorSource {
                let skipped = file.skip(rest)
                offset += skipped
                rest -= skipped
                if rest == 0 { return }
            }
            let available = try fill(1)
            if available == 0 { throw truncated() }
            let count = Int(min(UInt64(available), rest))
            try passLiteral(count)
            rest -= UInt64(count)
        }
    }

    /// The next header block, checked and not yet consumed; nil at the end of the archive.
    private func block() throws(ImageError) -> TarBlock? {
        let available = try fill(TarField.block)
        if available == 0 { return nil }
        if available < TarField.block { throw truncated() }
        let block = TarBlock(bytes: UnsafeRawBufferPointer(rebasing: buffer[start..<(start + TarField.block)]))
        if block.isZero { return nil }
        guard block.hasValidChecksum else {
            throw malformed(offset == 0 ? "it does not start with a tar header" : "a header's checksum is wrong")
        }
        return block
    }

    /// After the first block of zeros: only zeros may follow the members, whatever comes then is passed on.
    private func finish() throws(ImageError) {
        if try fill(2 * TarField.block) >= 2 * TarField.block {
            let second = UnsafeRawBufferPointer(
                rebasing: buffer[(start + TarField.block)..<(start + 2 * TarField.block)])
            if !TarBlock(bytes: second).isZero { throw malformed("members follow a block of zeros") }
        }
        while true {
            let available = try fill(1)
            if available == 0 { return }
            try passLiteral(available)
        }
    }

    /// Consumes an extended header and its content, which it gives.
    private func extendedHeader(_ block: TarBlock) throws(ImageError) -> [UInt8] {
        guard let size = block.number(TarField.size), size >= 0, UInt64(size) <= Self.headerLimit else {
            throw malformed("an extended header has no usable size")
        }
        try consumeHeader()
        var data: [UInt8] = []
        var rest = Int(size)
        while rest > 0 {
            let available = try fill(1)
            if available == 0 { throw truncated() }
            let count = min(available, rest)
            data.append(contentsOf: buffer[start..<(start + count)])
            try passLiteral(count)
            rest -= count
        }
        padding = tarPadding(UInt64(size))
        try skipContent()
        return data
    }

    // MARK: Members

    private func member(
        _ block: TarBlock, _ type: UInt8, _ records: PAXRecords, _ longName: [UInt8]?, _ longLink: [UInt8]?
    ) throws(ImageError) -> TarMember {
        let path = records.path ?? longName ?? headerPath(block)
        func refused(_ reason: String) -> ImageError { .refusedMember(name: printable(path), reason: reason) }
        if path.isEmpty { throw malformed("a member has no name") }
        if records.isSparse || type == UInt8(ascii: "S") {
            throw refused("it is stored sparse, which is not read; make the archive without --sparse")
        }
        let kind = try kind(block, type, path)
        guard let mode = block.number(TarField.mode) else { throw refused("its mode is no number") }
        var member = TarMember(path: path, kind: kind)
        member.mode = UInt16(truncatingIfNeeded: mode & 0o7777)
        member.linkTarget = records.linkTarget ?? longLink ?? block.string(TarField.linkTarget)
        member.uid = try owner(records.uid.map(Int64.init) ?? block.number(TarField.uid), "uid", path)
        member.gid = try owner(records.gid.map(Int64.init) ?? block.number(TarField.gid), "gid", path)
        if let time = records.time {
            member.time = time
        } else {
            guard let seconds = block.number(TarField.time) else { throw refused("its time is no number") }
            member.time = Timestamp(seconds: seconds)
        }
        if kind == .file {
            let stored = block.number(TarField.size).flatMap { UInt64(exactly: $0) }
            guard let size = records.size ?? stored else { throw refused("its size is no number") }
            member.size = size
        }
        if !records.xattrs.isEmpty {
            member.xattrs = records.xattrs.map { XAttr(name: $0.key, value: $0.value) }
                .sorted { $0.name.lexicographicallyPrecedes($1.name) }
        }
        return member
    }

    private func owner(_ number: Int64?, _ field: String, _ path: [UInt8]) throws(ImageError) -> UInt32 {
        guard let number, let id = UInt32(exactly: number) else {
            throw .refusedMember(name: printable(path), reason: "its \(field) is no 32-bit number")
        }
        return id
    }

    private func headerPath(_ block: TarBlock) -> [UInt8] {
        let name = block.string(TarField.name)
        guard block.has(TarField.posixMagic, at: TarField.magic) else { return name }
        let isStar = block.has(Array("tar\0".utf8), at: TarField.starTrailer)
        let prefix = block.string(isStar ? TarField.starPrefix : TarField.prefix)
        return prefix.isEmpty ? name : prefix + [0x2F] + name
    }

    private func kind(_ block: TarBlock, _ type: UInt8, _ path: [UInt8]) throws(ImageError) -> TarMember.Kind {
        func refused(_ reason: String) -> ImageError { .refusedMember(name: printable(path), reason: reason) }
        func numbers() throws(ImageError) -> (UInt32, UInt32) {
            guard let major = block.number(TarField.majorNumber).flatMap({ UInt32(exactly: $0) }),
                let minor = block.number(TarField.minorNumber).flatMap({ UInt32(exactly: $0) })
            else { throw refused("its device number is no number") }
            return (major, minor)
        }
        switch type {
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"):
            // Before POSIX, a directory was a file whose name ends in a slash.
            return path.last == 0x2F && type != UInt8(ascii: "7") ? .directory : .file
        case UInt8(ascii: "1"): return .hardLink
        case UInt8(ascii: "2"): return .symlink
        case UInt8(ascii: "3"):
            let (major, minor) = try numbers()
            return .characterDevice(major: major, minor: minor)
        case UInt8(ascii: "4"):
            let (major, minor) = try numbers()
            return .blockDevice(major: major, minor: minor)
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        case UInt8(ascii: "M"): throw refused("it continues from another volume; join the volumes first")
        default: throw refused("its type '\(printable([type]))' is not known")
        }
    }
}
