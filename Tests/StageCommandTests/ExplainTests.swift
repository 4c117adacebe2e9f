// `stagerun explain` against golden text: real Dockerfiles on a store in memory, with an executor that edits trees by rule.

import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageRun
import StageStore
import StageSystem
import Synchronization
import Testing

@testable import stagerun

/// Runs `write PATH TEXT`, `touch PATH`, `fail` and `noop` on trees.
private struct RuleExecutor: Executor {
    let store: MemoryStore

    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome {
        let words = (request.run.arguments.last ?? "").split(separator: " ").map(String.init)
        guard let input = request.chain.last else { throw ExecutorError("no input") }
        do throws(StoreError) {
            var editor = TreeEditor(input, store: store)
            switch words.first {
            case "write":
                let node = try Kitchen.file(words[2], in: store)
                try editor.put(.node(node), at: TreePath(words[1]), parents: Attributes(mode: 0o755))
            case "fail": return ExecOutcome(exit: .exited(1), tree: nil)
            default: break
            }
            return ExecOutcome(exit: .exited(0), tree: try editor.commit())
        } catch { throw ExecutorError(error.description) }
    }
}

/// Builds of one Dockerfile, an hour apart.
private final class Kitchen {
    let store = MemoryStore()
    private let pool = BlockingPool(threads: 4)
    private var hours = 0
    var options = BuildOptions()
    var target: String?

    deinit { pool.close() }

    static func file(_ text: String, in store: MemoryStore) throws(StoreError) -> Node {
        let bytes = Array(text.utf8)
        return Node(
            attributes: Attributes(mode: 0o644), content: .file(try store.put(bytes), size: UInt64(bytes.count)))
    }

    /// A tree of these files; a name that ends with ` *` is executable, a text that starts with `->` is a symlink.
    func tree(_ files: [String: String]) throws -> TreeRef {
        var editor = TreeEditor(nil, store: store)
        for (name, text) in files.sorted(by: { $0.key < $1.key }) {
            var node = try Self.file(text, in: store)
            if text.hasPrefix("->") { node.content = .symlink(Array(text.dropFirst(2).utf8)) }
            if name.hasSuffix(" *") { node.attributes.mode = 0o755 }
            let path = TreePath(name.split(separator: " ").first.map(String.init) ?? name)
            try editor.put(.node(node), at: path, parents: Attributes(mode: 0o755))
        }
        return try editor.commit()
    }

    /// Builds, and gives the record with times that do not depend on the machine.
    @discardableResult
    func build(
        _ text: String, context: [String: String] = [:], base: [String: String] = [:],
        arguments: [String: String] = [:]
    ) async throws -> BuildRecord {
        let (lowered, sources) = try prepare(text, context, base, arguments)
        let builder = builder()
        _ = try? await builder.build(lowered, options: options, sources: sources, observe: { _ in })
        var record = try #require(try store.lastBuild(of: BuildSubject(file: "/work/Dockerfile", context: "/work")))
        record.seconds = 1.5
        for index in record.steps.indices {
            if record.steps[index].seconds > 0 { record.steps[index].seconds = 0.4 }
            if case .recorded(let at, _)? = record.steps[index].reason {
                record.steps[index].reason = .recorded(at: at, seconds: 0.4)
            }
        }
        return record
    }

    /// What `stagerun plan` would say instead of building.
    func plan(
        _ text: String, context: [String: String] = [:], base: [String: String] = [:],
        arguments: [String: String] = [:]
    ) async throws -> String {
        let (lowered, sources) = try prepare(text, context, base, arguments)
        var plan = try await builder().plan(
            lowered, options: options, overlay: OverlayStore(store), sources: sources)
        for index in plan.build.steps.indices where plan.build.steps[index].earlier != nil {
            plan.build.steps[index].earlier?.seconds = 0.4
        }
        return PlanText(planned: .plan(plan), colours: false, now: 1_700_000_000).page
    }

    private func builder() -> Builder {
        let now = Timestamp(seconds: 1_700_000_000 + Int64(hours) * 3600)
        hours += 1
        return Builder(
            store: store, executor: RuleExecutor(store: store), history: store, pool: pool, jobs: 1, clock: { now })
    }

    private func prepare(
        _ text: String, _ context: [String: String], _ base: [String: String], _ arguments: [String: String]
    ) throws -> (BuildGraph, Builder.Sources) {
        let baseTree = try tree(base)
        let lowering = Lowering(
            try Dockerfile.parse(Array(text.utf8), file: "Dockerfile"),
            options: LoweringOptions(
                target: target, buildArguments: arguments, labels: [:],
                platform: Platform(os: "linux", architecture: "amd64")))
        var images: [String: BaseImage] = [:]
        var graph: BuildGraph?
        while graph == nil {
            switch try lowering.lower(images: images) {
            case .graph(let lowered, _): graph = lowered
            case .needs(let requests):
                for request in requests {
                    images[request.key] = BaseImage(settings: ImageSettings(), platform: request.platform)
                }
            }
        }
        let lowered = try #require(graph)
        options.subject = BuildSubject(file: "/work/Dockerfile", context: "/work")
        for step in lowered.steps {
            if case .image = step.operation { options.origins[step.id.index] = baseTree.identity }
        }
        let contextTree = try tree(context)
        return (
            lowered,
            { operation async throws(SourceError) in
                if case .image = operation { return baseTree }
                return contextTree
            }
        )
    }

    private func text(_ build: BuildRecord) -> ExplainText {
        ExplainText(build: build, colours: false, now: build.started.seconds + 120)
    }

    func page(_ build: BuildRecord, _ step: String? = nil) throws -> String {
        let explainer = Explainer(build, store: store)
        let chosen = try step.map { try build.select($0).map { try explainer.explain($0) } }
        return text(build).page(try chosen ?? explainer.explain())
    }

    func json(_ build: BuildRecord) throws -> String {
        var explanations = try Explainer(build, store: store).explain()
        for index in explanations.indices { explanations[index].earlier?.seconds = 0.4 }
        return text(build).document(explanations).pretty
    }
}

@Suite struct ExplainTests {
    private static let app = """
        FROM alpine:3.19 AS builder
        ARG VERSION=1
        ENV MODE=fast
        WORKDIR /src
        COPY . .
        RUN write /src/server built
        FROM scratch
        COPY --from=builder /src/server /
        """

    @Test func aChangedFileOfTheContext() async throws {
        let kitchen = Kitchen()
        try await kitchen.build(Self.app, context: ["README.md": "hello", "main.go": "package main"])
        let build = try await kitchen.build(
            Self.app, context: ["README.md": "hello, world", "main.go": "package main"])
        try expectCase("explain/aChangedFileOfTheContext.txt", kitchen.page(build))
    }

    @Test func theSameAsJSON() async throws {
        let kitchen = Kitchen()
        let text = "FROM scratch\nCOPY . /\n"
        try await kitchen.build(text, context: ["a": "1"])
        try expectCase("explain/theSameAsJSON.json", kitchen.json(try await kitchen.build(text, context: ["a": "22"])))
    }

    @Test func filesInEveryWay() async throws {
        let kitchen = Kitchen()
        let text = "FROM scratch\nCOPY bin src /app/\n"
        try await kitchen.build(
            text,
            context: ["bin/run": "#!", "src/link": "->a", "src/old/1": "x", "src/old/2": "x", "src/gone": "bye"])
        let build = try await kitchen.build(
            text,
            context: ["bin/run *": "#!", "src/link": "->b", "src/new/1": "x", "src/new/2": "x", "src/new/3": "y"])
        try expectCase("explain/filesInEveryWay.txt", kitchen.page(build))
    }

    @Test func aBuildArgument() async throws {
        let kitchen = Kitchen()
        let text = "FROM alpine\nARG VERSION=1\nENV MODE=fast\nRUN write /v x\n"
        try await kitchen.build(text)
        let build = try await kitchen.build(
            text.replacing("fast", with: "slow"), arguments: ["VERSION": "2 beta"])
        try expectCase("explain/aBuildArgument.txt", kitchen.page(build))
    }

    @Test func anotherInstruction() async throws {
        let kitchen = Kitchen()
        try await kitchen.build("FROM alpine\nRUN write /a 1\nRUN write /b 1\nUSER 7\nRUN noop\n")
        let build = try await kitchen.build("FROM alpine\nRUN write /a 1\nRUN write /b 2\nUSER 8\nRUN noop\n")
        try expectCase("explain/anotherInstruction.txt", kitchen.page(build))
    }

    /// What is inserted has no earlier run, and what stood there before keeps its own.
    @Test func anInsertedInstruction() async throws {
        let kitchen = Kitchen()
        try await kitchen.build("FROM alpine\nRUN write /a 1\nRUN write /b 1\n")
        let build = try await kitchen.build("FROM alpine\nRUN write /new 1\nRUN write /a 1\nRUN write /b 1\n")
        try expectCase("explain/anInsertedInstruction.txt", kitchen.page(build))
    }

    @Test func anotherBase() async throws {
        let kitchen = Kitchen()
        let text = "FROM alpine\nWORKDIR /app\nRUN write /a 1\n"
        try await kitchen.build(text, base: ["etc/os-release": "1"])
        let build = try await kitchen.build(text, base: ["etc/os-release": "2"])
        try expectCase("explain/anotherBase.txt", kitchen.page(build))
    }

    @Test func theSameOutcome() async throws {
        let kitchen = Kitchen()
        try await kitchen.build("FROM alpine\nRUN write /a 1\nRUN write /b 1\n")
        let build = try await kitchen.build("FROM alpine\nRUN write //a 1\nRUN write /b 1\n")
        try expectCase("explain/theSameOutcome.txt", kitchen.page(build))
        try expectCase("explain/theSameOutcome-2.txt", kitchen.page(build, "write /b"))
    }

    @Test func withoutTheCache() async throws {
        let kitchen = Kitchen()
        let text = "FROM alpine AS one\nRUN write /a 1\nFROM alpine\nCOPY --from=one /a /a\n"
        try await kitchen.build(text)
        kitchen.options.cache = .ignoreStages(["one"])
        try expectCase("explain/withoutTheCache.txt", kitchen.page(try await kitchen.build(text)))
    }

    @Test func aFailureAndItsRepetition() async throws {
        let kitchen = Kitchen()
        try await kitchen.build("FROM alpine\nRUN write /a 1\nRUN noop\n")
        let text = "FROM alpine\nRUN write /a 1\nRUN fail\nRUN write /never reached\n"
        try expectCase("explain/aFailureAndItsRepetition.txt", kitchen.page(try await kitchen.build(text)))
        try expectCase("explain/aFailureAndItsRepetition-2.txt", kitchen.page(try await kitchen.build(text)))
    }

    @Test func aFirstBuildAndOneThatRanNothing() async throws {
        let kitchen = Kitchen()
        let text = "FROM alpine\nRUN write /a 1\nRUN write /a 1\n"
        try expectCase("explain/aFirstBuildAndOneThatRanNothing.txt", kitchen.page(try await kitchen.build(text)))
        try expectCase("explain/aFirstBuildAndOneThatRanNothing-2.txt", kitchen.page(try await kitchen.build(text)))
    }

    /// A target that was not built in between is still compared with its own last run.
    @Test func targetsInTurn() async throws {
        let kitchen = Kitchen()
        let text = "FROM alpine AS a\nRUN write /a 1\nFROM alpine AS b\nRUN write /b 1\n"
        kitchen.target = "a"
        try await kitchen.build(text)
        kitchen.target = "b"
        try await kitchen.build(text)
        kitchen.target = "a"
        let build = try await kitchen.build(text.replacing("/a 1", with: "/a 2"))
        try expectCase("explain/targetsInTurn.txt", kitchen.page(build))
    }

    @Test func plans() async throws {
        let kitchen = Kitchen()
        try expectCase("plan/first.txt", await kitchen.plan(Self.app, context: ["a": "1"]))
        try await kitchen.build(Self.app, context: ["a": "1"])
        try expectCase("plan/unchanged.txt", await kitchen.plan(Self.app, context: ["a": "1"]))
        let count = kitchen.store.count
        try expectCase("plan/changed.txt", await kitchen.plan(Self.app, context: ["a": "2"]))
        // The context's own two objects; nothing of what the plan worked out.
        #expect(kitchen.store.count == count + 2)
        try expectCase(
            "plan/failing.txt",
            await kitchen.plan(Self.app + "\nCOPY --from=builder /src/sever /b", context: ["a": "1"]))
        kitchen.options.cache = .ignoreStages(["builder"])
        try expectCase("plan/withoutTheCache.txt", await kitchen.plan(Self.app, context: ["a": "1"]))
    }

    @Test func stepsByEveryName() async throws {
        let kitchen = Kitchen()
        let build = try await kitchen.build(Self.app, context: ["a": "1"])
        func names(_ text: String) throws -> [String] { try build.select(text).map { build.steps[$0].tag } }
        #expect(try names("builder") == ["builder/2", "builder/3", "builder/4"])
        #expect(try names("builder/3") == ["builder/3"])
        #expect(try names("builder/3/4") == ["builder/3"])
        #expect(try names("4") == ["builder/4"])
        #expect(try names(":6") == ["builder/4"])
        #expect(try names("Dockerfile:8") == ["stage-1/1"])
        #expect(try names("copy --FROM") == ["stage-1/1"])
        let error = #expect(throws: StepSelectionError.self) { try build.select("bilder") }
        #expect(error?.description == "no step or stage bilder in the last build\ndid you mean `builder`?")
        let many = #expect(throws: StepSelectionError.self) { try build.selectOne("builder") }
        #expect(many?.description == "builder means 3 steps: builder/2, builder/3, builder/4")
    }
}
