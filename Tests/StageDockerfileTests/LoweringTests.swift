// Dockerfiles to graphs: scopes, stages, config, history.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct LoweringTests {
    private func history(_ lines: String) throws -> [String] {
        try Bench().graph("FROM a\n" + lines).history.map(\.createdBy)
    }

    @Test(arguments: [
        ("RUN a  b", "RUN /bin/sh -c a  b # buildkit"), ("RUN [\"a\", \"b\"]", "RUN a b # buildkit"),
        ("COPY a b", "COPY a b # buildkit"),
        (
            "COPY --from=x --link --chown=1:2 --chmod=755 ./a /b/ c/",
            "COPY --chown=1:2 --chmod=755 ./a /b/ c/ # buildkit"
        ),
        ("ADD a.tar /", "ADD a.tar / # buildkit"), ("COPY <<E /x\nhi\nE", "COPY <<E /x # buildkit"),
        ("WORKDIR /app/", "WORKDIR /app/"), ("WORKDIR app/", "WORKDIR /app"), ("WORKDIR /a//b/..", "WORKDIR /a//b/.."),
        ("WORKDIR /", "WORKDIR /"), ("WORKDIR //", "WORKDIR //"), ("CMD [\"./server\"]", "CMD [\"./server\"]"),
        ("CMD [\"a\", \"b\\\"c\"]", "CMD [\"a\" \"b\\\"c\"]"), ("CMD a b", "CMD [\"/bin/sh\" \"-c\" \"a b\"]"),
        ("CMD []", "CMD []"), ("ENTRYPOINT [\"a\"]", "ENTRYPOINT [\"a\"]"), ("ENV A=b C='d e'", "ENV A=b C=d e"),
        ("LABEL a=b", "LABEL a=b"), ("EXPOSE 80 443/tcp 53/udp", "EXPOSE [443/tcp 53/udp 80/tcp]"),
        ("EXPOSE 8000-8002", "EXPOSE [8000/tcp 8001/tcp 8002/tcp]"),
        ("EXPOSE +80 +9-+10", "EXPOSE [80/tcp 9/tcp 10/tcp]"), ("VOLUME /d /e", "VOLUME [/d /e]"),
        ("USER u:g", "USER u:g"), ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ("SHELL [\"/bin/b\", \"-c\"]", "SHELL [/bin/b -c]"),
        ("ARG X=y Z", "ARG X=y Z"), ("MAINTAINER me", "MAINTAINER me"),
        (
            "HEALTHCHECK NONE",
            #"HEALTHCHECK &{["NONE"] "0s" "0s" "0s" "0s" '\x00'}"#
        ),
        (
            "HEALTHCHECK --interval=30s --retries=3 CMD curl x",
            #"HEALTHCHECK &{["CMD-SHELL" "curl x"] "30s" "0s" "0s" "0s" '\x03'}"#
        ),
    ])
    func historyText(line: String, expected: String) throws {
        #expect(try history(line) == [expected])
    }

    @Test func aDoubleStarIsOneLevelOfTheContextButWithParents() throws {
        let graph = try Bench().graph("FROM scratch\nCOPY a/**/\\\\**.c b/***/c /d/\nCOPY --parents e/**/f /d/")
        #expect(graph.contextPatterns[""] == ["a/*/\\**.c", "b/*/c", "e/**/f"])
    }

    @Test func historyOfArguments() throws {
        #expect(try history("ARG A=x\nARG B\nARG A=z\nRUN c").last == "RUN |2 A=z B= /bin/sh -c c # buildkit")
        #expect(try history("ONBUILD RUN x") == [])
    }

    @Test func layersOfHistory() throws {
        let graph = try Bench().graph("FROM scratch\nWORKDIR /\nWORKDIR /a\nENV a=b\nCOPY . .\nRUN x")
        #expect(graph.history.map { $0.step != nil } == [false, true, false, true, true])
    }

    @Test func settingsOfEverything() throws {
        let settings = try Bench().graph(
            """
            FROM scratch
            ENV A=1 B=$A
            ENV A=2 C=${A}x
            EXPOSE 80/udp 80
            VOLUME /v /u
            USER app
            STOPSIGNAL 9
            HEALTHCHECK --timeout=5s CMD ["ok"]
            SHELL ["/bin/bash", "-ec"]
            CMD serve now
            LABEL l="$A" "a b"='c d'
            ONBUILD RUN trigger
            """
        ).config
        #expect(settings.environment == ["PATH=\(StageState.defaultPath)", "A=2", "B=", "C=1x"])
        #expect(settings.exposedPorts == ["80/tcp", "80/udp"])
        #expect(settings.volumes == ["/u", "/v"])
        #expect(settings.user == "app")
        #expect(settings.workingDirectory == "/")
        #expect(settings.stopSignal == "9")
        #expect(settings.healthcheck == Healthcheck(test: ["CMD", "ok"], timeout: 5_000_000_000))
        #expect(settings.command == ["/bin/bash", "-ec", "serve now"])
        #expect(settings.argumentsEscaped == true)
        #expect(settings.labels == ["l": "2", "a b": "c d"])
        #expect(settings.onBuild == ["RUN trigger"])
    }

    @Test func entrypointClearsInheritedCommand() throws {
        var bench = Bench()
        var base = ImageSettings()
        base.command = ["base"]
        base.environment = ["PATH=/p", "Q=1"]
        base.onBuild = []
        bench.images["a"] = base
        #expect(try bench.graph("FROM a\nENTRYPOINT [\"e\"]").config.command == nil)
        #expect(try bench.graph("FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]").config.command == ["c"])
        #expect(try bench.graph("FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT [\"e\"]").config.command == nil)
        #expect(try bench.graph("FROM a").config.command == ["base"])
        #expect(try bench.graph("FROM a").config.environment == ["PATH=/p", "Q=1"])
        #expect(try bench.graph("FROM a\nENTRYPOINT []").config.entrypoint == nil)
    }

    @Test func theImagesVariablesComeBackInAStageOnAStage() throws {
        let graph = try Bench().graph("FROM a AS x\nENV A=1\nARG A=2 B=3\nRUN one\nFROM x\nRUN two")
        let environments = graph.steps.compactMap { step -> [String]? in
            guard case .run(let run) = step.operation else { return nil }
            return run.environment.filter { !$0.hasPrefix("PATH=") }.sorted()
        }
        #expect(environments == [["A=2", "B=3"], ["A=1", "B=3"]])
    }

    @Test func theTimeOfASource() throws {
        var bench = Bench()
        let text = "FROM a\nWORKDIR /w\nCOPY x y\nCOPY --link x z\nRUN c"
        bench.options.buildArguments = ["SOURCE_DATE_EPOCH": "1700000000"]
        let graph = try bench.graph(text)
        #expect(graph.epoch == 1_700_000_000)
        let timed = graph.steps.filter { step in
            switch step.operation {
            case .makeDirectory(let make): make.time == 1_700_000_000
            case .copy(let copy): copy.time == 1_700_000_000
            case .merge(let time): time == 1_700_000_000
            default: false
            }
        }
        #expect(timed.count == 4)
        #expect(try Bench().graph("ARG SOURCE_DATE_EPOCH=5\n" + text).epoch == 5)
        #expect(try Bench().graph("ARG SOURCE_DATE_EPOCH\n" + text).epoch == nil)
        bench.options.buildArguments = ["SOURCE_DATE_EPOCH": ""]
        #expect(try bench.graph(text).epoch == nil)
        bench.options.buildArguments = ["SOURCE_DATE_EPOCH": "yesterday"]
        #expect(bench.rendered(text).contains("invalid SOURCE_DATE_EPOCH: `yesterday`"))
    }

    @Test func buildArgumentsThatDoNothingSaySo() throws {
        var bench = Bench()
        bench.options.buildArguments = ["BUILDKIT_INLINE_CACHE": "1", "BUILDKIT_MULTI_PLATFORM": "0"]
        #expect(
            try bench.lower("FROM a").warnings.map(\.description) == [
                "build argument `BUILDKIT_INLINE_CACHE` has no effect in this version"
            ])
    }

    @Test func labelsOfTheCallerComeLast() throws {
        var bench = Bench()
        bench.options.labels = ["a": "cli", "n": "1"]
        #expect(try bench.graph("FROM x\nLABEL a=file b=c").config.labels == ["a": "cli", "b": "c", "n": "1"])
    }

    @Test func argumentScopes() throws {
        var bench = Bench()
        bench.options.buildArguments = ["GIVEN": "cli", "V": "9"]
        func value(_ text: String) throws -> [String] {
            let graph = try bench.graph(text)
            guard case .run(let run) = graph.steps[graph.target.index].operation else { return [] }
            return run.environment.filter { !$0.hasPrefix("PATH=") }
        }
        // Global arguments reach a stage only when it asks; a build argument wins over every default.
        #expect(try value("ARG G=g\nFROM a\nRUN x") == [])
        #expect(try value("ARG G=g\nFROM a\nARG G\nRUN x") == ["G=g"])
        #expect(try value("ARG G=g\nFROM a\nARG G=s\nRUN x") == ["G=s"])
        #expect(try value("FROM a\nARG GIVEN=d\nRUN x") == ["GIVEN=cli"])
        #expect(try value("FROM a\nARG UNSET\nRUN x") == [])
        #expect(try value("FROM a\nARG A=1 B=$A\nENV A=2\nARG C=$A$B\nRUN x") == ["A=2", "B=1", "C=21"])
        // A stage that is FROM another has its arguments.
        #expect(try value("FROM a AS b\nARG A=1\nFROM b\nRUN x") == ["A=1"])
        #expect(
            try value("FROM a\nARG TARGETARCH\nARG BUILDPLATFORM\nARG TARGETSTAGE\nRUN x") == [
                "TARGETARCH=amd64", "BUILDPLATFORM=linux/amd64", "TARGETSTAGE=default",
            ])
        #expect(try bench.lower("ARG V=1\nFROM a:$V").rounds == [["a:9"]])
        #expect(try bench.lower("ARG T=${V:-1}\nARG U=$T-x\nFROM a:${U%-x}").rounds == [["a:1"]])
    }

    @Test func proxiesStayHidden() throws {
        var bench = Bench()
        bench.options.buildArguments = ["http_proxy": "http://p"]
        let outcome = try bench.lower("FROM a\nRUN x")
        guard case .run(let run) = outcome.graph.steps[1].operation else { Issue.record("no RUN"); return }
        #expect(run.hiddenEnvironment == ["HTTP_PROXY=http://p", "http_proxy=http://p"])
        #expect(!run.environment.contains { $0.lowercased().hasPrefix("http_proxy") })
        #expect(outcome.graph.history.map(\.createdBy) == ["RUN /bin/sh -c x # buildkit"])
        #expect(outcome.warnings.isEmpty)
    }

    @Test func onlyWhatTheTargetNeeds() throws {
        let text = """
            FROM deps-image AS deps
            FROM test-image AS test
            COPY --from=other-image:1 /x /x
            FROM deps AS builder
            COPY --from=extra-image /y /y
            FROM builder-image AS production
            COPY --from=builder /z /z
            COPY --from=0 /w /w
            """
        let outcome = try Bench().lower(text)
        #expect(outcome.rounds == [["builder-image", "extra-image", "deps-image"]])
        #expect(outcome.graph.skippedStages.map(\.name) == ["test"])
        var bench = Bench()
        bench.options.target = "TEST"
        let test = try bench.lower(text)
        #expect(test.rounds == [["test-image", "other-image:1"]])
        #expect(test.graph.skippedStages.map(\.name) == ["deps", "builder", "production"])
        #expect(test.graph.skippedStages.map(\.instructions) == [0, 1, 2])
    }

    @Test func sharedSteps() throws {
        let graph = try Bench().graph(
            "FROM i AS a\nCOPY x .\nFROM i AS b\nCOPY y .\nCOPY --from=a / /a\nCOPY --from=i / /i\nCOPY --from=scratch . ."
        )
        let shared = graph.steps.filter { $0.number == 0 }.map(\.operation.golden).sorted()
        #expect(shared == ["context ''", "image i", "scratch"])
        for step in graph.steps { for input in step.inputs { #expect(input < step.id) } }
        #expect(graph.steps.enumerated().allSatisfy { $0.offset == $0.element.id.index })
        #expect(graph.contextPatterns == ["": ["x", "y"]])
    }

    @Test func variableInFrom() throws {
        let text = "ARG WHERE=b\nFROM i AS a\nFROM i AS b\nFROM i\nCOPY --from=$WHERE /x /y"
        #expect(try Bench().graph(text).skippedStages.map(\.name) == ["a"])
        #expect(try Bench().graph("FROM i AS a\nFROM i\nARG W=a\nCOPY --from=${W} /x /y").skippedStages.isEmpty)
        #expect(try Bench().lower("FROM i\nENV V=2\nCOPY --from=tool:$V /x /y").rounds == [["i"], ["tool:2"]])
    }

    @Test func whatEmptyFlagsMean() throws {
        var bench = Bench()
        bench.options.platform = Platform(os: "linux", architecture: "riscv64")
        #expect(try bench.graph("FROM --platform= a").platform.architecture == "riscv64")
        // Nothing is for no platform, so the build's own is said.
        #expect(try bench.graph("FROM --platform=linux/arm64 scratch").platform.architecture == "riscv64")
        let copies = try bench.graph("FROM a\nCOPY --from= b c").contextPatterns
        #expect(copies.keys.sorted() == [""])
    }

    /// Of stages with one name a base is the last before, and a `--from` the last of all.
    @Test func stagesOfOneName() throws {
        let text = "FROM a AS x\nENV V=1\nFROM b AS x\nENV V=2\nFROM x AS y\nCOPY --from=x / /m\n"
        #expect(try Bench().graph(text).config.environment.contains("V=2"))
        #expect(Bench().rendered(text + "FROM c AS x\nFROM y").contains("cannot copy from stage `x`"))
    }

    /// A script is what starts with `#!` as it is written, before `<<-` takes its tabs away.
    @Test(arguments: [
        ("RUN <<E\n#!/x\na\nE", "RUN /bin/sh -c /dev/pipes/E # buildkit"),
        ("RUN <<-E\n#!/x\n\ta\n\tE", "RUN /bin/sh -c /dev/pipes/E # buildkit"),
        ("RUN <<-E\n\t#!/x\n\ta\n\tE", "RUN /bin/sh -c #!/x\na\n # buildkit"),
    ])
    func scripts(line: String, expected: String) throws {
        #expect(try history(line) == [expected])
    }

    @Test func triggersRunFirstAndMayNameImages() throws {
        var bench = Bench()
        var base = ImageSettings()
        base.onBuild = ["ARG T=tools", "COPY --from=$T:1 /t /t", "RUN a"]
        bench.images["base"] = base
        let outcome = try bench.lower("FROM base AS s\nONBUILD RUN b\nRUN c\nFROM s\nRUN d")
        #expect(outcome.rounds == [["base"], ["tools:1"]])
        #expect(
            outcome.graph.history.map(\.createdBy) == [
                "ARG T=tools", "COPY /t /t # buildkit", "RUN |1 T=tools /bin/sh -c a # buildkit",
                "RUN |1 T=tools /bin/sh -c c # buildkit", "RUN |1 T=tools /bin/sh -c b # buildkit",
                "RUN |1 T=tools /bin/sh -c d # buildkit",
            ])
        #expect(outcome.graph.config.onBuild == [])
    }

    @Test func platforms() throws {
        var bench = Bench()
        bench.options.platform = Platform(os: "linux", architecture: "arm64")
        let outcome = try bench.lower("FROM --platform=$BUILDPLATFORM go AS b\nFROM go\nCOPY --from=b / /")
        #expect(outcome.rounds == [["go", "go@@linux/amd64"]])
        #expect(outcome.graph.platform == Platform(os: "linux", architecture: "arm64"))
        let host = Platform(os: "linux", architecture: "amd64")
        for (text, expected) in [
            ("arm64", "linux/arm64"), ("linux", "linux/amd64"), ("linux/x86_64", "linux/amd64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm64/v8", "linux/arm64"), ("armhf", "linux/arm/v7"), ("linux/arm64/9", "linux/arm64/v9"),
            ("x86-64", "linux/amd64"), ("linux/i386", "linux/386"), ("linux/arm/6", "linux/arm/v6"),
            ("linux/arm/x", "linux/arm/x"), ("FreeBSD", "freebsd/amd64"), ("macos/arm64", "darwin/arm64"),
            ("linux/amd64/v2", "linux/amd64/v2"), ("linux/amd64/v1", "linux/amd64"), ("a/b", "a/b"),
            ("riscv64", "linux/riscv64"), ("armel", "linux/arm/v6"),
        ] {
            #expect(Platform(specifier: text, buildsOn: host)?.description == expected)
        }
        for text in ["", "a/b/c/d", "linux//x", "li nux", "nope", "linux/"] {
            #expect(Platform(specifier: text, buildsOn: host) == nil)
        }
    }

    /// An image is said to be for the platform that was asked for, and for its base's otherwise.
    @Test func platformOfTheImage() throws {
        var bench = Bench()
        let text = "FROM --platform=$BUILDPLATFORM go"
        bench.options.platform = Platform(os: "linux", architecture: "arm", variant: "v7")
        #expect(try bench.graph(text).platform.description == "linux/amd64")
        bench.options.isPlatformAsked = true
        #expect(try bench.graph(text).platform.description == "linux/arm/v7")
        bench.options.buildPlatform.variant = "v3"
        bench.options.platform = Platform(os: "linux", architecture: "amd64")
        #expect(try bench.graph(text).platform.description == "linux/amd64/v3")
        bench.options.platform.variant = "v2"
        #expect(try bench.graph(text).platform.description == "linux/amd64/v2")
    }

    @Test func workdirAndDestinations() throws {
        let graph = try Bench().graph(
            "FROM scratch\nWORKDIR a\nUSER 5:6\nWORKDIR ../b/./c\nCOPY x .\nCOPY x y\nCOPY x ./z/\nCOPY ../../e //f\nCOPY g/ /\nADD t.tar .."
        )
        #expect(
            graph.steps.dropFirst().map(\.operation.golden) == [
                "mkdir /a", "mkdir /b/c owner 5:6", "context ''", "copy 1:x -> /b/c/ reset", "copy 1:x -> /b/c/y reset",
                "copy 1:x -> /b/c/z/ reset", "copy 1:e -> /f reset", "copy 1:g -> / reset",
                "copy 1:t.tar -> /b/ reset unpack",
            ])
    }

    @Test func heredocsLowered() throws {
        let graph = try Bench().graph(
            "FROM scratch\nENV v=1\nCOPY <<a <<'b' <<-c /d/\n\"$v\" it's\na\n$v\nb\n\tx\nc\nRUN <<E\nx\ny\nE\nRUN cat <<E > f\nz\nE"
        )
        let golden = graph.steps.map(\.operation.golden)
        #expect(golden[1] == "copy text a \"\\\"1\\\" it's\\n\" text b \"$v\\n\" text c \"x\\n\" -> /d/ reset")
        guard case .run(let script) = graph.steps[2].operation, case .run(let cat) = graph.steps[3].operation else {
            Issue.record("no RUN"); return
        }
        #expect(script.arguments == ["/bin/sh", "-c", "x\ny\n"])
        #expect(cat.arguments == ["/bin/sh", "-c", "cat <<E > f\nz\nE"])
        #expect(graph.steps[2].title == "RUN <<E (x...)")
    }

    @Test func networkAndUser() throws {
        let graph = try Bench().graph("FROM scratch\nUSER u\nWORKDIR /w\nRUN --network=none --security=sandbox x")
        #expect(
            graph.steps[2].operation.golden
                == "run [\"/bin/sh\", \"-c\", \"x\"] env [\"PATH=\(StageState.defaultPath)\"] in /w as u offline")
    }

    /// A build tells what its target's stages show; CheckTests has the rules.
    @Test(arguments: [
        ("FROM a AS b\nCMD x\nFROM a\nWORKDIR x", ["WorkdirRelativePath"]),
        ("FROM a AS B\nCMD x\nFROM a", ["StageNameCasing"]), ("# check=skip=all\nFROM a\nCMD x", []),
    ])
    func warnings(text: String, rules: [String]) throws {
        #expect(try Bench().lower(text).warnings.map(\.rule) == rules)
    }

    @Test func unusedBuildArguments() throws {
        var bench = Bench()
        bench.options.buildArguments = ["USED": "1", "TYPO": "2", "SOURCE_DATE_EPOCH": "0", "HTTPS_PROXY": "x"]
        let warnings = try bench.lower("FROM a AS skipped\nARG USED\nFROM a").warnings
        #expect(warnings.map(\.message) == ["build argument `TYPO` is not declared by any ARG"])
    }
}
