// The sandbox as the kernel makes it: ends, errors, rights, and that nothing is left behind.

import Glibc
import StageEngine
import StageRunner
import StageSystem
import Testing

@Suite(.serialized, .enabled(if: canSandbox, "needs root and a static busybox"))
struct SandboxTests {
    let fixture = SandboxFixture()

    @Test(arguments: [0, 1, 3, 127, 255]) func exitCode(_ code: Int32) throws {
        #expect(try fixture.run("exit \(code)").status == .exited(code))
    }

    @Test func deathBySignal() throws {
        let result = try fixture.run("kill -TERM $$")
        #expect(result.status == .signalled(SIGTERM))
        #expect(result.status.code == 143)
    }

    @Test func surroundings() throws {
        let result = try fixture.run(
            """
            hostname; id -u; umask; pwd; echo $$; ls /dev; echo x > /dev/null; cat /proc/1/comm > /dev/null
            test -e /dev/ptmx && echo ptmx; ls /proc/self/fd | wc -l; ls /sys/kernel >/dev/null && echo sys
            """)
        let devices =
            "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"
        // Streams, and the directory that ls reads.
        #expect(result.output == "box\n0\n0022\n/\n2\n" + devices + "ptmx\n4\nsys\n")
        #expect(result.status == .exited(0))
    }

    @Test func capabilitiesAsDocker() throws {
        let output = try fixture.run("grep -E '^(Cap|NoNewPrivs)' /proc/self/status").output
        #expect(
            output == """
                CapInh:\t0000000000000000
                CapPrm:\t00000000a80425fb
                CapEff:\t00000000a80425fb
                CapBnd:\t00000000a80425fb
                CapAmb:\t0000000000000000
                NoNewPrivs:\t0

                """)
    }

    @Test func anotherUser() throws {
        let plan = fixture.layout.plan(
            .init(
                arguments: ["/bin/sh", "-c", "id; grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status; cat /proc/1/environ"],
                environment: ["PATH=/bin"], uid: 1000, gid: 100, groups: [100, 27]))
        let result = try SandboxFixture.run(plan)
        #expect(result.output.hasPrefix("uid=1000 gid=100 groups=27,100\n"))
        #expect(
            result.output.contains("CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n"))
        #expect(result.output.contains("denied"))
    }

    @Test func initCannotBeRead() throws {
        // Pid 1 is a copy of this process: its memory and its environment stay closed, to root too.
        let result = try fixture.run("cat /proc/1/environ || echo closed; cat /proc/1/mem || echo closed")
        #expect(result.output.split(separator: "\n").filter { $0 == "closed" }.count == 2)
    }

    @Test func protectionsHold() throws {
        let result = try fixture.run(
            """
            echo 1 2>/dev/null > /proc/sys/kernel/panic || echo sys
            echo h 2>/dev/null > /proc/sysrq-trigger || echo sysrq
            ls /sys/firmware | wc -l; touch /sys/x 2>/dev/null || echo ro; cat /proc/timer_list | wc -c
            """)
        #expect(result.output == "sys\nsysrq\n0\nro\n0\n")
    }

    @Test func orphansAreReapedAndKilled() throws {
        let start = clock()
        // The orphans hold the output pipe open: the end of the command ends them too.
        let result = try fixture.run(
            "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.2; ps -o stat,comm | grep -c Z; (sleep 1000 &); echo end"
        )
        #expect(result.output == "0\nend\n")
        #expect(result.status == .exited(0))
        #expect(Double(clock() - start) / Double(CLOCKS_PER_SEC) < 20)
    }

    @Test func muchOutputArrivesWhole() throws {
        let result = try fixture.run("seq 1 200000")
        #expect(result.output.utf8.count == 1_288_895)
        #expect(result.output.hasSuffix("\n199999\n200000\n"))
    }

    @Test func killEndsEverything() throws {
        let null = try OwnedFD.open("/dev/null", O_RDWR)
        let process = try Sandbox.spawn(
            fixture.plan("sleep 1000 & sleep 1000"), streams: .init(input: null.raw, output: null.raw, error: null.raw))
        process.kill()
        #expect(try process.wait() == .signalled(SIGKILL))
        #expect(Glibc.kill(process.pid, 0) != 0)
    }

    @Test func signalsReachTheCommand() throws {
        var pipe = try OutputPipe()
        let null = try OwnedFD.open("/dev/null", O_RDWR)
        let process = try Sandbox.spawn(
            fixture.plan("trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.01; done"),
            streams: .init(input: null.raw, output: pipe.writer, error: null.raw))
        pipe.closeWriter()
        var output = ""
        let status = try process.wait(output: pipe.reader) { bytes in
            output += String(decoding: bytes, as: UTF8.self)
            if output == "ready\n" { process.signal(SIGUSR1) }
        }
        #expect(status == .exited(7))
        #expect(output == "ready\ngot\n")
    }

    @Test func cancellationKills() async throws {
        let plan = fixture.plan("sleep 1000")
        let pool = BlockingPool(threads: 2)
        let task = Task {
            let process = try await pool.run { () throws(SandboxError) in
                try Sandbox.spawn(plan, streams: .init(input: 0, output: 1, error: 2))
            }
            return try await process.wait(on: pool)
        }
        try await Task.sleep(for: .milliseconds(50))
        task.cancel()
        #expect(try await task.value == .signalled(SIGKILL))
        pool.close()
    }

    @Test func lettingGoKills() throws {
        let pid: Int32
        do {
            let process = try Sandbox.spawn(fixture.plan("sleep 1000"), streams: .init(input: 0, output: 1, error: 2))
            pid = process.pid
            #expect(Glibc.kill(pid, 0) == 0)
        }
        #expect(Glibc.kill(pid, 0) != 0)
    }

    @Test func noDescriptorLeaksIn() throws {
        let extra = open("/etc/passwd", O_RDONLY)  // deliberately not close-on-exec
        defer { close(extra) }
        #expect(try fixture.run("ls /proc/self/fd").output == "0\n1\n2\n3\n")
    }

    @Test func noNetwork() throws {
        var layout = fixture.layout
        layout.isolatesNetwork = true
        let plan = layout.plan(
            .init(arguments: ["/bin/sh", "-c", "ls /sys/class/net; ifconfig lo"], environment: ["PATH=/bin"]))
        let output = try SandboxFixture.run(plan).output
        #expect(output.hasPrefix("lo\n"))
        #expect(output.contains("UP LOOPBACK RUNNING"))
    }

    @Test func terminal() throws {
        var layout = fixture.layout
        layout.terminal = (33, 101)
        let plan = layout.plan(
            .init(arguments: ["/bin/sh", "-c", "tty; stty size; echo ok > /dev/tty"], environment: ["PATH=/bin"]))
        let process = try Sandbox.spawn(plan, streams: .init(input: -1, output: -1, error: -1))
        let master = try #require(process.terminal)
        var output = ""
        let status = try process.wait(output: master) { output += String(decoding: $0, as: UTF8.self) }
        #expect(status == .exited(0))
        #expect(output == "/dev/pts/0\r\n33 101\r\nok\r\n")
    }
}
