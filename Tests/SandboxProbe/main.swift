// A program for the tests: it starts a sandbox and is killed (what is left shows whether the sandbox dies with it), or
// it runs steps as whatever user it was started as.

import Glibc
import StageRunner
import StageSystem

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.count == 2, arguments[0] == "--rootless" {
    await runSteps(root: arguments[1])
} else if arguments.count == 2, arguments[0] == "--leaks" {
    await countLeaks(root: arguments[1])
} else if arguments.count == 2, arguments[0] == "--bare" {
    await showMountPoints(root: arguments[1])
} else if arguments.count == 3, arguments[0] == "--measure" {
    await measure(root: arguments[1], store: arguments[2])
} else {
    sleepInSandbox(arguments.first ?? "/nonexistent")
}

func sleepInSandbox(_ base: String) {
    let root = OverlayRoot(
        base: base, lowers: ["image", "stub"], upper: "upper", work: "work", staging: base + "/staging")
    let layout = SandboxLayout(root: root, hostname: "probe")
    let plan = layout.plan(.init(arguments: ["/bin/sh", "-c", "sleep 1000 & sleep 1000"], environment: ["PATH=/bin"]))
    let null = open("/dev/null", O_RDWR)
    do {
        let process = try Sandbox.spawn(plan, streams: .init(input: null, output: null, error: null))
        say("\(process.pid)\n")
        _ = try process.wait()
    } catch {
        say("failed: \(error)\n")
        exit(1)
    }
}

/// Writes at once: nothing may wait in a buffer when the end comes by kill -9.
func say(_ text: String) {
    Array(text.utf8).withUnsafeBytes { try? writeAll(1, $0) }
}
