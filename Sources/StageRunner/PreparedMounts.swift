// `RUN --mount` made ready: what binds show is checked out, caches are made and locked, secrets looked up, agents relayed, and
// each becomes actions.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem

/// The mounts of one command. Locks, relays and scratch files are given up with it.
struct PreparedMounts: Sendable {
    /// Absolute paths that the stub has to hold where the image lacks them.
    private(set) var targets: [(path: String, isDirectory: Bool)] = []
    private(set) var actions: [SandboxAction] = []
    /// Variables that secrets asked for.
    private(set) var environment: [String] = []
    /// What the command was told, so that it can be kept out of its log.
    private(set) var secrets: [SecretValue] = []
    private var caches = CacheLocks()
    private var hold: WorkspaceHold?
    private var relays: [AgentRelay] = []
    private var scratch: RunDirectory?

    /// A container's: none.
    init() {}

    init(
        _ request: ExecRequest, workspaces: Workspaces, store: any TreeStore, privileges: Privileges, workers: Int
    ) async throws(ExecutorError) {
        let hold = workspaces.hold()
        self.hold = hold
        let maker = MountMaker(
            workspaces: workspaces, hold: hold, store: store, privileges: privileges, workers: workers)
        for (index, mount) in request.run.mounts.enumerated() {
            switch mount.kind {
            case .tmpfs(let size):
                let options = size.map { ["size=\($0)"] } ?? []
                add(mount.target, isDirectory: true)
                actions.append(.makeDirectory(target: mount.target))
                actions.append(.mount(type: "tmpfs", target: mount.target, options: options, [.noSetuid, .noDevices]))
            case .bind(let bind):
                guard let entry = request.mounted[index] else { continue }
                try await add(entry, at: mount.target, isWritable: bind.isWritable, number: index, maker)
            case .cache(let cache):
                let base = request.mounted[index]
                let path = try await storing { [caches] () throws(StoreError) in
                    try await maker.directory(of: cache, base: base, caches)
                }
                add(mount.target, isDirectory: true)
                let attributes: MountAttributes = cache.isReadOnly ? .readOnly : []
                actions.append(.bind(source: path, target: mount.target, attributes, .create))
            case .secret(let secret): try add(secret, at: mount.target, request.loans)
            case .agent(let agent): try add(agent, at: mount.target, request.loans, workspaces)
            }
        }
        let caches = caches
        try await storing { () throws(StoreError) in try await caches.acquire() }
        if let script = request.run.script {
            actions.append(.makeDirectory(target: TreePath(script.path).parent.description))
            actions.append(.write(target: script.path, bytes: Array(script.text.utf8), mode: 0o755))
        }
    }

    /// Below /dev and its like a mount of the sandbox's own covers the stub; targets there are made when they are missing.
    private mutating func add(_ target: String, isDirectory: Bool) { targets.append((target, isDirectory)) }

    private mutating func scratchDirectory(_ workspaces: Workspaces) throws(ExecutorError) -> RunDirectory {
        if let scratch { return scratch }
        do throws(SystemError) {
            let made = try RunDirectory(root: workspaces.root)
            scratch = made
            return made
        } catch { throw ExecutorError(error.description) }
    }

    // MARK: Binds

    private mutating func add(
        _ entry: Entry, at target: String, isWritable: Bool, number: Int, _ maker: MountMaker
    ) async throws(ExecutorError) {
        let scratch = isWritable ? try scratchDirectory(maker.workspaces) : nil
        switch entry {
        case .directory(let tree):
            add(target, isDirectory: true)
            if let scratch {
                let stack = try await storing { () throws(StoreError) in
                    try await maker.stack(on: tree, in: scratch, number: number)
                }
                actions.append(.stack(stack, target: target))
            } else {
                let source = try await storing { () throws(StoreError) in
                    try await maker.workspaces.directory(of: tree, maker.hold)
                }
                actions.append(.bind(source: source, target: target, .readOnly, .create))
            }
        case .node(let node):
            add(target, isDirectory: false)
            let source = try await storing { () throws(StoreError) in
                try await maker.file(node, in: scratch, number: number)
            }
            actions.append(.bind(source: source, target: target, isWritable ? [] : .readOnly, .create))
        }
    }

    // MARK: Secrets and agents

    private mutating func add(
        _ secret: RunMount.Secret, at target: String, _ loans: Loans
    ) throws(ExecutorError) {
        guard let origin = loans.secrets[secret.id] else {
            if !secret.isRequired { return }
            let near = Spelling.closest(secret.id, among: loans.secrets.keys.sorted()).map { "; did you mean \($0)?" }
            throw ExecutorError(
                "the secret \(quoted(secret.id)) is required, and there is none of that name" + (near ?? ""),
                advice: "pass --secret id=\(secret.id),src=FILE or --secret id=\(secret.id),env=VARIABLE")
        }
        let value: SecretValue
        switch origin {
        case .value(let given): value = given
        case .file(let path):
            do throws(SystemError) { value = SecretValue(try readFile(path, limit: Loans.largestSecret)) } catch {
                throw ExecutorError("the secret \(quoted(secret.id)): cannot read \(path): \(error.reason)")
            }
        }
        secrets.append(value)
        if let name = secret.environmentName {
            guard !value.bytes.contains(0) else {
                throw ExecutorError(
                    "the secret \(quoted(secret.id)) holds a NUL byte, which no variable can",
                    advice: "mount it as a file: leave out env=")
            }
            environment.append("\(name)=\(String(decoding: value.bytes, as: UTF8.self))")
        }
        guard !target.isEmpty else { return }
        add(target, isDirectory: false)
        actions.append(
            .secret(target: target, value, mode: secret.mode & 0o777, uid: secret.uid, gid: secret.gid))
    }

    private mutating func add(
        _ agent: RunMount.Agent, at target: String, _ loans: Loans, _ workspaces: Workspaces
    ) throws(ExecutorError) {
        guard let path = loans.agents[agent.id] else {
            if !agent.isRequired { return }
            let option = agent.id == "default" ? "--ssh default" : "--ssh \(agent.id)=SOCKET"
            throw ExecutorError(
                "the SSH agent \(quoted(agent.id)) is required, and none was given", advice: "pass \(option)")
        }
        let scratch = try scratchDirectory(workspaces)
        let relay: AgentRelay
        do throws(SystemError) {
            relay = try AgentRelay(
                to: path, in: scratch.path, name: "agent.\(relays.count)", mode: agent.mode & 0o777, uid: agent.uid,
                gid: agent.gid)
        } catch { throw ExecutorError("the SSH agent \(quoted(agent.id)): \(error.description)") }
        relays.append(relay)
        add(target, isDirectory: false)
        actions.append(
            .bind(source: relay.path, target: target, [.noSetuid, .noDevices, .noExecute], .create))
    }
}

private func storing<R: Sendable>(
    _ body: () async throws(StoreError) -> R
) async throws(ExecutorError) -> R {
    do throws(StoreError) { return try await body() } catch { throw ExecutorError(error.description) }
}

/// What several mounts need for being made.
struct MountMaker: Sendable {
    let workspaces: Workspaces
    let hold: WorkspaceHold
    let store: any TreeStore
    let privileges: Privileges
    let workers: Int

    /// A tree under an upper that goes with `scratch`.
    func stack(on tree: TreeRef, in scratch: RunDirectory, number: Int) async throws(StoreError) -> OverlayRoot {
        let lower = try await workspaces.relativeDirectory(of: tree, hold)
        let attributes = try store.directory(tree.object).attributes
        let place = "\(scratch.name)/bind.\(number)"
        let path = "\(workspaces.root)/\(place)"
        try system { () throws(SystemError) in
            for directory in [path, path + "/upper", path + "/work"] {
                try retrying("mkdir", directory) { mkdir(directory, 0o755) }
            }
            let upper = path + "/upper"
            if privileges.isRoot { try retrying("chown", upper) { chown(upper, attributes.uid, attributes.gid) } }
            try retrying("chmod", upper) { chmod(upper, mode_t(attributes.mode)) }
        }
        return OverlayRoot(
            base: workspaces.root, lowers: [lower], upper: place + "/upper", work: place + "/work", staging: "",
            userAttributes: !privileges.isRoot)
    }

    /// A file on disk: a copy of its own in `scratch` for who may write to it.
    func file(_ node: Node, in scratch: RunDirectory?, number: Int) async throws(StoreError) -> String {
        // Workspaces hold directories: the file gets one of its own.
        var node = node
        node.linkGroup = 0
        let name = FileName("file")
        let tree = try store.put(
            DirectoryObject(attributes: Attributes(mode: 0o755), items: [.init(name: name, entry: .node(node))]))
        guard let scratch else { return try await workspaces.directory(of: tree, hold) + "/" + name.description }
        let path = "\(scratch.path)/bind.\(number)"
        try system { () throws(SystemError) in try retrying("mkdir", path) { mkdir(path, 0o755) } }
        try await write(tree, into: path)
        return path + "/" + name.description
    }

    /// Fills the empty directory `path`.
    func write(_ tree: TreeRef, into path: String) async throws(StoreError) {
        let plan = try CheckoutPlan(full: tree, from: store)
        try await Checkout(plan: plan, contents: store, privileges: privileges).write(into: path, workers: workers)
    }
}
