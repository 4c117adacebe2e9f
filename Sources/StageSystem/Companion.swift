// A second thread for one owner: it does one thing at a time while the owner does another.
//
// For blocking code that has two halves, like hashing one part of a file while the next is read. Work for many belongs on a
// `BlockingPool`.

import Glibc

/// A thread of its own that waits for work. Only its owner may call it.
///
/// `@unchecked Sendable`: all state is behind `mutex`.
public final class Companion: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var work: (@Sendable () -> Void)?
    private var isBusy = false
    private var closing = false
    private var hasThread = false

    public init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        // The thread holds this strongly: it has ended.
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Starts `work`, once what was started before is done. Where the system gives no thread, it is done by the caller.
    public func start(_ work: @escaping @Sendable () -> Void) {
        pthread_mutex_lock(mutex)
        while isBusy { pthread_cond_wait(condition, mutex) }
        if !hasThread && !closing { hasThread = startThread() }
        if !hasThread {
            pthread_mutex_unlock(mutex)
            return work()
        }
        self.work = work
        isBusy = true
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Waits until what was started is done.
    public func wait() {
        pthread_mutex_lock(mutex)
        while isBusy { pthread_cond_wait(condition, mutex) }
        pthread_mutex_unlock(mutex)
    }

    /// Waits, and lets the thread end. Call it last: the thread would otherwise wait for ever.
    public func close() {
        pthread_mutex_lock(mutex)
        while isBusy { pthread_cond_wait(condition, mutex) }
        closing = true
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    private func startThread() -> Bool {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        var thread = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Companion>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, retained.toOpaque())
        if status != 0 { retained.release() }
        return status == 0
    }

    private func run() {
        pthread_mutex_lock(mutex)
        while true {
            if let next = work {
                work = nil
                pthread_mutex_unlock(mutex)
                next()
                pthread_mutex_lock(mutex)
                isBusy = false
                pthread_cond_broadcast(condition)
            } else if closing {
                break
            } else {
                pthread_cond_wait(condition, mutex)
            }
        }
        hasThread = false
        pthread_mutex_unlock(mutex)
    }
}
