// The tar header block: where its fields are, and how numbers and strings stand in them (POSIX ustar, GNU, V7, star).

import StageStore

/// One member of a tar archive.
public struct TarMember: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case file
        /// Another name of the member that `linkTarget` names.
        case hardLink
        case symlink
        case characterDevice(major: UInt32, minor: UInt32)
        case blockDevice(major: UInt32, minor: UInt32)
        case directory
        case fifo
    }

    /// As the archive has it: bytes, not cleaned; a directory's often ends in `/`.
    public var path: [UInt8]
    public var kind: Kind
    /// Bytes of content; 0 for all but files.
    public var size: UInt64
    public var linkTarget: [UInt8]
    /// Permission, set-id and sticky bits.
    public var mode: UInt16
    public var uid: UInt32
    public var gid: UInt32
    public var time: Timestamp
    /// Sorted by name, each name once.
    public var xattrs: [XAttr]

    public init(
        path: [UInt8], kind: Kind, size: UInt64 = 0, linkTarget: [UInt8] = [], mode: UInt16 = 0, uid: UInt32 = 0,
        gid: UInt32 = 0, time: Timestamp = .epoch, xattrs: [XAttr] = []
    ) {
        self.path = path
        self.kind = kind
        self.size = size
        self.linkTarget = linkTarget
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.time = time
        self.xattrs = xattrs
    }
}

/// Offsets and lengths of the fields of a header block.
enum TarField {
    static let block = 512
    static let name = 0..<100
    static let mode = 100..<108
    static let uid = 108..<116
    static let gid = 116..<124
    static let size = 124..<136
    static let time = 136..<148
    static let checksum = 148..<156
    static let type = 156
    static let linkTarget = 157..<257
    static let magic = 257..<265
    static let majorNumber = 329..<337
    static let minorNumber = 337..<345
    static let prefix = 345..<500
    static let starPrefix = 345..<476
    static let starTrailer = 508..<512

    /// `ustar`, NUL, `00`.
    static let posixMagic: [UInt8] = [0x75, 0x73, 0x74, 0x61, 0x72, 0, 0x30, 0x30]
    /// `ustar`, two blanks, NUL.
    static let gnuMagic: [UInt8] = [0x75, 0x73, 0x74, 0x61, 0x72, 0x20, 0x20, 0]
}

/// How many bytes fill `size` up to whole blocks.
func tarPadding(_ size: UInt64) -> Int { Int((512 - size % 512) % 512) }

/// Reads a header block in place.
struct TarBlock {
    /// 512 bytes.
    let bytes: UnsafeRawBufferPointer

    var isZero: Bool {
        for offset in stride(from: 0, to: TarField.block, by: 8)
        where bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) != 0 { return false }
        return true
    }

    /// The stored sum equals the sum of the bytes, taken as unsigned or (old archives) as signed.
    var hasValidChecksum: Bool {
        guard let stored = number(TarField.checksum) else { return false }
        var unsigned: Int64 = 0
        var signed: Int64 = 0
        for (index, byte) in bytes.enumerated() {
            let counted: UInt8 = TarField.checksum.contains(index) ? 0x20 : byte
            unsigned += Int64(counted)
            signed += Int64(Int8(bitPattern: counted))
        }
        return stored == unsigned || stored == signed
    }

    func has(_ text: [UInt8], at range: Range<Int>) -> Bool { bytes[range].elementsEqual(text) }

    /// A string field: up to its first NUL.
    func string(_ range: Range<Int>) -> [UInt8] { Array(bytes[range].prefix { $0 != 0 }) }

    /// A number field: octal digits between blanks and NULs, or base 256 with the top bit set. Nil when it is neither
    /// or does not fit.
    func number(_ range: Range<Int>) -> Int64? {
        if bytes[range.lowerBound] & 0x80 != 0 { return binary(range) }
        var value: Int64 = 0
        var index = range.lowerBound
        while index < range.upperBound, bytes[index] == 0x20 || bytes[index] == 0 { index += 1 }
        while index < range.upperBound, (0x30...0x37).contains(bytes[index]) {
            if value > Int64.max >> 3 { return nil }
            value = value << 3 | Int64(bytes[index] - 0x30)
            index += 1
        }
        while index < range.upperBound {
            // Some writers leave rubbish after the NUL that ends the digits.
            if bytes[index] == 0 { break }
            if bytes[index] != 0x20 { return nil }
            index += 1
        }
        return value
    }

    /// Base 256: two's complement of all the bits but the first, big-endian.
    private func binary(_ range: Range<Int>) -> Int64? {
        let negative = bytes[range.lowerBound] & 0x40 != 0
        var value: UInt64 = negative ? .max : 0
        for index in range {
            var byte = bytes[index]
            if index == range.lowerBound { byte = negative ? byte | 0x80 : byte & 0x7F }
            let top = UInt8(truncatingIfNeeded: value >> 56)
            if top != (negative ? 0xFF : 0) { return nil }
            value = value << 8 | UInt64(byte)
        }
        let result = Int64(bitPattern: value)
        return (result < 0) == negative ? result : nil
    }
}
