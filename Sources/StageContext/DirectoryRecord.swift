// One directory of the stat index: what its entries were, and the tree that they made.
//
// A block: generation 4, entries 4, taken entries 4, mode 4, time 8 + 4, flags 4 (1: it has a tree), identity 32, object
// 32; then 120 bytes an entry in the kernel's order, which a scan meets again; the entries' positions in name order, 4
// each; names and link targets.
// An entry: inode 8, size 8, mtime and ctime seconds 8 + 8, their nanoseconds 4 + 4, mode 4, name offset 4, name length 2,
// kind 1, flags 1 (1: its signature is trusted, 2: it is in the tree, 4: it has other names), 4 unused; then, a file: digest 32, XXH3-128 16; a
// directory: identity 32, object 32; a symlink: target offset 4 and length 4; a device: major 4, minor 4.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// A view of a block in the index. Reading entries takes the index' bytes beside it.
struct DirectoryRecord: Sendable {
    let row: Int
    let device: UInt64
    let range: Range<Int>
    let generation: UInt32
    let count: Int
    /// How many entries the tree has.
    let taken: Int
    let mode: UInt16
    let time: Timestamp
    /// The tree that the taken entries make; nil when there were none and the directory did not enter.
    let ref: TreeRef?

    static let head = 96
    static let entrySize = 120

    private var entries: Int { range.lowerBound + Self.head }
    private var order: Int { entries + count * Self.entrySize }
    private var names: Int { order + count * 4 }

    init?(_ bytes: UnsafeRawBufferPointer, row: Int, device: UInt64, range: Range<Int>) {
        guard range.count >= Self.head else { return nil }
        let start = range.lowerBound
        count = Int(bytes.half(start + 4))
        taken = Int(bytes.half(start + 8))
        guard count <= (range.count - Self.head) / (Self.entrySize + 4) else { return nil }
        self.row = row
        self.device = device
        self.range = range
        generation = bytes.half(start)
        mode = UInt16(truncatingIfNeeded: bytes.half(start + 12))
        time = Timestamp(seconds: Int64(bitPattern: bytes.word(start + 16)), nanoseconds: bytes.half(start + 24))
        ref = bytes.half(start + 28) & 1 != 0 ? Self.ref(bytes, start + 32) : nil
    }

    private static func ref(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> TreeRef? {
        guard let identity = digest(bytes, offset), let object = digest(bytes, offset + 32) else { return nil }
        return TreeRef(identity: identity, object: object)
    }

    private static func digest(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> Digest? {
        Digest(bytes: UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + 32)]))
    }

    // MARK: Finding entries

    /// The name of the entry at `position`.
    func name(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let entry = entries + position * Self.entrySize
        let length = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: entry + 48, as: UInt16.self)))
        return text(Int(bytes.half(entry + 44)), length, bytes)
    }

    private func text(_ offset: Int, _ length: Int, _ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let start = names + offset
        guard start + length <= range.upperBound else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)])
    }

    /// The position of the entry called `wanted`.
    ///
    /// - Parameter turn: where it is expected; moved behind it when it is there. Entries that went away are skipped, and a
    ///   new one leaves the turn where it is.
    @inline(__always)
    func find(_ wanted: UnsafeRawBufferPointer, turn: inout Int, _ bytes: UnsafeRawBufferPointer) -> Int? {
        for position in turn..<max(turn, min(count, turn + 9)) where Self.order(name(position, bytes), wanted) == 0 {
            turn = position + 1
            return position
        }
        guard let position = search(wanted, bytes) else { return nil }
        turn = position + 1
        return position
    }

    private func search(_ wanted: UnsafeRawBufferPointer, _ bytes: UnsafeRawBufferPointer) -> Int? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            let position = Int(bytes.half(order + middle * 4))
            guard position < count else { return nil }
            let difference = Self.order(name(position, bytes), wanted)
            if difference == 0 { return position }
            if difference < 0 { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    /// Byte order, as trees sort.
    @inline(__always)
    private static func order(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
        guard let first = a.baseAddress, let second = b.baseAddress else { return a.count - b.count }
        let order = Int(memcmp(first, second, min(a.count, b.count)))
        return order != 0 ? order : a.count - b.count
    }

    // MARK: Reading entries

    func kind(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> FileType? {
        FileType(rawValue: bytes[entries + position * Self.entrySize + 50])
    }

    /// True when the entry is in the tree.
    func isTaken(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes[entries + position * Self.entrySize + 51] & EntryFlags.taken != 0
    }

    /// True when the entry was taken, its signature is trusted, and `info` is the same.
    func isUnchanged(_ position: Int, _ info: clinux_stat, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let entry = entries + position * Self.entrySize
        return bytes[entry + 51] & EntryFlags.trusted != 0
            && bytes.word(entry) == info.ino && bytes.word(entry + 8) == info.size
            && Int64(bitPattern: bytes.word(entry + 16)) == info.mtime_sec
            && Int64(bitPattern: bytes.word(entry + 24)) == info.ctime_sec
            && bytes.half(entry + 32) == info.mtime_nsec && bytes.half(entry + 36) == info.ctime_nsec
            && bytes.half(entry + 40) == info.mode && device == info.dev
    }

    /// True for a regular file that can be read together with others.
    func isSmallFile(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        kind(position, bytes) == .file
            && bytes.word(entries + position * Self.entrySize + 8) <= UInt64(FileReader.smallSize)
    }

    /// What was known of a regular file.
    func file(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> KnownFile? {
        let entry = entries + position * Self.entrySize
        guard kind(position, bytes) == .file, let digest = Self.digest(bytes, entry + 56) else { return nil }
        return KnownFile(
            size: bytes.word(entry + 8), digest: digest,
            fingerprint: Fingerprint(low: bytes.word(entry + 88), high: bytes.word(entry + 96)))
    }

    /// What was known of a subdirectory that was in the tree.
    func directory(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> TreeRef? {
        guard kind(position, bytes) == .directory, isTaken(position, bytes) else { return nil }
        return Self.ref(bytes, entries + position * Self.entrySize + 56)
    }

    /// The entry as it stands in a tree; nil for directories.
    func node(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> Node? {
        let entry = entries + position * Self.entrySize
        let mode = UInt16(truncatingIfNeeded: bytes.half(entry + 40) & 0o7777)
        var attributes = Attributes(
            mode: mode,
            time: Timestamp(
                seconds: Int64(bitPattern: bytes.word(entry + 16)),
                nanoseconds: min(bytes.half(entry + 32), 999_999_999)))
        let content: Node.Content
        switch kind(position, bytes) {
        case .file:
            guard let digest = Self.digest(bytes, entry + 56) else { return nil }
            content = .file(digest, size: bytes.word(entry + 8))
        case .symlink:
            attributes.mode = 0o777
            content = .symlink(Array(text(Int(bytes.half(entry + 56)), Int(bytes.half(entry + 60)), bytes)))
        case .fifo: content = .fifo
        case .characterDevice: content = .characterDevice(major: bytes.half(entry + 56), minor: bytes.half(entry + 60))
        case .blockDevice: content = .blockDevice(major: bytes.half(entry + 56), minor: bytes.half(entry + 60))
        case .directory, .socket, nil: return nil
        }
        // Another name changes ctime, so an unchanged signature has no more and no fewer names.
        let isLinked = bytes[entry + 51] & EntryFlags.linked != 0
        return Node(
            attributes: attributes, content: content,
            linkGroup: isLinked ? linkGroup(device: device, inode: bytes.word(entry)) : 0)
    }

    /// The bytes of the entry, for copying into a new block.
    func raw(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let entry = entries + position * Self.entrySize
        return UnsafeRawBufferPointer(rebasing: bytes[entry..<(entry + Self.entrySize)])
    }

    /// A symlink's target.
    func target(_ position: Int, _ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let entry = entries + position * Self.entrySize
        return text(Int(bytes.half(entry + 56)), Int(bytes.half(entry + 60)), bytes)
    }
}

/// The bits of an entry's flags byte.
enum EntryFlags {
    static let trusted: UInt8 = 1
    static let taken: UInt8 = 2
    static let linked: UInt8 = 4
}

/// What is known of a file's content.
struct KnownFile: Hashable, Sendable {
    var size: UInt64
    var digest: Digest
    var fingerprint: Fingerprint
}
