// The executor as the engine sees it: users, directories, errors, cancellation, what is left on disk, and its speed.

import Glibc
import StageConformance
import StageEngine
import StageGraph
import StageHash
import StageRunner
import StageStore
import StageSystem
import Synchronization
import Testing

/// Collects a command's output.
final class Log: Sendable {
    private let bytes = Mutex<[UInt8]>([])
    func add(_ more: [UInt8]) { bytes.withLock { $0 += more } }
    var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }
}

@Suite(.serialized, .enabled(if: canSandbox, "needs root and a static busybox"))
struct ExecutorTests {
    let fixture: TreeFixture

    init() throws { fixture = try TreeFixture() }

    private func failure(_ body: () async throws -> Void) async -> ExecutorError? {
        do {
            try await body()
            return nil
        } catch { return error as? ExecutorError }
    }

    @Test(arguments: ExecutorRequirements.all) func whatIsAskedOfEveryExecutor(
        _ requirement: Requirement<ExecutorSubject>
    ) async throws {
        let fixture = fixture
        try await requirement.check {
            ExecutorSubject(shell: fixture.executor, store: fixture.store, base: fixture.image)
        }
    }

    @Test func statusAndNoTreeOnFailure() async throws {
        let outcome = try await fixture.run("echo out; echo err >&2; exit 42")
        #expect(outcome.exit == .exited(42))
        #expect(outcome.tree == nil)
        #expect(outcome.output == "out\nerr\n")
    }

    @Test func users() async throws {
        let script = "id -u; id -g; id -G; echo $HOME"
        #expect(try await fixture.run(script).output == "0\n0\n0\n/root\n")
        #expect(try await fixture.run(script, user: "kim").output == "1000\n1001\n1001 10\n/home/kim\n")
        #expect(try await fixture.run(script, user: "1000").output == "1000\n1001\n1001 10\n/home/kim\n")
        #expect(try await fixture.run(script, user: "kim:root").output == "1000\n0\n0\n/home/kim\n")
        #expect(try await fixture.run(script, user: "77:wheel").output == "77\n10\n10\n/\n")
        #expect(try await fixture.run(script, user: "77").output == "77\n0\n0\n/\n")
        #expect(try await fixture.run(script, environment: ["PATH=/bin", "HOME=/h"]).output.hasSuffix("/h\n"))
        // The group is a supplementary one too: what a shell under docker sees.
        let groups = "sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status | sed 's/ *$//'"
        #expect(try await fixture.run(groups, user: "").output == "0\n")
        #expect(try await fixture.run(groups, user: "kim").output == "10 1001\n")
        let error = await failure { _ = try await fixture.run(script, user: "nobody") }
        #expect(error?.message == "there is no user nobody in the image's /etc/passwd")
        #expect(error?.advice != nil)
        let group = await failure { _ = try await fixture.run(script, user: "kim:none") }
        #expect(group?.message == "there is no group none in the image's /etc/group")
    }

    @Test func workingDirectoryIsMadeAndKept() async throws {
        let outcome = try await fixture.run("pwd", user: "kim", directory: "/srv/app")
        #expect(outcome.output == "/srv/app\n")
        let tree = try #require(outcome.tree)
        #expect(try fixture.changes(from: fixture.image, to: tree) == ["+/srv/", "+/srv/app/"])
    }

    @Test func missingShellAndProgram() async throws {
        let bare = try TreeFixture.tree([("/x", try TreeFixture.file("x", fixture.store))], fixture.store)
        let error = await failure { _ = try await fixture.run("true", chain: [bare]) }
        #expect(error?.message == "execute /bin/sh: No such file or directory (ENOENT)")
        #expect(error?.advice?.hasPrefix("the image has no /bin/sh") == true)
        let other = await failure {
            _ = try await fixture.run(Run(arguments: ["gcc"], environment: ["PATH=/bin"]))
        }
        #expect(other?.advice == "no directory of PATH has it")
    }

    @Test func noNetworkWhenAsked() async throws {
        #expect(try await fixture.run("ls /sys/class/net", network: .none).output == "lo\n")
    }

    @Test func imageWithoutMountPoints() async throws {
        // Only the shell: proc, sys, dev, etc come from below and do not show up in the result.
        let names = ["busybox", "sh", "cat", "ls"]
        var entries: [(String, Entry)] = []
        for name in names {
            let path = TreePath("/bin/" + name)
            entries.append((path.description, try #require(try fixture.store.entry(at: path, in: fixture.image))))
        }
        let bare = try TreeFixture.tree(entries, fixture.store)
        let outcome = try await fixture.run(
            "cat /etc/hosts /proc/self/comm; echo > /dev/null; echo f > /etc/file", chain: [bare])
        #expect(outcome.exit == .exited(0))
        #expect(outcome.output.contains("stagerun") && outcome.output.hasSuffix("cat\n"))
        #expect(try fixture.changes(from: bare, to: try #require(outcome.tree)) == ["+/etc/", "+/etc/file"])
    }

    @Test func resolverBehindASymlink() async throws {
        let linked = try TreeFixture.tree(
            [("/etc/resolv.conf", TreeFixture.link("../run/resolve/stub.conf"))], on: fixture.image, fixture.store)
        let outcome = try await fixture.run("cat /etc/resolv.conf", chain: [fixture.image, linked])
        #expect(outcome.output == String(decoding: try readFile("/etc/resolv.conf"), as: UTF8.self))
        #expect(outcome.tree == linked)
    }

    @Test func cancellationEndsEverything() async throws {
        let started = Mutex(false)
        let fixture = fixture
        let task = Task {
            let run = Run(arguments: ["/bin/sh", "-c", "echo go; sleep 1000 & sleep 1000"], environment: ["PATH=/bin"])
            _ = try await fixture.executor.execute(
                ExecRequest(key: StepKey(Digest.of("k")), run: run, chain: [fixture.image])
            ) { _, _ in started.withLock { $0 = true } }
        }
        while !started.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
        let clock = ContinuousClock()
        let elapsed = await clock.measure {
            task.cancel()
            _ = await task.result
        }
        // The command would take 1,000 seconds.
        #expect(elapsed < .seconds(100))
        #expect(try names(in: fixture.scratch.path + "/runs").isEmpty)
    }

    private func names(in path: String) throws -> [String] {
        let fd = try OwnedFD.open(path, O_RDONLY | O_DIRECTORY)
        return try readEntries(fd.raw).map(\.name.description).sorted()
    }

    @Test func staleRunsAreRemovedAndLiveOnesKept() async throws {
        for name in ["runs/dead", "runs/dead/upper", "runs/dead/upper/x", "runs/live", "workspaces/another-boot"] {
            fixture.scratch.directory(name)
        }
        fixture.scratch.file("runs/dead.lock", "")
        fixture.scratch.file("runs/live.lock", "")
        let lock = try OwnedFD.open(fixture.scratch.path + "/runs/live.lock", O_RDWR)
        #expect(flock(lock.raw, LOCK_EX | LOCK_NB) == 0)
        _ = try NamespaceExecutor(root: fixture.scratch.path, store: fixture.store)
        #expect(try names(in: fixture.scratch.path + "/runs") == ["live", "live.lock"])
        #expect(try names(in: fixture.scratch.path + "/workspaces").count == 1)
    }

    @Test func manyAtOnceShareWorkspaces() async throws {
        let fixture = fixture
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<24 {
                group.addTask {
                    let outcome = try await fixture.run("echo \(index) > /n; sleep 0.05; cat /n", key: "k\(index)")
                    return outcome.output == "\(index)\n" && outcome.tree != nil
                }
            }
            for try await good in group { #expect(good) }
        }
        #expect(try names(in: fixture.scratch.path + "/runs").isEmpty)
    }

    @Test func containers() async throws {
        fixture.scratch.directory("share")
        fixture.scratch.file("share/in", "from host\n")
        var request = ContainerRequest(
            chain: [fixture.image],
            arguments: [
                "sh", "-c", "cat /mnt/in; hostname; echo out > /mnt/out; echo gone > /data/a; touch /ro/x || exit 9",
            ],
            environment: ["PATH=/bin"])
        request.binds = [
            .init(source: fixture.scratch.path + "/share", target: "/mnt"),
            .init(source: fixture.scratch.path + "/share", target: "/ro", isReadOnly: true),
        ]
        request.hostname = "web"
        var pipe = try OutputPipe()
        let null = try OwnedFD.open("/dev/null", O_RDWR)
        let container = try await fixture.executor.start(
            request, streams: .init(input: null.raw, output: pipe.writer, error: null.raw))
        pipe.closeWriter()
        let log = Log()
        let status = try await container.wait(output: pipe.reader) { log.add(Array($0)) }
        #expect(status == .exited(9))
        #expect(log.text == "from host\nweb\n")
        #expect(try readFile(fixture.scratch.path + "/share/out") == Array("out\n".utf8))
        #expect(try await fixture.run("cat /data/a").output == "a")
    }

    /// Starts the probe program and gives what it prints.
    private func probe(_ command: [String]) throws -> (status: CInt, output: String) {
        let ends = try OwnedFD.pipe()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends.write, 1)
        posix_spawn_file_actions_adddup2(&actions, ends.write, 2)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var pid: pid_t = 0
        let arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let result = posix_spawnp(&pid, command[0], &actions, nil, arguments, environ)
        close(ends.write)
        let reader = OwnedFD(owning: ends.read)
        try #require(result == 0)
        let output = try readToEnd(reader.raw)
        var status: CInt = 0
        waitpid(pid, &status, 0)
        return (status, String(decoding: output, as: UTF8.self))
    }

    @Test func withoutPrivileges() throws {
        let scratch = Scratch()
        chown(scratch.path, 65534, 65534)
        // A copy that another user may execute.
        try #require(try probe(["cp", probePath, scratch.path + "/probe"]).status == 0)
        let result = try probe([
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", scratch.path + "/probe", "--rootless",
            scratch.path + "/state",
        ])
        #expect(
            result.output == """
                0 0
                made by root
                a
                exit status 0
                -/data/a
                +/new/
                +/new/f 0:0
                then: made by root
                unreadable file 0, directory 0: secret inner
                refused: only root exists in a sandbox that was started without privileges: run as root to use other users

                """)
        #expect(try OwnedFD.open(scratch.path + "/state/workspaces", O_RDONLY | O_DIRECTORY).raw >= 0)
    }

    /// A run directory whose lock file is gone belongs to nobody.
    @Test func orphanedRunDirectoriesGo() throws {
        let scratch = Scratch()
        let orphan = scratch.path + "/runs/orphan"
        for directory in [scratch.path + "/runs", orphan, orphan + "/upper"] {
            try retrying("mkdir", directory) { mkdir(directory, 0o755) }
        }
        try NamespaceExecutor.removeLeftovers(root: scratch.path)
        #expect(access(orphan, F_OK) != 0)
    }

    /// Mount points that the image lacks look the same whatever the umask of the one who builds.
    @Test func umaskDoesNotShow() async throws {
        let scratch = Scratch()
        let result = try probe(["sh", "-c", "umask 077; exec \(probePath) --bare \(scratch.path)"])
        #expect(result.output == "755 644\n")
    }

    @Test func nothingIsLeft() throws {
        // In a process of its own: here other tests open and close files at the same time.
        let scratch = Scratch()
        let output = try probe([probePath, "--leaks", scratch.path]).output
        #expect(output == "descriptors 0, runs 0, mounts the same true\n")
    }

    @Test func twoProcessesShareOneRoot() throws {
        let scratch = Scratch()
        let result = try probe([
            "sh", "-c",
            "\(probePath) --rootless \(scratch.path)/state & \(probePath) --rootless \(scratch.path)/state; wait",
        ])
        #expect(
            result.output.split(separator: "\n").filter { $0 == "then: made by root" }.count == 2, "\(result.output)")
    }

    @Test func chainOfFifty() async throws {
        var chain = [fixture.image]
        for index in 0..<50 {
            let idle = try await fixture.run("true", chain: chain, key: "idle \(index)")
            #expect(idle.tree == chain.last)
            let outcome = try await fixture.run("echo \(index) > /n\(index)", chain: chain, key: "\(index)")
            chain.append(try #require(outcome.tree))
        }
        let all = try await fixture.run("test $(ls -d /n* | wc -l) = 50", chain: chain, key: "count")
        #expect(all.exit == .exited(0))
    }

    @Test func tenThousandFiles() async throws {
        let store = fixture.store
        var entries: [(String, Entry)] = []
        for index in 0..<10_000 {
            let text = String(repeating: "line \(index)\n", count: 200)
            entries.append(("/files/d\(index / 50)/f\(index)", try TreeFixture.file(text, store)))
        }
        let big = try TreeFixture.tree(entries, on: fixture.image, store)
        let clock = ContinuousClock()
        let cold = try await clock.measure { _ = try await fixture.run("true", chain: [big]) }
        let warm = try await clock.measure { _ = try await fixture.run("true", chain: [big]) }
        let capture = try await clock.measure {
            let outcome = try await fixture.run("cp -r /files /copy", chain: [big])
            #expect(try fixture.store.size(of: try #require(outcome.tree)).files == 20_005)
        }
        print("executor: check out 10,000 files \(cold - warm), capture a copy of them \(capture)")
        #expect(try await fixture.run("find /files -type f | wc -l", chain: [big]).output == "10000\n")
    }
}
