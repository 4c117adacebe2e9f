// What a sandbox is, as data: a list of actions that the interpreter in CSandbox carries out in order.

import StageEngine
import StageGraph

/// Everything that happens between the start of a sandbox and the command's first instruction.
///
/// A plan touches nothing by itself and needs no privileges: its `text` is what golden tests compare.
public struct SandboxPlan: Sendable, Hashable, CustomStringConvertible {
    /// A user namespace of its own, in which the caller is root; for callers that are not root themselves.
    public var userNamespace: Bool
    /// A network of its own with nothing but the loopback device in it.
    public var networkNamespace: Bool
    public var actions: [SandboxAction]

    public init(userNamespace: Bool = false, networkNamespace: Bool = false, actions: [SandboxAction]) {
        self.userNamespace = userNamespace
        self.networkNamespace = networkNamespace
        self.actions = actions
    }

    /// The canonical form: the namespaces, then a line for each action.
    public var text: String {
        var names = ["mount", "pid", "ipc", "uts"]
        if userNamespace { names.append("user") }
        if networkNamespace { names.append("network") }
        let lines = ["namespaces " + names.joined(separator: " ")] + actions.map(\.text)
        return lines.map { $0 + "\n" }.joined()
    }

    public var description: String { text }
}

/// What holds for every file beneath a mount.
public struct MountAttributes: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public static let readOnly = MountAttributes(rawValue: 1)
    public static let noSetuid = MountAttributes(rawValue: 2)
    public static let noDevices = MountAttributes(rawValue: 4)
    public static let noExecute = MountAttributes(rawValue: 8)

    var words: [String] {
        var words: [String] = []
        if contains(.readOnly) { words.append("ro") }
        if contains(.noSetuid) { words.append("nosuid") }
        if contains(.noDevices) { words.append("nodev") }
        if contains(.noExecute) { words.append("noexec") }
        return words
    }
}

/// How an action treats its target.
public struct TargetRules: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A missing target (or source of a bind) skips the action.
    public static let optional = TargetRules(rawValue: 2)
    /// A symlink anywhere in the target's path is an error.
    public static let noSymlinks = TargetRules(rawValue: 4)
    /// With the mounts beneath.
    public static let recursive = TargetRules(rawValue: 8)
    /// A missing target is made: a directory or an empty file, as the source is.
    public static let create = TargetRules(rawValue: 16)

    var words: [String] {
        var words: [String] = []
        if contains(.recursive) { words.append("recursive") }
        if contains(.create) { words.append("create") }
        if contains(.noSymlinks) { words.append("no-symlinks") }
        if contains(.optional) { words.append("optional") }
        return words
    }
}

/// The root filesystem: directories stacked by overlayfs, or one plain directory.
public struct OverlayRoot: Sendable, Hashable {
    /// The absolute host directory that the other paths may be relative to. It keeps them below the 255 bytes that
    /// the kernel takes.
    public var base: String
    /// Topmost first; at least one, at most 500.
    public var lowers: [String]
    /// Where changes go, and overlayfs' own scratch directory beside it, on one filesystem.
    public var upper: String
    public var work: String
    /// An empty host directory that the root is mounted on for the moment before the pivot.
    public var staging: String
    /// Whiteouts and opaque marks in `user.` attributes instead of `trusted.`, as a user namespace needs it.
    public var userAttributes: Bool

    public init(
        base: String, lowers: [String], upper: String, work: String, staging: String, userAttributes: Bool = false
    ) {
        self.base = base
        self.lowers = lowers
        self.upper = upper
        self.work = work
        self.staging = staging
        self.userAttributes = userAttributes
    }

    /// Settings under which the upper directory holds plain whole files, whatever the kernel's defaults are.
    /// `volatile`: an upper is made anew after a crash, so it never needs a sync.
    var options: [(key: String, value: String)] {
        var options = lowers.map { (key: "lowerdir+", value: $0) }
        options += [("upperdir", upper), ("workdir", work)]
        options += [
            ("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow"), ("xino", "off"), ("uuid", "null"),
        ]
        options.append(("volatile", ""))
        if userAttributes { options.append(("userxattr", "")) }
        return options
    }
}

/// One step of setting a sandbox up. Targets are absolute paths within the new root.
public enum SandboxAction: Sendable, Hashable {
    /// The host's mounts reach the sandbox, the sandbox's never reach the host.
    case detachPropagation
    /// The new root.
    case overlay(OverlayRoot)
    /// Directories stacked by overlayfs at `target`; `staging` says nothing here.
    case stack(OverlayRoot, target: String)
    /// The new root: a plain host directory.
    case directoryRoot(source: String, staging: String)
    /// A filesystem of a type, with `key=value` or bare options.
    case mount(type: String, target: String, options: [String] = [], MountAttributes = [], TargetRules = [])
    /// A file or directory of the host.
    case bind(source: String, target: String, MountAttributes = [], TargetRules = [])
    /// Nothing to see: `/dev/null` over a file, an empty read-only directory over a directory.
    case mask(target: String)
    case makeReadOnly(target: String)
    /// With missing parents.
    case makeDirectory(target: String, mode: UInt32 = 0o755, uid: UInt32 = 0, gid: UInt32 = 0)
    case symlink(target: String, destination: String)
    /// A device, by mknod, or bound from the host's `target` where mknod is refused.
    case device(target: String, major: UInt32, minor: UInt32, isBlock: Bool = false)
    case write(target: String, bytes: [UInt8], mode: UInt32 = 0o644)
    /// A read-only file in memory that is never swapped; its bytes show in no text.
    case secret(target: String, SecretValue, mode: UInt32, uid: UInt32, gid: UInt32)
    case hostname(String)
    case loopbackUp
    /// A pty of the sandbox's own devpts becomes stdin, stdout and stderr.
    case terminal(rows: UInt16, columns: UInt16)
    case pivot
    /// The process stays as pid 1; what follows runs in its child.
    case becomeInit
    /// `groups` nil leaves the supplementary groups alone.
    case ids(uid: UInt32, gid: UInt32, groups: [UInt32]?)
    case capabilities(CapabilitySet)
    case limit(ResourceLimit)
    case umask(UInt32)
    case changeDirectory(String)
    case execute(arguments: [String], environment: [String])
}

extension SandboxAction {
    /// The action's line in the plan's canonical text.
    var text: String {
        switch self {
        case .detachPropagation, .directoryRoot, .mask, .makeReadOnly, .symlink, .device, .hostname, .loopbackUp,
            .pivot, .becomeInit, .changeDirectory:
            return title
        case .overlay(let root):
            let lines = root.options.map { "\n  " + ($0.value.isEmpty ? $0.key : "\($0.key)=\(quoted($0.value))") }
            return "\(title) staged on \(quoted(root.staging)) from \(quoted(root.base))" + lines.joined()
        case .mount(_, _, let options, let attributes, let rules):
            return ([title] + attributes.words + rules.words + options.map { "-o " + quoted($0) })
                .joined(separator: " ")
        case .bind(_, _, let attributes, let rules):
            return ([title] + attributes.words + rules.words).joined(separator: " ")
        case .stack(let root, _):
            let lines = root.options.map { "\n  " + ($0.value.isEmpty ? $0.key : "\($0.key)=\(quoted($0.value))") }
            return "\(title) from \(quoted(root.base))" + lines.joined()
        case .secret(_, _, let mode, let uid, let gid):
            return "\(title) \(octal(mode)) \(uid):\(gid)"
        case .limit(let limit):
            return "\(title) to \(limit.soft):\(limit.hard)"
        case .makeDirectory(_, let mode, let uid, let gid):
            return "\(title) \(octal(mode)) \(uid):\(gid)"
        case .write(_, let bytes, let mode):
            return "\(title) \(octal(mode)) \(quoted(String(decoding: bytes, as: UTF8.self)))"
        case .terminal(let rows, let columns):
            return "\(title) \(rows)x\(columns)"
        case .ids(let uid, let gid, let groups):
            let list = groups.map { "groups [" + $0.map(String.init).joined(separator: " ") + "]" } ?? "groups kept"
            return "ids \(uid):\(gid) \(list)"
        case .capabilities(let set):
            return "capabilities " + set.names.joined(separator: " ")
        case .umask(let mask):
            return "umask \(octal(mask))"
        case .execute(let arguments, let environment):
            let lines = arguments.map { "\n  arg \(quoted($0))" } + environment.map { "\n  env \(quoted($0))" }
            return "execute" + lines.joined()
        }
    }

    /// What the action does, in the words that errors use: `mount proc at /proc`.
    public var title: String {
        switch self {
        case .detachPropagation: "detach mount propagation"
        case .overlay: "mount overlay at /"
        case .stack(_, let target): "mount overlay at \(quoted(target))"
        case .directoryRoot(let source, let staging): "bind \(quoted(source)) at / staged on \(quoted(staging))"
        case .mount(let type, let target, _, _, _): "mount \(type) at \(quoted(target))"
        case .bind(let source, let target, _, _): "bind \(quoted(source)) at \(quoted(target))"
        case .mask(let target): "mask \(quoted(target))"
        case .makeReadOnly(let target): "make \(quoted(target)) read-only"
        case .makeDirectory(let target, _, _, _): "make directory \(quoted(target))"
        case .symlink(let target, let destination): "link \(quoted(target)) to \(quoted(destination))"
        case .device(let target, let major, let minor, let isBlock):
            "make \(isBlock ? "block " : "")device \(quoted(target)) \(major):\(minor)"
        case .secret(let target, _, _, _, _): "lay a secret at \(quoted(target))"
        case .limit(let limit): "limit \(limit.resource.rawValue)"
        case .write(let target, _, _): "write \(quoted(target))"
        case .hostname(let name): "set hostname \(quoted(name))"
        case .loopbackUp: "bring the loopback device up"
        case .terminal: "open a terminal"
        case .pivot: "pivot to the new root"
        case .becomeInit: "become init"
        case .ids(let uid, let gid, _): "become user \(uid):\(gid)"
        case .capabilities: "limit capabilities"
        case .umask: "set umask"
        case .changeDirectory(let path): "change directory to \(quoted(path))"
        case .execute(let arguments, _): "execute \(quoted(arguments.first ?? ""))"
        }
    }
}

/// The string as it stands if it is plain, else in double quotes with escapes: one line, unambiguous.
func quoted(_ string: String) -> String {
    let plain = !string.isEmpty && string.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x5C && $0 != 0x7F }
    if plain { return string }
    var result = "\""
    for scalar in string.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\t": result += "\\t"
        case _ where scalar.value < 0x20 || scalar.value == 0x7F:
            let hex = String(scalar.value, radix: 16)
            result += "\\x" + (hex.count == 1 ? "0" : "") + hex
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

private func octal(_ mode: UInt32) -> String {
    let digits = String(mode, radix: 8)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
