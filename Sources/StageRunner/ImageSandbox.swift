// Puts a tree under a command: workspaces stacked below a fresh upper, the host's name resolution bound in, a user found.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem

/// A prepared root filesystem and the plan to run in it. Its run directory goes when it goes.
struct ImageSandbox: Sendable {
    let run: RunDirectory
    let plan: SandboxPlan

    /// What to run, and around what.
    struct Request: Sendable {
        var chain: [TreeRef]
        var arguments: [String]
        var environment: [String]
        var workingDirectory: String
        var user: String
        var network: Run.Network
        var hostname: String
        var binds: [SandboxLayout.Bind] = []
        var terminal: (rows: UInt16, columns: UInt16)?
        var mounts = PreparedMounts()
        var isPrivileged = false
        var extraHosts: [ExtraHost] = []
        var sharedMemory: UInt64?
        var limits: [ResourceLimit] = []
    }

    init(
        _ request: Request, workspaces: Workspaces, store: any TreeStore, privileges: Privileges
    ) async throws(ExecutorError) {
        guard let tree = request.chain.last else { throw ExecutorError("there is no filesystem to run in") }
        let user = try Self.user(request.user, tree, store)
        do throws(StoreError) {
            let hold = workspaces.hold()
            var lowers = try await workspaces.stack(request.chain, hold)
            var targets: [TreePath] = []
            for path in Self.nameFiles { targets.append(try store.resolve(TreePath(path), in: tree) ?? TreePath(path)) }
            var directories: [TreePath] = []
            for (path, isDirectory) in request.mounts.targets {
                let target = try store.resolve(TreePath(path), in: tree) ?? TreePath(path)
                if isDirectory { directories.append(target) } else { targets.append(target) }
            }
            lowers.append(try await workspaces.stub(files: targets, directories: directories, hold))
            let root = try store.directory(tree.object).attributes
            run = try system { () throws(SystemError) in
                let run = try RunDirectory(root: workspaces.root)
                run.keep(hold)
                try Self.prepare(run, root: root, request, privileges)
                return run
            }
            var layout = SandboxLayout(
                root: OverlayRoot(
                    base: workspaces.root, lowers: lowers, upper: run.upper, work: run.work,
                    staging: run.path + "/root", userAttributes: !privileges.isRoot), hostname: request.hostname)
            layout.userNamespace = !privileges.isRoot
            layout.isolatesNetwork = request.network == .none
            layout.terminal = request.terminal
            layout.isPrivileged = request.isPrivileged
            layout.limits = request.limits
            if let size = request.sharedMemory { layout.sharedMemory = size }
            let path = run.path
            layout.binds = Self.nameFiles.map {
                SandboxLayout.Bind(source: path + "/" + Self.lastName($0), target: $0, isOptional: true)
            }
            layout.binds += request.binds
            layout.extras = request.mounts.actions
            plan = layout.plan(Self.command(request, user))
        } catch { throw ExecutorError(error.description) }
    }

    private static func command(_ request: Request, _ user: RunUser) -> SandboxLayout.Command {
        var environment = request.environment
        if !environment.contains(where: { $0.hasPrefix("HOME=") }) { environment.append("HOME=" + user.home) }
        let directory = request.workingDirectory.isEmpty ? "/" : request.workingDirectory
        return SandboxLayout.Command(
            arguments: request.arguments, environment: environment, workingDirectory: directory, uid: user.uid,
            gid: user.gid, groups: user.groups)
    }

    /// Files of the host that every sandbox sees as copies of its own: what it writes to them is thrown away.
    private static let nameFiles = ["/etc/resolv.conf", "/etc/hosts"]

    private static func lastName(_ path: String) -> String { TreePath(path).last?.description ?? path }

    /// The upper's own attributes are those that `/` shows.
    private static func prepare(
        _ run: RunDirectory, root: Attributes, _ request: Request, _ privileges: Privileges
    ) throws(SystemError) {
        let upper = run.path + "/upper"
        if privileges.isRoot { try retrying("chown", upper) { chown(upper, root.uid, root.gid) } }
        try retrying("chmod", upper) { chmod(upper, mode_t(root.mode)) }
        for file in nameFiles {
            var bytes = (try? readFile(file, limit: 1 << 20)) ?? []
            if file == "/etc/hosts" {
                let extra = request.extraHosts.map { "\($0.address)\t\($0.name)\n" }.joined()
                bytes += Array("\n127.0.0.1\t\(request.hostname)\n\(extra)".utf8)
            }
            let path = run.path + "/" + lastName(file)
            let fd = try OwnedFD.open(path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
            try retrying("chmod", path) { fchmod(fd.raw, 0o644) }
            try writeAll(fd.raw, bytes, path)
        }
    }

    private static func user(_ text: String, _ tree: TreeRef, _ store: any TreeStore) throws(ExecutorError) -> RunUser {
        let accounts: Accounts
        do throws(StoreError) { accounts = try Accounts(tree, store: store) } catch {
            throw ExecutorError(error.description)
        }
        do throws(UnknownAccount) { return try RunUser(text, accounts: accounts) } catch {
            let file = error.kind == "user" ? "/etc/passwd" : "/etc/group"
            throw ExecutorError(
                "there is no \(error.kind) \(quoted(error.name)) in the image's \(file)",
                advice: "make it first (RUN useradd, adduser, groupadd), or give its number")
        }
    }
}
