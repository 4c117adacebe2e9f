// What threads of our own are made of: a mutex with a condition, and the start of a thread.

import Glibc

/// A mutex and its condition. Its owner keeps state beside it and touches that only between `lock` and `unlock`.
///
/// For classes whose threads wait for each other; where nobody waits, `Synchronization.Mutex` is the better one.
public struct Monitor: ~Copyable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    public init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    /// Nobody may hold or wait for it any more.
    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    public borrowing func lock() { pthread_mutex_lock(mutex) }

    public borrowing func unlock() { pthread_mutex_unlock(mutex) }

    /// Lets go of the mutex until it is signalled, or for no reason at all: ask again for what is waited for.
    public borrowing func wait() { pthread_cond_wait(condition, mutex) }

    /// Wakes one that waits.
    public borrowing func signal() { pthread_cond_signal(condition) }

    /// Wakes all that wait.
    public borrowing func broadcast() { pthread_cond_broadcast(condition) }
}

/// Runs `body` on a new thread that nobody joins.
///
/// - Parameter stackSize: in bytes; nil is the system's default.
/// - Returns: 0, or the error number where the system gives no thread; `body` is not run then.
public func startThread(stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void) -> CInt {
    final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
    if let stackSize { pthread_attr_setstacksize(&attributes, stackSize) }
    var thread = pthread_t()
    let work = Unmanaged.passRetained(Work(body))
    let status = pthread_create(
        &thread, &attributes,
        { argument in
            if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, work.toOpaque())
    if status != 0 { work.release() }
    return status
}
