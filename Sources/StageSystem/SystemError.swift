// The one error of the system layer: what was tried, on what, and the kernel's answer.

import CLinux
import Glibc

/// A system call that failed: the operation, the path or object it was about, and `errno`.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried, as the system call's name ("open", "renameat2").
    public let operation: String
    /// The path or object it was about; empty when there is none.
    public let subject: String
    /// The kernel's `errno`.
    public let errno: CInt

    public init(_ operation: String, _ subject: String = "", errno: CInt) {
        self.operation = operation
        self.subject = subject
        self.errno = errno
    }

    /// Takes `errno` as it stands: call it right after the system call.
    public static func last(_ operation: String, _ subject: String = "") -> SystemError {
        SystemError(operation, subject, errno: Glibc.errno)
    }

    /// The kernel's message for `errno` ("No such file or directory").
    public var reason: String {
        // The one limit that a person meets without having set it.
        if errno == EMFILE { return "Too many open files: raise the limit (ulimit -n), or do less at once" }
        guard let text = strerror(errno) else { return "error \(errno)" }
        return String(cString: text)
    }

    public var description: String {
        subject.isEmpty ? "\(operation): \(reason)" : "\(operation) \(subject): \(reason)"
    }
}

/// Repeats a system call while a signal interrupts it; throws what else fails.
@inline(__always)
@discardableResult
public func retrying<R: SignedInteger>(
    _ operation: String, _ subject: @autoclosure () -> String = "", _ call: () -> R
) throws(SystemError) -> R {
    while true {
        let result = call()
        if result >= 0 { return result }
        let code = Glibc.errno
        if code != EINTR { throw SystemError(operation, subject(), errno: code) }
    }
}
