// Reading one file of a context into the store, and making sure that what was read is one state of it.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// What became of reading a file.
enum FileOutcome {
    case read(ReadFile)
    /// A small file's content is in the buffer and has no name yet.
    case held(HeldFile)
    case vanished
    /// It is no regular file any more.
    case replaced
}

/// A file's content by its names, and the state that it was read in.
struct ReadFile {
    let info: clinux_stat
    let digest: Digest
    let fingerprint: Fingerprint
}

/// A small file that was read: its bytes stay in the reader's half until that is read into again.
struct HeldFile {
    let info: clinux_stat
    let fingerprint: Fingerprint
    fileprivate let half: Int
    fileprivate let count: Int
}

/// Reads files; owns the buffers that are used for all of them. There are two, so that one small file can wait for the
/// next: two are named in less time than one after the other.
struct FileReader: ~Copyable {
    private let halves: (UnsafeMutableRawBufferPointer, UnsafeMutableRawBufferPointer)
    private var half = 0
    /// What is read into; whoever keeps a held file turns to the other one first.
    var buffer: UnsafeMutableRawBufferPointer { half == 0 ? halves.0 : halves.1 }
    private let sink: any ContextSink
    private let settled: Timestamp
    private var leavesAccessTime = true
    private static let bufferSize = 256 * 1024
    private static let attempts = 5

    init(sink: any ContextSink, settled: Timestamp) {
        self.sink = sink
        self.settled = settled
        func half() -> UnsafeMutableRawBufferPointer { .allocate(byteCount: Self.bufferSize, alignment: 64) }
        halves = (half(), half())
    }

    deinit {
        halves.0.deallocate()
        halves.1.deallocate()
    }

    /// Reads into the other half from now on: the bytes of a file that is held stay.
    mutating func turn() { half = 1 - half }

    /// The bytes of a held file.
    func bytes(_ file: HeldFile) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: (file.half == 0 ? halves.0 : halves.1)[..<file.count])
    }

    /// Reads `name` in `directory`.
    ///
    /// - Parameters:
    ///   - seen: its state, when that was looked up before.
    ///   - known: what the index has of this file; its digest stays when the content proves to be the same.
    ///   - isTrusted: whether times on this filesystem can be relied on.
    mutating func read(
        _ directory: CInt, _ name: FileName, seen: clinux_stat?, known: KnownFile?, isTrusted: Bool,
        path: () -> String
    ) throws(ContextError) -> FileOutcome {
        var seen = seen
        for attempt in 0..<Self.attempts {
            if attempt > 0 {
                // Whoever writes gets a moment to finish.
                usleep(500 << UInt32(attempt))
                do throws(SystemError) {
                    let info = try statEntry(directory, name)
                    if FileType(mode: info.mode) != .file { return .replaced }
                    seen = info
                } catch {
                    if error.errno == ENOENT { return .vanished }
                    throw .unreadable(path: path(), error)
                }
            }
            let raw = open(directory, name)
            if raw < 0 {
                let code = errno
                if code == ENOENT || code == ELOOP || code == EINTR || code == ENXIO { continue }
                throw .unreadable(path: path(), SystemError("open", name.description, errno: code))
            }
            let fd = OwnedFD(owning: raw)
            if let outcome = try read(fd.raw, seen, known, isTrusted, path) { return outcome }
        }
        // ENOENT each time: it is gone, or somebody plays games.
        do throws(SystemError) { _ = try statEntry(directory, name) } catch {
            if error.errno == ENOENT { return .vanished }
        }
        throw .unstable(path: path())
    }

    /// Without a note of the access: a first read after a change would otherwise write to the inode, which costs more
    /// than the read. Only a file's owner may ask for that.
    private mutating func open(_ directory: CInt, _ name: FileName) -> CInt {
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC
        return name.withCString { name in
            if leavesAccessTime {
                let fd = openat(directory, name, flags | clinux_o_noatime)
                if fd >= 0 || errno != EPERM { return fd }
                leavesAccessTime = false
            }
            return openat(directory, name, flags)
        }
    }

    /// One attempt; nil when the file was not in one state from first byte to last.
    private func read(
        _ fd: CInt, _ seen: clinux_stat?, _ known: KnownFile?, _ isTrusted: Bool, _ path: () -> String
    ) throws(ContextError) -> FileOutcome? {
        let filled: Int
        let info: clinux_stat
        do throws(SystemError) {
            filled = try readFile(fd, expecting: seen?.size)
            info = try statDescriptor(fd)
        } catch {
            // What was a file when it was listed can be a directory or a fifo by now.
            if error.errno == EISDIR || error.errno == EAGAIN || error.errno == EINVAL { return nil }
            throw .unreadable(path: path(), error)
        }
        guard FileType(mode: info.mode) == .file else { return nil }
        if filled == buffer.count { return try readLarge(fd, info, known, path).map { .read($0) } }
        guard filled == Int(clamping: info.size) else { return nil }
        let signature = StatSignature(info)
        // One state from first byte to last: as it was seen before, or not changed since the scan began.
        let isOne = seen.map { StatSignature($0) == signature } ?? (isTrusted && signature.isSettled(before: settled))
        if !isOne {
            // Changed just now: read again, with this state to compare with.
            if seen != nil { return nil }
            try rewind(fd, path)
            return try read(fd, info, known, isTrusted, path)
        }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<filled])
        let fingerprint = Fingerprint.of(bytes)
        if let kept = try keeps(known, info, fingerprint) { return .read(kept) }
        return .held(HeldFile(info: info, fingerprint: fingerprint, half: half, count: filled))
    }

    /// Reads until the file ends or the buffer is full; of a file of a known size not further than that.
    private func readFile(_ fd: CInt, expecting size: UInt64?) throws(SystemError) -> Int {
        var filled = 0
        let wanted = min(buffer.count, size.map { Int(clamping: max($0, 1)) } ?? buffer.count)
        while filled < buffer.count, let base = buffer.baseAddress {
            let room = buffer.count - filled
            let count = try retrying("read", "") { Glibc.read(fd, base + filled, room) }
            filled += count
            // A regular file gives less than it was asked for only where it ends.
            if count < room || (size != nil && filled >= wanted) { break }
        }
        return filled
    }

    private func readLarge(
        _ fd: CInt, _ info: clinux_stat, _ known: KnownFile?, _ path: () -> String
    ) throws(ContextError) -> ReadFile? {
        let signature = StatSignature(info)
        try rewind(fd, path)
        if let known, known.size == info.size {
            // A touched file is likely the same: XXH3 alone tells, at a tenth of the price.
            let hashed = try hash(fd, path) { _ throws(StoreError) in }
            guard hashed.size == info.size, try isStill(signature, fd, path) else { return nil }
            if let kept = try keeps(known, info, hashed.fingerprint) { return kept }
            try rewind(fd, path)
        }
        var ingest: any ContentIngest
        do throws(StoreError) { ingest = try sink.ingest() } catch { throw .store(error) }
        let hashed = try hash(fd, path) { piece throws(StoreError) in try ingest.update(piece) }
        guard hashed.size == info.size, try isStill(signature, fd, path) else { return nil }
        do throws(StoreError) {
            return ReadFile(info: info, digest: try ingest.finish().digest, fingerprint: hashed.fingerprint)
        } catch { throw .store(error) }
    }

    private func rewind(_ fd: CInt, _ path: () -> String) throws(ContextError) {
        if lseek(fd, 0, SEEK_SET) != 0 { throw .unreadable(path: path(), .last("lseek")) }
    }

    private func hash(
        _ fd: CInt, _ path: () -> String, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(ContextError) -> (fingerprint: Fingerprint, size: UInt64) {
        var hasher = FingerprintHasher()
        var size: UInt64 = 0
        while true {
            let count: Int
            do throws(SystemError) { count = try readFull(fd, buffer) } catch { throw .unreadable(path: path(), error) }
            if count == 0 { break }
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            hasher.update(piece)
            do throws(StoreError) { try body(piece) } catch { throw .store(error) }
            size += UInt64(count)
            if Task.isCancelled { throw .cancelled }
        }
        return (hasher.finalize(), size)
    }

    private func isStill(
        _ signature: StatSignature, _ fd: CInt, _ path: () -> String
    ) throws(ContextError) -> Bool {
        do throws(SystemError) { return StatSignature(try statDescriptor(fd)) == signature } catch {
            throw .unreadable(path: path(), error)
        }
    }

    private func keeps(
        _ known: KnownFile?, _ info: clinux_stat, _ fingerprint: Fingerprint
    ) throws(ContextError) -> ReadFile? {
        guard let known, known.fingerprint == fingerprint, known.size == info.size else { return nil }
        do throws(StoreError) {
            guard try sink.holds([known.digest]) == [true] else { return nil }
        } catch { throw .store(error) }
        return ReadFile(info: info, digest: known.digest, fingerprint: fingerprint)
    }
}
