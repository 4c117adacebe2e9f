// What was seen of each directory last time: a file whose stat signature is unchanged is not opened, and a directory in
// which nothing changed is not made again. Losing it costs time only.
//
// Layout, little-endian (Specs/context.md has it in full): segments, later ones before earlier ones. A segment: "STX3",
// generation (4 bytes), directory count (8), length of the segment (8); a row of 32 bytes a directory, sorted: device,
// inode, where its block is in the segment, how long; the blocks; the low half of XXH3-128 of all before. A few changed directories are
// appended as a segment; many, or many segments, are written anew. Anything that does not hold makes the whole file count
// as empty.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// The block of one directory, as it goes into the index.
struct IndexBlock: Sendable {
    let device: UInt64
    let inode: UInt64
    let bytes: [UInt8]

    var key: (UInt64, UInt64) { (device, inode) }
}

/// The records of one context, read-only.
struct StatIndex: Sendable {
    private struct Segment: Sendable {
        let start: Int
        let end: Int
        let count: Int
    }

    private let file: MappedFile?
    private let segments: [Segment]
    private let generation: UInt32

    private static let magic: [UInt8] = Array("STX3".utf8)
    private static let header = 24
    private static let row = 32
    /// A directory that so many rewritten indexes in a row did not see is forgotten.
    private static let patience: UInt32 = 16
    /// Each look-up goes through all segments.
    private static let mostSegments = 16

    static let empty = StatIndex(file: nil, segments: [], generation: 0)

    private init(file: MappedFile?, segments: [Segment], generation: UInt32) {
        self.file = file
        self.segments = segments
        self.generation = generation
    }

    /// Reads the index at `path`; what is missing, torn or foreign is an empty one.
    static func load(_ path: String) -> StatIndex {
        guard let fd = try? OwnedFD.open(path, O_RDONLY | O_NONBLOCK), let info = try? statDescriptor(fd.raw, path),
            FileType(mode: info.mode) == .file, info.size >= UInt64(header + 8), info.size < 1 << 34,
            let file = try? MappedFile(fd.raw, size: Int(info.size), path)
        else { return .empty }
        return StatIndex(verifying: file) ?? .empty
    }

    private init?(verifying file: MappedFile) {
        let bytes = file.bytes
        var segments: [Segment] = []
        var start = 0
        var generation: UInt32 = 0
        while start < bytes.count {
            guard bytes.count - start >= Self.header + 8,
                bytes.slice(start, 4).elementsEqual(Self.magic), segments.count < 2 * Self.mostSegments
            else { return nil }
            let length = bytes.word(start + 16)
            guard length >= UInt64(Self.header + 8), length <= UInt64(bytes.count - start) else { return nil }
            let end = start + Int(length) - 8
            let count = bytes.word(start + 8)
            guard bytes.word(end) == Fingerprint.of(bytes.slice(start, end - start)).low,
                count <= UInt64((end - start - Self.header) / Self.row)
            else { return nil }
            segments.append(Segment(start: start, end: end, count: Int(count)))
            generation = bytes.half(start + 4)
            start = end + 8
        }
        self.init(file: file, segments: segments, generation: generation)
    }

    /// How many bytes the index has: what is known of how large the context is.
    var size: Int { file?.bytes.count ?? 0 }

    /// Calls `body` with the whole index, in which records find their entries.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withExtendedLifetime(file) { body(file?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)) }
    }

    /// What is known of the directory with that device and inode.
    func find(device: UInt64, inode: UInt64) -> DirectoryRecord? {
        withBytes { bytes in
            for segment in segments.reversed() {
                if let row = find((device, inode), segment, bytes) { return block(row, segment, bytes) }
            }
            return nil
        }
    }

    private func find(_ wanted: (UInt64, UInt64), _ segment: Segment, _ bytes: UnsafeRawBufferPointer) -> Int? {
        var low = 0
        var high = segment.count
        while low < high {
            let middle = (low + high) / 2
            let start = segment.start + Self.header + middle * Self.row
            let key = (bytes.word(start), bytes.word(start + 8))
            if key == wanted { return start }
            if key < wanted { low = middle + 1 } else { high = middle }
        }
        return nil
    }

    /// The record whose row begins at `row`; nil when it leads outside.
    private func block(_ row: Int, _ segment: Segment, _ bytes: UnsafeRawBufferPointer) -> DirectoryRecord? {
        let (offset, length) = (bytes.word(row + 16), bytes.word(row + 24))
        let limit = UInt64(segment.end - segment.start)
        guard offset <= limit, length <= limit - offset else { return nil }
        let start = segment.start + Int(offset)
        return DirectoryRecord(bytes, row: row, device: bytes.word(row), range: start..<(start + Int(length)))
    }

    // MARK: Writing

    /// A block that goes into a new segment: an old one, or a new one.
    private struct Kept {
        let key: (UInt64, UInt64)
        var old: DirectoryRecord?
        var new: IndexBlock?
        var generation: UInt32

        var count: Int { old?.range.count ?? new?.bytes.count ?? 0 }
    }

    /// Brings the index at `path`, which this one was read from, up to date: `new` blocks count before those of the same
    /// directories, and what was not seen ages.
    ///
    /// Not synced: a torn file is told by its checksums, and costs time only. So does a writer that was overtaken.
    ///
    /// - Parameter seen: rows of directories that were visited.
    func update(_ path: String, new: [IndexBlock], seen: [Int]) throws(SystemError) {
        let next = generation &+ 1
        let fresh = new.sorted { $0.key < $1.key }.map { Kept(key: $0.key, new: $0, generation: next) }
        let size = new.reduce(0) { $0 + $1.bytes.count }
        if let file, segments.count < Self.mostSegments, size * 4 < file.bytes.count {
            // Somebody else was here meanwhile: what they left is replaced, not added to.
            if let fd = try? OwnedFD.open(path, O_WRONLY | O_APPEND), let info = try? statDescriptor(fd.raw, path),
                info.size == UInt64(file.bytes.count)
            {
                // One call: two that append at once do not mix.
                return try write(unique(fresh), generation, to: fd.raw, path, piece: .max)
            }
        }
        let kept = merged(fresh, Set(seen), next)
        try replaceFile(path) { fd throws(SystemError) in try write(kept, next, to: fd, path, piece: 128 * 1024) }
    }

    /// Of two names of one directory (a bind mount), either will do.
    private func unique(_ sorted: [Kept]) -> [Kept] {
        zip(sorted.indices, sorted).filter { $0 == 0 || sorted[$0 - 1].key != $1.key }.map { $1 }
    }

    /// Old and new blocks in order, without what is out of date or forgotten.
    private func merged(_ fresh: [Kept], _ seen: Set<Int>, _ next: UInt32) -> [Kept] {
        var all = fresh
        withBytes { bytes in
            for segment in segments.reversed() {
                for index in 0..<segment.count {
                    let row = segment.start + Self.header + index * Self.row
                    guard let old = block(row, segment, bytes) else { continue }
                    let generation = seen.contains(row) ? next : old.generation
                    if next &- generation > Self.patience { continue }
                    all.append(Kept(key: (old.device, bytes.word(row + 8)), old: old, generation: generation))
                }
            }
        }
        // Newest first, and the sort keeps that order among equals.
        let order = all.indices.sorted { all[$0].key == all[$1].key ? $0 < $1 : all[$0].key < all[$1].key }
        return unique(order.map { all[$0] })
    }

    /// Writes a segment, in pieces of about `piece` bytes: making it whole first would touch as much new memory.
    private func write(
        _ kept: [Kept], _ generation: UInt32, to fd: CInt, _ path: String, piece: Int
    ) throws(SystemError) {
        let rows = Self.header + kept.count * Self.row
        let total = kept.reduce(rows) { $0 + $1.count } + 8
        var out = SegmentOutput(fd, path, piece: piece, total: total)
        out.writer.raw(Self.magic)
        out.writer.u32(generation)
        out.writer.u64(UInt64(kept.count))
        out.writer.u64(UInt64(total))
        var offset = rows
        for item in kept {
            out.writer.u64(item.key.0)
            out.writer.u64(item.key.1)
            out.writer.u64(UInt64(offset))
            out.writer.u64(UInt64(item.count))
            offset += item.count
        }
        for item in kept {
            out.writer.u32(item.generation)
            if let old = item.old { withBytes { out.writer.bytes.append(contentsOf: $0[old.range].dropFirst(4)) } }
            if let new = item.new { out.writer.bytes.append(contentsOf: new.bytes.dropFirst(4)) }
            try out.flushIfFull()
        }
        try out.finish()
    }
}

/// A segment on its way to the file, and the checksum that ends it.
private struct SegmentOutput: ~Copyable {
    var writer = ByteWriter()
    private var hasher = FingerprintHasher()
    private let fd: CInt
    private let path: String
    private let piece: Int

    init(_ fd: CInt, _ path: String, piece: Int, total: Int) {
        (self.fd, self.path, self.piece) = (fd, path, piece)
        writer.bytes.reserveCapacity(piece < total ? piece + piece / 4 : total)
    }

    mutating func flushIfFull() throws(SystemError) {
        if writer.bytes.count < piece { return }
        writer.bytes.withUnsafeBytes { hasher.update($0) }
        try write()
    }

    consuming func finish() throws(SystemError) {
        writer.bytes.withUnsafeBytes { hasher.update($0) }
        writer.u64(hasher.finalize().low)
        try write()
    }

    private mutating func write() throws(SystemError) {
        try writeAll(fd, writer.bytes, path)
        writer.bytes.removeAll(keepingCapacity: true)
    }
}

extension UnsafeRawBufferPointer {
    func word(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    func half(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}
