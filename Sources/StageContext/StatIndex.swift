// What was seen of each file last time: a file whose stat signature is unchanged is not opened. Losing it costs time only.
//
// Layout, little-endian: "STX1", generation (4 bytes), count (8), then 104 bytes a record sorted by device and inode, then
// XXH3-64 of all before. Anything that does not hold makes the whole file count as empty. Specs/context.md.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// What statx says about a file that changes whenever its content may have.
struct StatSignature: Hashable, Sendable {
    var device: UInt64
    var inode: UInt64
    var size: UInt64
    var modified: Timestamp
    var changed: Timestamp
    var mode: UInt32

    init(_ info: clinux_stat) {
        device = info.dev
        inode = info.ino
        size = info.size
        modified = Timestamp(seconds: info.mtime_sec, nanoseconds: info.mtime_nsec)
        changed = Timestamp(seconds: info.ctime_sec, nanoseconds: info.ctime_nsec)
        mode = info.mode
    }

    fileprivate init(_ bytes: UnsafeRawBufferPointer) {
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        func half(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        (device, inode, size) = (word(0), word(8), word(16))
        modified = Timestamp(seconds: Int64(bitPattern: word(24)), nanoseconds: half(40))
        changed = Timestamp(seconds: Int64(bitPattern: word(32)), nanoseconds: half(44))
        mode = half(48)
    }
}

/// One file as it was seen.
struct StatRecord: Hashable, Sendable {
    var signature: StatSignature
    /// False when the file could have changed again within the clock's grain, so that its signature proves nothing.
    var isTrusted: Bool
    /// The generation that last saw the file.
    var generation: UInt32
    var digest: Digest
    var fingerprint: Fingerprint

    static let size = 104
    private static let trustedFlag: UInt32 = 1 << 31

    init(signature: StatSignature, isTrusted: Bool, digest: Digest, fingerprint: Fingerprint) {
        self.signature = signature
        self.isTrusted = isTrusted
        self.digest = digest
        self.fingerprint = fingerprint
        generation = 0
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.size, let digest = Digest(bytes: UnsafeRawBufferPointer(rebasing: bytes[56..<88]))
        else { return nil }
        signature = StatSignature(bytes)
        let flags = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 52, as: UInt32.self))
        isTrusted = flags & Self.trustedFlag != 0
        generation = flags & ~Self.trustedFlag
        self.digest = digest
        fingerprint = Fingerprint(
            low: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 88, as: UInt64.self)),
            high: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 96, as: UInt64.self)))
    }

    func append(to out: inout ByteWriter) {
        out.u64(signature.device)
        out.u64(signature.inode)
        out.u64(signature.size)
        out.u64(UInt64(bitPattern: signature.modified.seconds))
        out.u64(UInt64(bitPattern: signature.changed.seconds))
        out.u32(signature.modified.nanoseconds)
        out.u32(signature.changed.nanoseconds)
        out.u32(signature.mode)
        out.u32(generation | (isTrusted ? Self.trustedFlag : 0))
        out.digest(digest)
        out.u64(fingerprint.low)
        out.u64(fingerprint.high)
    }
}

/// The records of one context, read-only.
struct StatIndex: Sendable {
    private let bytes: [UInt8]
    let count: Int
    private let generation: UInt32

    private static let magic: [UInt8] = Array("STX1".utf8)
    private static let header = 16
    /// A file that so many changed scans in a row did not see is forgotten.
    private static let patience: UInt32 = 16

    static let empty = StatIndex(bytes: [], count: 0, generation: 0)

    private init(bytes: [UInt8], count: Int, generation: UInt32) {
        self.bytes = bytes
        self.count = count
        self.generation = generation
    }

    /// Reads the index at `path`; what is missing, torn or foreign is an empty one.
    static func load(_ path: String) -> StatIndex {
        guard let fd = try? OwnedFD.open(path, O_RDONLY | O_NONBLOCK), let info = try? statDescriptor(fd.raw, path),
            FileType(mode: info.mode) == .file, info.size >= UInt64(Self.header + 8), info.size < 1 << 34
        else { return .empty }
        let size = Int(info.size)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        defer { buffer.deallocate() }
        guard let read = try? readFull(fd.raw, buffer, path), read == size,
            let parsed = StatIndex(verifying: Array(buffer))
        else { return .empty }
        return parsed
    }

    init?(verifying bytes: [UInt8]) {
        let facts: (UInt32, Int)? = bytes.withUnsafeBytes { buffer in
            guard buffer.count >= Self.header + 8, buffer.prefix(4).elementsEqual(Self.magic) else { return nil }
            let end = buffer.count - 8
            let sum = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: end, as: UInt64.self))
            guard sum == checksum(UnsafeRawBufferPointer(rebasing: buffer[..<end])) else { return nil }
            let count = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            guard count <= UInt64(end / StatRecord.size), Int(count) * StatRecord.size == end - Self.header else {
                return nil
            }
            let generation = UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            return (generation & 0x7FFF_FFFF, Int(count))
        }
        guard let facts else { return nil }
        self.init(bytes: bytes, count: facts.1, generation: facts.0)
    }

    /// The record at `position`, below `count`.
    func record(_ position: Int) -> StatRecord? {
        bytes.withUnsafeBytes { buffer in
            let start = Self.header + position * StatRecord.size
            return StatRecord(UnsafeRawBufferPointer(rebasing: buffer[start..<(start + StatRecord.size)]))
        }
    }

    /// What is known of the file with that device and inode.
    func find(device: UInt64, inode: UInt64) -> (position: Int, record: StatRecord)? {
        let position: Int? = bytes.withUnsafeBytes { buffer in
            var low = 0
            var high = count
            while low < high {
                let middle = (low + high) / 2
                let start = Self.header + middle * StatRecord.size
                let key = (
                    UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: start, as: UInt64.self)),
                    UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: start + 8, as: UInt64.self))
                )
                if key == (device, inode) { return middle }
                if key < (device, inode) { low = middle + 1 } else { high = middle }
            }
            return nil
        }
        guard let position, let record = record(position) else { return nil }
        return (position, record)
    }

    /// The index after a scan: `new` records replace those of the same file; what was not seen ages.
    func merged(new: [StatRecord], seen: [UInt32]) -> [UInt8] {
        let next = (generation + 1) & 0x7FFF_FFFF
        var isSeen = [Bool](repeating: false, count: count)
        for position in seen { isSeen[Int(position)] = true }
        var fresh = new
        fresh.sort { $0.key < $1.key }
        var out = ByteWriter()
        out.bytes.reserveCapacity(Self.header + (count + new.count) * StatRecord.size + 8)
        out.raw(Self.magic)
        out.u32(next)
        out.u64(0)
        var written: UInt64 = 0
        var last: (UInt64, UInt64)?
        func append(_ record: StatRecord, _ generation: UInt32) {
            if let last, last == record.key { return }
            last = record.key
            var record = record
            record.generation = generation
            record.append(to: &out)
            written += 1
        }
        var index = 0
        for position in 0..<count {
            guard let old = record(position) else { continue }
            while index < fresh.count, fresh[index].key <= old.key {
                append(fresh[index], next)
                index += 1
            }
            if isSeen[position] {
                append(old, next)
            } else if next &- old.generation <= Self.patience {
                append(old, old.generation)
            }
        }
        while index < fresh.count {
            append(fresh[index], next)
            index += 1
        }
        withUnsafeBytes(of: written.littleEndian) { out.bytes.replaceSubrange(8..<16, with: $0) }
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

extension StatRecord {
    var key: (UInt64, UInt64) { (signature.device, signature.inode) }
}

/// Which filesystems keep a file's inode number, and times that a change cannot escape.
enum InodeTrust {
    /// FUSE, NFS, SMB, 9P, Ceph, AFS, VirtualBox and FAT make inode numbers as they go, or take times from elsewhere.
    private static let untrusted: Set<UInt32> = [
        0x6573_5546, 0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x0102_1997, 0x00C3_6400, 0x5346_414F, 0x6B41_4653,
        0x786F_4256, 0x4D44, 0x2011_BAB0,
    ]

    /// Whether signatures of files on the filesystem of `fd` can stand for their content. In doubt they do not.
    static func holds(_ fd: CInt) -> Bool {
        let type = clinux_filesystem_type(fd)
        return type >= 0 && !untrusted.contains(UInt32(truncatingIfNeeded: type))
    }
}

/// The clock that file times are taken from, with its grain: what changed later than this proves nothing.
func racyLimit() -> Timestamp {
    var now = timespec()
    var grain = timespec()
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    clock_getres(CLOCK_REALTIME_COARSE, &grain)
    var seconds = Int64(now.tv_sec)
    var nanoseconds = Int64(now.tv_nsec) - Int64(grain.tv_nsec)
    if nanoseconds < 0 {
        nanoseconds += 1_000_000_000
        seconds -= 1
    }
    return Timestamp(seconds: seconds, nanoseconds: UInt32(nanoseconds))
}

extension StatSignature {
    /// False when the file changed too close to `limit` for its times to tell a further change. Times without
    /// fractions come from filesystems that keep seconds, or two of them.
    func isSettled(before limit: Timestamp) -> Bool {
        let coarse = modified.nanoseconds == 0 && changed.nanoseconds == 0
        let limit = coarse ? Timestamp(seconds: limit.seconds - 2, nanoseconds: limit.nanoseconds) : limit
        return modified < limit && changed < limit
    }
}
