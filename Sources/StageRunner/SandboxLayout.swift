// The mounts, devices and rights of a container, as docker lays them out, turned into a plan.

import StageGraph

/// What a command's surroundings look like, apart from the files of its image.
public struct SandboxLayout: Sendable, Hashable {
    /// A host directory or file that shows in the sandbox.
    public struct Bind: Sendable, Hashable {
        public var source: String
        public var target: String
        public var isReadOnly: Bool
        /// Make a missing target; it is then part of what the upper directory holds.
        public var makesTarget: Bool
        /// Skip it when the target is missing.
        public var isOptional: Bool

        public init(
            source: String, target: String, isReadOnly: Bool = false, makesTarget: Bool = false,
            isOptional: Bool = false
        ) {
            self.source = source
            self.target = target
            self.isReadOnly = isReadOnly
            self.makesTarget = makesTarget
            self.isOptional = isOptional
        }
    }

    public var root: OverlayRoot
    public var binds: [Bind] = []
    /// What else is mounted or laid down, after the binds.
    public var extras: [SandboxAction] = []
    public var hostname: String
    /// A network with nothing but loopback, instead of the host's.
    public var isolatesNetwork = false
    /// Run in a user namespace with the caller as root, for callers without privileges.
    public var userNamespace = false
    /// The size of the terminal that stdio becomes; nil for plain streams.
    public var terminal: (rows: UInt16, columns: UInt16)? {
        get { terminalSize.map { ($0[0], $0[1]) } }
        set { terminalSize = newValue.map { [$0.rows, $0.columns] } }
    }
    private var terminalSize: [UInt16]?
    /// Every capability and device, nothing masked or read-only.
    public var isPrivileged = false
    /// The size of `/dev/shm` in bytes.
    public var sharedMemory: UInt64 = 64 << 20
    public var limits: [ResourceLimit] = []
    public var capabilities: CapabilitySet { isPrivileged ? .all : .standard }

    public init(root: OverlayRoot, hostname: String) {
        self.root = root
        self.hostname = hostname
    }

    /// The command that runs in it.
    public struct Command: Sendable, Hashable {
        public var arguments: [String]
        /// `NAME=value`.
        public var environment: [String]
        public var workingDirectory: String
        public var uid: UInt32
        public var gid: UInt32
        public var groups: [UInt32]

        public init(
            arguments: [String], environment: [String], workingDirectory: String = "/", uid: UInt32 = 0,
            gid: UInt32 = 0, groups: [UInt32] = []
        ) {
            self.arguments = arguments
            self.environment = environment
            self.workingDirectory = workingDirectory
            self.uid = uid
            self.gid = gid
            self.groups = groups
        }
    }

    /// The plan that runs `command`.
    public func plan(_ command: Command) -> SandboxPlan {
        var actions: [SandboxAction] = [.detachPropagation, .overlay(root)]
        actions += kernelFilesystems + devices
        actions += binds.map { bind in
            var rules: TargetRules = [.recursive]
            if bind.makesTarget { rules.insert(.create) }
            if bind.isOptional { rules.insert(.optional) }
            return .bind(source: bind.source, target: bind.target, bind.isReadOnly ? .readOnly : [], rules)
        }
        actions += extras
        if !isPrivileged { actions += protections }
        if command.workingDirectory != "/" { actions.append(.makeDirectory(target: command.workingDirectory)) }
        if isolatesNetwork { actions.append(.loopbackUp) }
        actions += [.hostname(hostname), .pivot]
        if let terminal { actions.append(.terminal(rows: terminal.rows, columns: terminal.columns)) }
        actions += [.becomeInit, .umask(0o022)]
        // A limit is raised with rights that the command may not have.
        actions += limits.map { .limit($0) }
        actions.append(.capabilities(capabilities))
        // Capabilities first: the bounding set shrinks while there is the right to, and changing the user from root
        // to another drops what is left, as the kernel does it for every program.
        actions.append(.ids(uid: command.uid, gid: command.gid, groups: userNamespace ? nil : command.groups))
        // After the ids: a directory that this user may not enter must fail here, not surprise later.
        actions.append(.changeDirectory(command.workingDirectory))
        actions.append(.execute(arguments: command.arguments, environment: command.environment))
        return SandboxPlan(userNamespace: userNamespace, networkNamespace: isolatesNetwork, actions: actions)
    }

    private var kernelFilesystems: [SandboxAction] {
        let inert: MountAttributes = [.noSetuid, .noDevices, .noExecute]
        let proc = SandboxAction.mount(type: "proc", target: "/proc", inert, .noSymlinks)
        // The owner of the network namespace alone may mount a sysfs of it: without one of our own, bind the host's.
        let rules = isPrivileged ? inert : inert.union(.readOnly)
        let sys: SandboxAction =
            userNamespace && !isolatesNetwork
            ? .bind(source: "/sys", target: "/sys", rules, [.recursive, .noSymlinks])
            : .mount(type: "sysfs", target: "/sys", rules, .noSymlinks)
        return [proc, sys]
    }

    private var devices: [SandboxAction] {
        let nodes: [(String, UInt32, UInt32)] = [
            ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8),
            ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0),
        ]
        let links = [
            ("/dev/ptmx", "pts/ptmx"), ("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"), ("/dev/stderr", "/proc/self/fd/2"), ("/dev/core", "/proc/kcore"),
        ]
        // Group 5 is tty by convention; a user namespace with one id has no such group.
        let ptyOptions = ["newinstance", "mode=620", "ptmxmode=666"] + (userNamespace ? [] : ["gid=5"])
        let inert: MountAttributes = [.noSetuid, .noDevices, .noExecute]
        var actions: [SandboxAction] = [
            .mount(type: "tmpfs", target: "/dev", options: ["mode=755", "size=65536k"], .noSetuid, .noSymlinks)
        ]
        actions += nodes.map { .device(target: $0.0, major: $0.1, minor: $0.2) }
        if isPrivileged && !userNamespace { actions += privilegedDevices }
        actions += links.map { .symlink(target: $0.0, destination: $0.1) }
        actions += ["/dev/pts", "/dev/shm", "/dev/mqueue"].map { .makeDirectory(target: $0) }
        actions.append(
            .mount(type: "devpts", target: "/dev/pts", options: ptyOptions, [.noSetuid, .noExecute], .noSymlinks))
        actions.append(
            .mount(
                type: "tmpfs", target: "/dev/shm", options: ["mode=1777", "size=\(sharedMemory >> 10)k"], inert,
                .noSymlinks))
        actions.append(.mount(type: "mqueue", target: "/dev/mqueue", inert, .noSymlinks))
        return actions
    }

    /// What BuildKit gives to an insecure command: kernel log, FUSE, KVM, tunnels, loop devices.
    private var privilegedDevices: [SandboxAction] {
        let nodes: [(String, UInt32, UInt32)] = [
            ("/dev/kmsg", 1, 11), ("/dev/cuse", 10, 203), ("/dev/fuse", 10, 229), ("/dev/kvm", 10, 232),
            ("/dev/net/tun", 10, 200), ("/dev/loop-control", 10, 237),
        ]
        return [.makeDirectory(target: "/dev/net")]
            + nodes.map { .device(target: $0.0, major: $0.1, minor: $0.2) }
            + (0..<8).map { .device(target: "/dev/loop\($0)", major: 7, minor: $0, isBlock: true) }
    }

    /// What docker hides or makes read-only, so that root in the sandbox does not reach the host through it.
    private var protections: [SandboxAction] {
        let masked = [
            "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ]
        let readOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        return masked.map { .mask(target: $0) } + readOnly.map { .makeReadOnly(target: $0) }
    }
}
