// The unit of everything: an immutable Merkle tree of directories over content-addressed file contents.
// Encoding and identity: TreeEncoding.swift and Specs/store-format.md.

import StageHash
import StageSystem

/// A tree by its two names.
///
/// `identity` leaves modification times and hard-link grouping out and is what keys are made of; `object` is the name
/// of the stored directory, times included, and is what is read.
public struct TreeRef: Hashable, Sendable, Codable {
    public let identity: Digest
    public let object: Digest

    public init(identity: Digest, object: Digest) {
        self.identity = identity
        self.object = object
    }
}

/// A point in time as filesystems keep it, since 1970-01-01 UTC.
public struct Timestamp: Hashable, Comparable, Sendable, Codable {
    public var seconds: Int64
    /// Below 1,000,000,000.
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    public static let epoch = Timestamp(seconds: 0)

    public static func < (a: Timestamp, b: Timestamp) -> Bool {
        (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds)
    }
}

/// An extended attribute.
public struct XAttr: Hashable, Sendable {
    public let name: [UInt8]
    public let value: [UInt8]

    public init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}

/// What every node has. `time` is kept beside the identity, never in it.
public struct Attributes: Hashable, Sendable {
    /// Permission, set-id and sticky bits: 0...0o7777. Symlinks have 0o777.
    public var mode: UInt16
    public var uid: UInt32
    public var gid: UInt32
    /// Sorted by name, each name once, as `init` and the encoding see to.
    public var xattrs: [XAttr]
    /// Modification time.
    public var time: Timestamp

    public init(mode: UInt16, uid: UInt32 = 0, gid: UInt32 = 0, xattrs: [XAttr] = [], time: Timestamp = .epoch) {
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.xattrs = Self.canonical(xattrs)
        self.time = time
    }

    /// In name order; of two with one name, the last counts.
    static func canonical(_ xattrs: [XAttr]) -> [XAttr] {
        if zip(xattrs, xattrs.dropFirst()).allSatisfy({ precedes($0.name, $1.name) }) { return xattrs }
        let byName = Dictionary(xattrs.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        return byName.values.sorted { precedes($0.name, $1.name) }
    }

    /// True when all but the times agree.
    public func sameIdentity(as other: Attributes) -> Bool {
        mode == other.mode && uid == other.uid && gid == other.gid && xattrs == other.xattrs
    }
}

/// Anything in a directory that is not a directory.
public struct Node: Hashable, Sendable {
    public enum Content: Hashable, Sendable {
        case file(Digest, size: UInt64)
        case symlink([UInt8])
        case fifo
        case characterDevice(major: UInt32, minor: UInt32)
        case blockDevice(major: UInt32, minor: UInt32)
    }

    public var attributes: Attributes
    public var content: Content
    /// Set when a `RUN` changed nothing of an existing node but its time: that step's key. Part of the identity.
    public var touch: Digest?
    /// Nodes of one tree with the same number (not 0) are hard links to one file. Not part of the identity.
    public var linkGroup: UInt64

    public init(attributes: Attributes, content: Content, touch: Digest? = nil, linkGroup: UInt64 = 0) {
        self.attributes = attributes
        self.content = content
        self.touch = touch
        self.linkGroup = linkGroup
    }

    public func sameIdentity(as other: Node) -> Bool {
        content == other.content && touch == other.touch && attributes.sameIdentity(as: other.attributes)
    }

    /// Whether two nodes of one link group are one file: a touch of one name does not part them.
    public func isOneFile(with other: Node) -> Bool {
        content == other.content && attributes.sameIdentity(as: other.attributes)
    }

    /// The content's digest and size; nil for what is not a regular file.
    public var file: (digest: Digest, size: UInt64)? {
        if case .file(let digest, let size) = content { return (digest, size) }
        return nil
    }
}

/// What a name in a directory leads to.
public enum Entry: Hashable, Sendable {
    case directory(TreeRef)
    case node(Node)

    public func sameIdentity(as other: Entry) -> Bool {
        switch (self, other) {
        case (.directory(let a), .directory(let b)): a.identity == b.identity
        case (.node(let a), .node(let b)): a.sameIdentity(as: b)
        default: false
        }
    }
}

/// One directory: its own attributes, and its entries sorted by name, each name once.
public struct DirectoryObject: Hashable, Sendable {
    public struct Item: Hashable, Sendable {
        public let name: FileName
        public var entry: Entry

        public init(name: FileName, entry: Entry) {
            self.name = name
            self.entry = entry
        }
    }

    public var attributes: Attributes
    public private(set) var items: [Item]

    /// - Parameter items: in any order; of two with one name, the last counts.
    public init(attributes: Attributes, items: [Item] = []) {
        self.attributes = attributes
        let isSorted = zip(items, items.dropFirst()).allSatisfy { $0.name < $1.name }
        self.items = isSorted ? items : Self.sorted(items)
    }

    /// By the places, since items are large, and equal names in their order.
    private static func sorted(_ items: [Item]) -> [Item] {
        let order = items.indices.sorted {
            items[$0].name < items[$1].name || (items[$0].name == items[$1].name && $0 < $1)
        }
        var result: [Item] = []
        result.reserveCapacity(items.count)
        for (place, index) in order.enumerated() {
            let isLast = place + 1 == order.count || items[order[place + 1]].name != items[index].name
            if isLast { result.append(items[index]) }
        }
        return result
    }

    /// A name in it that would not decode again, and could lead out of a root: no store takes such a directory.
    ///
    /// - Throws: `StoreError.invalidName`.
    func checkNames() throws(StoreError) {
        for item in items where !item.name.isValid { throw .invalidName(item.name) }
    }

    /// What `name` leads to here.
    public subscript(name: FileName) -> Entry? {
        var low = 0
        var high = items.count
        while low < high {
            let middle = (low + high) / 2
            if items[middle].name < name { low = middle + 1 } else { high = middle }
        }
        return low < items.count && items[low].name == name ? items[low].entry : nil
    }
}

/// Where directories are read from.
public protocol DirectorySource: Sendable {
    /// The directory object of that name.
    func directory(_ object: Digest) throws(StoreError) -> DirectoryObject
}

/// Where directories are written to.
public protocol DirectorySink: DirectorySource {
    /// Keeps `directory`; its subdirectories have to be kept already.
    func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef
}
