// Why a sandbox could not be set up: the action, the kernel's answer, and what helps.

import Glibc
import StageSystem

/// A sandbox that did not start.
public enum SandboxError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The plan itself cannot be carried out.
    case invalidPlan(String)
    /// The parent's side failed: `clone3`, the user maps, a pipe.
    case start(SystemError)
    /// An action failed inside the new namespaces; nothing of the command ran.
    case action(Failure)

    /// An action that failed.
    public struct Failure: Sendable, Hashable {
        /// Its place in the plan.
        public var index: Int
        public var action: SandboxAction
        public var errno: CInt
        /// The kernel's own words about it; often empty.
        public var message: String
        /// True when the sandbox ran in a user namespace.
        public var userNamespace: Bool
    }

    public var description: String {
        switch self {
        case .invalidPlan(let reason): return "the sandbox cannot be set up: \(reason)"
        case .start(let error):
            return "the sandbox cannot be started: \(error)" + (startAdvice(error).map { "; " + $0 } ?? "")
        case .action(let failure):
            return failure.sentence + (failure.advice.map { "; " + $0 } ?? "")
        }
    }

    /// When the command itself could not be executed: the status that a shell would give, 127 (not found) or 126.
    public var commandStatus: Int32? {
        guard case .action(let failure) = self, case .execute = failure.action else { return nil }
        return failure.errno == ENOENT || failure.errno == ENOTDIR ? 127 : 126
    }

    private func startAdvice(_ error: SystemError) -> String? {
        switch error.errno {
        case EPERM:
            "namespaces are not allowed here: run as root, or allow user namespaces "
                + "(kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); "
                + "within a container, give it --privileged"
        case ENOSPC, EUSERS: "the limit of namespaces is reached: raise user.max_user_namespaces and its siblings"
        case ENOSYS, EINVAL: "the kernel is too old: Linux 6.8 or newer is needed"
        case EAGAIN, ENOMEM: "the machine is out of processes or memory"
        default: nil
        }
    }
}

extension SandboxError.Failure {
    /// What failed and the kernel's answer: "mount proc at /proc: Operation not permitted (EPERM)".
    var sentence: String {
        "\(action.title): \(errnoName(errno))" + (message.isEmpty ? "" : " (\(message))")
    }

    /// What helps against it, if that is known.
    var advice: String? {
        switch action {
        case .execute(let arguments, _): executeAdvice(arguments.first ?? "")
        case .overlay: overlayAdvice
        case .mount(let type, _, _, _, _) where errno == EPERM && (type == "proc" || type == "sysfs"):
            "the surrounding container hides parts of /\(type == "proc" ? "proc" : "sys"): start it with --privileged"
        case .mount, .stack, .bind: targetAdvice
        case .secret where errno == EINVAL && userNamespace:
            "only root exists in a sandbox that was started without privileges: leave out uid and gid"
        case .limit where errno == EPERM: "a limit above this machine's own needs root"
        case .ids where errno == EINVAL && userNamespace:
            "only root exists in a sandbox that was started without privileges: run as root to use other users"
        case .changeDirectory where errno == ENOTDIR: "the working directory is a file in this image"
        case .detachPropagation where errno == EPERM: "mounting is not allowed here: run as root"
        default: nil
        }
    }

    private func executeAdvice(_ command: String) -> String? {
        switch errno {
        case ENOENT where command == "/bin/sh":
            "the image has no /bin/sh: use the JSON form (RUN [\"/program\", \"argument\"]) or a base image with a shell"
        case ENOENT where command.contains("/"): "the image has no such file"
        case ENOENT: "no directory of PATH has it"
        case ENOEXEC where message.isEmpty: "not a program for this machine's architecture"
        case ENOEXEC: "the image lacks what this program needs to start"
        case EACCES: "the file is not executable, or the user may not execute it"
        default: nil
        }
    }

    private var overlayAdvice: String? {
        switch errno {
        case ENODEV: "the kernel has no overlayfs: load it with `modprobe overlay`"
        case EPERM: "overlay mounts are not allowed here: run as root"
        case EINVAL where message.contains("lowerdir+"): "the kernel is too old: Linux 6.8 or newer is needed"
        case EINVAL: "the state directory may itself lie on an overlay: move it to a real filesystem with --root"
        default: nil
        }
    }

    private var targetAdvice: String? {
        switch errno {
        case ELOOP: "the image has a symlink there, which is refused"
        case ENOENT: "source or target does not exist"
        case ENOTDIR: "a file on a directory or the other way round"
        default: nil
        }
    }
}

/// "Operation not permitted (EPERM)"
func errnoName(_ code: CInt) -> String {
    let names: [CInt: String] = [
        EPERM: "EPERM", ENOENT: "ENOENT", EACCES: "EACCES", EINVAL: "EINVAL", ENOTDIR: "ENOTDIR", ELOOP: "ELOOP",
        ENODEV: "ENODEV", EBUSY: "EBUSY", ENOSYS: "ENOSYS", ENOEXEC: "ENOEXEC", ENOMEM: "ENOMEM", ENOSPC: "ENOSPC",
        EEXIST: "EEXIST", E2BIG: "E2BIG", EROFS: "EROFS", ESTALE: "ESTALE", ENAMETOOLONG: "ENAMETOOLONG",
    ]
    let text = strerror(code).map { String(cString: $0) } ?? "error"
    return "\(text) (\(names[code] ?? "errno \(code)"))"
}
