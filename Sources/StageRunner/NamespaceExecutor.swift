// Runs `RUN` in namespaces on overlayfs, and containers of finished images.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization

/// The executor of this machine: no daemon, a sandbox per command.
///
/// Its state lies in ROOT/workspaces (a cache) and ROOT/runs (what is running now). Several processes may share both.
public final class NamespaceExecutor: Executor {
    private let store: any TreeStore
    private let workspaces: Workspaces
    private let privileges: Privileges
    private let pool: BlockingPool
    private let workers: Int

    /// Opens the directories and removes what killed processes left in them.
    ///
    /// - Parameters:
    ///   - root: an absolute path on a filesystem that overlayfs can use; the store's own directory is a good one.
    ///   - commands: how many commands may run at once; each holds a thread while it runs.
    ///   - workers: how many threads write a checkout or read a capture.
    public init(root: String, store: any TreeStore, commands: Int = 512, workers: Int = 4) throws(ExecutorError) {
        self.store = store
        self.workers = workers
        privileges = Privileges(isRoot: geteuid() == 0)
        pool = BlockingPool(threads: commands + workers)
        do throws(SystemError) {
            workspaces = try Workspaces(
                root: root, store: store, privileges: privileges, workers: workers,
                pool: pool)
            try RunDirectory.removeStale(root: root)
        } catch {
            throw ExecutorError(
                "the state directory cannot be used: \(error)", advice: "choose another one with --root")
        }
    }

    deinit { pool.close() }

    /// Removes what killed processes left under `root`, without making anything. Costs one directory read when there is
    /// nothing.
    public static func removeLeftovers(root: String) throws(ExecutorError) {
        do throws(SystemError) { try RunDirectory.removeStale(root: root) } catch {
            if error.errno == ENOENT { return }
            throw ExecutorError("left-overs of a killed run cannot be removed: \(error)")
        }
    }

    public func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome {
        let result: Result<ExecOutcome, ExecutorError> = await withTaskExecutorPreference(pool) {
            do throws(ExecutorError) { return .success(try await self.run(request, output)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    @concurrent
    private func run(
        _ request: ExecRequest, _ output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome {
        // The locks of caches that one command at a time may use are held as long as this lives.
        let mounts: PreparedMounts
        mounts = try await PreparedMounts(
            request, workspaces: workspaces, store: store, privileges: privileges, workers: workers)
        defer { withExtendedLifetime(mounts) {} }
        let sandbox = try await ImageSandbox(
            Self.sandbox(request, mounts), workspaces: workspaces, store: store, privileges: privileges)
        if Task.isCancelled { throw ExecutorError("cancelled") }
        let status: ExitStatus
        do throws(SandboxError) {
            let mask = SecretMask(mounts.secrets, output)
            status = try await execute(sandbox.plan) { mask.pass($0, $1) }
            mask.finish()
        } catch { throw ExecutorError(sandboxError: error) }
        guard status.isSuccess, let input = request.chain.last else { return ExecOutcome(exit: status, tree: nil) }
        if Task.isCancelled { throw ExecutorError("cancelled") }
        do throws(StoreError) {
            let capture = Capture(store: store, input: input, key: request.key, privileges: privileges)
            let tree = try await capture.tree(upper: sandbox.run.path + "/upper", workers: workers)
            if tree.identity != input.identity { workspaces.adopt(sandbox.run.upper, from: input, to: tree) }
            return ExecOutcome(exit: status, tree: tree)
        } catch { throw ExecutorError(error.description) }
    }

    private static func sandbox(_ request: ExecRequest, _ mounts: PreparedMounts) -> ImageSandbox.Request {
        let run = request.run
        var environment = run.environment + run.hiddenEnvironment
        for variable in mounts.environment {
            let name = variable.utf8.prefix { $0 != UInt8(ascii: "=") }
            environment.removeAll {
                $0.utf8.starts(with: name) && $0.utf8.dropFirst(name.count).first == UInt8(ascii: "=")
            }
            environment.append(variable)
        }
        var sandbox = ImageSandbox.Request(
            chain: request.chain, arguments: run.arguments, environment: environment,
            workingDirectory: run.workingDirectory, user: run.user, network: run.network,
            hostname: run.hostname ?? "stagerun", mounts: mounts)
        sandbox.isPrivileged = run.isPrivileged
        sandbox.extraHosts = run.extraHosts
        sandbox.sharedMemory = run.sharedMemory
        sandbox.limits = run.limits
        return sandbox
    }

    private func execute(
        _ plan: SandboxPlan, _ output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(SandboxError) -> ExitStatus {
        var pipe: OutputPipe
        let process: SandboxProcess
        do throws(SystemError) { pipe = try OutputPipe() } catch { throw .start(error) }
        process = try Sandbox.spawn(plan, streams: .init(input: -1, output: pipe.writer, error: pipe.writer))
        pipe.closeWriter()
        return try await process.wait(on: pool, output: pipe.reader) { output(.output, Array($0)) }
    }
}

extension ExecutorError {
    /// A command that could not even start, as a sentence and what helps against it.
    init(sandboxError error: SandboxError) {
        switch error {
        case .action(let failure):
            self.init(failure.sentence, advice: failure.advice, commandStatus: error.commandStatus)
        case .invalidPlan, .start:
            self.init(error.description)
        }
    }
}

/// A container of an image: its files with a throw-away upper on top.
public struct ContainerRequest: Sendable {
    /// As in `ExecRequest`: the trees that led to the image's, the image's own last.
    public var chain: [TreeRef]
    public var arguments: [String]
    public var environment: [String]
    public var workingDirectory = "/"
    /// As `USER` has it.
    public var user = ""
    public var network = Run.Network.host
    public var hostname = "stagerun"
    /// Directories and files of the host; missing targets are made.
    public var binds: [SandboxLayout.Bind] = []
    /// The size of the terminal that the command gets as its stdio; nil gives it the caller's descriptors.
    public var terminal: (rows: UInt16, columns: UInt16)?

    public init(chain: [TreeRef], arguments: [String], environment: [String]) {
        self.chain = chain
        self.arguments = arguments
        self.environment = environment
    }
}

/// A running container. Letting go of it kills it and removes what it wrote.
public final class Container: Sendable {
    /// Signals, the terminal's master and its size, killing.
    public let process: SandboxProcess
    private let run: RunDirectory
    private let pool: BlockingPool

    fileprivate init(_ process: SandboxProcess, _ run: RunDirectory, _ pool: BlockingPool) {
        self.process = process
        self.run = run
        self.pool = pool
    }

    /// Waits for the end. With `output` (the read end of a pipe or the terminal's master), what comes
    /// from there is handed on meanwhile. Cancelling the task kills the container.
    public func wait(
        output: CInt? = nil, onOutput: @escaping @Sendable (UnsafeRawBufferPointer) -> Void = { _ in }
    ) async throws(ExecutorError) -> ExitStatus {
        do throws(SandboxError) { return try await process.wait(on: pool, output: output, onOutput: onOutput) } catch {
            throw ExecutorError(sandboxError: error)
        }
    }
}

extension NamespaceExecutor {
    /// Starts a container. `streams` are its stdio, unless it has a terminal of its own.
    public func start(_ request: ContainerRequest, streams: Sandbox.Streams) async throws(ExecutorError) -> Container {
        let result: Result<Container, ExecutorError> = await withTaskExecutorPreference(pool) {
            do throws(ExecutorError) { return .success(try await self.launch(request, streams)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    @concurrent
    private func launch(
        _ request: ContainerRequest, _ streams: Sandbox.Streams
    ) async throws(ExecutorError) -> Container {
        let sandbox = try await ImageSandbox(
            ImageSandbox.Request(
                chain: request.chain, arguments: request.arguments, environment: request.environment,
                workingDirectory: request.workingDirectory, user: request.user, network: request.network,
                hostname: request.hostname,
                binds: request.binds.map {
                    var bind = $0
                    bind.makesTarget = true
                    return bind
                }, terminal: request.terminal),
            workspaces: workspaces, store: store, privileges: privileges)
        do throws(SandboxError) {
            return Container(try Sandbox.spawn(sandbox.plan, streams: streams), sandbox.run, pool)
        } catch { throw ExecutorError(sandboxError: error) }
    }
}
