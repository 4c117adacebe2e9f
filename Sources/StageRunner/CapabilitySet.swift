// Linux capabilities as a set: the powers of root, one by one.

/// A set of capabilities; bit n is the capability that the kernel numbers n.
public struct CapabilitySet: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// What docker leaves to the root of a container.
    public static let standard = CapabilitySet([
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE",
        "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
    ])

    /// Everything that the caller itself may.
    public static let all = CapabilitySet(rawValue: .max)

    /// Names without `CAP_`, as `<linux/capability.h>` spells them; unknown names add nothing.
    public init(_ names: [String]) {
        var bits: UInt64 = 0
        for name in names {
            if let index = Self.allNames.firstIndex(of: name) { bits |= 1 << UInt64(index) }
        }
        rawValue = bits
    }

    /// The names without `CAP_`, in the kernel's order; a number for one that has none here.
    public var names: [String] {
        (0..<64).filter { rawValue >> UInt64($0) & 1 == 1 }.map {
            $0 < Self.allNames.count ? Self.allNames[$0] : String($0)
        }
    }

    private static let allNames = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
        "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
        "CHECKPOINT_RESTORE",
    ]
}
