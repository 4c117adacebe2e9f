// Secrets, agents, writable binds and caches, in real sandboxes.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization
import Testing

@testable import StageRunner

@Suite(.serialized, .enabled(if: canSandbox, "needs root and a static busybox"))
struct MountTests {
    let fixture: TreeFixture

    init() throws { fixture = try TreeFixture() }

    private func run(
        _ shell: String, _ mounts: [RunMount], loans: Loans = Loans(), mounted: [Int: Entry] = [:], key: String = "m",
        change: (inout Run) -> Void = { _ in }
    ) async throws -> TreeFixture.Outcome {
        var run = Run(arguments: ["/bin/sh", "-ec", shell], environment: ["PATH=/bin", "A=old"], mounts: mounts)
        change(&run)
        let request = ExecRequest(
            key: StepKey(Digest.of(key)), run: run, chain: [fixture.image], mounted: mounted, loans: loans)
        let log = Log()
        let outcome = try await fixture.executor.execute(request) { _, bytes in log.add(bytes) }
        return .init(exit: outcome.exit, tree: outcome.tree, output: log.text)
    }

    private func secret(_ secret: RunMount.Secret, at target: String) -> RunMount {
        RunMount(kind: .secret(secret), target: target)
    }

    @Test func aSecretIsAFileOfItsOwnerAndLeavesNothing() async throws {
        fixture.scratch.file("value", "swordfish\n")
        let loans = Loans(secrets: ["k": .file(fixture.scratch.path + "/value")])
        let outcome = try await run(
            """
            stat -c '%a %u:%g' /run/secrets/k; wc -c < /run/secrets/k; echo x > /run/secrets/k && exit 3
            grep ' /run/secrets/k ' /proc/mounts | sed 's/.*ramfs/ramfs/'; ls /dev > /seen
            test "$(cat /run/secrets/k)" = swordfish
            """, [secret(.init(id: "k", isRequired: true, mode: 0o440, uid: 5, gid: 6), at: "/run/secrets/k")],
            loans: loans)
        #expect(outcome.exit == .exited(0), "\(outcome.output)")
        #expect(outcome.output.hasPrefix("440 5:6\n10\n"), "\(outcome.output)")
        #expect(outcome.output.contains("ramfs ro,nosuid,nodev,noexec"))
        #expect(try fixture.changes(from: fixture.image, to: try #require(outcome.tree)) == ["+/seen"])
    }

    @Test func aSecretIsAVariableInPlaceOfAnother() async throws {
        let value = SecretValue(Array("sword=fish".utf8))
        let outcome = try await run(
            "test $A = sword=fish; env | grep -c ^A=",
            [secret(.init(id: "k", isRequired: false, environmentName: "A"), at: "")],
            loans: Loans(secrets: ["k": .value(value)]))
        #expect(outcome.output == "1\n")
        #expect("\(value) \(String(reflecting: value))".contains("sword") == false)
        var dumped = ""
        dump(SandboxAction.secret(target: "/x", value, mode: 0, uid: 0, gid: 0), to: &dumped)
        #expect(!dumped.contains("115") && !dumped.contains("sword"))
    }

    @Test func aMissingSecretIsMissedOrNot() async throws {
        let optional = try await run(
            "ls /run/secrets 2>/dev/null || echo none; echo $A",
            [
                secret(.init(id: "k", isRequired: false), at: "/run/secrets/k"),
                secret(.init(id: "k", isRequired: false, environmentName: "A"), at: ""),
            ])
        #expect(optional.output == "none\nold\n")
        do {
            _ = try await run(
                "true", [secret(.init(id: "token", isRequired: true), at: "/x")],
                loans: Loans(secrets: ["tokn": .value(SecretValue([]))]))
            Issue.record("a required secret that is not there")
        } catch let error as ExecutorError {
            #expect(error.message.contains("token is required") && error.message.contains("did you mean tokn?"))
            #expect(error.advice?.contains("--secret id=token") == true)
        }
    }

    @Test func whatACommandTellsOfASecretIsMasked() async throws {
        let value = SecretValue(Array("first-line\nsecond-line\nab\n".utf8))
        let outcome = try await run(
            "cat /s; printf 'xsecond-'; sleep 0.2; printf 'liney first-lin'",
            [secret(.init(id: "k", isRequired: true), at: "/s")], loans: Loans(secrets: ["k": .value(value)]))
        #expect(outcome.output == "***\n***\nab\nx***y first-lin")
    }

    @Test func anAgentIsReachedThroughASocketOfItsOwn() async throws {
        let path = fixture.scratch.path + "/agent"
        let agent = try EchoAgent(path: path)
        defer { agent.stop() }
        let outcome = try await run(
            "stat -c '%F %a %u:%g' /s",
            [RunMount(kind: .agent(.init(id: "default", isRequired: true, mode: 0o660, uid: 3, gid: 4)), target: "/s")],
            loans: Loans(agents: ["default": path]))
        #expect(outcome.output == "socket 660 3:4\n")
        #expect(try fixture.changes(from: fixture.image, to: try #require(outcome.tree)) == [])
        // From outside, since this busybox has no client for such sockets.
        let relay = try AgentRelay(
            to: path, in: fixture.scratch.path, name: "relay", mode: 0o600, uid: 0, gid: 0)
        for text in ["hello", String(repeating: "x", count: 300_000)] {
            #expect(try EchoAgent.ask(relay.path, text) == text)
        }
        let without = try await run(
            "test ! -e /s && echo none",
            [RunMount(kind: .agent(.init(id: "default", isRequired: false)), target: "/s")])
        #expect(without.output == "none\n")
    }

    @Test func whatIsWrittenToAWritableBindIsThrownAway() async throws {
        let mount = RunMount(kind: .bind(.init(input: 1, source: "/data", isWritable: true)), target: "/m/n")
        let data = try #require(try fixture.store.entry(at: "/data", in: fixture.image))
        let file = try #require(try fixture.store.entry(at: "/data/a", in: fixture.image))
        let one = RunMount(kind: .bind(.init(input: 1, source: "/data/a", isWritable: true)), target: "/one")
        let script = "cd /m/n; rm a; echo new > sub/b; mkdir x; chmod 700 .; cat sub/b; echo more >> /one; cat /one"
        for _ in 0..<2 {
            let outcome = try await run(script, [mount, one], mounted: [0: data, 1: file])
            #expect(outcome.output == "new\namore\n")
            #expect(outcome.exit == .exited(0) && outcome.tree == fixture.image)
        }
        let other = try await run("cat /data/a /data/sub/b", [])
        #expect(other.output == "ab")
    }

    @Test func aCacheStartsFromWhatItIsGiven() async throws {
        let data = try #require(try fixture.store.entry(at: "/data", in: fixture.image))
        func cache(_ sharing: RunMount.Cache.Sharing, uid: UInt32 = 0) -> RunMount {
            RunMount(
                kind: .cache(
                    .init(
                        id: "c", sharing: sharing, mode: 0o750, uid: uid, gid: 0, isReadOnly: false,
                        base: .init(input: 1, source: "/data"))), target: "/c")
        }
        let first = try await run("cat /c/a; echo 2 > /c/two; stat -c %a /c", [cache(.shared)], mounted: [0: data])
        #expect(first.output == "a755\n")
        let second = try await run("cat /c/a /c/two", [cache(.locked)], mounted: [0: data])
        #expect(second.output == "a2\n")
        var plain = cache(.shared, uid: 9)
        if case .cache(var settings) = plain.kind {
            settings.base = nil
            plain.kind = .cache(settings)
        }
        #expect(try await run("stat -c '%a %u' /c; ls /c", [plain]).output == "750 9\n")
    }

    @Test func aPrivateCacheIsNobodyElsesMeanwhile() async throws {
        func cache(_ target: String) -> RunMount {
            RunMount(
                kind: .cache(.init(id: "p", sharing: .private, mode: 0o755, uid: 0, gid: 0, isReadOnly: false)),
                target: target)
        }
        let fixture = self
        async let slow = fixture.run("echo 1 > /c/one; sleep 1; ls /c", [cache("/c")], key: "slow")
        try await Task.sleep(for: .milliseconds(400))
        let meanwhile = try await run("ls /c; echo 2 > /c/two", [cache("/c")], key: "fast")
        #expect(meanwhile.output == "")
        #expect(try await slow.output == "one\n")
        // Twice in one command it is one.
        #expect(try await run("ls /c /d", [cache("/c"), cache("/d")], key: "both").output == "/c:\none\n\n/d:\none\n")
    }

    @Test func rightsLimitsAndNames() async throws {
        let plain = try await run(
            "test ! -e /dev/fuse; ! echo x 2>/dev/null > /proc/sys/kernel/domainname; echo shut", [])
        #expect(plain.output == "shut\n")
        let outcome = try await run(
            """
            sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status; test -c /dev/fuse && test -b /dev/loop0 && echo devices
            ulimit -n; ulimit -Hn; grep 'db$' /etc/hosts; hostname; dd if=/dev/zero of=/dev/shm/x bs=1M count=70 2>/dev/null && echo large
            mkdir /mnt; busybox mount -t tmpfs none /mnt && echo mounted
            """, []
        ) { run in
            run.isPrivileged = true
            run.limits = [ResourceLimit(.nofile, soft: 77, hard: 99)]
            run.extraHosts = [ExtraHost(name: "db", address: "10.1.2.3")]
            run.sharedMemory = 100 << 20
            run.hostname = "box"
        }
        let own = try String(decoding: readFile("/proc/self/status"), as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("CapEff") }?.split(separator: "\t").last
        #expect(
            outcome.output == "\(own ?? "")\ndevices\n77\n99\n10.1.2.3\tdb\nbox\nlarge\nmounted\n", "\(outcome.output)")
    }
}

/// Listens on a socket and gives back what each connection says.
private final class EchoAgent: Sendable {
    private let listener: OwnedFD
    private let thread: pthread_t

    init(path: String) throws {
        let fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        listener = OwnedFD(owning: fd)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0 && listen(fd, 4) == 0)
        var thread = pthread_t()
        let created = pthread_create(
            &thread, nil,
            { argument in
                let listener = CInt(Int(bitPattern: argument))
                while true {
                    let client = accept(listener, nil, nil)
                    if client < 0 { return nil }
                    var buffer = [UInt8](repeating: 0, count: 100)
                    while true {
                        let count = read(client, &buffer, buffer.count)
                        if count <= 0 { break }
                        _ = write(client, buffer, count)
                    }
                    close(client)
                }
            }, UnsafeMutableRawPointer(bitPattern: Int(fd)))
        try #require(created == 0)
        self.thread = thread
    }

    /// What the agent behind a socket gives back.
    static func ask(_ path: String, _ text: String) throws -> String {
        let client = OwnedFD(owning: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(client.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(connected == 0)
        var rest = Array(text.utf8)[...]
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while answer.count < text.utf8.count {
            if !rest.isEmpty {
                let count = rest.prefix(4096).withUnsafeBytes { write(client.raw, $0.baseAddress, $0.count) }
                rest = rest.dropFirst(max(0, count))
            }
            let count = read(client.raw, &buffer, buffer.count)
            if count <= 0 { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }

    func stop() {
        shutdown(listener.raw, Int32(SHUT_RDWR))
        pthread_join(thread, nil)
    }
}
