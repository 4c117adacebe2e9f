// A store on a disk that is full: an error each time, and the store as it was.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

/// A filesystem of a few megabytes.
private final class SmallDisk {
    let path: String

    init(megabytes: Int, in scratch: Scratch) throws {
        path = scratch.path + "/disk"
        if mkdir(path, 0o755) != 0 { throw SystemError.last("mkdir") }
        if mount("tmpfs", path, "tmpfs", 0, "size=\(megabytes)m") != 0 { throw SystemError.last("mount", path) }
    }

    deinit { umount2(path, 2) }

    var free: UInt64 {
        var info = statvfs()
        statvfs(path, &info)
        return UInt64(info.f_bfree) * UInt64(info.f_bsize)
    }

    /// Leaves `bytes` free by a file that `makeRoom` removes.
    func fill(leaving bytes: UInt64) throws {
        let fd = try OwnedFD.open(path + "/ballast", O_RDWR | O_CREAT)
        try retrying("fallocate") { posix_fallocate(fd.raw, 0, off_t(free - bytes)) == 0 ? 0 : CInt(-1) }
    }

    /// Cut off first: a process that is just being started may hold the file open for a moment longer.
    func makeRoom() {
        truncate(path + "/ballast", 0)
        unlink(path + "/ballast")
    }
}

private func isFull(_ error: StoreError?) -> Bool {
    guard case .system(let fact)? = error else { return false }
    return fact.errno == ENOSPC && "\(fact)".contains("No space left") && "\(error!)".contains("disk is full")
}

@Suite(.serialized) struct FullDiskTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// Nil, said aloud, where this user may not mount.
    private func disk(_ megabytes: Int) throws -> SmallDisk? {
        do { return try SmallDisk(megabytes: megabytes, in: scratch) } catch {
            if ProcessInfo.processInfo.environment["CI"] != nil {
                Issue.record("no full disk was tried: \(error)")
            } else {
                print("SKIPPED, no full disk was tried: mounting needs root: \(error)")
            }
            return nil
        }
    }

    @Test func puttingOnAFullDisk() throws {
        guard let disk = try disk(24) else { return }
        let store = try Store(path: disk.path + "/store")
        var random = SeededGenerator(seed: 1)
        let early = random.bytes(100_000)
        let waiting = random.bytes(200_000)
        _ = try store.put(early)
        try store.commit()
        _ = try store.put(waiting)
        try disk.fill(leaving: 64 * 1024)

        var refused: [[UInt8]] = []
        for _ in 0..<12 {
            let bytes = random.bytes(600_000)
            if let error = storeError({ _ = try store.put(bytes) }) {
                #expect(isFull(error), "\(error)")
                refused.append(bytes)
            }
        }
        #expect(refused.count >= 10)
        for bytes in refused { #expect(try store.size(of: Digest.of(bytes)) == nil) }
        #expect(isFull(storeError { try store.commit() }))
        #expect(isFull(storeError { try store.commit() }))
        #expect(try store.read(Digest.of(early)) == early)
        #expect(try Store(path: disk.path + "/store").size(of: Digest.of(waiting)) == nil)

        disk.makeRoom()
        try store.commit()
        for bytes in [early, waiting] { #expect(try store.read(Digest.of(bytes)) == bytes) }
        let again = try Store(path: disk.path + "/store")
        for bytes in [early, waiting] { #expect(try again.read(Digest.of(bytes)) == bytes) }
    }

    @Test func aLargeContentThatDoesNotFitGivesItsSpaceBack() throws {
        guard let disk = try disk(24) else { return }
        let store = try Store(path: disk.path + "/store")
        let small = try store.put(Array("small".utf8))
        try store.commit()
        let before = disk.free
        var random = SeededGenerator(seed: 2)
        let bytes = random.bytes(40 << 20)
        #expect(isFull(storeError { _ = try store.put(bytes) }))
        #expect(disk.free == before)
        #expect(try store.read(small) == Array("small".utf8))
        store.set(.tags, [1], [2])
        try store.commit()
    }

    /// Also one page of the index is too much.
    @Test func theIndexOnAFullDisk() throws {
        guard let disk = try disk(8) else { return }
        let store = try Store(path: disk.path + "/store")
        store.set(.tags, [1], [1])
        try store.commit()
        try disk.fill(leaving: 0)
        for round in 0..<3 {
            store.set(.tags, [2], [UInt8](repeating: UInt8(round), count: 100_000))
            #expect(isFull(storeError { try store.commit() }))
            #expect(try store.get(.tags, [1]) == [1])
            #expect(try store.get(.tags, [2])?.count == 100_000, "it waits")
        }
        // Readers take slots in LMDB's lock file, by memory: on a full disk too.
        let reads = try Probe("write", disk.path + "/store", "1", "3").finish()
        #expect(reads.status == 1 && reads.lines.last?.contains("disk is full") == true, "\(reads)")
        disk.makeRoom()
        try store.commit()
        #expect(try Store(path: disk.path + "/store").get(.tags, [2]) == [UInt8](repeating: 2, count: 100_000))
    }

    /// Pruning takes room before it gives some back: it works, or says what is missing and leaves all as it was.
    @Test(arguments: [UInt64(0), 16 << 10, 256 << 10, 2 << 20]) func pruningOnAFullDisk(left: UInt64) throws {
        guard let disk = try disk(48) else { return }
        let path = disk.path + "/store"
        #expect(try Probe("say", path, "8", "8").finish().status == 0)
        let before = disk.free
        try disk.fill(leaving: left)
        let run = try Probe("prune", path, "8", "8").finish()
        if run.status != 0 {
            let complaints = run.lines.filter { $0.hasPrefix("failed: ") }
            #expect(run.status == 1 && complaints.count == 1, "\(run)")
            #expect(complaints.first?.contains("disk is full") == true, "\(run)")
        }
        try expectBatches(path)
        disk.makeRoom()
        let again = try Probe("prune", path, "8", "8").finish()
        #expect(again.status == 0, "\(again)")
        try expectBatches(path)
        #expect(disk.free > before + (4 << 20))
        #expect(try Store(path: path).get(.records, SampleBatch.key(seed: 8, 1)) == nil)
    }

    /// The even ones are whole; of the odd ones, each that has its record.
    private func expectBatches(_ path: String) throws {
        let store = try Store(path: path)
        for batch in 0..<8 {
            let contents = SampleBatch(seed: 8, number: batch).contents
            let record = try store.get(.records, SampleBatch.key(seed: 8, batch))
            #expect(record == contents.flatMap { Digest.of($0).bytes } || (record == nil && batch % 2 == 1))
            if record == nil { continue }
            for content in contents { #expect(try store.read(Digest.of(content)) == content) }
        }
    }

    @Test func openingOnAFullDisk() throws {
        guard let disk = try disk(4) else { return }
        for left in [UInt64(0), 4096, 16384, 65536] {
            try disk.fill(leaving: left)
            let error = storeError { _ = try Store(path: disk.path + "/store-\(left)") }
            #expect(isFull(error), "with \(left) bytes left: \(String(describing: error))")
            disk.makeRoom()
            let store = try Store(path: disk.path + "/store-\(left)")
            _ = try store.put(Array("there is room".utf8))
            try store.commit()
        }
    }
}
