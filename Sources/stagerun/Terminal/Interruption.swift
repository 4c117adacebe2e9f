// Signals. They are blocked before any thread starts; the main thread waits for them and passes them on.

import Glibc
import Synchronization

/// What a signal does to a command that works.
enum SignalAction: Hashable, Sendable {
    /// Stop the work, tidy up, then exit with this status.
    case cancel(exit: Int32)
    /// Exit at once with this status: it was asked for a second time.
    case exitNow(Int32)
    /// Hand it to the command in the container.
    case forward(CInt)
    /// The window has another size.
    case resize
    case ignore
}

/// Exit status of a process that a signal ended, as shells report it.
func exitStatus(ofSignal signal: CInt) -> Int32 { 128 + signal }

/// What `signal` means, after `earlier` signals that asked to stop.
func signalAction(_ signal: CInt, earlier: Int, forwards: Bool) -> SignalAction {
    switch signal {
    case SIGWINCH: .resize
    case _ where forwards: .forward(signal)
    case SIGINT, SIGTERM, SIGHUP, SIGQUIT:
        earlier == 0 ? .cancel(exit: exitStatus(ofSignal: signal)) : .exitNow(exitStatus(ofSignal: signal))
    default: .ignore
    }
}

/// The place where commands say what a signal does to them.
final class Interruption: Sendable {
    typealias Forward = @Sendable (CInt) -> Void

    private struct State {
        var cancel: (@Sendable () -> Void)?
        /// Tells the person that it stops.
        var notice: (@Sendable () -> Void)?
        var forward: Forward?
        var resize: (@Sendable () -> Void)?
        /// Gives the terminal back before the process goes without asking anyone.
        var restore: (@Sendable () -> Void)?
        var asked = 0
        var exit: Int32?
    }

    private let state = Mutex(State())

    /// The signals that `wait` takes. They stay blocked in every thread made after `block`.
    private static let taken = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH]

    init() {}

    /// Blocks the signals; call it before any thread starts. A write to a closed pipe becomes an error instead of a
    /// signal, by an empty handler: unlike "ignore", it does not pass to programs that are executed.
    static func block() {
        var set = signalSet()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE) { _ in }
    }

    private static func signalSet() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in taken { sigaddset(&set, signal) }
        return set
    }

    /// Waits for signals for ever; the process ends from another thread.
    func wait() -> Never {
        var set = Self.signalSet()
        while true {
            var signal: CInt = 0
            if sigwait(&set, &signal) == 0 { deliver(signal) }
        }
    }

    /// What a signal does; `wait` calls it.
    func deliver(_ signal: CInt) {
        let (action, state) = state.withLock { state in
            let action = signalAction(signal, earlier: state.asked, forwards: state.forward != nil)
            if case .cancel(let exit) = action {
                state.asked += 1
                state.exit = exit
            }
            return (action, state)
        }
        switch action {
        case .cancel(let exit):
            // A command that has nothing to cancel has nothing to tidy up either.
            guard let cancel = state.cancel else { return leave(exit, state.restore) }
            state.notice?()
            cancel()
        case .exitNow(let exit): leave(exit, state.restore)
        case .forward(let signal): state.forward?(signal)
        case .resize: state.resize?()
        case .ignore: break
        }
    }

    private func leave(_ exit: Int32, _ restore: (@Sendable () -> Void)?) {
        restore?()
        _exit(exit)
    }

    /// The exit status that a signal asked for; nil when none did.
    var requestedExit: Int32? { state.withLock { $0.exit } }

    /// Stops the work as a signal would, without a word and without a status.
    func cancel() { state.withLock { $0.cancel }?() }

    func onNotice(_ body: (@Sendable () -> Void)?) { state.withLock { $0.notice = body } }
    func onCancel(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.cancel = body } }
    func onForward(_ body: Forward?) { state.withLock { $0.forward = body } }
    func onResize(_ body: (@Sendable () -> Void)?) { state.withLock { $0.resize = body } }
    func onRestore(_ body: (@Sendable () -> Void)?) { state.withLock { $0.restore = body } }
}
