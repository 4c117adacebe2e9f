// What goes wrong before the command runs, and what a hostile image tries.

import Glibc
import StageEngine
import StageRunner
import StageSystem
import Testing

@Suite(.serialized, .enabled(if: canSandbox, "needs root and a static busybox"))
struct SandboxFailureTests {
    let fixture = SandboxFixture()

    private func failure(_ plan: SandboxPlan) -> SandboxError? {
        do {
            _ = try SandboxFixture.run(plan)
            return nil
        } catch { return error as? SandboxError }
    }

    private func failure(command: [String], environment: [String] = ["PATH=/bin"]) -> SandboxError? {
        failure(fixture.layout.plan(.init(arguments: command, environment: environment)))
    }

    @Test func missingProgram() {
        let error = failure(command: ["/no/such"])
        #expect(error?.commandStatus == 127)
        #expect(
            error?.description == "execute /no/such: No such file or directory (ENOENT); the image has no such file")
        #expect(failure(command: ["nothere"])?.description.hasSuffix("no directory of PATH has it") == true)
    }

    @Test func missingShell() {
        unlink(fixture.scratch.path + "/image/bin/sh")
        #expect(failure(fixture.plan("true"))?.description.contains("the image has no /bin/sh") == true)
    }

    @Test func brokenPrograms() {
        fixture.scratch.file("image/bin/script", "#!/no/interpreter\n", mode: 0o755)
        let script = failure(command: ["script"])
        #expect(script?.commandStatus == 126)
        #expect(script?.description.contains("its interpreter or dynamic loader is missing") == true)
        fixture.scratch.file("image/bin/data", "neither ELF nor script", mode: 0o755)
        #expect(failure(command: ["/bin/data"])?.description.contains("architecture") == true)
        fixture.scratch.file("image/bin/plain", "x", mode: 0o644)
        #expect(failure(command: ["plain"])?.commandStatus == 126)
        #expect(failure(command: ["/bin"])?.commandStatus == 126)
    }

    @Test func searchesPath() throws {
        let plan = fixture.layout.plan(.init(arguments: ["echo", "found"], environment: ["PATH=/none:/etc:/bin"]))
        #expect(try SandboxFixture.run(plan).output == "found\n")
    }

    @Test func failureNamesTheAction() throws {
        var layout = fixture.layout
        layout.root.upper = "no-upper"
        let plan = layout.plan(.init(arguments: ["/bin/true"], environment: []))
        guard case .action(let found)? = failure(plan) else {
            Issue.record("expected an action's failure")
            return
        }
        #expect(found.index == 1)
        #expect(found.errno == ENOENT)
        #expect(
            SandboxError.action(found).description.hasPrefix("mount overlay at /: No such file or directory (ENOENT)"))
    }

    @Test func mountOfAnUnknownFilesystem() {
        var plan = fixture.plan("true")
        plan.actions.insert(.mount(type: "nosuchfs", target: "/tmp"), at: 2)
        #expect(failure(plan)?.description.hasPrefix("mount nosuchfs at /tmp: No such device (ENODEV)") == true)
    }

    @Test func invalidPlans() {
        #expect(failure(command: ["/bin/sh", "a\u{0}b"])?.description.contains("NUL") == true)
        var plan = fixture.plan("true")
        plan.actions.removeAll { $0 == .becomeInit }
        plan.actions.removeLast()
        #expect(failure(plan)?.description.contains("no init action") == true)
    }

    @Test func symlinkForAKernelFilesystemIsRefused() {
        rmdir(fixture.scratch.path + "/image/tmp")
        for name in ["proc", "sys", "dev"] {
            symlink("/tmp", fixture.scratch.path + "/image/" + name)
            let error = failure(fixture.plan("true"))
            #expect(error?.description.contains("at /\(name): Too many levels of symbolic links (ELOOP)") == true)
            #expect(error?.description.contains("the image has a symlink there") == true)
            unlink(fixture.scratch.path + "/image/" + name)
        }
    }

    @Test func hostileBindTargetStaysInside() throws {
        // The image points /etc/resolv.conf at a path of the host; the mount must land inside, or nowhere.
        let victim = fixture.scratch.path + "/victim"
        fixture.scratch.file("victim", "untouched")
        fixture.scratch.file("bound", "bound")
        symlink(victim, fixture.scratch.path + "/image/etc/resolv.conf")
        symlink("../../../../../../../tmp/inside", fixture.scratch.path + "/image/etc/hosts")
        fixture.scratch.file("image/tmp/inside", "image's own")
        var layout = fixture.layout
        layout.binds = [
            .init(source: fixture.scratch.path + "/bound", target: "/etc/resolv.conf", isOptional: true),
            .init(source: fixture.scratch.path + "/bound", target: "/etc/hosts"),
        ]
        let plan = layout.plan(
            .init(arguments: ["/bin/sh", "-c", "cat /tmp/inside; echo gone > /tmp/inside"], environment: ["PATH=/bin"]))
        let result = try SandboxFixture.run(plan)
        #expect(result.output == "bound")
        #expect(try readFile(victim) == Array("untouched".utf8))
        #expect(try readFile(fixture.scratch.path + "/bound") == Array("gone\n".utf8))
    }

    @Test func createdBindTargets() throws {
        var layout = fixture.layout
        fixture.scratch.file("bound", "b")
        layout.binds = [
            .init(
                source: fixture.scratch.path + "/image/bin", target: "/new/deep/dir", isReadOnly: true,
                makesTarget: true),
            .init(source: fixture.scratch.path + "/bound", target: "/new/file", makesTarget: true),
        ]
        let plan = layout.plan(
            .init(
                arguments: [
                    "/bin/sh", "-c", "test -x /new/deep/dir/sh; cat /new/file; touch /new/deep/dir/x || echo ro",
                ],
                environment: ["PATH=/bin"]))
        let output = try SandboxFixture.run(plan).output
        #expect(output.hasPrefix("b") && output.hasSuffix("ro\n"))
    }

    @Test func workingDirectoryIsMade() throws {
        let plan = fixture.layout.plan(
            .init(arguments: ["/bin/sh", "-c", "pwd"], environment: ["PATH=/bin"], workingDirectory: "/app/deep"))
        #expect(try SandboxFixture.run(plan).output == "/app/deep\n")
        let info = try statEntry(AT_FDCWD, FileName(fixture.scratch.path + "/upper/app/deep"))
        #expect(info.mode == 0o040755 && info.uid == 0)
    }

    @Test func setupLeavesTheUpperEmpty() throws {
        _ = try fixture.run("true")
        let upper = try OwnedFD.open(fixture.scratch.path + "/upper", O_RDONLY | O_DIRECTORY)
        #expect(try readEntries(upper.raw).isEmpty)
    }

    @Test func diesWithItsParent() throws {
        let probe = probePath
        try #require(access(probe, X_OK) == 0, "the probe is built with the tests: \(probe)")

        let ends = try OwnedFD.pipe()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends.write, 1)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var pid: pid_t = 0
        let arguments = [strdup(probe), strdup(fixture.scratch.path), nil]
        defer { for argument in arguments { free(argument) } }
        #expect(posix_spawn(&pid, probe, &actions, nil, arguments, environ) == 0)
        close(ends.write)
        let reader = OwnedFD(owning: ends.read)
        var line = [UInt8](repeating: 0, count: 256)
        let count = read(reader.raw, &line, line.count)
        let text = String(decoding: line[..<max(0, count)], as: UTF8.self)
        let sandbox = try #require(Int32(text.split(separator: "\n").first ?? ""), "\(text)")
        #expect(isAlive(sandbox))
        let children = try readFile("/proc/\(sandbox)/task/\(sandbox)/children")
        let command = try #require(Int32(String(decoding: children, as: UTF8.self).split(separator: " ").first ?? ""))

        kill(pid, SIGKILL)
        var status: CInt = 0
        waitpid(pid, &status, 0)
        var waited = 0
        while waited < 200, isAlive(sandbox) || isAlive(command) {
            usleep(10_000)
            waited += 1
        }
        #expect(!isAlive(sandbox) && !isAlive(command), "the sandbox outlived its parent")
    }
}
