// One directory that holds everything, and what can be done with it. The default wiring of all parts.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageRegistry
import StageRunner
import StageStore
import StageSystem
import Synchronization

/// The state directory: images, records, contents, workspaces.
///
/// Several may be open at once, in one process and in many. Nothing here reads the environment, the home directory, the
/// working directory or a terminal.
public final class StageRoot: Sendable {
    public let path: String
    let store: Store
    let pool: BlockingPool
    let jobs: Int
    /// The steps that builds of this root run now.
    let flights = Flights()
    private let executorSlot = Mutex<NamespaceExecutor?>(nil)
    private let registrySlot = Mutex<RegistryClient?>(nil)
    private let webSlot = Mutex<WebClient?>(nil)
    private let committer: Committer
    /// Held from a change of names on until it is committed.
    private let changing = Mutex<Lease?>(nil)

    /// Opens the directory at `path`, making it when there is none.
    ///
    /// - Parameter jobs: how many steps may run at once.
    public init(path: String, jobs: Int) throws(StageRunError) {
        self.jobs = max(1, jobs)
        do throws(StoreError) { store = try Store(path: path, links: StoredLinks()) } catch { throw .store(error) }
        // What is mounted is found from elsewhere than the directory that a relative path starts from.
        self.path = canonicalPath(path)
        pool = BlockingPool(threads: max(1, jobs) + 16)
        committer = Committer(store: store, pool: pool)
        // Each piece of work takes a lease of its own: a root that is open and idle keeps nothing from being collected.
        store.rest()
        store.removeStaleClaims()
        mkdir(self.path + "/contexts", 0o755)
        removeStaleReplacements(in: self.path + "/contexts")
        removeStaleReplacements(in: self.path)
        do throws(ExecutorError) { try NamespaceExecutor.removeLeftovers(root: self.path) } catch {
            throw .failed(error.message, advice: error.advice)
        }
    }

    deinit { pool.close() }

    /// Makes everything durable and closes connections. The object must not be used afterwards.
    public func close() async throws(StageRunError) {
        if let registry = registrySlot.withLock({ $0.take() }) { await registry.shutdown() }
        if let web = webSlot.withLock({ $0.take() }) { await web.shutdown() }
        try await commit()
    }

    /// What runs commands; made when first needed, since making it looks for left-overs of killed processes.
    func executor() throws(StageRunError) -> NamespaceExecutor {
        let result: Result<NamespaceExecutor, ExecutorError> = executorSlot.withLock { slot in
            if let executor = slot { return .success(executor) }
            do throws(ExecutorError) {
                let executor = try NamespaceExecutor(root: path, store: store, commands: jobs + 8)
                slot = executor
                return .success(executor)
            } catch { return .failure(error) }
        }
        do throws(ExecutorError) { return try result.get() } catch {
            throw .failed(error.message, advice: error.advice)
        }
    }

    /// One client a root: the configuration of the first build that fetches something counts.
    func web(_ configuration: WebConfiguration) -> WebClient {
        webSlot.withLock { slot in
            if let client = slot { return client }
            let client = WebClient(configuration)
            slot = client
            return client
        }
    }

    func registry() -> RegistryClient {
        registrySlot.withLock { slot in
            if let client = slot { return client }
            let client = RegistryClient()
            slot = client
            return client
        }
    }

    /// Runs blocking work off the cooperative threads.
    func blocking<R: Sendable>(
        _ body: @escaping @Sendable () throws(StageRunError) -> R
    ) async throws(StageRunError) -> R {
        try await pool.run(body)
    }

    func commit() async throws(StageRunError) {
        defer { changing.withLock { $0 = nil } }
        if !store.needsCommit { return }
        let store = store
        try await blocking { () throws(StageRunError) in
            do throws(StoreError) { try store.commit() } catch { throw .store(error) }
        }
    }

    /// What is in the store now stays there while this is held.
    func lease() throws(StageRunError) -> Lease {
        do throws(StoreError) { return try store.lease() } catch { throw .store(error) }
    }

    /// What is in the store now stays there until the next commit.
    func leaseUntilCommit() throws(StageRunError) {
        let lease = try lease()
        changing.withLock { $0 = $0 ?? lease }
    }

    /// Makes the store durable in the background, one commit at a time.
    func checkpoint() { committer.request() }
}

/// An executor that is made when the first command runs: a build of hits needs none.
struct DeferredExecutor: Executor {
    let root: StageRoot

    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome {
        let executor: NamespaceExecutor
        do throws(StageRunError) { executor = try root.executor() } catch {
            if case .failed(let message, let advice) = error { throw ExecutorError(message, advice: advice) }
            throw ExecutorError(error.description)
        }
        return try await executor.execute(request, output: output)
    }
}

/// Commits when asked, never two at once; what is asked for meanwhile is done right after.
private final class Committer: Sendable {
    private enum State { case idle, running, runningAndAsked }

    private let store: Store
    private let pool: BlockingPool
    private let state = Mutex(State.idle)

    init(store: Store, pool: BlockingPool) {
        self.store = store
        self.pool = pool
    }

    func request() {
        let starts = state.withLock { state in
            defer { state = state == .idle ? .running : .runningAndAsked }
            return state == .idle
        }
        if starts { Task(executorPreference: pool) { self.work() } }
    }

    private func work() {
        while true {
            // A failure is not lost: what could not be written stays, and the commit at the end of the build reports it.
            try? store.commit()
            let again = state.withLock { state in
                defer { state = state == .runningAndAsked ? .running : .idle }
                return state == .runningAndAsked
            }
            if !again { return }
        }
    }
}

/// `path`, absolute and without symlinks; as it stands when nothing is there.
func canonicalPath(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
}
