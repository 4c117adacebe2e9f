// A second thread for one owner: it does one thing at a time while the owner does another.
//
// For blocking code that has two halves, like hashing one part of a file while the next is read. Work for many belongs on a
// `BlockingPool`.

/// A thread of its own that waits for work. Only its owner may call it.
///
/// `@unchecked Sendable`: all state is behind `monitor`.
public final class Companion: @unchecked Sendable {
    private let monitor = Monitor()
    private var work: (@Sendable () -> Void)?
    private var isBusy = false
    private var closing = false
    private var hasThread = false

    public init() {}

    /// Starts `work`, once what was started before is done. Where the system gives no thread, it is done by the caller.
    public func start(_ work: @escaping @Sendable () -> Void) {
        monitor.lock()
        while isBusy { monitor.wait() }
        if !hasThread && !closing { hasThread = startThread { self.run() } == 0 }
        if !hasThread {
            monitor.unlock()
            return work()
        }
        self.work = work
        isBusy = true
        monitor.broadcast()
        monitor.unlock()
    }

    /// Starts `work` when nothing is being done; false when something is, or where the system gives no thread.
    public func startIfIdle(_ work: @escaping @Sendable () -> Void) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        if isBusy || closing { return false }
        if !hasThread { hasThread = startThread { self.run() } == 0 }
        if !hasThread { return false }
        self.work = work
        isBusy = true
        monitor.broadcast()
        return true
    }

    /// Waits until what was started is done.
    public func wait() {
        monitor.lock()
        while isBusy { monitor.wait() }
        monitor.unlock()
    }

    /// Waits, and lets the thread end. Call it last: the thread would otherwise wait for ever.
    public func close() {
        monitor.lock()
        while isBusy { monitor.wait() }
        closing = true
        monitor.broadcast()
        monitor.unlock()
    }

    private func run() {
        monitor.lock()
        while true {
            if let next = work {
                work = nil
                monitor.unlock()
                next()
                monitor.lock()
                isBusy = false
                monitor.broadcast()
            } else if closing {
                break
            } else {
                monitor.wait()
            }
        }
        hasThread = false
        monitor.unlock()
    }
}
