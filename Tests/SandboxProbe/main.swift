// A program that starts a sandbox and is then killed by its test: what is left of the sandbox shows whether it dies with us.

import Glibc
import StageRunner

let base = CommandLine.arguments.dropFirst().first ?? "/nonexistent"
let root = OverlayRoot(base: base, lowers: ["image", "stub"], upper: "upper", work: "work", staging: base + "/staging")
var layout = SandboxLayout(root: root, hostname: "probe")
layout.userNamespace = geteuid() != 0
let plan = layout.plan(.init(arguments: ["/bin/sh", "-c", "sleep 1000 & sleep 1000"], environment: ["PATH=/bin"]))
let null = open("/dev/null", O_RDWR)
do {
    let process = try Sandbox.spawn(plan, streams: .init(input: null, output: null, error: null))
    print(process.pid)
    fflush(nil)
    _ = try process.wait()
} catch {
    print("failed: \(error)")
    exit(1)
}
