// Writing to the person: whole texts, in order, and a closed pipe said as such.

import Glibc

/// Standard output or standard error.
struct StandardStream: Sendable {
    let descriptor: CInt

    static let output = StandardStream(descriptor: STDOUT_FILENO)
    static let error = StandardStream(descriptor: STDERR_FILENO)

    /// Nobody reads any more, or the file cannot take more.
    struct WriteFailure: Error, Sendable {
        let errno: CInt
        var isClosedPipe: Bool { errno == EPIPE }
    }

    var isTerminal: Bool { isatty(descriptor) == 1 }

    /// True when it is a pipe or a socket that nobody reads any more.
    var hasNoReader: Bool {
        var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&state, 1, 0) > 0 && state.revents & Int16(POLLERR) != 0
    }

    /// Writes all of `text`. A descriptor that does not block is waited for.
    func write(_ text: String) throws(WriteFailure) {
        let bytes = Array(text.utf8)
        let result: Result<Void, WriteFailure> = bytes.withUnsafeBytes { buffer in
            do throws(WriteFailure) { return .success(try write(bytes: buffer)) } catch { return .failure(error) }
        }
        try result.get()
    }

    /// Writes all of `bytes`.
    func write(bytes: UnsafeRawBufferPointer) throws(WriteFailure) {
        var rest = bytes
        while !rest.isEmpty {
            let written = Glibc.write(descriptor, rest.baseAddress, rest.count)
            if written >= 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest[written...])
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&waiting, 1, -1)
            default: throw WriteFailure(errno: errno)
            }
        }
    }

    /// Columns and rows of the terminal; 80 by 24 where there is none, or where it does not say.
    var size: (width: Int, height: Int) {
        var window = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0, window.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(window.ws_col), Int(window.ws_row))
    }
}
