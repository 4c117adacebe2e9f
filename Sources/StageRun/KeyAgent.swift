// Private keys in files, lent as an agent is: `ssh-agent` and `ssh-add` hold them for the time of one build.

import Glibc
import StageSystem

/// An agent of its own for some keys. It ends with this object, and with this process however that ends: the shell that it
/// lives with reads a pipe that only we hold.
final class KeyAgent: Sendable {
    /// Where it listens.
    let socket: String
    private let shell: pid_t
    /// The shell's standard input.
    private let leash: CInt

    /// A key comes by standard input, so that the mode of its file is the person's own affair. Nobody could be asked for a
    /// passphrase.
    private static let script = """
        for key; do
            said=$(ssh-add -q - < "$key" 2>&1) || { echo "failed $key"; echo "$said"; kill "$SSH_AGENT_PID"; exit 1; }
        done
        echo "ready $SSH_AUTH_SOCK"
        exec > /dev/null
        cat
        kill "$SSH_AGENT_PID"
        """

    private init(socket: String, shell: pid_t, leash: CInt) {
        (self.socket, self.shell, self.leash) = (socket, shell, leash)
    }

    deinit { Self.end(shell, leash) }

    private static func end(_ shell: pid_t, _ leash: CInt) {
        close(leash)
        var status: CInt = 0
        while waitpid(shell, &status, 0) < 0 && errno == EINTR {}
    }

    /// Blocks until the agent has the keys.
    ///
    /// - Parameter searchPath: where `ssh-agent` and `ssh-add` are found.
    static func start(_ id: String, keys: [String], searchPath: String) throws(StageRunError) -> KeyAgent {
        for key in keys {
            var info = stat()
            guard stat(key, &info) == 0, access(key, R_OK) == 0 else {
                throw .failed("the SSH key \(key) of \(id): \(SystemError.last("open").reason)")
            }
        }
        let (shell, leash, answer): (pid_t, CInt, String)
        do throws(SystemError) { (shell, leash, answer) = try launch(keys, searchPath) } catch {
            throw .failed("cannot start ssh-agent: \(error)")
        }
        let lines = answer.split(separator: "\n").map(String.init)
        if let socket = lines.first, socket.hasPrefix("ready ") {
            return KeyAgent(socket: String(socket.dropFirst("ready ".count)), shell: shell, leash: leash)
        }
        end(shell, leash)
        guard let key = lines.first, key.hasPrefix("failed ") else {
            throw .failed(
                "--ssh \(id) names keys, and there is no ssh-agent on this machine to hold them",
                advice: "install openssh-client, or give --ssh \(id)= the socket of an agent")
        }
        let said = lines.dropFirst().last.map { ": \($0)" } ?? ""
        throw .failed(
            "the SSH key \(key.dropFirst("failed ".count)) of \(id) cannot be used\(said)",
            advice: "one with a passphrase is for an agent of yours: ssh-add it, and give the agent's socket to --ssh")
    }

    private static func launch(
        _ keys: [String], _ searchPath: String
    ) throws(SystemError) -> (shell: pid_t, leash: CInt, answer: String) {
        let input = try OwnedFD.pipe()
        let output: (read: CInt, write: CInt)
        do throws(SystemError) { output = try OwnedFD.pipe() } catch {
            close(input.read)
            close(input.write)
            throw error
        }
        defer { close(output.read) }
        let shell: pid_t
        do throws(SystemError) { shell = try spawn(keys, searchPath, input.read, output.write) } catch {
            for fd in [input.read, input.write, output.write] { close(fd) }
            throw error
        }
        close(input.read)
        close(output.write)
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        // A line that says it is ready is all; a failure is all that is said.
        while answer.count < 1 << 20, !(answer.starts(with: Array("ready ".utf8)) && answer.last == 0x0A) {
            let count = read(output.read, &buffer, buffer.count)
            if count == 0 || (count < 0 && errno != EINTR) { break }
            if count > 0 { answer += buffer[..<count] }
        }
        return (shell, input.write, String(decoding: answer, as: UTF8.self))
    }

    private static func spawn(
        _ keys: [String], _ searchPath: String, _ input: CInt, _ output: CInt
    ) throws(SystemError) -> pid_t {
        let command =
            ["/bin/sh", "-c", "exec ssh-agent /bin/sh -c \"$0\" agent \"$@\"", script] + keys
        // ssh-add asks a program where it cannot ask a person, and this one knows no passphrase.
        let environment = [
            "PATH=" + searchPath, "HOME=/dev/null", "LC_ALL=C", "SSH_ASKPASS=/bin/false", "SSH_ASKPASS_REQUIRE=force",
        ]
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        return try ToolProcess.spawn(command, environment, &actions)
    }
}

extension StageRoot {
    /// Agents for the keys of a build; they go when the array does. The request's loans name their sockets then.
    func lendKeys(to request: inout BuildRequest) async throws(StageRunError) -> [KeyAgent] {
        var agents: [KeyAgent] = []
        let searchPath = request.tools.searchPath
        for (id, keys) in request.keys.sorted(by: { $0.key < $1.key }) {
            let agent = try await blocking { () throws(StageRunError) in
                try KeyAgent.start(id, keys: keys, searchPath: searchPath)
            }
            request.loans.agents[id] = agent.socket
            agents.append(agent)
        }
        return agents
    }
}
