// Writes tar archives in one deterministic form, byte for byte what Go's archive/tar writes for the same members: ustar
// where that holds all, else a PAX header with just the records it needs, sorted. No user or group names, no host facts.

import StageStore

/// A tar archive being written. Whole seconds only: see Specs/image.md, "Times".
public struct TarWriter: ~Copyable {
    private let sink: ByteSink
    private let buffer: UnsafeMutableRawBufferPointer
    /// The block that is being filled in.
    private let header: UnsafeMutableRawBufferPointer
    private var filled = 0
    private var padding = 0
    private var owed: UInt64 = 0
    /// Bytes written so far.
    public private(set) var size: UInt64 = 0

    /// - Parameter sink: gets the archive in pieces of up to 256 KiB.
    public init(_ sink: @escaping ByteSink) {
        self.sink = sink
        buffer = .allocate(byteCount: 256 << 10, alignment: 64)
        header = .allocate(byteCount: TarField.block, alignment: 64)
    }

    deinit {
        buffer.deallocate()
        header.deallocate()
    }

    /// Starts a member. For a file, exactly `member.size` bytes of content have to follow by `write`.
    public mutating func begin(_ member: TarMember) throws(ImageError) {
        try endContent()
        let records = try HeaderBlock(header).fill(member)
        if !records.isEmpty {
            try extendedHeader(records, for: member)
            _ = try HeaderBlock(header).fill(member)
        }
        try emit(UnsafeRawBufferPointer(header))
        owed = member.kind == .file ? member.size : 0
        padding = tarPadding(owed)
    }

    /// Content of the member begun last. More than it announced is refused.
    public mutating func write(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        guard UInt64(bytes.count) <= owed else {
            throw .sizeMismatch(subject: "a file's content", expected: owed, found: UInt64(bytes.count))
        }
        owed -= UInt64(bytes.count)
        try emit(bytes)
    }

    /// Ends the archive with two blocks of zeros and hands everything to the sink.
    public mutating func finish() throws(ImageError) {
        try endContent()
        try zeros(2 * TarField.block)
        try flush()
    }

    private mutating func endContent() throws(ImageError) {
        guard owed == 0 else { throw .sizeMismatch(subject: "a file's content", expected: owed, found: 0) }
        if padding > 0 { try zeros(padding) }
        padding = 0
    }

    private mutating func extendedHeader(_ records: [UInt8], for member: TarMember) throws(ImageError) {
        guard UInt64(records.count) <= TarReader.headerLimit else {
            throw .unrepresentable(
                path: printable(member.path), reason: "its path and extended attributes take more than 1 MiB")
        }
        HeaderBlock(header).fillExtended(for: member.path, size: records.count)
        try emit(UnsafeRawBufferPointer(header))
        try emit(records)
        try zeros(tarPadding(UInt64(records.count)))
    }

    // MARK: The buffer

    private mutating func emit(_ bytes: [UInt8]) throws(ImageError) {
        let result: Result<Void, ImageError> = bytes.withUnsafeBytes { piece in
            do throws(ImageError) { return .success(try emit(piece)) } catch { return .failure(error) }
        }
        try result.get()
    }

    private mutating func emit(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        size += UInt64(bytes.count)
        if bytes.count > buffer.count - filled { try flush() }
        if bytes.count >= buffer.count {
            try sink(bytes)
            return
        }
        UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]).copyMemory(from: bytes)
        filled += bytes.count
    }

    private mutating func zeros(_ count: Int) throws(ImageError) {
        if count > buffer.count - filled { try flush() }
        UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<(filled + count)]).initializeMemory(
            as: UInt8.self, repeating: 0)
        filled += count
        size += UInt64(count)
    }

    private mutating func flush() throws(ImageError) {
        if filled > 0 { try sink(UnsafeRawBufferPointer(rebasing: buffer[..<filled])) }
        filled = 0
    }
}

/// A header block being filled in, where its writer keeps it.
private struct HeaderBlock {
    private let bytes: UnsafeMutableRawBufferPointer

    /// Clears the block.
    init(_ bytes: UnsafeMutableRawBufferPointer) {
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
        self.bytes = bytes
    }

    /// Fills in `member`; gives the extended records that it needs besides.
    func fill(_ member: TarMember) throws(ImageError) -> [UInt8] {
        var records: [(key: [UInt8], value: [UInt8])] = []
        func record(_ key: String, _ value: [UInt8]) { records.append((Array(key.utf8), value)) }
        func record(_ key: String, _ value: some BinaryInteger) { record(key, Array(String(value).utf8)) }

        let split = Self.split(member.path)
        if split == nil { record("path", member.path) }
        if !Self.fits(member.linkTarget, TarField.linkTarget) { record("linkpath", member.linkTarget) }
        if !Self.fits(Int64(member.uid), TarField.uid) { record("uid", member.uid) }
        if !Self.fits(Int64(member.gid), TarField.gid) { record("gid", member.gid) }
        let size = member.kind == .file ? member.size : 0
        if !Self.fits(Int64(clamping: size), TarField.size) { record("size", size) }
        if !Self.fits(member.time.seconds, TarField.time) { record("mtime", member.time.seconds) }
        for xattr in member.xattrs {
            if xattr.name.contains(0x3D) || xattr.name.contains(0) || xattr.name.isEmpty {
                throw .unrepresentable(
                    path: printable(member.path),
                    reason: "the name of its extended attribute '\(printable(xattr.name))' has a '=' or is empty")
            }
            records.append((Array("SCHILY.xattr.".utf8) + xattr.name, xattr.value))
        }

        // Go writes the prefix only in plain ustar: a member with extended records has its name cut instead.
        if let split, records.isEmpty {
            put(split.name, TarField.name)
            put(split.prefix, TarField.prefix)
        } else {
            put(member.path.filter { $0 < 0x80 }, TarField.name, cut: true)
        }
        put(member.linkTarget.filter { $0 < 0x80 }, TarField.linkTarget, cut: true)
        if split?.prefix.isEmpty == false, !records.isEmpty { record("path", member.path) }

        put(Int64(member.mode), TarField.mode)
        put(Int64(member.uid), TarField.uid)
        put(Int64(member.gid), TarField.gid)
        put(Int64(clamping: size), TarField.size)
        put(member.time.seconds, TarField.time)
        try putKind(member)
        seal()
        records.sort { $0.key.lexicographicallyPrecedes($1.key) }
        return records.flatMap { Self.framed($0.key, $0.value) }
    }

    /// Fills in the header that announces `size` bytes of extended records for the member at `path`.
    func fillExtended(for path: [UInt8], size: Int) {
        let slash = path.lastIndex(of: 0x2F)
        let directory = slash.map { path[..<$0] } ?? []
        let file = slash.map { path[($0 + 1)...] } ?? path[...]
        // path.Join of Go: cleaned, so a directory's trailing slash and a leading "./" vanish.
        let joined = [Array(directory), Array("PaxHeaders.0".utf8), Array(file)]
        var name = Array(TreePathText.cleaned(Array(joined.joined(separator: [0x2F])), absolute: path.first == 0x2F))
        name = Array(name.filter { $0 < 0x80 }.prefix(TarField.name.count))
        while name.last == 0x2F { name.removeLast() }
        put(name, TarField.name)
        for field in [TarField.mode, TarField.uid, TarField.gid, TarField.time] { put(0, field) }
        put(Int64(size), TarField.size)
        bytes[TarField.type] = UInt8(ascii: "x")
        seal()
    }

    private func putKind(_ member: TarMember) throws(ImageError) {
        var numbers: (major: UInt32, minor: UInt32) = (0, 0)
        let type: Character
        switch member.kind {
        case .file: type = "0"
        case .hardLink: type = "1"
        case .symlink: type = "2"
        case .characterDevice(let major, let minor):
            type = "3"
            numbers = (major, minor)
        case .blockDevice(let major, let minor):
            type = "4"
            numbers = (major, minor)
        case .directory: type = "5"
        case .fifo: type = "6"
        }
        guard Self.fits(Int64(numbers.major), TarField.majorNumber),
            Self.fits(Int64(numbers.minor), TarField.minorNumber)
        else { throw .unrepresentable(path: printable(member.path), reason: "its device number is too large") }
        bytes[TarField.type] = type.asciiValue ?? 0
        put(Int64(numbers.major), TarField.majorNumber)
        put(Int64(numbers.minor), TarField.minorNumber)
    }

    private func put(_ text: [UInt8], _ field: Range<Int>, cut: Bool = false) {
        let count = min(text.count, field.count)
        text.withUnsafeBytes { text in
            UnsafeMutableRawBufferPointer(rebasing: bytes[field.lowerBound..<(field.lowerBound + count)])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: text[..<count]))
        }
        // Go's way for a cut string that would end in a slash: some readers take any such member for a directory.
        if cut, text.count > field.count, bytes[field.upperBound - 1] == 0x2F {
            var index = field.upperBound - 1
            while index >= field.lowerBound, bytes[index] == 0x2F {
                bytes[index] = 0
                index -= 1
            }
        }
    }

    private func put(_ number: Int64, _ field: Range<Int>) {
        let value = Self.fits(number, field) ? number : 0
        var rest = value
        bytes[field.upperBound - 1] = 0
        for index in (field.lowerBound..<(field.upperBound - 1)).reversed() {
            bytes[index] = UInt8(ascii: "0") + UInt8(rest & 7)
            rest >>= 3
        }
    }

    /// Writes the magic and the checksum: six octal digits, NUL, blank.
    private func seal() {
        put(TarField.posixMagic, TarField.magic)
        for index in TarField.checksum { bytes[index] = 0x20 }
        var sum: UInt32 = 0
        for byte in bytes { sum &+= UInt32(byte) }
        for index in (TarField.checksum.lowerBound..<(TarField.checksum.lowerBound + 6)).reversed() {
            bytes[index] = UInt8(ascii: "0") + UInt8(sum & 7)
            sum >>= 3
        }
        bytes[TarField.checksum.lowerBound + 6] = 0
    }

    private static func fits(_ number: Int64, _ field: Range<Int>) -> Bool {
        number >= 0 && number >> Int64(3 * (field.count - 1)) == 0
    }

    private static func fits(_ text: [UInt8], _ field: Range<Int>) -> Bool {
        text.count <= field.count && text.allSatisfy { $0 < 0x80 }
    }

    /// How ustar holds `path`: nil when it cannot.
    private static func split(_ path: [UInt8]) -> (prefix: [UInt8], name: [UInt8])? {
        guard path.allSatisfy({ $0 < 0x80 }) else { return nil }
        if path.count <= TarField.name.count { return ([], path) }
        var length = path.count
        if length > TarField.prefix.count + 1 {
            length = TarField.prefix.count + 1
        } else if path[length - 1] == 0x2F {
            length -= 1
        }
        guard let slash = path[..<length].lastIndex(of: 0x2F), slash > 0, slash <= TarField.prefix.count,
            path.count - slash - 1 <= TarField.name.count, path.count - slash - 1 > 0
        else { return nil }
        return (Array(path[..<slash]), Array(path[(slash + 1)...]))
    }

    /// `length key=value\n`, where the length counts its own digits.
    private static func framed(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
        let body = key.count + value.count + 3
        var length = body + String(body).utf8.count
        if String(length).utf8.count > String(body).utf8.count { length = body + String(length).utf8.count }
        return Array("\(length) ".utf8) + key + [0x3D] + value + [0x0A]
    }
}

/// The text of paths in headers.
private enum TreePathText {
    /// Without empty and `.` components.
    static func cleaned(_ path: [UInt8], absolute: Bool) -> [UInt8] {
        let parts = path.split(separator: 0x2F).filter { $0 != [0x2E] }
        return (absolute ? [0x2F] : []) + Array(parts.joined(separator: [0x2F]))
    }
}
