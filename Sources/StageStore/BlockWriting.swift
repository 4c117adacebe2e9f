// Writes the blocks of a large content to its packs on a second thread, while the next ones are cut and compressed: copying
// to the page cache costs as much as hashing.

import CLinux
import Glibc
import StageSystem

/// Owned by one ingest. What it is given stays valid until `wait()`.
final class BlockWriting {
    /// What only the thread that writes touches; the owner reads it when that is done.
    private final class Work {
        var failure: SystemError?
    }

    private let work = Work()
    private var companion: Companion?

    deinit { companion?.close() }

    /// Begins to write `blocks` to a part of `pack` that is reserved for them, once what was begun before is done.
    ///
    /// - Parameter isDirect: past the page cache, where the filesystem can: then they have to begin and end at whole pages.
    func start(_ blocks: UnsafeRawBufferPointer, to pack: PackWriter, at offset: UInt64, isDirect: Bool) {
        let (file, name) = (pack.file, PackWriter.name(pack.id))
        // The owner waits before it touches any of these again.
        nonisolated(unsafe) let (work, blocks) = (work, blocks)
        let companion = self.companion ?? Companion()
        self.companion = companion
        companion.start {
            if work.failure != nil { return }
            do throws(SystemError) {
                let done = isDirect ? try Self.writeDirectly(file.fd.raw, blocks, at: Int64(offset), name) : 0
                if done == blocks.count { return }
                let rest = UnsafeRawBufferPointer(rebasing: blocks[done...])
                try writeAll(file.fd.raw, rest, at: Int64(offset) + Int64(done), name)
                // The disk begins now, so that the sync at the end finds little left.
                clinux_start_writeback(file.fd.raw, Int64(offset) + Int64(done), Int64(rest.count))
            } catch { work.failure = error }
        }
    }

    /// Gives how much of `blocks` is written: all or nothing, but for a disk that is full.
    private static func writeDirectly(
        _ fd: CInt, _ blocks: UnsafeRawBufferPointer, at offset: Int64, _ name: String
    ) throws(SystemError) -> Int {
        do throws(SystemError) {
            return Int(
                try retrying("pwrite", name) { clinux_pwrite_direct(fd, blocks.baseAddress, blocks.count, offset) })
        } catch {
            if error.errno == EINVAL || error.errno == EOPNOTSUPP { return 0 }
            throw error
        }
    }

    /// Waits until all that was begun is written.
    ///
    /// - Throws: what any of it failed with, from then on each time.
    func wait() throws(StoreError) {
        companion?.wait()
        if let failure = work.failure { throw .system(failure) }
    }
}
