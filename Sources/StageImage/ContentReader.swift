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
/// `@unchecked Sendable`: all state is behind `mutex`. The pushed piece is valid while the pusher waits in `give`.
private final class PieceExchange: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var piece = UnsafeRawBufferPointer(start: nil, count: 0)
    private var failure: StoreError?
    private var isStopped = false
    private var isDone = false
    private let digest: Digest
    private let store: any ContentSource

    init(_ digest: Digest, store: any ContentSource) {
        self.digest = digest
        self.store = store
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        // The thread holds the exchange, so it has ended here.
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    func start() throws(SystemError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, 1 << 20)
        var thread = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread, &attributes,
            { argument in
                if let argument { Unmanaged<PieceExchange>.fromOpaque(argument).takeRetainedValue().push() }
                return nil
            }, retained.toOpaque())
        if status != 0 {
            retained.release()
            throw SystemError("pthread_create", errno: status)
        }
    }

    /// The reader wants no more.
    func stop() {
        pthread_mutex_lock(mutex)
        isStopped = true
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
    }

    /// Moves what is there to the front of `buffer`; waits while there is nothing.
    func take(_ buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while piece.isEmpty && !isDone { pthread_cond_wait(changed, mutex) }
        if let failure { throw .store(failure) }
        let count = min(buffer.count, piece.count)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: piece[..<count]))
        piece = UnsafeRawBufferPointer(rebasing: piece[count...])
        if piece.isEmpty { pthread_cond_broadcast(changed) }
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
        pthread_mutex_lock(mutex)
        failure = outcome
        isDone = true
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
    }

    /// Waits until all of `piece` was taken; false when the reader wants no more.
    private func give(_ piece: UnsafeRawBufferPointer) -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        self.piece = piece
        pthread_cond_broadcast(changed)
        while !self.piece.isEmpty && !isStopped { pthread_cond_wait(changed, mutex) }
        self.piece = UnsafeRawBufferPointer(start: nil, count: 0)
        return !isStopped
    }
}
