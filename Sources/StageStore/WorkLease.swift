// Who is doing the work that a key names: a locked file ROOT/running/KEY, so that of two processes that need the same
// step at the same time one runs it and the other waits. Specs/garbage-collection.md.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

/// Held while the work of one key is done; ends when the last reference goes, or with the process.
public final class WorkLease: Sendable {
    private let fd: OwnedFD
    private let path: String

    fileprivate init(_ fd: consuming OwnedFD, path: String) {
        self.fd = fd
        self.path = path
    }

    // Unlinked while it is still locked: who opened it before finds a file without a name, and looks again.
    deinit { unlink(path) }

    /// Says that the work goes on: every few seconds, or others take the holder for stuck.
    public func renew() { futimens(fd.raw, nil) }
}

/// What became of the wish to do the work of a key.
public enum WorkClaim: Sendable {
    /// It is the caller's to do. Nil where nobody else could do it.
    case granted(WorkLease?)
    /// Somebody is doing it, and said so this many seconds ago.
    case taken(silence: Double)
}

extension Store {
    private static let running = "/running"

    /// Claims the work of `key`. Does not wait.
    public func claim(_ key: Digest) throws(StoreError) -> WorkClaim {
        let file = path + Self.running + "/" + key.hex
        do throws(SystemError) {
            if mkdir(path + Self.running, 0o755) != 0 && errno != EEXIST { throw .last("mkdir", path + Self.running) }
            while true {
                let fd = try OwnedFD.open(file, O_RDWR | O_CREAT, mode: 0o644)
                let locked = flock(fd.raw, LOCK_EX | LOCK_NB) == 0
                if !locked && errno != EWOULDBLOCK && errno != EINTR { throw .last("flock", file) }
                let info = try statDescriptor(fd.raw, file)
                // Its holder was done between the two: there may be another file by now.
                if info.nlink == 0 { continue }
                if locked {
                    futimens(fd.raw, nil)
                    return .granted(WorkLease(fd, path: file))
                }
                var now = timespec()
                clock_gettime(CLOCK_REALTIME, &now)
                let silence =
                    Double(Int64(now.tv_sec) - info.mtime_sec) + Double(now.tv_nsec - Int(info.mtime_nsec)) / 1e9
                return .taken(silence: max(0, silence))
            }
        } catch { throw .system(error) }
    }

    /// Ends `lease` once all that was put and set so far is committed: only then can others see that the work is done.
    public func endAfterCommit(_ lease: WorkLease) { state.withLock { $0.finished.append(lease) } }

    /// Remembers the day on which the record of a key was last used; a day has one write.
    public func markUsed(_ key: Digest) throws(StoreError) {
        let today = UInt32(clamping: Int64(time(nil)) / 86_400)
        if let known = try get(.uses, key.bytes) {
            var reader = ByteReader(known)
            if reader.u32() == today { return }
        }
        var value = ByteWriter()
        value.u32(today)
        set(.uses, key.bytes, value.bytes)
    }

    /// Removes what killed holders left.
    public func removeStaleClaims() {
        guard let directory = try? OwnedFD.open(path + Self.running, O_RDONLY | O_DIRECTORY),
            let entries = try? readEntries(directory.raw)
        else { return }
        for entry in entries {
            let name = entry.name.description
            guard let fd = try? OwnedFD.open(name, O_RDWR, at: directory.raw) else { continue }
            if flock(fd.raw, LOCK_EX | LOCK_NB) == 0 { unlinkat(directory.raw, name, 0) }
        }
    }
}
