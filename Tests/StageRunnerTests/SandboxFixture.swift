// A minimal image of busybox on disk, and a way to run commands in it.

import Glibc
import StageEngine
import StageRunner
import StageSystem
import Synchronization
import Testing

/// True when the tests may make namespaces; says loudly when not.
let canSandbox: Bool = {
    let possible = geteuid() == 0 && access("/bin/busybox", X_OK) == 0
    if !possible {
        let words =
            "\n*** SKIPPED: the sandbox tests need root and a static busybox (apt install busybox-static) ***\n\n"
        _ = write(2, words, words.utf8.count)
    }
    return possible
}()

/// A directory that goes away with its owner.
final class Scratch: Sendable {
    let path: String

    init() {
        var template = Array("/tmp/stagerunner-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) } ?? "/nonexistent"
        }
        chmod(path, 0o755)
    }

    deinit { try? removeTree(path) }

    func directory(_ name: String) {
        var made = path
        for part in name.split(separator: "/") {
            made += "/" + part
            mkdir(made, 0o755)
        }
    }

    func file(_ name: String, _ text: String, mode: mode_t = 0o644) {
        let fd = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        _ = write(fd, text, text.utf8.count)
        fchmod(fd, mode)
        close(fd)
    }
}

/// `image` (busybox), `stub`, `upper`, `work` and `staging` in a scratch directory.
final class SandboxFixture: Sendable {
    let scratch = Scratch()

    init() {
        for name in [
            "image/bin", "image/etc", "image/tmp", "stub/proc", "stub/sys", "stub/dev", "upper", "work", "staging",
        ] {
            scratch.directory(name)
        }
        let applets = [
            "sh", "true", "cat", "echo", "id", "sleep", "ls", "mkdir", "rm", "touch", "ln", "mv", "chmod", "chown",
            "kill",
            "test", "grep", "hostname", "tty", "stty", "ps", "pwd", "env", "mknod", "cp", "stat", "find", "seq", "dd",
            "sync",
            "ip", "ifconfig", "readlink", "wc", "sort", "date", "printf",
        ]
        link("/bin/busybox", scratch.path + "/image/bin/busybox")
        if access(scratch.path + "/image/bin/busybox", X_OK) != 0 { copyBusybox() }
        for applet in applets { symlink("busybox", scratch.path + "/image/bin/" + applet) }
    }

    private func copyBusybox() {
        guard let bytes = try? readFile("/bin/busybox") else { return }
        let fd = open(scratch.path + "/image/bin/busybox", O_WRONLY | O_CREAT | O_CLOEXEC, 0o755)
        bytes.withUnsafeBytes { try? writeAll(fd, $0) }
        close(fd)
    }

    /// A layout for one run: overlayfs takes a volatile work directory only once.
    var layout: SandboxLayout {
        try? removeTree(scratch.path + "/work")
        scratch.directory("work")
        return SandboxLayout(
            root: OverlayRoot(
                base: scratch.path, lowers: ["image", "stub"], upper: "upper", work: "work",
                staging: scratch.path + "/staging"), hostname: "box")
    }

    static let environment = ["PATH=/bin"]

    func plan(_ shell: String) -> SandboxPlan {
        layout.plan(.init(arguments: ["/bin/sh", "-c", shell], environment: Self.environment))
    }

    /// Runs a plan to its end.
    static func run(_ plan: SandboxPlan) throws -> (status: StageEngine.ExitStatus, output: String) {
        var pipe = try OutputPipe()
        let null = try OwnedFD.open("/dev/null", O_RDWR)
        let process = try Sandbox.spawn(
            plan, streams: .init(input: null.raw, output: pipe.writer, error: pipe.writer))
        pipe.closeWriter()
        var bytes: [UInt8] = []
        let status = try process.wait(output: pipe.reader) { bytes.append(contentsOf: $0) }
        return (status, String(decoding: bytes, as: UTF8.self))
    }

    func run(_ shell: String) throws -> (status: StageEngine.ExitStatus, output: String) { try Self.run(plan(shell)) }
}

/// Whether the process runs; a zombie that nobody reaped yet does not.
func isAlive(_ pid: Int32) -> Bool {
    guard let bytes = try? readFile("/proc/\(pid)/stat") else { return false }
    let state = String(decoding: bytes, as: UTF8.self).split(separator: ")").last?.split(separator: " ").first
    return state != "Z" && state != "X"
}

/// The probe program that is built beside the tests.
let probePath: String = {
    var executable = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &executable, executable.count - 1)
    let own = String(decoding: executable[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return own.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/SandboxProbe"
}()
