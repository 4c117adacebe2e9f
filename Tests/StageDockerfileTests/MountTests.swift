// `RUN --mount` and the rights of `RUN`: what each option comes to, and what is refused.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct MountTests {
    /// The mounts of the one `RUN`, and its variables but PATH.
    private func run(_ lines: String, _ bench: Bench = Bench()) throws -> Run {
        let graph = try bench.graph("FROM a AS s\nFROM b\n" + lines)
        for step in graph.steps.reversed() { if case .run(let run) = step.operation { return run } }
        throw Bench.Stuck(rounds: [])
    }

    @Test(arguments: [
        ("type=secret,id=k", "/run/secrets/k secret k 400 0:0"),
        ("type=secret,id=dir/k", "/run/secrets/k secret dir/k 400 0:0"),
        ("type=secret,source=k,target=/etc/k", "/etc/k secret k 400 0:0"),
        ("type=secret,target=/etc/pip.conf", "/etc/pip.conf secret pip.conf 400 0:0"),
        ("type=secret,id=k,target=rel/x", "/w/rel/x secret k 400 0:0"),
        ("type=secret,id=k,env=TOKEN", " secret k 400 0:0 env TOKEN"),
        (
            "type=secret,id=k,env=TOKEN,dst=/t,mode=0444,uid=5,gid=6,required",
            "/t secret k 444 5:6 required env TOKEN"
        ),
        ("type=secret,id=k,required=false", "/run/secrets/k secret k 400 0:0"),
        ("type=ssh", "/run/buildkit/ssh_agent.0 agent default 600 0:0"),
        ("type=ssh,id=git,required=true,target=/s,uid=3,mode=660", "/s agent git 660 3:0 required"),
        ("from=s,target=/m", "/m bind 1:/"), ("from=s,target=m,rw", "/w/m bind 1:/ rw"),
        ("from=s,target=/m,src=/x/../y,readonly=false", "/m bind 1:/y rw"),
        ("type=bind,from=s,dst=/m,rw=false", "/m bind 1:/"), ("type=tmpfs,target=/t", "/t tmpfs -"),
        ("type=tmpfs,target=/t,size=1.5k", "/t tmpfs 1536"), ("type=tmpfs,target=/t,size=0", "/t tmpfs -"),
        ("type=cache,target=/c", "/c cache /c shared 755 0:0"),
        ("type=cache,target=/c,mode=2750", "/c cache /c shared 750 0:0"),
        ("type=cache,target=/c,id=n,sharing=Private,ro", "/c cache n private 755 0:0 ro"),
        ("type=cache,target=/c,from=s", "/c cache /c shared 755 0:0 from 1:/"),
        ("type=cache,target=/c,from=s,source=/etc", "/c cache /c shared 755 0:0 from 1:/etc"),
        ("type=cache,target=/c,from=s,uid=7", "/c cache /c shared 755 7:0"),
        ("type=$T,target=$P,id=${P}x,sharing=$S", "/v cache /vx locked 755 0:0"),
    ])
    func options(text: String, expected: String) throws {
        let run = try run("WORKDIR /w\nARG T=cache P=/v S=locked\nRUN --mount=\(text) x")
        #expect(run.mounts.map(\.golden) == [expected])
    }

    @Test func theFirstAgentIsInTheEnvironment() throws {
        let two = try run("RUN --mount=type=ssh,id=a --mount=type=secret,id=q --mount=type=ssh,id=b x")
        #expect(
            two.mounts.map(\.target) == ["/run/buildkit/ssh_agent.0", "/run/secrets/q", "/run/buildkit/ssh_agent.1"])
        #expect(two.environment.last == "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0")
        let own = try run("ENV SSH_AUTH_SOCK=/mine\nRUN --mount=type=ssh x")
        #expect(own.environment.filter { $0.hasPrefix("SSH") } == ["SSH_AUTH_SOCK=/mine"])
        #expect(try !run("RUN --mount=type=secret,id=x y").environment.contains { $0.hasPrefix("SSH") })
    }

    @Test func aNamespaceOfCaches() throws {
        var bench = Bench()
        bench.options.buildArguments = ["BUILDKIT_CACHE_MOUNT_NS": "team", "BUILDKIT_SANDBOX_HOSTNAME": "box"]
        let run = try run("RUN --mount=type=cache,target=/c x", bench)
        #expect(run.mounts.map(\.golden) == ["/c cache team//c shared 755 0:0"])
        #expect(run.hostname == "box")
    }

    @Test(arguments: [
        ("type=secret", "a secret mount needs an id"), ("type=secret,id=k,from=s", "a secret mount has no from"),
        ("type=secret,id=k,source=l", "an id or a source, not both"), ("type=secret,id=k,sharing=shared", "`sharing`"),
        ("type=secret,id=k,env=A=B", "`A=B` is no name of a variable"), ("type=secret,target=/", "needs an id"),
        ("type=ssh,source=x", "`source`"), ("type=ssh,size=1", "`size`"), ("type=ssh,target=/", "invalid mount target"),
        ("type=bind,from=s,target=/m,mode=755", "`mode`"), ("type=bind,from=s,target=/m,required", "`required`"),
        ("type=cache,target=/c,source=/x", "a cache without from has nothing at `/x`"),
        ("type=cache,target=/c,sharing=lock", "did you mean `locked`?"), ("type=sercet,id=a", "did you mean `secret`?"),
        ("type=$NONE,target=/c", "unsupported mount type ``"), ("type=tmpfs,target=$NONE", "needs a target"),
        ("from=0,target=/m", "write from=s"), ("type=cache,target=/c,from=0", "not its number"),
        ("type=tmpfs,target=/t,size=1x", "invalid value `1x` for size"),
        ("type=cache,target=/c,uid=-1", "invalid value `-1` for uid"),
        ("type=cache,target=/c,mode=9", "invalid value `9` for mode"),
    ])
    func refused(text: String, part: String) {
        let shown = Bench().rendered("FROM a AS s\nFROM b\nRUN --mount=\(text) x")
        #expect(shown.contains(part) && shown.contains("^"), "\(shown)")
    }

    @Test func rightsHaveToBeGiven() throws {
        let (network, insecure) = ("RUN --network=host x", "RUN --security=insecure x")
        let shown = Bench().rendered("FROM a\n" + network)
        #expect(shown.contains("network.host is not allowed") && shown.contains("--allow network.host"))
        #expect(Bench().rendered("FROM a\n" + insecure).contains("--allow security.insecure"))
        // Nobody asks for the rights of a stage that is not built.
        #expect(try Bench().graph("FROM a\n\(insecure)\nFROM b").steps.count == 1)
        var bench = Bench()
        bench.options.entitlements = [.hostNetwork, .insecure]
        #expect(try run(network, bench).network == .host)
        #expect(try run(insecure, bench).isPrivileged)
        #expect(try !run("RUN --security=sandbox x", bench).isPrivileged)
    }

    @Test func whatGoesToEveryRun() throws {
        var bench = Bench()
        bench.options.run.network = .none
        bench.options.run.extraHosts = [ExtraHost(name: "db", address: "10.0.0.1")]
        bench.options.run.sharedMemory = 1 << 20
        bench.options.run.limits = [ResourceLimit(.nofile, soft: 5, hard: 6)]
        let run = try run("RUN x", bench)
        #expect(run.network == .none)
        #expect(run.extraHosts == bench.options.run.extraHosts)
        #expect(run.sharedMemory == 1 << 20)
        #expect(run.limits == bench.options.run.limits)
        #expect(try self.run("RUN --network=default x", bench).network == .none)
    }

    @Test func devicesThatAreNotThere() throws {
        let outcome = try Bench().lower("FROM a\nRUN --device=vendor.com/gpu=all x")
        #expect(outcome.warnings.map(\.description).contains { $0.contains("vendor.com/gpu=all") })
        for device in [
            "vendor.com/gpu=all,required", "name=vendor.com/gpu=all,required=true", "vendor.com/gpu=all,REQUIRED",
            "required,NAME=vendor.com/gpu=all", "\"required\",vendor.com/gpu=all",
        ] {
            let shown = Bench().rendered("FROM a\nRUN --device=\(device) x")
            #expect(shown.contains("required device `vendor.com/gpu=all` is not registered"), "\(shown)")
        }
        let either = try Bench().lower("FROM a\nRUN --device=vendor.com/gpu,required,required=false x")
        #expect(either.warnings.map(\.description).contains { $0.contains("`vendor.com/gpu` is not registered") })
        // What says nobody's device is no name of one, whether it is required or not.
        for device in ["gpu=all", "gpu", "/gpu=all", "vendor/", "1v/gpu", "v/g-=x", "v/g/h=x", "v!/g", "required=0"] {
            let shown = Bench().rendered("FROM a\nRUN --device=\(device) x")
            #expect(shown.contains("invalid device `\(device == "required=0" ? "" : device)`"), "\(shown)")
        }
        // Nobody looks for the devices of a stage that is not built.
        #expect(try Bench().graph("FROM a\nRUN --device=gpu,required x\nFROM b").steps.count == 1)
    }

    /// What docker takes and does nothing about is said.
    @Test(arguments: [
        ("type=tmpfs,target=/t,from=s", "key `from` says nothing to a mount of type `tmpfs`"),
        ("type=tmpfs,target=/t,source=/x", "key `source` says nothing"), ("type=tmpfs,target=/t,id=x", "key `id`"),
        ("from=s,target=/t,id=x", "key `id` says nothing to a mount of type `bind`"),
        ("type=ssh,from=s", "key `from` says nothing to a mount of type `ssh`"),
        ("type=secret,id=k,rw", "always read-only"), ("type=ssh,ro=false", "always read-only"),
        ("type=cache,target=/c,mode=1777", "mode `1777`: set-id and sticky bits are left out"),
        ("type=secret,id=k,mode=04400", "mode `04400`"), ("type=cache,target=/c,mode=0777", nil),
        ("type=secret,id=k,ro,mode=0440", nil), ("type=tmpfs,target=/t,size=1m,rw", nil), ("from=s,target=/t,rw", nil),
    ])
    func idleOptions(text: String, part: String?) throws {
        let warnings = try Bench().lower("FROM a AS s\nFROM b\nRUN --mount=\(text) x").warnings.filter { $0.rule == "" }
        #expect(warnings.count == (part == nil ? 0 : 1), "\(warnings)")
        if let part { #expect(warnings.first?.message.contains(part) == true, "\(warnings)") }
    }
}
