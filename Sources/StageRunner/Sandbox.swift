// Starting a plan, and the running sandbox: its end, its output, its signals.

import CSandbox
import Glibc
import StageEngine
import StageSystem
import Synchronization

extension ExitStatus {
    /// From the status that `wait` gives.
    init(waitStatus: CInt) {
        let signal = waitStatus & 0x7F
        self = signal == 0 ? .exited((waitStatus >> 8) & 0xFF) : .signalled(signal)
    }
}

/// A running sandbox. Letting go of it kills everything in it.
///
/// The descriptors close in `deinit` only, so no method races with their end.
public final class SandboxProcess: Sendable {
    /// Pid 1 of the sandbox, as the host numbers it.
    public let pid: Int32
    /// The master of the sandbox's terminal, when the plan opened one; valid as long as this object lives.
    public let terminal: CInt?
    private let pidfd: CInt
    private let control: CInt
    private let lifeline: CInt
    private let ended = Mutex<ExitStatus?>(nil)

    fileprivate init(_ child: csandbox_child, terminal: CInt?) {
        pid = child.pid
        pidfd = child.pidfd
        control = child.control
        lifeline = child.lifeline
        self.terminal = terminal
    }

    deinit {
        close(lifeline)
        if ended.withLock({ $0 == nil }) {
            csandbox_kill(pidfd)
            var status: CInt = 0
            _ = csandbox_reap(pidfd, &status)
        }
        close(control)
        close(pidfd)
        if let terminal { close(terminal) }
    }

    /// Sends a signal to the command. After the end it does nothing.
    public func signal(_ number: Int32) {
        guard number > 0, number <= 64 else { return }
        csandbox_signal(lifeline, UInt8(number))
    }

    /// Kills every process of the sandbox at once. `wait` then reports signal 9.
    public func kill() { csandbox_kill(pidfd) }

    public func resizeTerminal(rows: UInt16, columns: UInt16) {
        if let terminal { _ = csandbox_set_window_size(terminal, UInt32(rows), UInt32(columns)) }
    }

    /// Reads `output` until the command ends and hands what it reads to `onOutput`, in order, in pieces of up to
    /// 256 KiB; then reaps the sandbox. A process left behind that holds the stream open is killed with the rest.
    /// Blocks: call it on a thread of a `BlockingPool`, once.
    public func wait(output: CInt? = nil, onOutput: (UnsafeRawBufferPointer) -> Void = { _ in }) throws(SandboxError)
        -> ExitStatus
    {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * 1024, alignment: 16)
        defer { buffer.deallocate() }
        var watched = [
            pollfd(fd: control, events: Int16(POLLIN), revents: 0),
            pollfd(fd: output ?? -1, events: Int16(POLLIN), revents: 0),
        ]
        var reported: ExitStatus?
        waiting: while true {
            if poll(&watched, 2, -1) < 0 && errno != EINTR { throw .start(.last("poll")) }
            if watched[1].revents != 0 { drain(&watched[1], buffer, onOutput) }
            if watched[0].revents == 0 { continue }
            var report = csandbox_report()
            var descriptor: CInt = -1
            let result = csandbox_receive(control, &report, &descriptor)
            if descriptor >= 0 { close(descriptor) }
            if result <= 0 { break waiting }
            if report.kind == CSANDBOX_EXITED.rawValue {
                reported = ExitStatus(waitStatus: report.status)
                break waiting
            }
        }
        // All writers are dead: after a report because pid 1 killed them, else because it is reaped only after them.
        let status = try reap()
        if watched[1].fd >= 0 { drain(&watched[1], buffer, onOutput) }
        return reported ?? status
    }

    /// `wait` on a thread of `pool`. A cancelled task kills the sandbox and gets its end as usual.
    public func wait(
        on pool: BlockingPool, output: CInt? = nil,
        onOutput: @escaping @Sendable (UnsafeRawBufferPointer) -> Void = { _ in }
    ) async throws(SandboxError) -> ExitStatus {
        let result: Result<ExitStatus, SandboxError> = await withTaskCancellationHandler {
            await pool.run {
                do throws(SandboxError) {
                    return .success(try self.wait(output: output, onOutput: onOutput))
                } catch { return .failure(error) }
            }
        } onCancel: {
            self.kill()
        }
        return try result.get()
    }

    private func reap() throws(SandboxError) -> ExitStatus {
        var status: CInt = 0
        if csandbox_reap(pidfd, &status) != 0 { throw .start(.last("waitid")) }
        let result = ExitStatus(waitStatus: status)
        ended.withLock { $0 = result }
        return result
    }

    /// Reads what is there without waiting for more, whether or not the descriptor would block. At the stream's end the
    /// entry is taken out of the poll set.
    private func drain(
        _ entry: inout pollfd, _ buffer: UnsafeMutableRawBufferPointer, _ onOutput: (UnsafeRawBufferPointer) -> Void
    ) {
        while poll(&entry, 1, 0) > 0 {
            let count = read(entry.fd, buffer.baseAddress, buffer.count)
            if count > 0 {
                onOutput(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                // A terminal whose last user is gone says EIO.
                entry.fd = -1
                return
            }
        }
    }
}

/// The pipe that carries a command's output, both streams in the order they were written.
public struct OutputPipe: ~Copyable, Sendable {
    /// For `SandboxProcess.wait`.
    public let reader: CInt
    /// What the command writes to; -1 once it is closed here.
    public private(set) var writer: CInt

    public init() throws(SystemError) {
        (reader, writer) = try OwnedFD.pipe()
        // A large pipe spares a chatty command and its reader most of their switches; a refusal does no harm.
        _ = fcntl(writer, 1031 /* F_SETPIPE_SZ */, 1 << 20)
    }

    deinit {
        close(reader)
        if writer >= 0 { close(writer) }
    }

    /// To be called once the command has started, so that the stream ends with it.
    public mutating func closeWriter() {
        if writer >= 0 { close(writer) }
        writer = -1
    }
}

/// Starts plans.
public enum Sandbox {
    /// The descriptors that the command gets as its streams; the caller keeps its own. A negative one stands for
    /// `/dev/null`, as it fits a command with a terminal of its own.
    public struct Streams: Sendable {
        public var input: CInt
        public var output: CInt
        public var error: CInt

        public init(input: CInt, output: CInt, error: CInt) {
            self.input = input
            self.output = output
            self.error = error
        }
    }

    /// Carries out `plan` and returns once its command is being executed. Blocks for about a millisecond.
    public static func spawn(_ plan: SandboxPlan, streams: Streams) throws(SandboxError) -> SandboxProcess {
        let lowered = try LoweredPlan(plan)
        var request = csandbox_request()
        request.actions = lowered.actions.baseAddress
        request.count = UInt32(lowered.actions.count)
        request.namespaces = lowered.namespaces
        let null: OwnedFD
        do throws(SystemError) { null = try OwnedFD.open("/dev/null", O_RDWR) } catch { throw .start(error) }
        func present(_ fd: CInt) -> CInt { fd < 0 ? null.raw : fd }
        request.stdio = (present(streams.input), present(streams.output), present(streams.error))
        var child = csandbox_child()
        var stage: UnsafePointer<CChar>?
        if csandbox_spawn(&request, &child, &stage) != 0 {
            throw .start(.last(stage.map { String(cString: $0) } ?? "clone3"))
        }
        return try awaitStart(child, plan)
    }

    private static func awaitStart(_ child: csandbox_child, _ plan: SandboxPlan) throws(SandboxError) -> SandboxProcess
    {
        var terminal: CInt?
        while true {
            var report = csandbox_report()
            var descriptor: CInt = -1
            let result = csandbox_receive(child.control, &report, &descriptor)
            if descriptor >= 0 { terminal = descriptor }
            if result == 1 && report.kind == CSANDBOX_TERMINAL_MASTER.rawValue { continue }
            let process = SandboxProcess(child, terminal: terminal)
            if result == 1 && report.kind == CSANDBOX_STARTED.rawValue { return process }
            if result < 0 { throw .start(.last("recvmsg")) }
            if result == 0 { throw .start(SystemError("sandbox", "it was killed while it was set up", errno: ECHILD)) }
            throw failure(report, plan)
        }
    }

    private static func failure(_ report: csandbox_report, _ plan: SandboxPlan) -> SandboxError {
        let index = Int(report.index)
        let message = withUnsafeBytes(of: report.message) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        guard plan.actions.indices.contains(index) else { return .invalidPlan(message) }
        let text = message.split(separator: "\n").map { $0.hasPrefix("e ") ? $0.dropFirst(2) : $0 }
        return .action(
            SandboxError.Failure(
                index: index, action: plan.actions[index], errno: report.error, message: text.joined(separator: ", "),
                userNamespace: plan.userNamespace))
    }
}
