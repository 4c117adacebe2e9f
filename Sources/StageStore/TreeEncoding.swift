// The canonical encoding of a directory, twice: with times (the stored object) and without (the identity).
// Specs/store-format.md draws it. All integers are little-endian; every variable part is framed by its length.

import StageHash
import StageSystem

extension DirectoryObject {
    /// The bytes whose SHA-256 is the object's name.
    public func encoded() -> [UInt8] { encode(identityOnly: false) }

    /// The bytes whose SHA-256 is the identity.
    public func identityBytes() -> [UInt8] { encode(identityOnly: true) }

    /// What the directory is called, kept or not.
    public func names() -> TreeRef {
        TreeRef(identity: Digest.of(identityBytes()), object: Digest.of(encoded()))
    }

    private func encode(identityOnly: Bool) -> [UInt8] {
        var out = ByteWriter()
        out.bytes.reserveCapacity(64 + items.count * 96)
        out.raw(identityOnly ? Self.identityMagic : Self.objectMagic)
        out.attributes(attributes, identityOnly: identityOnly)
        out.u32(UInt32(items.count))
        for item in items {
            out.frame(item.name.bytes)
            switch item.entry {
            case .directory(let ref):
                out.u8(FileType.directory.rawValue)
                out.digest(ref.identity)
                if !identityOnly { out.digest(ref.object) }
            case .node(let node):
                out.u8(node.kind.rawValue)
                out.node(node, identityOnly: identityOnly)
            }
        }
        return out.bytes
    }

    static let objectMagic: [UInt8] = Array("STD1".utf8)
    static let identityMagic: [UInt8] = Array("STI1".utf8)

    /// Reads what `encoded()` wrote; anything else, in any byte, is nil.
    public init?(encoded bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard reader.raw(4) == Self.objectMagic[...], let attributes = reader.attributes(), let count = reader.u32()
        else { return nil }
        var items: [Item] = []
        items.reserveCapacity(min(Int(count), bytes.count / 8))
        for _ in 0..<count {
            guard let name = reader.frame(), let rawKind = reader.u8(), let kind = FileType(rawValue: rawKind)
            else { return nil }
            let fileName = FileName(bytes: name)
            guard fileName.isValid, items.last.map({ $0.name < fileName }) ?? true else { return nil }
            if kind == .directory {
                guard let identity = reader.digest(), let object = reader.digest() else { return nil }
                items.append(Item(name: fileName, entry: .directory(TreeRef(identity: identity, object: object))))
            } else {
                guard let node = reader.node(kind) else { return nil }
                items.append(Item(name: fileName, entry: .node(node)))
            }
        }
        guard reader.isAtEnd else { return nil }
        self.init(attributes: attributes, items: items)
    }
}

extension Node {
    public var kind: FileType {
        switch content {
        case .file: .file
        case .symlink: .symlink
        case .fifo: .fifo
        case .characterDevice: .characterDevice
        case .blockDevice: .blockDevice
        }
    }

    /// What the identity of this node is made of, as bytes: for keys that name a single file.
    public func identityBytes() -> [UInt8] {
        var out = ByteWriter()
        out.u8(kind.rawValue)
        out.node(self, identityOnly: true)
        return out.bytes
    }
}

/// Appends fixed-size and framed values.
public struct ByteWriter: Sendable {
    public var bytes: [UInt8] = []

    public init() {}

    public mutating func raw(_ value: [UInt8]) { bytes.append(contentsOf: value) }
    public mutating func u8(_ value: UInt8) { bytes.append(value) }
    public mutating func u16(_ value: UInt16) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    public mutating func u32(_ value: UInt32) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    public mutating func u64(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    public mutating func digest(_ value: Digest) { value.append(to: &bytes) }

    /// The length, then the bytes.
    public mutating func frame(_ value: [UInt8]) {
        u32(UInt32(value.count))
        raw(value)
    }

    public mutating func string(_ value: String) {
        u32(UInt32(value.utf8.count))
        bytes.append(contentsOf: value.utf8)
    }

    public mutating func time(_ value: Timestamp) {
        u64(UInt64(bitPattern: value.seconds))
        u32(value.nanoseconds)
    }

    mutating func attributes(_ value: Attributes, identityOnly: Bool) {
        let xattrs = Attributes.canonical(value.xattrs)
        u16(value.mode & 0o7777)
        u32(value.uid)
        u32(value.gid)
        u32(UInt32(xattrs.count))
        for xattr in xattrs {
            frame(xattr.name)
            frame(xattr.value)
        }
        if !identityOnly { time(value.time) }
    }

    mutating func node(_ node: Node, identityOnly: Bool) {
        attributes(node.attributes, identityOnly: identityOnly)
        switch node.content {
        case .file(let digest, let size):
            self.digest(digest)
            u64(size)
        case .symlink(let target):
            frame(target)
        case .fifo:
            break
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            u32(major)
            u32(minor)
        }
        if let touch = node.touch {
            u8(1)
            digest(touch)
        } else {
            u8(0)
        }
        if !identityOnly { u64(node.linkGroup) }
    }
}

/// Reads what `ByteWriter` wrote; every read past the end is nil.
public struct ByteReader: Sendable {
    private let bytes: [UInt8]
    private var position = 0

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public var isAtEnd: Bool { position == bytes.count }

    public mutating func raw(_ count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= bytes.count - position else { return nil }
        defer { position += count }
        return bytes[position..<(position + count)]
    }

    private mutating func integer<T: FixedWidthInteger>(_ type: T.Type) -> T? {
        let size = MemoryLayout<T>.size
        guard size <= bytes.count - position else { return nil }
        defer { position += size }
        return bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: T.self)) }
    }

    public mutating func u8() -> UInt8? { integer(UInt8.self) }
    public mutating func u16() -> UInt16? { integer(UInt16.self) }
    public mutating func u32() -> UInt32? { integer(UInt32.self) }
    public mutating func u64() -> UInt64? { integer(UInt64.self) }

    public mutating func digest() -> Digest? {
        guard bytes.count - position >= 32 else { return nil }
        defer { position += 32 }
        return bytes.withUnsafeBytes { Digest(bytes: UnsafeRawBufferPointer(rebasing: $0[position..<(position + 32)])) }
    }

    public mutating func frame() -> ArraySlice<UInt8>? {
        guard let count = u32() else { return nil }
        return raw(Int(count))
    }

    public mutating func string() -> String? { frame().map { String(decoding: $0, as: UTF8.self) } }

    public mutating func time() -> Timestamp? {
        guard let seconds = u64(), let nanoseconds = u32(), nanoseconds < 1_000_000_000 else { return nil }
        return Timestamp(seconds: Int64(bitPattern: seconds), nanoseconds: nanoseconds)
    }

    mutating func attributes() -> Attributes? {
        guard let mode = u16(), let uid = u32(), let gid = u32(), let count = u32() else { return nil }
        var xattrs: [XAttr] = []
        for _ in 0..<count {
            guard let name = frame(), let value = frame() else { return nil }
            if let last = xattrs.last, !last.name.lexicographicallyPrecedes(name) { return nil }
            xattrs.append(XAttr(name: Array(name), value: Array(value)))
        }
        guard mode <= 0o7777, let time = time() else { return nil }
        return Attributes(mode: mode, uid: uid, gid: gid, xattrs: xattrs, time: time)
    }

    mutating func node(_ kind: FileType) -> Node? {
        guard let attributes = attributes(), let content = content(kind), let touched = u8(), touched <= 1 else {
            return nil
        }
        var touch: Digest?
        if touched == 1 {
            guard let mark = digest() else { return nil }
            touch = mark
        }
        guard let linkGroup = u64() else { return nil }
        return Node(attributes: attributes, content: content, touch: touch, linkGroup: linkGroup)
    }

    private mutating func content(_ kind: FileType) -> Node.Content? {
        switch kind {
        case .file:
            guard let digest = digest(), let size = u64() else { return nil }
            return .file(digest, size: size)
        case .symlink:
            return frame().map { .symlink(Array($0)) }
        case .fifo:
            return .fifo
        case .characterDevice, .blockDevice:
            guard let major = u32(), let minor = u32() else { return nil }
            return kind == .characterDevice
                ? .characterDevice(major: major, minor: minor) : .blockDevice(major: major, minor: minor)
        case .directory, .socket:
            return nil
        }
    }
}
