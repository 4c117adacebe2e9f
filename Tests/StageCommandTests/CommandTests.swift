// The subcommands' options as requests to the facade, and what they print of what comes back.

import ArgumentParser
import StageEngine
import StageGraph
import StageHash
import StageStore
import Testing

@testable import StageRun
@testable import stagerun

@Suite struct BuildCommandTests {
    private func request(
        _ arguments: String..., mode: ProgressMode = .plain, isTerminal: Bool = false,
        environment: [String: String] = [:]
    ) throws -> BuildRequest {
        try BuildCommand.parse(arguments).request(mode: mode, isTerminal: isTerminal) { environment[$0] }
    }

    @Test func everyOptionArrives() throws {
        let request = try request(
            "-f", "x/Dockerfile", "-t", "app:1", "-tother", "-t", "app:1", "--target=test", "--build-arg", "A=1",
            "--build-arg", "B", "--build-arg", "UNSET", "--no-cache", "--label", "k=v", "-o", "type=oci,dest=a.tar",
            "-oout", "--platform", "linux/x86_64", "ctx/", environment: ["B": "2"])
        #expect(request.contextPath == "ctx")
        #expect(request.dockerfile == "x/Dockerfile")
        #expect(request.names.map(\.familiar) == ["app:1", "other:latest"])
        #expect(request.target == "test")
        #expect(request.buildArguments == ["A": "1", "B": "2"])
        #expect(request.labels == ["k": "v"])
        #expect(!request.useCache)
        #expect(request.outputs == [.oci(.path("a.tar"), asTar: true), .local("out")])
        #expect(request.platform == Platform(os: "linux", architecture: "amd64"))
        #expect(request.isPlatformAsked)
    }

    @Test func standardOutputIsUsedOnce() throws {
        #expect(try request("-o", "-", ".").outputs == [.tar(.descriptor(1))])
        #expect(try request("-o", "type=docker,dest=-", ".", mode: .quiet).outputs == [.docker(.descriptor(1))])
        #expect(throws: UsageError.self) { try request("-o", "-", ".", isTerminal: true) }
        #expect(throws: UsageError.self) { try request("-o", "-", ".", mode: .json) }
        #expect(throws: UsageError.self) { try request("-o", "-", "-o", "type=oci", ".") }
    }

    @Test func whatCannotBeDoneIsSaid() {
        for context in ["ftp://example.com/x", "https://example.com/x.git?refs=1", ""] {
            #expect(throws: UsageError.self, "\(context)") { try request("--", context) }
        }
        #expect(throws: UsageError.self) { try request("-f", "-", "-") }
        #expect(throws: UsageError.self) { try request("-t", "UPPER", ".") }
        #expect(throws: UsageError.self) { try request("-t", "a@sha256:" + Digest.of("x").hex, ".") }
        #expect(throws: UsageError.self) { try request("--platform", "nope", ".") }
        #expect(throws: UsageError.self) { try request("--platform", "linux/", ".") }
        #expect(throws: (any Error).self) { try request() }
    }

    @Test func theMetadataFile() {
        let digest = Digest.of("x")
        let names = [try? ImageReference("app:1"), try? ImageReference("example.com/b")].compactMap { $0 }
        let report = BuildReport(
            imageID: digest, manifestDigest: digest, names: names, size: 1, states: [:], seconds: 1)
        #expect(
            metadata(of: report).compact == """
                {"containerimage.config.digest":"\(digest)","containerimage.digest":"\(digest)",\
                "image.name":"docker.io/library/app:1,example.com/b:latest"}
                """)
        let bare = BuildReport(imageID: digest, manifestDigest: nil, names: [], size: 1, states: [:], seconds: 1)
        #expect(metadata(of: bare).compact == #"{"containerimage.config.digest":"\#(digest)"}"#)
    }
}

@Suite struct RunCommandTests {
    private func request(_ arguments: String..., environment: [String: String] = [:]) throws -> RunRequest {
        let command = try RunCommand.parse(normalized(["run"] + arguments).dropFirst().map { $0 })
        return try command.request(
            streams: .descriptors(input: nil, output: 1, error: 2), directory: "/here"
        ) { environment[$0] }
    }

    @Test func optionsEndAtTheImage() throws {
        let request = try request(
            "--rm=true", "-it", "-e", "A=1", "-eB", "-e", "UNSET", "-w", "/w", "-u", "1:2", "-v", "./a:/b:ro", "app:1",
            "sh", "-e", "--rm=false", "-x", environment: ["B": "2", "TERM": "vt100"])
        #expect(request.image == "app:1")
        #expect(request.arguments == ["sh", "-e", "--rm=false", "-x"])
        #expect(request.environment == ["A=1", "B=2", "TERM=vt100"])
        #expect(request.workingDirectory == "/w")
        #expect(request.user == "1:2")
        #expect(request.mounts == [HostMount(source: "/here/./a", target: "/b", readOnly: true)])
        #expect(request.entrypoint == nil)
    }

    @Test func entrypoints() throws {
        #expect(try request("--entrypoint", "", "app", "a").entrypoint == [])
        #expect(try request("--entrypoint", "/bin/x", "app").entrypoint == ["/bin/x"])
        #expect(try request("app", "--", "-x").arguments == ["-x"])
    }

    @Test func aMistypedOptionIsNotTheImage() {
        #expect(RunCommand.unknownOption("--rmm").hasSuffix("Did you mean '--rm'?"))
        #expect(throws: (any Error).self) { try request("--rmm", "app") }
        #expect(throws: UsageError.self) { try request("-w", "relative", "app") }
    }
}

@Suite struct NormalizationTests {
    @Test(arguments: [
        (["build", "--no-cache=true", "--quiet=false", "."], ["build", "--no-cache", "."]),
        (["build", "--no-cache=maybe", "."], ["build", "--no-cache=maybe", "."]),
        (["build", "--", "--no-cache=true"], ["build", "--", "--no-cache=true"]),
        (["run", "-e", "x", "--tty=false", "app", "--tty=false"], ["run", "-e", "x", "app", "--tty=false"]),
        (["build", "--target=true", "."], ["build", "--target=true", "."]),
        (["--root", "dir", "build", "."], ["build", "--root", "dir", "."]),
        (["--root=dir", "images"], ["images", "--root=dir"]),
        (["--root"], ["--root"]),
    ])
    func switchesTakeAValue(arguments: [String], expected: [String]) { #expect(normalized(arguments) == expected) }
}

@Suite struct ListTests {
    private let details = ImageDetails(
        id: Digest.of("x"), names: [], configuration: [], settings: ImageSettings(),
        platform: .init(os: "linux", architecture: "amd64"),
        author: nil, layers: [.init(diffID: Digest.of("layer"), size: 1_000_000)],
        history: [
            .init(created: Timestamp(seconds: 0), createdBy: "COPY . .\n", comment: "", layerSize: 1_000_000),
            .init(created: nil, createdBy: "RUN " + String(repeating: "x", count: 60), comment: "c", layerSize: nil),
        ], size: 1_000_000, created: Timestamp(seconds: 1_700_000_000, nanoseconds: 500_000_000))

    @Test func history() throws {
        let command = try HistoryCommand.parse(["x"])
        #expect(
            command.rows(details, now: 7200) == [
                ["2d711642b726", "N/A", "RUN " + String(repeating: "x", count: 40) + "…", "0B", "c"],
                ["<missing>", "2 hours ago", "COPY . .", "1MB", ""],
            ])
    }

    @Test func inspect() {
        #expect(
            InspectCommand.document(details).compact == """
                {"Id":"\(Digest.of("x"))","RepoTags":[],"RepoDigests":[],"Comment":"c",\
                "Created":"2023-11-14T22:13:20.5Z","Author":"","Architecture":"amd64","Variant":"","Os":"linux",\
                "Size":1000000,"Config":{"User":"","ExposedPorts":{},"Env":[],"Entrypoint":null,"Cmd":null,\
                "Volumes":{},"WorkingDir":"","Labels":{},"OnBuild":[]},\
                "RootFS":{"Type":"layers","Layers":["\(Digest.of("layer"))"]}}
                """)
    }

    @Test func images() throws {
        let names = try ["app:1", "app:2", "other"].map { name throws(ImageReferenceError) in try ImageReference(name) }
        let images = [
            ImageSummary(id: Digest.of("x"), names: names, created: Timestamp(seconds: 0), size: 5),
            ImageSummary(id: Digest.of("y"), names: [], created: Timestamp(seconds: 0), size: 5),
        ]
        let all = try ImagesCommand.parse([])
        #expect(
            all.table(all.select(images, nil), now: 60) == """
                REPOSITORY   TAG       IMAGE ID       CREATED              SIZE
                app          1         2d711642b726   About a minute ago   5B
                app          2         2d711642b726   About a minute ago   5B
                other        latest    2d711642b726   About a minute ago   5B
                <none>       <none>    a1fce4363854   About a minute ago   5B

                """)
        func selected(_ name: String) throws -> [String] {
            try ImagesCommand.parse([name]).select(images, ImageReference(name)).flatMap(\.names).map(\.familiar)
        }
        #expect(try selected("app") == ["app:1", "app:2"])
        #expect(try selected("app:2") == ["app:2"])
        #expect(try selected("none") == [])
    }

    @Test func removed() throws {
        #expect(RemoveCommand.line(.untagged(try ImageReference("app"))) == "Untagged: app:latest\n")
        #expect(RemoveCommand.line(.deleted(Digest.of("x"))) == "Deleted: \(Digest.of("x"))\n")
    }
}
