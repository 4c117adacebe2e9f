// Where new contents go: one pack at a time, locked by this process, its unindexed tail cut off before it is written to.

import CLinux
import Glibc
import StageHash
import StageSystem

/// A file shared by readers; closes with the last of them.
final class SharedFile: Sendable {
    let fd: OwnedFD
    init(_ fd: consuming OwnedFD) { self.fd = fd }
}

/// Appends stored contents to a pack. Owned by the store's state, used under its lock.
struct PackWriter {
    /// A pack this large is not appended to any more.
    static let fullSize: UInt64 = 64 << 20
    private static let bufferSize = 1 << 20

    let id: UInt64
    let file: SharedFile
    /// Where the next content goes.
    private(set) var end: UInt64
    private var flushed: UInt64
    private var buffer: [UInt8] = []

    private init(id: UInt64, file: SharedFile, end: UInt64) {
        self.id = id
        self.file = file
        self.end = end
        flushed = end
        buffer.reserveCapacity(Self.bufferSize + Block.size)
    }

    static func name(_ id: UInt64) -> String {
        let hex = String(id, radix: 16)
        return String(repeating: "0", count: 16 - hex.count) + hex + ".pack"
    }

    static func id(_ name: FileName) -> UInt64? {
        let text = name.description
        guard text.hasSuffix(".pack"), text.utf8.count == 21 else { return nil }
        return UInt64(text.dropLast(5), radix: 16)
    }

    static func factKey(_ id: UInt64) -> [UInt8] { Array("pack:\(name(id))".utf8) }

    static func id(factKey key: [UInt8]) -> UInt64? {
        let prefix = Array("pack:".utf8)
        return key.starts(with: prefix) ? id(FileName(bytes: key[prefix.count...])) : nil
    }

    /// Takes a pack that nobody writes to and that has room, else makes one. All packs that no index knows and nobody
    /// writes to are what a killed process left: they are removed on the way.
    static func acquire(in directory: CInt, committedEnd: (UInt64) throws(StoreError) -> UInt64?) throws(StoreError)
        -> PackWriter
    {
        do throws(SystemError) {
            let listing = try OwnedFD.open(".", O_RDONLY | O_DIRECTORY, at: directory)
            let ids = try readEntries(listing.raw, "packs").compactMap { id($0.name) }
            var found: PackWriter?
            for id in ids.sorted() {
                let known: UInt64?
                do throws(StoreError) { known = try committedEnd(id) } catch { continue }
                if let known, found != nil || known >= fullSize { continue }
                guard let fd = try? OwnedFD.open(name(id), O_RDWR, at: directory) else { continue }
                if flock(fd.raw, LOCK_EX | LOCK_NB) != 0 { continue }
                // Its writer may have committed it since: now it is locked, what the index says stays.
                let end: UInt64?
                do throws(StoreError) { end = try committedEnd(id) } catch { continue }
                guard let end else {
                    unlinkat(directory, name(id), 0)
                    continue
                }
                if found != nil || end >= fullSize { continue }
                // Removed between the listing and the lock?
                let info = try statDescriptor(fd.raw, name(id))
                // A pack shorter than the index knows is damaged: what can still be read of it stays as it is.
                if info.nlink == 0 || info.size < end { continue }
                try retrying("ftruncate", name(id)) { ftruncate(fd.raw, off_t(end)) }
                found = PackWriter(id: id, file: SharedFile(fd), end: end)
            }
            if let found { return found }
            return try create(in: directory)
        } catch { throw .system(error) }
    }

    /// A new, locked, empty pack.
    static func create(in directory: CInt) throws(SystemError) -> PackWriter {
        while true {
            let id = UInt64.random(in: 1...UInt64.max)
            let fd = try OwnedFD.open(name(id), O_RDWR | O_CREAT | O_EXCL, mode: 0o644, at: directory)
            // Another process that cleans up may take the file for a left-over before it is locked.
            do throws(SystemError) { try retrying("flock", name(id)) { flock(fd.raw, LOCK_EX | LOCK_NB) } } catch {
                if error.errno == EWOULDBLOCK { continue }
                unlinkat(directory, name(id), 0)
                throw error
            }
            if try statDescriptor(fd.raw, name(id)).nlink == 0 { continue }
            return PackWriter(id: id, file: SharedFile(fd), end: 0)
        }
    }

    /// Adds blocks; gives where they begin. After an error it is as if they had never been added.
    mutating func append(_ blocks: UnsafeRawBufferPointer) throws(StoreError) -> UInt64 {
        let start = end
        buffer.append(contentsOf: blocks)
        end += UInt64(blocks.count)
        if buffer.count >= Self.bufferSize {
            let (place, count) = (flushed, buffer.count)
            do throws(StoreError) { try flush() } catch {
                buffer.removeLast(blocks.count)
                end -= UInt64(blocks.count)
                throw error
            }
            // The disk begins now, so that the sync of the commit finds little left.
            clinux_start_writeback(file.fd.raw, Int64(place), Int64(count))
        }
        return start
    }

    /// True when `location` is wholly in the file.
    func isFlushed(_ location: Location) -> Bool { location.offset + location.stored <= flushed }

    /// Sets the next `count` bytes aside for who writes them to the file; nothing may be buffered. Gives where they begin.
    mutating func reserve(_ count: Int) -> UInt64 {
        let start = end
        end += UInt64(count)
        flushed = end
        return start
    }

    /// Writes what is buffered, so that reads of this pack find it.
    mutating func flush() throws(StoreError) {
        if buffer.isEmpty { return }
        let result: Result<Void, SystemError> = buffer.withUnsafeBytes { bytes in
            do throws(SystemError) {
                return .success(try writeAll(file.fd.raw, bytes, at: Int64(flushed), Self.name(id)))
            } catch { return .failure(error) }
        }
        do throws(SystemError) { try result.get() } catch { throw .system(error) }
        flushed = end
        buffer.removeAll(keepingCapacity: true)
    }
}
