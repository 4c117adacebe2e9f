// What is plugged into the engine does what StageConformance asks for; and what does not is found out.

import Glibc
import StageConformance
import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem
import Testing

@Suite struct ConformanceTests {
    /// A directory that is there for as long as `body` runs.
    private static func withDirectory(_ body: (_ path: String) async throws -> Void) async throws {
        var template = Array("/tmp/stage-engine-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        defer { try? removeTree(path) }
        try await body(path)
    }

    @Test(arguments: StepCacheRequirements.all) func caches(_ requirement: Requirement<any Builder.Store>) async throws
    {
        try await requirement.check { MemoryStore() }
        try await Self.withDirectory { path in try await requirement.check { try Store(path: path) } }
    }

    /// Remembers by the key alone: the last record that led from one tree to another counts, not the first.
    private struct LastOutcomes: MemoryBacked {
        let store = MemoryStore()

        func keep(_ record: StepRecord) throws(StoreError) {
            store.set(.outcomes, record.outcomeKey, nil)
            try store.keep(record)
        }
    }

    @Test func aCacheThatMovesOutcomesIsFoundOut() async {
        var failed: [String] = []
        for requirement in StepCacheRequirements.all {
            do { try await requirement.check { LastOutcomes() } } catch { failed.append(requirement.name) }
        }
        #expect(failed == ["the first record that led from one tree to another is found by the two"])
    }

    // MARK: Histories

    @Test(arguments: BuildHistoryRequirements.all) func histories(
        _ requirement: Requirement<any BuildHistory>
    ) async throws {
        try await requirement.check { MemoryStore() }
        try await Self.withDirectory { path in try await requirement.check { try Store(path: path) } }
    }

    /// Takes every build for a repetition of the last.
    private struct Forgetful: BuildHistory {
        let store = MemoryStore()

        func lastBuild(of subject: BuildSubject) throws(StoreError) -> BuildRecord? {
            try store.lastBuild(of: subject)
        }
        func builds() throws(StoreError) -> [BuildSubject] { try store.builds() }
        func keep(_ build: BuildRecord) throws(StoreError) { try store.keep(build) }
        func repeats(_ build: BuildRecord) throws(StoreError) -> Bool {
            try store.lastBuild(of: build.subject) != nil
        }
    }

    @Test func aHistoryThatTakesAllBuildsForOneIsFoundOut() async {
        var failed: [String] = []
        for requirement in BuildHistoryRequirements.all {
            do { try await requirement.check { Forgetful() } } catch { failed.append(requirement.name) }
        }
        #expect(
            failed == [
                "a build that went as the last one did leaves its own times",
                "a build that went otherwise is no repetition",
            ])
    }

    // MARK: Executors

    /// `RuleExecutor` with `say` and statuses.
    private struct Rules: Executor {
        let rules: RuleExecutor
        /// Forgets what the steps before left.
        var forgets = false

        func execute(
            _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
        ) async throws(ExecutorError) -> ExecOutcome {
            var request = request
            if forgets { request.chain = [request.chain[0]] }
            guard request.run.arguments[0] == "say" else {
                return try await rules.execute(request, output: output)
            }
            output(.output, Array((request.run.arguments[1] + "\n").utf8))
            return ExecOutcome(exit: .exited(0), tree: request.chain.last)
        }
    }

    private static func subject(forgets: Bool = false) throws -> ExecutorSubject {
        let store = MemoryStore()
        var editor = TreeEditor(nil, store: store)
        let node = Node(attributes: Attributes(mode: 0o600), content: .file(try store.put([1, 2]), size: 2))
        try editor.put(.node(node), at: "/etc/kept", parents: Attributes(mode: 0o700))
        return ExecutorSubject(
            executor: Rules(rules: RuleExecutor(store: store), forgets: forgets), store: store,
            base: try editor.commit(), write: { ["write", $0, $1] }, say: { ["say", $0] }, fail: { ["fail", "\($0)"] },
            nothing: ["noop"], endless: ["sleep"])
    }

    @Test(arguments: ExecutorRequirements.all) func executors(_ requirement: Requirement<ExecutorSubject>) async throws
    {
        try await requirement.check { try Self.subject() }
    }

    @Test func anExecutorThatForgetsIsFoundOut() async {
        var failed: [String] = []
        for requirement in ExecutorRequirements.all {
            do { try await requirement.check { try Self.subject(forgets: true) } } catch {
                failed.append(requirement.name)
            }
        }
        #expect(failed == ["a command sees what the commands before it left"])
    }

    // MARK: Own kinds

    /// Joins what it takes in and a text of its own.
    private struct Join: StepPerformer {
        let load: StepLoad
        /// Lets the key into what it leaves.
        var leaksKey = false

        func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
            do throws(StoreError) {
                var bytes: [UInt8] = []
                for input in request.inputs { bytes += try request.store.read(input.object) }
                if case .string(let text)? = request.operation["text"] { bytes += Array(text.utf8) }
                if leaksKey { bytes += request.key.digest.bytes }
                let digest = try request.store.put(bytes)
                return TreeRef(identity: digest, object: digest)
            } catch { throw StepFailure(error.description) }
        }
    }

    private static func subject(_ join: Join) -> StepPerformerSubject {
        StepPerformerSubject(
            performer: join,
            operations: ["", "b", "c"].map { OwnOperation(kind: "join", fields: [.init("text", .string($0))]) },
            inputs: { store in
                try ["x", "y"].map { text in
                    let digest = try store.put(Array(text.utf8))
                    return TreeRef(identity: digest, object: digest)
                }
            })
    }

    @Test(arguments: StepPerformerRequirements.all) func performers(
        _ requirement: Requirement<StepPerformerSubject>
    ) async throws {
        for load in [StepLoad.instant, .core(seconds: 0.01), .waiting(seconds: 1)] {
            try await requirement.check { Self.subject(Join(load: load)) }
        }
    }

    @Test func aPerformerThatDependsOnItsKeyIsFoundOut() async {
        var failed: [String] = []
        for requirement in StepPerformerRequirements.all {
            do { try await requirement.check { Self.subject(Join(load: .instant, leaksKey: true)) } } catch {
                failed.append(requirement.name)
            }
        }
        #expect(failed == ["a step does not depend on its key"])
    }
}
