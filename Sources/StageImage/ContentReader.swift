// Stores push contents, decompressors and tar pull: a thread of its own stands between the two, and hands over piece by
// piece without a copy of the whole. Small contents are simply read.

import Glibc
import StageHash
import StageStore
import StageSystem

/// Pulls a content out of a store in order.
final class ContentReader: ByteSource {
    private let source: any ByteSource

    /// Up to this size, a content is read whole.
    static let memoryLimit: UInt64 = 4 << 20

    init(_ digest: Digest, store: any ContentSource) throws(ImageError) {
        let size = try storing { () throws(StoreError) in try store.size(of: digest) }
        guard let size else { throw .store(.missing(digest)) }
        if size <= Self.memoryLimit {
            source = MemorySource(try storing { () throws(StoreError) in try store.read(digest) })
        } else {
            source = try PieceSource(digest, store: store)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int { try source.read(into: buffer) }
}

/// The reading end; letting go of it ends the thread.
private final class PieceSource: ByteSource {
    private let exchange: PieceExchange

    init(_ digest: Digest, store: any ContentSource) throws(ImageError) {
        exchange = PieceExchange(digest, store: store)
        try calling { () throws(SystemError) in try exchange.start() }
    }

    deinit { exchange.stop() }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int { try exchange.take(buffer) }
}

/// Where a pushing thread and a pulling one meet.
///
/// `@unchecked Sendable`: all state is behind `monitor`. The pushed piece is valid while the pusher waits in `give`.
private final class PieceExchange: @unchecked Sendable {
    private let monitor = Monitor()
    private var piece = UnsafeRawBufferPointer(start: nil, count: 0)
    private var failure: StoreError?
    private var isStopped = false
    private var isDone = false
    private let digest: Digest
    private let store: any ContentSource

    init(_ digest: Digest, store: any ContentSource) {
        self.digest = digest
        self.store = store
    }

    func start() throws(SystemError) {
        let status = startThread(stackSize: 1 << 20) { self.push() }
        if status != 0 { throw SystemError("pthread_create", errno: status) }
    }

    /// The reader wants no more.
    func stop() {
        monitor.lock()
        isStopped = true
        monitor.broadcast()
        monitor.unlock()
    }

    /// Moves what is there to the front of `buffer`; waits while there is nothing.
    func take(_ buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        monitor.lock()
        defer { monitor.unlock() }
        while piece.isEmpty && !isDone { monitor.wait() }
        if let failure { throw .store(failure) }
        let count = min(buffer.count, piece.count)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: piece[..<count]))
        piece = UnsafeRawBufferPointer(rebasing: piece[count...])
        if piece.isEmpty { monitor.broadcast() }
        return count
    }

    private func push() {
        var outcome: StoreError?
        do throws(StoreError) {
            try store.withContent(digest) { piece throws(StoreError) in
                if !give(piece) { throw StoreError.corrupt("reading stopped") }
            }
        } catch {
            outcome = error
        }
        monitor.lock()
        failure = outcome
        isDone = true
        monitor.broadcast()
        monitor.unlock()
    }

    /// Waits until all of `piece` was taken; false when the reader wants no more.
    private func give(_ piece: UnsafeRawBufferPointer) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        self.piece = piece
        monitor.broadcast()
        while !self.piece.isEmpty && !isStopped { monitor.wait() }
        self.piece = UnsafeRawBufferPointer(start: nil, count: 0)
        return !isStopped
    }
}
