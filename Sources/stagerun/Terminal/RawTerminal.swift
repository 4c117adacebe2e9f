// The terminal handed through to a command: raw while it runs, as it was on every path out.

import Glibc
import Synchronization

/// A terminal in raw mode; `restore` gives it back, once, from any thread.
final class RawTerminal: Sendable {
    private let descriptor: CInt
    private let saved: Mutex<termios?>

    /// Switches the terminal to raw mode; nil when `descriptor` is not a terminal.
    init?(descriptor: CInt) {
        var original = termios()
        guard tcgetattr(descriptor, &original) == 0 else { return nil }
        var raw = original
        cfmakeraw(&raw)
        guard tcsetattr(descriptor, TCSANOW, &raw) == 0 else { return nil }
        self.descriptor = descriptor
        saved = Mutex(original)
    }

    deinit { restore() }

    func restore() {
        saved.withLock { saved in
            guard var original = saved else { return }
            // A background process that sets a terminal is stopped by SIGTTOU; the shell would wait for ever.
            var set = sigset_t()
            var old = sigset_t()
            sigemptyset(&set)
            sigaddset(&set, SIGTTOU)
            pthread_sigmask(SIG_BLOCK, &set, &old)
            tcsetattr(descriptor, TCSADRAIN, &original)
            pthread_sigmask(SIG_SETMASK, &old, nil)
            saved = nil
        }
    }
}
