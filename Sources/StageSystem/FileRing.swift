// Small files opened, read and closed in batches: io_uring takes three system calls for a batch where plain calls take three
// a file. Where the kernel has none for us (older than 5.6, or refused by a seccomp filter, as in many containers), plain
// calls do the same work.

import CURing
import Glibc
import Synchronization

/// One ring, used by one thread at a time.
private final class FileRing: Sendable {
    // Only the thread that took the ring from its `FileRings` uses it.
    nonisolated(unsafe) let raw: OpaquePointer

    init?() {
        guard let raw = curing_create(UInt32(FileRings.batch)) else { return nil }
        self.raw = raw
    }

    deinit { curing_destroy(raw) }
}

/// What some threads need one of at a time, and none needs two of: made when all are in use, kept until this goes.
package final class Reserve<Item: AnyObject & Sendable>: Sendable {
    private let idle = Mutex<[Item]>([])

    package init() {}

    package func take(or make: () -> Item?) -> Item? { idle.withLock { $0.popLast() } ?? make() }

    package func give(_ item: Item) { idle.withLock { $0.append(item) } }
}

/// The rings of some threads that do one piece of work.
package final class FileRings: Sendable {
    /// What one batch has at most.
    package static let batch = 32

    private let reserve = Reserve<FileRing>()
    private let isRefused = Atomic(false)

    package init() {}

    /// What became of each file of a batch: an open descriptor and how many bytes were read, or negated error numbers.
    package struct Results {
        package fileprivate(set) var descriptors: [CInt]
        package fileprivate(set) var sizes: [CInt]
    }

    /// Opens files beneath `directory` and reads the start of each.
    ///
    /// - Parameters:
    ///   - flags: of `openat`.
    ///   - names: at most `batch`, each of at most 255 bytes and without NUL.
    ///   - buffer: the n-th file's bytes come to the n-th of `batch` equal parts of it.
    ///   - body: is called while the files are open; they are closed when it returns.
    /// - Returns: what `body` returns; nil, without calling it, where plain calls have to do.
    package func read<R, E: Error>(
        _ directory: CInt, _ flags: CInt, _ names: [FileName], into buffer: UnsafeMutableRawBufferPointer,
        _ body: (Results) throws(E) -> R
    ) throws(E) -> R? {
        guard let ring = take() else { return nil }
        let count = UInt32(names.count)
        var results = Results(
            descriptors: Array(repeating: -ECANCELED, count: names.count),
            sizes: Array(repeating: -ECANCELED, count: names.count))
        let code = Self.withCStrings(names) { names in
            curing_read(
                ring.raw, directory, flags, names, count, buffer.baseAddress, buffer.count / Self.batch,
                &results.descriptors, &results.sizes)
        }
        defer {
            curing_close(ring.raw, results.descriptors, count)
            // A ring that failed is not used again.
            if code == 0 { reserve.give(ring) }
        }
        return code == 0 ? try body(results) : nil
    }

    private static func withCStrings<R>(_ names: [FileName], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> R) -> R
    {
        let room = 256
        return withUnsafeTemporaryAllocation(byteCount: names.count * room, alignment: 1) { text in
            withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: names.count) { pointers in
                for (place, name) in names.enumerated() {
                    let part = UnsafeMutableRawBufferPointer(rebasing: text[(place * room)..<((place + 1) * room)])
                    let length = min(name.bytes.count, room - 1)
                    part.copyBytes(from: name.bytes[..<length])
                    part[length] = 0
                    pointers[place] = UnsafePointer(part.baseAddress?.assumingMemoryBound(to: CChar.self))
                }
                return body(UnsafePointer(pointers.baseAddress))
            }
        }
    }

    /// A ring for the calling thread, which gives it back.
    private func take() -> FileRing? {
        if isRefused.load(ordering: .relaxed) { return nil }
        let ring = reserve.take { FileRing() }
        if ring == nil { isRefused.store(true, ordering: .relaxed) }
        return ring
    }
}
