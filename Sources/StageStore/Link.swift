// What a value or a content leads to. The store knows directories and chunk lists; what the values of its tables mean is
// known to those who set them, and told by a `LinkReader`.

import StageHash
import StageSystem

/// One thing that something else cannot do without.
public enum Link: Hashable, Sendable {
    /// A content.
    case content(Digest)
    /// A directory object and all it leads to, contents of files included.
    case directory(Digest)
    /// A content whose bytes name others, as `LinkReader.links(inList:)` reads them.
    case list(Digest)
}

/// Reads what the store's tables hold.
public protocol LinkReader: Sendable {
    /// What a value of `records`, `images` or `builds` leads to; nil when it does not decode.
    func links(of table: Table, _ value: [UInt8]) -> [Link]?

    /// What the bytes of a `Link.list` lead to; nil when they do not decode.
    func links(inList bytes: [UInt8]) -> [Link]?
}

extension DirectoryObject {
    /// Magic, attributes, count: no encoding is shorter.
    static let leastSize: UInt64 = 34

    /// Calls back for each name in an encoded directory, without decoding all of it.
    ///
    /// - Returns: false when the bytes are no directory object; what was called back for until then counts for nothing.
    static func visitLinks(
        in bytes: UnsafeRawBufferPointer, directory: (Digest) -> Void, file: (Digest) -> Void
    ) -> Bool {
        var walk = LinkWalk(bytes: bytes)
        guard bytes.count >= 4, bytes[..<4].elementsEqual(objectMagic), walk.skip(4), walk.attributes(),
            let count = walk.u32()
        else { return false }
        for _ in 0..<count {
            guard walk.frame(), let raw = walk.u8(), let kind = FileType(rawValue: raw) else { return false }
            if kind == .directory {
                guard walk.skip(32), let object = walk.digest() else { return false }
                directory(object)
                continue
            }
            guard walk.attributes() else { return false }
            switch kind {
            case .file:
                guard let digest = walk.digest(), walk.skip(8) else { return false }
                file(digest)
            case .symlink: guard walk.frame() else { return false }
            case .fifo: break
            case .characterDevice, .blockDevice: guard walk.skip(8) else { return false }
            case .directory, .socket: return false
            }
            guard let touched = walk.u8(), touched <= 1, walk.skip(touched == 1 ? 32 : 0), walk.skip(8) else {
                return false
            }
        }
        return walk.position == bytes.count
    }
}

/// Steps over the fields of a directory object; each step is refused when the bytes end before.
private struct LinkWalk {
    let bytes: UnsafeRawBufferPointer
    var position = 0

    mutating func skip(_ count: Int) -> Bool {
        guard count <= bytes.count - position else { return false }
        position += count
        return true
    }

    mutating func u8() -> UInt8? {
        guard position < bytes.count else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func u32() -> Int? {
        guard bytes.count - position >= 4 else { return nil }
        defer { position += 4 }
        return Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
    }

    mutating func frame() -> Bool {
        guard let count = u32() else { return false }
        return skip(count)
    }

    mutating func digest() -> Digest? {
        guard bytes.count - position >= 32 else { return nil }
        defer { position += 32 }
        return Digest(bytes: UnsafeRawBufferPointer(rebasing: bytes[position..<(position + 32)]))
    }

    mutating func attributes() -> Bool {
        guard skip(10), let count = u32() else { return false }
        for _ in 0..<count { guard frame(), frame() else { return false } }
        return skip(12)
    }
}
