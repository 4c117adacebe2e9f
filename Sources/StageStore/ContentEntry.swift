// What the index says of a content: where its bytes are, or which chunks it is made of. Specs/store-format.md, "contents".

import StageHash

/// Where a content is.
struct Location: Hashable, Sendable {
    var pack: UInt64
    var offset: UInt64
    /// Bytes in the pack, block headers included.
    var stored: UInt64
    /// Bytes of content.
    var raw: UInt64
}

/// The index entry of one content.
enum ContentEntry: Hashable, Sendable {
    /// A run of blocks in a pack.
    case stored(Location)
    /// The parts that the content `list` names, one after the other.
    case chunked(size: UInt64, list: Digest)

    /// Bytes of content.
    var size: UInt64 {
        switch self {
        case .stored(let location): location.raw
        case .chunked(let size, _): size
        }
    }

    /// The forms differ in length: 20 bytes for blocks, 32 where 32 bits do not say where and how much, 40 for a list.
    func encoded() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.longest) { out, count in
            count = write(to: UnsafeMutableRawBufferPointer(out))
        }
    }

    /// The most bytes that one takes.
    static let longest = 40

    /// How many bytes it takes.
    var encodedSize: Int {
        switch self {
        case .stored(let location):
            max(location.offset, location.stored, location.raw) <= UInt64(UInt32.max) ? 20 : 32
        case .chunked: Self.longest
        }
    }

    /// Writes it to the start of `out`, which has room for the longest. Gives how many bytes that took.
    func write(to out: UnsafeMutableRawBufferPointer) -> Int {
        switch self {
        case .stored(let location):
            out.storeBytes(of: location.pack.littleEndian, as: UInt64.self)
            let isShort = encodedSize == 20
            for (place, word) in [location.offset, location.stored, location.raw].enumerated() {
                if isShort {
                    out.storeBytes(of: UInt32(word).littleEndian, toByteOffset: 8 + 4 * place, as: UInt32.self)
                } else {
                    out.storeBytes(of: word.littleEndian, toByteOffset: 8 + 8 * place, as: UInt64.self)
                }
            }
        case .chunked(let size, let list):
            out.storeBytes(of: size.littleEndian, as: UInt64.self)
            list.write(to: UnsafeMutableRawBufferPointer(rebasing: out[8...]))
        }
        return encodedSize
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        func long(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        func short(_ offset: Int) -> UInt64 {
            UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
        }
        switch bytes.count {
        case 20:
            self = .stored(Location(pack: long(0), offset: short(8), stored: short(12), raw: short(16)))
        case 32:
            let location = Location(pack: long(0), offset: long(8), stored: long(16), raw: long(24))
            // No file is that long: sums of these stay in range.
            guard max(location.offset, location.stored, location.raw) < 1 << 61 else { return nil }
            self = .stored(location)
        case 40:
            guard let list = Digest(bytes: UnsafeRawBufferPointer(rebasing: bytes[8...])) else { return nil }
            self = .chunked(size: long(0), list: list)
        default:
            return nil
        }
    }
}
