// Reading one file of a context into the store, and making sure that what was read is one state of it.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem
import Synchronization

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

/// A file of a batch.
struct BatchFile {
    let name: FileName
    /// Its state, when that was looked up before.
    let seen: clinux_stat?
    /// What the index has of it.
    let known: KnownFile?
}

/// A small file that was read: its bytes stay in the reader's half until that is read into again.
struct HeldFile {
    let info: clinux_stat
    let fingerprint: Fingerprint
    fileprivate let half: Int
    fileprivate let offset: Int
    fileprivate let count: Int
}

/// What files are read into. There are two halves, so that one small file can wait for the next: two are named in less time
/// than one after the other.
final class ReadBuffer: Sendable {
    static let size = 512 * 1024
    // Only the reader that took it from its reserve uses it.
    nonisolated(unsafe) fileprivate let halves: (UnsafeMutableRawBufferPointer, UnsafeMutableRawBufferPointer)

    init() {
        func half() -> UnsafeMutableRawBufferPointer { .allocate(byteCount: Self.size, alignment: 64) }
        halves = (half(), half())
    }

    deinit {
        halves.0.deallocate()
        halves.1.deallocate()
    }
}

/// What the readers of one scan share.
final class ReadingRoom: Sendable {
    let rings = FileRings()
    let buffers = Reserve<ReadBuffer>()
    /// How many files that the index has were found changed since the last one that was not, by any of the readers.
    let changedInARow = Atomic(0)

    /// An unchanged file was seen.
    @inline(__always)
    func endRun() { if changedInARow.load(ordering: .relaxed) != 0 { changedInARow.store(0, ordering: .relaxed) } }
}

/// Reads files into a buffer that it has for as long as it lives.
struct FileReader: ~Copyable {
    private let taken: ReadBuffer
    private var half = 0
    /// What is read into; whoever keeps a held file turns to the other one first.
    var buffer: UnsafeMutableRawBufferPointer { half == 0 ? taken.halves.0 : taken.halves.1 }
    private let room: ReadingRoom
    private let sink: any ContextSink
    private let settled: Timestamp
    private var leavesAccessTime = true
    private static let attempts = 5

    init(_ room: ReadingRoom, sink: any ContextSink, settled: Timestamp) {
        self.room = room
        self.sink = sink
        self.settled = settled
        taken = room.buffers.take { nil } ?? ReadBuffer()
    }

    deinit { room.buffers.give(taken) }

    /// Reads into the other half from now on: the bytes of a file that is held stay.
    mutating func turn() { half = 1 - half }

    /// The bytes of a held file.
    func bytes(_ file: HeldFile) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            rebasing: (file.half == 0 ? taken.halves.0 : taken.halves.1)[file.offset..<(file.offset + file.count)])
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

    /// What a file may have at most to be read together with others.
    static let smallSize = ReadBuffer.size / FileRings.batch - 1

    /// Reads small files at once.
    ///
    /// - Parameter files: at most `FileRings.batch`.
    /// - Returns: for each file what was read; nil for those that have to be read one by one. What is held stays until the
    ///   next read.
    mutating func readTogether(
        _ directory: CInt, _ files: [BatchFile], isTrusted: Bool
    ) throws(ContextError) -> [FileOutcome?] {
        let none: [FileOutcome?] = Array(repeating: nil, count: files.count)
        if !leavesAccessTime { return none }
        let flags = Self.flags | clinux_o_noatime
        let outcomes = room.rings.read(directory, flags, files.map(\.name), into: buffer) { results in
            files.indices.map { place -> FileOutcome? in
                held(results.descriptors[place], results.sizes[place], place, files[place].seen, isTrusted)
                    .map { .held($0) }
            }
        }
        return try outcomes.map { outcomes throws(ContextError) in try keep(outcomes, files) } ?? none
    }

    /// Those of the files whose content is the known one keep its digest, when the sink has it.
    private func keep(_ outcomes: [FileOutcome?], _ files: [BatchFile]) throws(ContextError) -> [FileOutcome?] {
        var outcomes = outcomes
        let asked = outcomes.indices.filter { place in
            guard case .held(let held)? = outcomes[place], let known = files[place].known else { return false }
            return known.fingerprint == held.fingerprint && known.size == held.info.size
        }
        if asked.isEmpty { return outcomes }
        let answers: [Bool]
        do throws(StoreError) { answers = try sink.holds(asked.compactMap { files[$0].known?.digest }) } catch {
            throw .store(error)
        }
        for (place, isHeld) in zip(asked, answers) where isHeld {
            guard case .held(let held)? = outcomes[place], let known = files[place].known else { continue }
            outcomes[place] = .read(ReadFile(info: held.info, digest: known.digest, fingerprint: held.fingerprint))
        }
        return outcomes
    }

    /// The file at `place` of a batch, when it was read whole and in one state.
    private func held(
        _ fd: CInt, _ size: CInt, _ place: Int, _ seen: clinux_stat?, _ isTrusted: Bool
    ) -> HeldFile? {
        guard fd >= 0, size >= 0, size <= Self.smallSize, let info = try? statDescriptor(fd),
            FileType(mode: info.mode) == .file, UInt64(size) == info.size
        else { return nil }
        let signature = StatSignature(info)
        guard seen.map({ StatSignature($0) == signature }) ?? (isTrusted && signature.isSettled(before: settled)) else {
            return nil
        }
        let offset = place * (buffer.count / FileRings.batch)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[offset..<(offset + Int(size))])
        return HeldFile(info: info, fingerprint: Fingerprint.of(bytes), half: half, offset: offset, count: Int(size))
    }

    private static let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC

    /// Without a note of the access: a first read after a change would otherwise write to the inode, which costs more
    /// than the read. Only a file's owner may ask for that.
    private mutating func open(_ directory: CInt, _ name: FileName) -> CInt {
        name.withCString { name in
            if leavesAccessTime {
                let fd = openat(directory, name, Self.flags | clinux_o_noatime)
                if fd >= 0 || errno != EPERM { return fd }
                leavesAccessTime = false
            }
            return openat(directory, name, Self.flags)
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
        return .held(HeldFile(info: info, fingerprint: fingerprint, half: half, offset: 0, count: filled))
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
