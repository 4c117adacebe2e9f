// The seam for what runs `RUN`: a request in, a tree out. `NamespaceExecutor` is one; a host program may bring its own.

import StageGraph
import StageHash
import StageStore

/// How a process ended.
public enum ExitStatus: Hashable, Sendable, Codable, CustomStringConvertible {
    case exited(Int32)
    case signalled(Int32)

    public var isSuccess: Bool { self == .exited(0) }

    /// As shells report it: the code, or 128 + the signal.
    public var code: Int32 {
        switch self {
        case .exited(let code): code
        case .signalled(let signal): 128 + signal
        }
    }

    public var description: String {
        switch self {
        case .exited(let code): "exit status \(code)"
        case .signalled(let signal): "killed by signal \(signal)"
        }
    }
}

/// One `RUN` to execute.
public struct ExecRequest: Sendable {
    /// The step's key: names its workspace, and marks what it touched.
    public var key: StepKey
    public var run: Run
    /// The trees that the step's filesystem went through, oldest first; the last is what the command sees.
    /// Neighbours differ little, so an executor can stack their differences. Never empty.
    public var chain: [TreeRef]
    /// What the binds among `run.mounts` show, and what its caches start from, by the number of the mount.
    public var mounted: [Int: Entry]
    /// What its secrets and agents are looked up in.
    public var loans: Loans

    public init(
        key: StepKey, run: Run, chain: [TreeRef], mounted: [Int: Entry] = [:], loans: Loans = Loans()
    ) {
        self.key = key
        self.run = run
        self.chain = chain
        self.mounted = mounted
        self.loans = loans
    }
}

/// What became of a `RUN`.
public struct ExecOutcome: Sendable {
    public var exit: ExitStatus
    /// The filesystem it left, kept in the store; nil when the command failed.
    public var tree: TreeRef?

    public init(exit: ExitStatus, tree: TreeRef?) {
        self.exit = exit
        self.tree = tree
    }
}

/// Why a command could not be run at all (as opposed to: it ran and failed).
public struct ExecutorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// One sentence with the facts: "mount proc at /proc: Operation not permitted".
    public let message: String
    /// What the person can do about it; nil when there is nothing to say.
    public let advice: String?
    /// The status a shell would give when the command itself cannot be executed: 127 (not found) or 126; nil otherwise.
    public let commandStatus: Int32?

    public init(_ message: String, advice: String? = nil, commandStatus: Int32? = nil) {
        self.message = message
        self.advice = advice
        self.commandStatus = commandStatus
    }

    public var description: String { advice.map { "\(message)\n\($0)" } ?? message }
}

/// Which of its streams a command wrote to.
public enum LogStream: String, Sendable, Codable { case output, error }

/// Runs commands. Cancelling the task kills every process of the command before `execute` returns.
public protocol Executor: Sendable {
    /// - Parameter output: called in order, from any thread, with what the command writes.
    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome
}

/// How an archive is unpacked.
public struct Unpacking: Sendable, Hashable {
    /// Who owns what the archive names, in place of its own owners; what it does not name is root's.
    public var owner: AccountNumbers?
    /// Makes the link groups of one unpacking its own.
    public var linkSalt: [UInt8]

    public init(owner: AccountNumbers? = nil, linkSalt: [UInt8] = []) {
        self.owner = owner
        self.linkSalt = linkSalt
    }
}

/// A user and a group by number.
public struct AccountNumbers: Sendable, Hashable {
    public var uid: UInt32
    public var gid: UInt32

    public init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }
}

/// Unpacks archives that `ADD` meets.
public protocol ArchiveUnpacker: Sendable {
    /// What the archive whose bytes are the content `digest` makes of the directory `base`, as `tar -x` there would; nil
    /// when it is no archive. Its own entry for the top says nothing.
    func unpack(_ digest: Digest, onto base: TreeRef, _ unpacking: Unpacking) throws(StoreError) -> TreeRef?
}
