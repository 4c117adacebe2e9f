// What was seen of each directory last time: a file whose stat signature is unchanged is not opened, and a directory in
// which nothing changed is not made again. Losing it costs time only.
//
// Layout, little-endian (Specs/context.md has it in full): "STX2", generation (4 bytes), directory count (8), 16 bytes a
// directory of device and inode with 16 of where its block is, sorted; the blocks; XXH3-64 of all before. Anything that
// does not hold makes the whole file count as empty.

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
    private let file: MappedFile?
    let count: Int
    let generation: UInt32

    private static let magic: [UInt8] = Array("STX2".utf8)
    private static let header = 16
    private static let row = 32
    /// A directory that so many changed scans in a row did not see is forgotten.
    private static let patience: UInt32 = 16

    static let empty = StatIndex(file: nil, count: 0, generation: 0)

    private init(file: MappedFile?, count: Int, generation: UInt32) {
        self.file = file
        self.count = count
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
        let buffer = file.bytes
        guard buffer.count >= Self.header + 8, buffer.prefix(4).elementsEqual(Self.magic) else { return nil }
        let end = buffer.count - 8
        guard buffer.word(end) == checksum(buffer.slice(0, end)) else { return nil }
        let count = buffer.word(8)
        guard count <= UInt64((end - Self.header) / Self.row) else { return nil }
        self.init(file: file, count: Int(count), generation: buffer.half(4))
    }

    /// Calls `body` with the whole index, in which records find their entries.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withExtendedLifetime(file) { body(file?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)) }
    }

    /// What is known of the directory with that device and inode.
    func find(device: UInt64, inode: UInt64) -> DirectoryRecord? {
        withBytes { buffer in
            var low = 0
            var high = count
            while low < high {
                let middle = (low + high) / 2
                let start = Self.header + middle * Self.row
                let key = (buffer.word(start), buffer.word(start + 8))
                if key == (device, inode) { return block(middle, buffer) }
                if key < (device, inode) { low = middle + 1 } else { high = middle }
            }
            return nil
        }
    }

    /// The record in row `position`; nil when it leads outside.
    private func block(_ position: Int, _ buffer: UnsafeRawBufferPointer) -> DirectoryRecord? {
        let start = Self.header + position * Self.row
        let (offset, length) = (buffer.word(start + 16), buffer.word(start + 24))
        let limit = UInt64(buffer.count - 8)
        guard offset <= limit, length <= limit - offset else { return nil }
        return DirectoryRecord(
            buffer, row: position, device: buffer.word(start), range: Int(offset)..<Int(offset + length))
    }

    /// The index after a scan: `new` blocks replace those of the same directory; what was not seen ages.
    ///
    /// - Parameter seen: rows of directories that were visited.
    func merged(new: [IndexBlock], seen: [Int]) -> [UInt8] {
        let next = generation &+ 1
        var isSeen = [Bool](repeating: false, count: count)
        for row in seen { isSeen[row] = true }
        let fresh = new.sorted { $0.key < $1.key }
        var kept: [(key: (UInt64, UInt64), old: DirectoryRecord?, new: Int)] = []
        kept.reserveCapacity(count + new.count)
        withBytes { buffer in
            var index = 0
            for row in 0..<count {
                guard let old = block(row, buffer) else { continue }
                let key = (old.device, buffer.word(Self.header + row * Self.row + 8))
                while index < fresh.count, fresh[index].key < key {
                    kept.append((fresh[index].key, nil, index))
                    index += 1
                }
                if index < fresh.count, fresh[index].key == key { continue }
                if isSeen[row] || next &- old.generation <= Self.patience { kept.append((key, old, -1)) }
            }
            for rest in index..<fresh.count { kept.append((fresh[rest].key, nil, rest)) }
        }
        // Two names of one directory (a bind mount): either will do.
        kept = zip(kept.indices, kept).filter { $0 == 0 || kept[$0 - 1].key != $1.key }.map { $1 }
        return encoded(kept, fresh, isSeen, next)
    }

    private func encoded(
        _ kept: [(key: (UInt64, UInt64), old: DirectoryRecord?, new: Int)], _ fresh: [IndexBlock], _ isSeen: [Bool],
        _ next: UInt32
    ) -> [UInt8] {
        func length(_ item: (key: (UInt64, UInt64), old: DirectoryRecord?, new: Int)) -> Int {
            item.old?.range.count ?? fresh[item.new].bytes.count
        }
        var out = ByteWriter()
        let total = kept.reduce(Self.header + kept.count * Self.row) { $0 + length($1) }
        out.bytes.reserveCapacity(total + 8)
        out.raw(Self.magic)
        out.u32(next)
        out.u64(UInt64(kept.count))
        var offset = Self.header + kept.count * Self.row
        for item in kept {
            out.u64(item.key.0)
            out.u64(item.key.1)
            out.u64(UInt64(offset))
            out.u64(UInt64(length(item)))
            offset += length(item)
        }
        for item in kept {
            let generation = item.old.map { isSeen[$0.row] ? next : $0.generation } ?? next
            let start = out.bytes.count
            if let old = item.old {
                withBytes { out.bytes.append(contentsOf: $0[old.range]) }
            } else {
                out.bytes += fresh[item.new].bytes
            }
            withUnsafeBytes(of: generation.littleEndian) { out.bytes.replaceSubrange(start..<(start + 4), with: $0) }
        }
        out.u64(out.bytes.withUnsafeBytes { checksum($0) })
        return out.bytes
    }

    /// Writes `bytes` to `path` by a rename. Not synced: a torn file is told by its checksum, and costs time only.
    static func write(_ bytes: [UInt8], to path: String) throws(SystemError) {
        let temporary = "\(path).\(UInt64.random(in: 0...UInt64.max)).new"
        do throws(SystemError) {
            let fd = try OwnedFD.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
            let result: Result<Void, SystemError> = bytes.withUnsafeBytes { buffer in
                do throws(SystemError) { return .success(try writeAll(fd.raw, buffer, path)) } catch {
                    return .failure(error)
                }
            }
            try result.get()
            try retrying("rename", path) { rename(temporary, path) }
        } catch {
            unlink(temporary)
            throw error
        }
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
