// The `git` program, run with nothing of the caller's environment but what is named here.

import Glibc
import StageGraph
import StageRegistry
import StageSystem
import Synchronization

/// What git said when it failed.
struct GitFailure: Error, Sendable {
    let message: String
}

/// What opens a repository, for its own host alone: git would send a plain header to whomever a submodule names.
struct GitAccess: Sendable {
    /// git's own settings.
    fileprivate(set) var settings: [(name: String, value: String)] = []
    fileprivate(set) var hasLogin = false

    /// - Parameter header: the value of an Authorization header for the host, by its name.
    init(_ source: GitSource, header: (String) -> String?) {
        let parts = source.remote.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4, parts[0].hasSuffix(":"), parts[1].isEmpty else { return }
        let authority = parts[2].split(separator: "@").map(String.init)
        if source.shown != source.remote {
            let shown = GitSource(remote: "\(parts[0])//\(parts[2])/").shown
            // git is told the address without the password, so that it is neither said nor kept.
            settings.append(("url.\(parts[0])//\(parts[2])/.insteadOf", shown))
        }
        guard ["http:", "https:"].contains(parts[0].lowercased()), let host = authority.last, let header = header(host)
        else { return }
        let origin = "http.\(parts[0].lowercased())//\(host)/"
        settings.append((origin + ".extraHeader", "Authorization: " + header))
        // Where one leads, git would take the header.
        settings.append((origin + ".followRedirects", "false"))
        hasLogin = true
    }
}

struct GitCommand: Sendable {
    let tools: FetchTools
    /// The socket of an SSH agent.
    let agent: String?
    let pool: BlockingPool
    let access: GitAccess

    /// What to fetch where no reference is known.
    static let everything = ["+refs/heads/*:refs/build/*", "+refs/tags/*:refs/tags/*"]

    func run(_ arguments: String...) async throws(GitFailure) { _ = try await output(arguments) }
    func run(_ arguments: [String]) async throws(GitFailure) { _ = try await output(arguments) }
    func output(_ arguments: String...) async throws(GitFailure) -> String { try await output(arguments) }

    func line(_ arguments: String...) async throws(GitFailure) -> String {
        String(try await output(arguments).split(separator: "\n").first ?? "")
    }

    /// An empty repository that can hold objects of the same kind as `object` is the name of.
    func makeRepository(at place: String, for object: String) async throws(GitFailure) {
        let format = object.utf8.count == 64 ? ["--object-format=sha256"] : []
        try await run(["init", "--quiet", "--template="] + format + [place])
    }

    /// Fetches by the first of the attempts that works.
    func fetch(from remote: String, into place: String, _ attempts: [[String]]) async throws(GitFailure) {
        var failure: GitFailure?
        for attempt in attempts {
            let options = attempt.filter { $0.hasPrefix("--") }
            let names = attempt.filter { !$0.hasPrefix("--") }
            do throws(GitFailure) {
                try await run(["-C", place, "fetch", "--quiet", "--no-tags"] + options + ["--", remote] + names)
                return
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private func output(_ arguments: [String]) async throws(GitFailure) -> String {
        let settings = [
            "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.symlinks=true", "core.autocrlf=false",
            "gc.auto=0", "maintenance.auto=false", "advice.detachedHead=false", "init.defaultBranch=master",
            "protocol.ext.allow=never", "safe.directory=*", "submodule.recurse=false", "credential.helper=",
        ]
        // A shell sets the mask that files are made with, which is not ours to change in this process; and leaves the directory
        // that the person stands in, which may be a repository with settings of its own.
        let command =
            ["/bin/sh", "-c", "umask 022; cd / && exec git \"$@\"", "git"] + settings.flatMap { ["-c", $0] } + arguments
        let process = ToolProcess(arguments: command, environment: environment)
        let outcome: ToolProcess.Outcome
        do throws(SystemError) {
            outcome = try await process.run(on: pool)
        } catch { throw GitFailure(message: "git cannot be started: \(error)") }
        if Task.isCancelled { throw GitFailure(message: "cancelled") }
        guard outcome.status == 0 else { throw GitFailure(message: reason(outcome)) }
        return String(decoding: outcome.output, as: UTF8.self)
    }

    private var environment: [String] {
        var result = [
            "PATH=" + tools.searchPath, "HOME=/dev/null", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
            "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false",
            "GIT_ALLOW_PROTOCOL=http:https:git:ssh", "GIT_LFS_SKIP_SMUDGE=1", "GIT_CEILING_DIRECTORIES=/",
            "GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes -o UserKnownHostsFile=/dev/null "
                + "-o StrictHostKeyChecking=no -o LogLevel=ERROR",
        ]
        result += tools.proxyEnvironment
        if let agent { result.append("SSH_AUTH_SOCK=" + agent) }
        // Not arguments: those are for everybody on the machine to read.
        result.append("GIT_CONFIG_COUNT=\(access.settings.count)")
        for (index, setting) in access.settings.enumerated() {
            result += ["GIT_CONFIG_KEY_\(index)=\(setting.name)", "GIT_CONFIG_VALUE_\(index)=\(setting.value)"]
        }
        return result
    }

    /// How lines begin that are true of every failure.
    private static let commonplaces = [
        "hint:", "Please make sure you have the correct access rights", "and the repository exists.",
    ]

    /// The last lines that say something, without passwords of addresses.
    private func reason(_ outcome: ToolProcess.Outcome) -> String {
        let lines = String(decoding: outcome.errors.suffix(4096), as: UTF8.self).split(whereSeparator: \.isNewline)
            .filter { line in !Self.commonplaces.contains { line.hasPrefix($0) } }.suffix(3)
        let words = lines.joined(separator: "; ").split(separator: " ", omittingEmptySubsequences: false).map(Self.bare)
        let text = words.joined(separator: " ")
        if outcome.status == 127 { return "there is no git on this machine; install it" }
        if access.hasLogin, text.contains("returned error: 30") {
            return text + " (a redirect, which is not followed with credentials: write the address that it leads to)"
        }
        return text.isEmpty ? "git ended with status \(outcome.status)" : text
    }

    private static func bare(_ word: Substring) -> String {
        guard let scheme = word.range(of: "://") else { return String(word) }
        let rest = word[scheme.upperBound...]
        guard let at = rest.prefix(while: { $0 != "/" }).lastIndex(of: "@") else { return String(word) }
        return word[..<scheme.upperBound] + "xxxxx" + rest[at...]
    }
}

extension Substring {
    fileprivate func range(of text: String) -> Range<Index>? {
        var index = startIndex
        while index < endIndex {
            if self[index...].hasPrefix(text) { return index..<self.index(index, offsetBy: text.count) }
            index = self.index(after: index)
        }
        return nil
    }
}

/// A program that runs to its end, its output kept in memory, in a process group of its own.
struct ToolProcess: Sendable {
    struct Outcome: Sendable {
        /// The exit status, or 128 and the signal.
        var status: CInt
        var output: [UInt8]
        var errors: [UInt8]
    }

    /// The most that is kept of each stream.
    private static let limit = 64 << 20

    let arguments: [String]
    let environment: [String]

    /// Cancelling the task kills the group.
    func run(on pool: BlockingPool) async throws(SystemError) -> Outcome {
        let running = RunningGroup()
        let result: Result<Outcome, SystemError> = await withTaskCancellationHandler {
            await pool.run { () -> Result<Outcome, SystemError> in
                do throws(SystemError) { return .success(try self.run(running)) } catch { return .failure(error) }
            }
        } onCancel: {
            running.kill()
        }
        return try result.get()
    }

    private func run(_ running: RunningGroup) throws(SystemError) -> Outcome {
        let (output, errors) = (try OwnedFD.pipe(), try OwnedFD.pipe())
        let (outputReader, errorReader) = (output.read, errors.read)
        defer {
            close(outputReader)
            close(errorReader)
        }
        let pid = try spawn(output.write, errors.write)
        close(output.write)
        close(errors.write)
        running.began(pid)
        var streams: [[UInt8]] = [[], []]
        var polled = [
            pollfd(fd: outputReader, events: Int16(POLLIN), revents: 0),
            pollfd(fd: errorReader, events: Int16(POLLIN), revents: 0),
        ]
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while polled.contains(where: { $0.fd >= 0 }) {
            if poll(&polled, 2, -1) < 0 && errno != EINTR { break }
            for index in 0..<2 where polled[index].fd >= 0 && polled[index].revents != 0 {
                let count = read(polled[index].fd, &buffer, buffer.count)
                if count > 0 {
                    if streams[index].count < Self.limit { streams[index] += buffer[..<count] }
                } else if count == 0 || (errno != EINTR && errno != EAGAIN) {
                    polled[index].fd = -1
                }
            }
        }
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        running.ended()
        let signal = status & 0x7F
        return Outcome(
            status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal, output: streams[0], errors: streams[1])
    }

    private func spawn(_ output: CInt, _ errors: CInt) throws(SystemError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        return try Self.spawn(arguments, environment, &actions)
    }

    /// Starts `arguments[0]` in a process group of its own, with the signals as a program expects them.
    static func spawn(
        _ arguments: [String], _ environment: [String], _ actions: inout posix_spawn_file_actions_t
    ) throws(SystemError) -> pid_t {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var argv = arguments.map { strdup($0) } + [nil]
        var envp = environment.map { strdup($0) } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, arguments[0], &actions, &attributes, &argv, &envp)
        if code != 0 { throw SystemError("start", arguments[0], errno: code) }
        return pid
    }
}

/// The process group of a running program, for who wants it ended.
private final class RunningGroup: Sendable {
    private struct State {
        var pid: pid_t?
        var isKilled = false
    }

    private let state = Mutex(State())

    func began(_ pid: pid_t) {
        state.withLock { state in
            state.pid = pid
            if state.isKilled { Glibc.kill(-pid, SIGKILL) }
        }
    }

    func ended() { state.withLock { $0.pid = nil } }

    func kill() {
        state.withLock { state in
            state.isKilled = true
            if let pid = state.pid { Glibc.kill(-pid, SIGKILL) }
        }
    }
}
