// Takes the build's events from any thread and shows them in the chosen form.

import FoundationEssentials
import Glibc
import StageEngine
import Synchronization

/// One build's progress on the person's side. `observe` is for the builder, `finish` for when it is over.
final class ProgressDisplay: Sendable {
    /// A frame at most every 50 ms; the spinner wants one every 100 ms.
    private static let tick: CInt = 50

    private enum Reader {
        case live(LiveView, LiveScreen)
        case plain(PlainProgress)
        case json(JSONEncoder)
        case quiet
    }

    private struct State {
        var reader: Reader
        var model = BuildModel()
        var isDirty = false
        var painted = 0.0
        var isBroken = false
        var trace: TraceRecorder?
    }

    private let state: Mutex<State>
    private let stream: StandardStream
    private let started = monotonicSeconds()
    private let painter: Painter?
    /// Nothing is shown and nothing recorded: events need not be summed up.
    private let isSilent: Bool
    private let onBrokenPipe: @Sendable () -> Void

    /// - Parameter onBrokenPipe: called once when nobody reads the progress any more.
    init(
        mode: ProgressMode, traces: Bool = false, subject: String, stream: StandardStream, colours: Bool,
        glyphs: Glyphs,
        onBrokenPipe: @escaping @Sendable () -> Void
    ) {
        let reader: Reader
        switch mode {
        case .tty, .auto:
            reader = .live(
                LiveView(subject: subject, glyphs: glyphs), LiveScreen(colours: colours, ellipsis: glyphs.ellipsis))
        case .plain: reader = .plain(PlainProgress(sanitizes: stream.isTerminal))
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            reader = .json(encoder)
        case .quiet: reader = .quiet
        }
        isSilent = mode == .quiet && !traces
        if case .live = reader { painter = Painter() } else { painter = nil }
        state = Mutex(State(reader: reader, trace: traces ? TraceRecorder() : nil))
        self.stream = stream
        self.onBrokenPipe = onBrokenPipe
        painter?.start(every: Self.tick) { [weak self] in self?.paint(force: false) }
    }

    private var now: Double { monotonicSeconds() - started }

    /// Takes one event; called by the builder, in order.
    func observe(_ event: BuildEvent) {
        if isSilent { return }
        let now = now
        let broke = state.withLock { state in
            state.model.apply(event, at: now)
            state.trace?.apply(event, at: now)
            switch state.reader {
            case .live(var view, let screen):
                view.apply(event, model: state.model, at: now)
                state.reader = .live(view, screen)
                state.isDirty = true
                return false
            case .plain(var plain):
                let text = plain.text(for: event, at: now)
                state.reader = .plain(plain)
                return write(text, &state)
            case .json(let encoder):
                guard let data = try? encoder.encode(event) else { return false }
                return write(String(decoding: data, as: UTF8.self) + "\n", &state)
            case .quiet: return false
            }
        }
        if broke { onBrokenPipe() }
    }

    /// The trace of all events so far, where one was asked for.
    var trace: String? { state.withLock { $0.trace?.document } }

    /// Nobody reads the progress any more.
    var isBroken: Bool { state.withLock { $0.isBroken } }

    /// Says that a signal was heard and work is being stopped.
    func tellCancelling() {
        state.withLock { state in
            switch state.reader {
            case .live(var view, let screen):
                view.isCancelling = true
                state.reader = .live(view, screen)
                state.isDirty = true
            case .plain, .quiet:
                // A failed write shows at the next event; the signal matters more here.
                try? StandardStream.error.write("cancelling; interrupt again to quit at once\n")
            case .json: break
            }
        }
    }

    /// Shows what is left and gives the terminal back; what the build came to, where somebody was shown it.
    func finish() -> BuildModel {
        painter?.stop()
        paint(force: true)
        close()
        return state.withLock { $0.model }
    }

    /// Gives the terminal back, from any thread, at any time.
    func close() {
        state.withLock { state in
            guard case .live(let view, var screen) = state.reader else { return }
            let text = screen.close()
            state.reader = .live(view, screen)
            _ = write(text, &state)
        }
    }

    private func paint(force: Bool) {
        let now = now
        let broke = state.withLock { state in
            guard case .live(var view, var screen) = state.reader else { return false }
            guard force || state.isDirty || now - state.painted >= 0.1 else { return false }
            let size = stream.size
            var frame = view.frame(model: state.model, at: now, height: size.height)
            if force { frame.live = [] }
            let text = screen.paint(frame, width: size.width)
            state.reader = .live(view, screen)
            state.isDirty = false
            state.painted = now
            return write(text, &state)
        }
        if broke { onBrokenPipe() }
    }

    /// True when this write was the one that found nobody reading.
    private func write(_ text: String, _ state: inout State) -> Bool {
        guard !state.isBroken, !text.isEmpty else { return false }
        do {
            try stream.write(text)
            return false
        } catch {
            state.isBroken = true
            return true
        }
    }
}

/// A thread that calls a body at an interval until it is told to stop. A thread, not a task: the cooperative pool may be
/// busy for as long as a step runs.
private final class Painter: Sendable {
    private struct State {
        var thread: pthread_t?
        /// The ends of a pipe: closing the second wakes the thread.
        var wake: (read: CInt, write: CInt) = (-1, -1)
    }

    private final class Job: Sendable {
        let wake: CInt
        let interval: CInt
        let body: @Sendable () -> Void

        init(wake: CInt, interval: CInt, body: @escaping @Sendable () -> Void) {
            (self.wake, self.interval, self.body) = (wake, interval, body)
        }

        func run() {
            while true {
                var waiting = pollfd(fd: wake, events: Int16(POLLIN), revents: 0)
                let ready = poll(&waiting, 1, interval)
                if ready > 0 || (ready < 0 && errno != EINTR) { return }
                body()
            }
        }
    }

    private let state = Mutex(State())

    func start(every interval: CInt, _ body: @escaping @Sendable () -> Void) {
        state.withLock { state in
            var ends: [CInt] = [-1, -1]
            guard pipe(&ends) == 0 else { return }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            state.wake = (ends[0], ends[1])
            let job = Unmanaged.passRetained(Job(wake: ends[0], interval: interval, body: body))
            var thread = pthread_t()
            let failed = pthread_create(
                &thread, nil,
                { raw in
                    if let raw { Unmanaged<Job>.fromOpaque(raw).takeRetainedValue().run() }
                    return nil
                }, job.toOpaque())
            if failed == 0 { state.thread = thread } else { job.release() }
        }
    }

    /// Returns when the thread is gone.
    func stop() {
        let taken = state.withLock { state in
            defer { state = State() }
            return state
        }
        guard taken.wake.read >= 0 else { return }
        close(taken.wake.write)
        if let thread = taken.thread { pthread_join(thread, nil) }
        close(taken.wake.read)
    }

    deinit { stop() }
}
