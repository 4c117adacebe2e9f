// Secrets, agents, rights and limits of RUN, through the binary: what commands get, and what is left of it.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Loans {
        init() async throws { try await Lab.busybox() }

        private func build(
            _ lines: String, _ options: [String] = [], environment: [String: String] = [:]
        ) async throws -> Outcome {
            let context = try scratchDirectory("loans", ["Dockerfile": "FROM alpine:3.19\n" + lines + "\n"])
            return try await Lab.start(
                ["build", "--progress", "plain"] + options + [context], environment: environment
            ).wait()
        }

        @Test func aSecretLeavesNoTrace() async throws {
            let value = "sw0rdf1sh-\(UUID().uuidString)"
            let place = try scratchDirectory("secret", ["token": value + "\n"])
            let lines = """
                RUN --mount=type=secret,id=token,required test "$(cat /run/secrets/token)" = $(printf %s "$(cat /run/secrets/token)") && cat /run/secrets/token && wc -c < /run/secrets/token > /size
                RUN --mount=type=secret,id=token,env=TOKEN,target=/t/u,mode=0440,uid=3 echo "$TOKEN" | wc -c >> /size; stat -c '%a %u' /t/u >> /size
                RUN test ! -e /run/secrets && test ! -e /t && test -z "$TOKEN" && cat /size
                """
            let outcome = try await build(
                lines, ["--secret", "id=token,src=\(place)/token", "-o", "type=tar,dest=\(place)/tree.tar"])
            try expectSuccess(outcome)
            #expect(!outcome.text.contains(value))
            let size = value.utf8.count
            let sizes = try await command("tar", "-xOf", "\(place)/tree.tar", "size")
            #expect(sizes.output == "\(size + 1)\n\(size + 2)\n440 3\n")
            // Packs are compressed by blocks; a value of this length stands in them as it is, or not at all.
            let found = try await command("grep", "-rlaF", value, Lab.store, "\(place)/tree.tar")
            #expect(found.status == 1, "\(found)")
            // Its value is no part of the key.
            try "another".write(toFile: place + "/token", atomically: false, encoding: .utf8)
            let again = try await build(lines, ["--secret", "id=token,src=\(place)/token"])
            try expectSuccess(again)
            #expect(again.text.contains("3 cached"), "\(again)")
        }

        @Test func aSecretFromTheEnvironment() async throws {
            let outcome = try await build(
                "RUN --mount=type=secret,id=A --mount=type=secret,id=b,env=B --mount=type=secret,id=c test \"$(cat /run/secrets/A)|$B\" = '1|2' && test ! -e /run/secrets/c",
                ["--secret", "id=A", "--secret", "type=env,id=b,src=NAMED"], environment: ["A": "1", "NAMED": "2"])
            try expectSuccess(outcome)
        }

        @Test func whatIsMissingIsSaid() async throws {
            let required = try await build(
                "RUN echo first\nRUN --mount=type=secret,id=toke,required cat /run/secrets/toke",
                ["--secret", "id=token,env=HOME"])
            #expect(required.status == 1)
            #expect(required.errors.contains("the secret toke is required"), "\(required)")
            #expect(required.errors.contains("did you mean token?"))
            let file = try await build("RUN echo x", ["--secret", "id=a,src=/no/such/file"])
            #expect(file.status == 1 && file.errors.contains("/no/such/file"))
            let agent = try await build("RUN --mount=type=ssh,required ssh-add -l")
            #expect(agent.status == 1 && agent.errors.contains("--ssh default"), "\(agent)")
            for (option, value, part) in [
                ("--secret", "id=a,scr=b", "did you mean src=?"), ("--secret", "src=b", "id=NAME is missing"),
                ("--secret", "id=a,type=fiel", "did you mean file?"), ("--ssh", "default", "SSH_AUTH_SOCK is not set"),
                ("--allow", "network.hots", "did you mean network.host?"), ("--network", "hots", "did you mean host?"),
                ("--add-host", "a:b", "no IP address"), ("--ulimit", "nofil=1", "did you mean nofile?"),
                ("--ulimit", "nofile=2:1", "above the hard one"), ("--shm-size", "x", "128m"),
                ("--cgroup-parent", "x", "systemd-run"),
            ] {
                let outcome = try await build("RUN echo x", [option, value], environment: ["SSH_AUTH_SOCK": ""])
                #expect(outcome.status == 125 && outcome.errors.contains(part), "\(outcome)")
            }
        }

        @Test func anAgentsSocket() async throws {
            let place = try scratchDirectory("agent")
            let agent = try RunningCommand([
                "python3", "-c",
                "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nwhile True: s.accept()",
                place + "/socket",
            ])
            defer { agent.sendToGroup(SIGKILL) }
            for _ in 0..<200 where access(place + "/socket", F_OK) != 0 { try await Task.sleep(for: .milliseconds(20)) }
            let outcome = try await build(
                """
                RUN --mount=type=ssh,mode=0666 test -S $SSH_AUTH_SOCK && test $SSH_AUTH_SOCK = /run/buildkit/ssh_agent.0 && stat -c %a $SSH_AUTH_SOCK > /mode && test "$(cat /mode)" = 666
                RUN --mount=type=ssh,id=other test ! -e $SSH_AUTH_SOCK
                RUN test ! -e /run/buildkit
                """, ["--ssh", "default"], environment: ["SSH_AUTH_SOCK": place + "/socket"])
            try expectSuccess(outcome)
        }

        /// An image with the ssh-add of this machine, which talks to whatever agent there is.
        private func withSSHAdd() async throws -> String {
            let context = try scratchDirectory(
                "ssh-add",
                ["Dockerfile": "FROM alpine:3.19\nCOPY root /\nRUN --mount=type=ssh,required ssh-add -L > /keys\n"])
            try expectSuccess(
                try await command(
                    "sh", "-ec",
                    """
                    mkdir -p root/usr/bin; cp $(command -v ssh-add) root/usr/bin/
                    for file in $(ldd $(command -v ssh-add) | grep -o '/[^ ]*'); do
                        mkdir -p root$(dirname $file); cp -L $file root$file
                    done
                    ssh-keygen -q -t ed25519 -N '' -C first -f one; ssh-keygen -q -t rsa -b 2048 -N '' -C second -f two
                    ssh-keygen -q -t ed25519 -N secret -f locked; chmod 644 one
                    """, directory: context))
            return context
        }

        @Test func keysInFiles() async throws {
            let context = try await withSSHAdd()
            func agents() async throws -> [String] {
                try await command("pgrep", "-x", "ssh-agent").output.split(separator: "\n").map(String.init)
            }
            let before = try await agents()
            let outcome = try await Lab.start([
                "build", "--no-cache", "--progress", "plain", "--ssh", "default=\(context)/one,\(context)/two", "-o",
                "type=tar,dest=\(context)/tree.tar", context,
            ]).wait()
            try expectSuccess(outcome)
            let keys = try await command("tar", "-xOf", context + "/tree.tar", "keys").output.split(separator: "\n")
            let public1 = try String(contentsOfFile: context + "/one.pub", encoding: .utf8).split(separator: " ")[1]
            let public2 = try String(contentsOfFile: context + "/two.pub", encoding: .utf8).split(separator: " ")[1]
            #expect(keys.map { $0.split(separator: " ")[1] } == [public1, public2])
            /// It is told to end when the build does, and takes its moment.
            func leftBehind() async throws -> Set<String> {
                for _ in 0..<200 {
                    let left = Set(try await agents()).subtracting(before)
                    if left.isEmpty { return [] }
                    try await Task.sleep(for: .milliseconds(20))
                }
                return Set(try await agents()).subtracting(before)
            }
            #expect(try await leftBehind().isEmpty, "an agent outlived the build")

            // Killed, it leaves no agent either.
            try "FROM alpine:3.19\nRUN --mount=type=ssh sleep 60\n".write(
                toFile: context + "/Dockerfile", atomically: false, encoding: .utf8)
            let running = try Lab.start(["build", "--progress", "plain", "--ssh", "default=\(context)/one", context])
            for _ in 0..<500 where !running.outputSoFar.contains("RUN --mount=type=ssh sleep") {
                try await Task.sleep(for: .milliseconds(20))
            }
            let during = try await agents()
            #expect(!Set(during).subtracting(before).isEmpty)
            running.send(SIGKILL)
            _ = await running.wait()
            #expect(try await leftBehind().isEmpty, "an agent outlived a killed build")
        }

        @Test func keysThatCannotBeUsed() async throws {
            let context = try await withSSHAdd()
            for (value, part) in [
                ("default=\(context)/locked,\(context)/one", "locked of default cannot be used"),
                ("x=\(context)/Dockerfile", "Dockerfile of x cannot be used"),
                ("x=\(context)/one,\(context)/none", "none of x: No such file"),
                ("x=\(context)/none", "the SSH agent x: cannot reach"),
            ] {
                let outcome = try await Lab.start(["build", "--ssh", value, context]).wait()
                #expect(outcome.status == 1 && outcome.errors.contains(part), "\(outcome)")
            }
        }

        @Test func proxiesAreForCommandsAlone() async throws {
            let proxy = "http://user:sw0rdf1sh@127.0.0.1:1"
            let context = try scratchDirectory(
                "proxies",
                [
                    "expected": "\(proxy)|\(proxy)|localhost",
                    "Dockerfile": """
                    FROM alpine:3.19
                    COPY expected /
                    RUN test "$HTTP_PROXY|$http_proxy|$NO_PROXY" = "$(cat /expected)" && echo ok > /ok
                    ENV A=x$HTTP_PROXY

                    """,
                ])
            func build(_ proxy: String) async throws -> Outcome {
                try await Lab.stagerun(
                    "build", "--progress", "plain", "-t", "proxies:1", "--build-arg", "http_proxy=\(proxy)",
                    "--build-arg", "NO_PROXY=localhost", context)
            }
            try expectSuccess(try await build(proxy))
            let inspected = try await Lab.stagerun("inspect", "proxies:1")
            let history = try await Lab.stagerun("history", "--no-trunc", "proxies:1")
            #expect(inspected.output.contains("\"A=x\"") && !inspected.output.contains("sw0rdf1sh"), "\(inspected)")
            #expect(
                history.output.contains("RUN /bin/sh -c test") && !history.output.contains("sw0rdf1sh"), "\(history)")
            // Another proxy is no other step.
            let again = try await build("http://other:1")
            try expectSuccess(again)
            #expect(again.text.contains("2 cached"), "\(again)")
        }

        @Test func rightsAndLimits() async throws {
            let refused = try await build("RUN --security=insecure true")
            #expect(refused.status == 1 && refused.errors.contains("--allow security.insecure"), "\(refused)")
            let outcome = try await build(
                """
                RUN --security=insecure mkdir /m && mount -t tmpfs none /m && test -c /dev/fuse
                RUN --network=host true
                RUN ! mount -t tmpfs none /m
                RUN test "$(ulimit -n) $(ulimit -Hn)" = '70 80' && grep 10.9.8.7 /etc/hosts | grep -q db
                RUN dd if=/dev/zero of=/dev/shm/x bs=1M count=70
                """,
                [
                    "--allow", "security.insecure", "--allow", "network.host", "--ulimit", "nofile=70:80", "--add-host",
                    "db:10.9.8.7", "--shm-size", "100m",
                ])
            try expectSuccess(outcome)
            let alone = try await build("RUN test \"$(ls /sys/class/net)\" = lo", ["--network", "none"])
            try expectSuccess(alone)
        }
    }
}
