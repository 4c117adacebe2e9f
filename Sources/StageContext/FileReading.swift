// Reading one file of a context into the store, and making sure that what was read is one state of it.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// What became of reading a file.
enum FileOutcome {
    case read(StatRecord, clinux_stat)
    case vanished
    /// It is no regular file any more.
    case replaced
}

/// Reads files; owns the buffer that is used for all of them.
struct FileReader: ~Copyable {
    private let buffer: UnsafeMutableRawBufferPointer
    private let store: Store
    private let settled: Timestamp
    private static let bufferSize = 256 * 1024
    private static let attempts = 5

    init(store: Store, settled: Timestamp) {
        self.store = store
        self.settled = settled
        buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferSize, alignment: 64)
    }

    deinit { buffer.deallocate() }

    /// Reads `name` in `directory`, whose state was `info`.
    ///
    /// - Parameter known: what the index has of this file; its digest stays when the content proves to be the same.
    func read(
        _ directory: CInt, _ name: FileName, _ info: clinux_stat, known: StatRecord?,
        path: () -> String
    ) throws(ContextError) -> FileOutcome {
        var info = info
        for attempt in 0..<Self.attempts {
            if attempt > 0 {
                // Whoever writes gets a moment to finish.
                usleep(500 << UInt32(attempt))
                do throws(SystemError) { info = try statEntry(directory, name) } catch {
                    if error.errno == ENOENT { return .vanished }
                    throw .unreadable(path: path(), error)
                }
                if FileType(mode: info.mode) != .file { return .replaced }
            }
            let raw = name.withCString {
                openat(directory, $0, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
            }
            if raw < 0 {
                let code = errno
                if code == ENOENT || code == ELOOP || code == EINTR || code == ENXIO { continue }
                throw .unreadable(path: path(), SystemError("open", name.description, errno: code))
            }
            let fd = OwnedFD(owning: raw)
            if let record = try read(fd.raw, info, known, path) { return .read(record, info) }
        }
        // ENOENT each time: it is gone, or somebody plays games.
        do throws(SystemError) { _ = try statEntry(directory, name) } catch {
            if error.errno == ENOENT { return .vanished }
        }
        throw .unstable(path: path())
    }

    /// One attempt; nil when the file was not in the state `info` from first byte to last.
    private func read(
        _ fd: CInt, _ info: clinux_stat, _ known: StatRecord?, _ path: () -> String
    ) throws(ContextError) -> StatRecord? {
        let signature = StatSignature(info)
        if info.size >= UInt64(buffer.count) { return try readLarge(fd, signature, known, path) }
        do throws(SystemError) {
            var filled = 0
            repeat {
                guard let base = buffer.baseAddress else { break }
                let count = try retrying("read", "") { Glibc.read(fd, base + filled, buffer.count - filled) }
                if count == 0 { break }
                filled += count
            } while filled < Int(info.size)
            guard try isStill(signature, fd), filled == Int(info.size) else { return nil }
        } catch {
            throw .unreadable(path: path(), error)
        }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<Int(info.size)])
        let fingerprint = Fingerprint.of(bytes)
        if let kept = try keeps(known, signature, fingerprint) { return kept }
        do throws(StoreError) {
            return outcome(signature, try store.put(bytes), fingerprint)
        } catch { throw .store(error) }
    }

    private func readLarge(
        _ fd: CInt, _ signature: StatSignature, _ known: StatRecord?, _ path: () -> String
    ) throws(ContextError) -> StatRecord? {
        if let known, known.signature.size == signature.size {
            // A touched file is likely the same: XXH3 alone tells, at a tenth of the price.
            let hashed = try hash(fd, path) { _ throws(StoreError) in }
            guard hashed.size == signature.size, try checked(signature, fd, path) else { return nil }
            if let kept = try keeps(known, signature, hashed.fingerprint) { return kept }
            if lseek(fd, 0, SEEK_SET) != 0 { throw .unreadable(path: path(), .last("lseek")) }
        }
        var ingest: any ContentIngest
        do throws(StoreError) { ingest = try store.ingest() } catch { throw .store(error) }
        let hashed = try hash(fd, path) { piece throws(StoreError) in try ingest.update(piece) }
        guard hashed.size == signature.size, try checked(signature, fd, path) else { return nil }
        do throws(StoreError) {
            return outcome(signature, try ingest.finish().digest, hashed.fingerprint)
        } catch { throw .store(error) }
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

    private func isStill(_ signature: StatSignature, _ fd: CInt) throws(SystemError) -> Bool {
        StatSignature(try statDescriptor(fd)) == signature
    }

    private func checked(_ signature: StatSignature, _ fd: CInt, _ path: () -> String) throws(ContextError) -> Bool {
        do throws(SystemError) { return try isStill(signature, fd) } catch { throw .unreadable(path: path(), error) }
    }

    private func keeps(
        _ known: StatRecord?, _ signature: StatSignature, _ fingerprint: Fingerprint
    ) throws(ContextError) -> StatRecord? {
        guard let known, known.fingerprint == fingerprint, known.signature.size == signature.size else { return nil }
        do throws(StoreError) {
            guard try store.size(of: known.digest) == signature.size else { return nil }
        } catch { throw .store(error) }
        return outcome(signature, known.digest, fingerprint)
    }

    private func outcome(_ signature: StatSignature, _ digest: Digest, _ fingerprint: Fingerprint) -> StatRecord {
        StatRecord(
            signature: signature, isTrusted: signature.isSettled(before: settled), digest: digest,
            fingerprint: fingerprint)
    }
}
