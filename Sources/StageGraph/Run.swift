// `RUN` as a value: the command, what it may do, and what is lent to it while it runs.

/// `RUN`: a command in the first input's filesystem.
public struct Run: Sendable, Hashable {
    public enum Network: String, Sendable, Hashable, Codable { case host, none }

    public var arguments: [String]
    /// `NAME=value`, in order.
    public var environment: [String]
    /// Proxy settings and the like: given to the command, never part of the key.
    public var hiddenEnvironment: [String]
    /// Absolute; made when missing.
    public var workingDirectory: String
    /// As `USER` has it: `name`, `uid`, `name:group`, `uid:gid`; empty for root.
    public var user: String
    public var network: Network
    /// What is there while the command runs, and no part of what it leaves.
    public var mounts: [RunMount]
    /// A heredoc that names its interpreter: it lies at this path while the command runs.
    public var script: RunScript?
    /// `--security=insecure`: every capability, every device, nothing masked.
    public var isPrivileged = false
    /// What `/etc/hosts` has besides the usual: never part of the key, but for the names.
    public var extraHosts: [ExtraHost] = []
    /// The size of `/dev/shm` in bytes; nil for docker's 64 MiB.
    public var sharedMemory: UInt64?
    public var limits: [ResourceLimit] = []
    /// The host's name as the command sees it; nil for the executor's own.
    public var hostname: String?
    /// The names in `environment` that are build arguments; for people, not part of the key.
    public var argumentNames: [String] = []

    public init(
        arguments: [String], environment: [String], hiddenEnvironment: [String] = [], workingDirectory: String = "/",
        user: String = "", network: Network = .host, mounts: [RunMount] = [], script: RunScript? = nil
    ) {
        self.arguments = arguments
        self.environment = environment
        self.hiddenEnvironment = hiddenEnvironment
        self.workingDirectory = workingDirectory
        self.user = user
        self.network = network
        self.mounts = mounts
        self.script = script
    }
}

/// A line of `/etc/hosts`.
public struct ExtraHost: Sendable, Hashable {
    public var name: String
    /// IPv4 or IPv6, without brackets.
    public var address: String

    public init(name: String, address: String) {
        self.name = name
        self.address = address
    }
}

/// `--ulimit`: what `setrlimit` is told.
public struct ResourceLimit: Sendable, Hashable {
    /// Docker's names, in the order of the kernel's numbers (`RLIMIT_CPU` is 0).
    public enum Resource: String, Sendable, Hashable, CaseIterable {
        case cpu, fsize, data, stack, core, rss, nproc, nofile, memlock, `as`, locks, sigpending, msgqueue, nice,
            rtprio, rttime

        /// The kernel's number, the same on x86-64 and arm64.
        public var number: UInt32 { UInt32(Self.allCases.firstIndex(of: self) ?? 0) }
    }

    public var resource: Resource
    /// `UInt64.max` is no limit.
    public var soft: UInt64
    public var hard: UInt64

    public init(_ resource: Resource, soft: UInt64, hard: UInt64) {
        self.resource = resource
        self.soft = soft
        self.hard = hard
    }
}

/// A file that is there for one command.
public struct RunScript: Sendable, Hashable {
    /// Absolute, below `/dev`.
    public var path: String
    public var text: String

    public init(path: String, text: String) {
        self.path = path
        self.text = text
    }
}

/// `RUN --mount`.
public struct RunMount: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        case bind(Bind)
        /// `size` in bytes; nil for the kernel's default.
        case tmpfs(size: UInt64?)
        case cache(Cache)
        case secret(Secret)
        case agent(Agent)
    }

    /// A path of another filesystem of the build.
    public struct Bind: Sendable, Hashable {
        /// An index into the step's inputs.
        public var input: Int
        /// Absolute.
        public var source: String
        /// What is written is thrown away.
        public var isWritable: Bool

        public init(input: Int, source: String, isWritable: Bool = false) {
            self.input = input
            self.source = source
            self.isWritable = isWritable
        }
    }

    /// A directory that outlives builds. Who asks for other attributes gets another one.
    public struct Cache: Sendable, Hashable {
        public enum Sharing: String, Sendable, Hashable, CaseIterable { case shared, `private`, locked }

        public var id: String
        public var sharing: Sharing
        public var mode: UInt32
        public var uid: UInt32
        public var gid: UInt32
        public var isReadOnly: Bool
        /// What is in it at first, its attributes included; nil for nothing.
        public var base: Bind?

        public init(
            id: String, sharing: Sharing, mode: UInt32, uid: UInt32, gid: UInt32, isReadOnly: Bool, base: Bind? = nil
        ) {
            self.id = id
            self.sharing = sharing
            self.mode = mode
            self.uid = uid
            self.gid = gid
            self.isReadOnly = isReadOnly
            self.base = base
        }
    }

    /// A secret as a file at the mount's target, as an environment variable, or both. Its value is no part of the graph.
    public struct Secret: Sendable, Hashable {
        public var id: String
        /// Without the secret, a command that requires it does not run, and another one runs without it.
        public var isRequired: Bool
        /// The variable that has the value.
        public var environmentName: String?
        public var mode: UInt32
        public var uid: UInt32
        public var gid: UInt32

        public init(
            id: String, isRequired: Bool, environmentName: String? = nil, mode: UInt32 = 0o400, uid: UInt32 = 0,
            gid: UInt32 = 0
        ) {
            self.id = id
            self.isRequired = isRequired
            self.environmentName = environmentName
            self.mode = mode
            self.uid = uid
            self.gid = gid
        }
    }

    /// The socket of an SSH agent at the mount's target.
    public struct Agent: Sendable, Hashable {
        public var id: String
        public var isRequired: Bool
        public var mode: UInt32
        public var uid: UInt32
        public var gid: UInt32

        public init(id: String, isRequired: Bool, mode: UInt32 = 0o600, uid: UInt32 = 0, gid: UInt32 = 0) {
            self.id = id
            self.isRequired = isRequired
            self.mode = mode
            self.uid = uid
            self.gid = gid
        }
    }

    public var kind: Kind
    /// Absolute; empty for a secret that is a variable alone.
    public var target: String

    public init(kind: Kind, target: String) {
        self.kind = kind
        self.target = target
    }

    /// What of another filesystem it shows.
    public var bind: Bind? {
        switch kind {
        case .bind(let bind): bind
        case .cache(let cache): cache.base
        case .tmpfs, .secret, .agent: nil
        }
    }
}
