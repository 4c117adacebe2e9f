// `run`: a command in an image, over a throw-away upper.

import Glibc
import StageEngine
import StageGraph
import StageImage
import StageRunner
import StageStore
import StageSystem
import Synchronization

extension StageRoot {
    /// Runs a command in an image and waits for its end. Cancelling the task kills it.
    public func run(_ request: RunRequest) async throws(StageRunError) -> ExitStatus {
        // Once the container runs, all it needs is on disk: it may run for days, and keeps nothing in the store.
        let lease = HeldLease(try lease())
        let image = try require(request.image)
        let settings = try configuration(of: image).config ?? ImageSettings()
        var container = ContainerRequest(
            chain: image.chain, arguments: try Self.arguments(request, settings),
            environment: Self.environment(request, settings))
        container.workingDirectory = request.workingDirectory ?? settings.workingDirectory ?? "/"
        container.user = request.user ?? settings.user ?? ""
        container.hostname = request.hostname ?? "stagerun"
        container.binds = request.mounts.map { .init(source: $0.source, target: $0.target, isReadOnly: $0.readOnly) }
        let executor = try executor()
        do throws(ExecutorError) {
            switch request.streams {
            case .descriptors(let input, let output, let error):
                return try await attached(container, executor, input, output, error) { control in
                    lease.end()
                    request.started(control)
                }
            case .terminal(let input, let output, let rows, let columns):
                container.terminal = (rows, columns)
                return try await inTerminal(container, executor, input, output) { control in
                    lease.end()
                    request.started(control)
                }
            }
        } catch {
            if Task.isCancelled { throw .cancelled }
            if let status = error.commandStatus {
                throw .notExecutable(error.message, advice: error.advice, status: status)
            }
            throw .failed(error.message, advice: error.advice)
        }
    }

    private static func arguments(_ request: RunRequest, _ settings: ImageSettings) throws(StageRunError) -> [String] {
        let entrypoint = request.entrypoint ?? settings.entrypoint ?? []
        // A new entrypoint drops the image's command, as docker has it.
        let inherited = request.entrypoint == nil ? settings.command ?? [] : []
        let arguments = entrypoint + (request.arguments.isEmpty ? inherited : request.arguments)
        if arguments.isEmpty {
            throw .failed("\(request.image) has no command", advice: "give one after the image's name")
        }
        return arguments
    }

    /// The image's variables with the request's over them, in order.
    private static func environment(_ request: RunRequest, _ settings: ImageSettings) -> [String] {
        var names: [Substring] = []
        var values: [Substring: String] = [:]
        for entry in settings.environment + request.environment {
            let name = entry.prefix { $0 != "=" }
            if values.updateValue(entry, forKey: name) == nil { names.append(name) }
        }
        return names.compactMap { values[$0] }
    }

    private func attached(
        _ container: ContainerRequest, _ executor: NamespaceExecutor, _ input: CInt?, _ output: CInt, _ error: CInt,
        _ started: @Sendable (any RunControl) -> Void
    ) async throws(ExecutorError) -> ExitStatus {
        let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
        if null < 0 { throw ExecutorError(SystemError.last("open", "/dev/null").description) }
        defer { Glibc.close(null) }
        let running = try await executor.start(
            container, streams: Sandbox.Streams(input: input ?? null, output: output, error: error))
        started(ContainerControl(process: running.process))
        return try await running.wait()
    }

    private func inTerminal(
        _ container: ContainerRequest, _ executor: NamespaceExecutor, _ input: CInt?, _ output: CInt,
        _ started: @Sendable (any RunControl) -> Void
    ) async throws(ExecutorError) -> ExitStatus {
        // The sandbox's own terminal takes their place once it is open; until then they must be descriptors.
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        if null < 0 { throw ExecutorError(SystemError.last("open", "/dev/null").description) }
        defer { Glibc.close(null) }
        let running = try await executor.start(
            container, streams: Sandbox.Streams(input: null, output: null, error: null))
        guard let master = running.process.terminal else { throw ExecutorError("the container has no terminal") }
        started(ContainerControl(process: running.process))
        let relay = try InputRelay(from: input, to: master)
        defer { relay.stop() }
        return try await running.wait(output: master) { bytes in
            // The reader of our output may be gone; the command goes on, as with docker.
            try? writeAll(output, bytes)
        }
    }
}

extension StoredImage {
    /// The trees that the filesystem went through, oldest first: what a workspace is stacked from.
    var chain: [TreeRef] {
        var chain: [TreeRef] = []
        for layer in layers {
            guard case .derived(let from) = layer.source else {
                // Layers from elsewhere come as one base.
                chain = [layer.tree]
                continue
            }
            if chain.isEmpty, let from { chain.append(from) }
            if chain.last?.identity != layer.tree.identity { chain.append(layer.tree) }
        }
        return chain.isEmpty ? [tree] : chain
    }
}

/// A lease that ends early.
private final class HeldLease: Sendable {
    private let lease: Mutex<Lease?>

    init(_ lease: Lease) { self.lease = Mutex(lease) }

    func end() { lease.withLock { $0 = nil } }
}

private struct ContainerControl: RunControl {
    let process: SandboxProcess

    func signal(_ number: Int32) { process.signal(number) }
    func resize(rows: UInt16, columns: UInt16) { process.resizeTerminal(rows: rows, columns: columns) }
}

/// Copies what is typed to the container's terminal, on a thread of its own, until it is stopped.
private final class InputRelay: Sendable {
    private let stopWriter: OwnedFD
    private let thread: pthread_t?

    init(from input: CInt?, to master: CInt) throws(ExecutorError) {
        do throws(SystemError) {
            let (reader, writer) = try OwnedFD.pipe()
            stopWriter = OwnedFD(owning: writer)
            guard let input else {
                close(reader)
                thread = nil
                return
            }
            let context = UnsafeMutablePointer<Context>.allocate(capacity: 1)
            context.initialize(to: Context(input: input, master: master, stop: reader))
            var thread = pthread_t()
            let status = pthread_create(
                &thread, nil,
                { argument in
                    guard let context = argument?.assumingMemoryBound(to: Context.self) else { return nil }
                    InputRelay.copy(context.move())
                    context.deallocate()
                    return nil
                }, context)
            if status != 0 {
                context.deallocate()
                close(reader)
                throw SystemError("pthread_create", errno: status)
            }
            self.thread = thread
        } catch { throw ExecutorError(error.description) }
    }

    func stop() {
        var byte: UInt8 = 0
        _ = write(stopWriter.raw, &byte, 1)
        if let thread { pthread_join(thread, nil) }
    }

    private struct Context {
        let input: CInt
        let master: CInt
        let stop: CInt
    }

    private static func copy(_ context: Context) {
        defer { close(context.stop) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            var polled = [
                pollfd(fd: context.input, events: Int16(POLLIN), revents: 0),
                pollfd(fd: context.stop, events: Int16(POLLIN), revents: 0),
            ]
            if poll(&polled, 2, -1) < 0 && errno != EINTR { return }
            if polled[1].revents != 0 { return }
            if polled[0].revents == 0 { continue }
            let count = read(context.input, &buffer, buffer.count)
            if count <= 0 {
                // End of input is ^D to a terminal.
                var end: UInt8 = 4
                _ = write(context.master, &end, 1)
                return
            }
            var sent = 0
            while sent < count {
                let written = buffer.withUnsafeBytes {
                    write(context.master, $0.baseAddress.map { $0 + sent }, count - sent)
                }
                if written > 0 {
                    sent += written
                } else if errno == EAGAIN {
                    var space = pollfd(fd: context.master, events: Int16(POLLOUT), revents: 0)
                    poll(&space, 1, 1000)
                } else if errno != EINTR {
                    return
                }
            }
        }
    }
}
