// What everything that keeps records of builds does. The records are those of real builds of small graphs.

import StageEngine
import StageGraph
import StageStore
import StageSystem
import Synchronization

/// For anything that is a `BuildHistory`.
public enum BuildHistoryRequirements {
    public typealias Subject = any BuildHistory

    public static let all: [Requirement<Subject>] = [
        Requirement("nothing is known of what was never built", isEmptyAtFirst),
        Requirement("the last build of a subject is found as it was kept", findsWhatWasKept),
        Requirement("a later build of a subject takes the place of the one before", replaces),
        Requirement("subjects do not disturb each other, and the latest comes first", separates),
        Requirement("a build that went as the last one did leaves its own times", notesRepetitions),
        Requirement("a build that went otherwise is no repetition", tellsOthersApart),
        Requirement("a builder explains a step by the build before", explains),
        Requirement("builds can be kept and found by many tasks at once", isShared),
    ]

    /// Leaves its text, or fails.
    private struct Note: StepPerformer {
        let load = StepLoad.instant

        func perform(_ request: StepRequest) async throws(StepFailure) -> TreeRef {
            guard case .string(let text)? = request.operation["text"], text != "fail" else {
                throw StepFailure("it was to fail")
            }
            do throws(StoreError) {
                let digest = try request.store.put(Array(text.utf8))
                return TreeRef(identity: digest, object: digest)
            } catch { throw StepFailure(error.description) }
        }
    }

    /// Only remembers what is kept.
    private final class Catch: BuildHistory {
        let kept = Mutex<BuildRecord?>(nil)

        func lastBuild(of subject: BuildSubject) throws(StoreError) -> BuildRecord? { nil }
        func builds() throws(StoreError) -> [BuildSubject] { [] }
        func keep(_ build: BuildRecord) throws(StoreError) { kept.withLock { $0 = build } }
    }

    private static func subject(_ name: String, context: String = "/work") -> BuildSubject {
        BuildSubject(file: "/work/\(name)", context: context)
    }

    private static func graph(_ texts: [String]) -> BuildGraph {
        let steps = texts.enumerated().map { index, text in
            Step(
                id: StepID(index), operation: .own(OwnOperation(kind: "note", fields: [.init("text", .string(text))])),
                inputs: index == 0 ? [] : [StepID(index - 1)], stage: "s\u{E9}", title: "NOTE \(index)")
        }
        return BuildGraph(
            steps: steps, target: StepID(texts.count - 1), config: ImageSettings(), history: [], base: nil,
            platform: .host)
    }

    /// Builds on a store of its own unless one is given, `minute` minutes after some moment.
    private static func build(
        _ texts: [String], _ subject: BuildSubject, minute: Int64, in history: any BuildHistory,
        store: MemoryStore = MemoryStore()
    ) async throws -> [StepOutcome] {
        let pool = BlockingPool(threads: 2)
        defer { pool.close() }
        let builder = Builder(
            store: store, executor: NoCommands(), performers: ["note": Note()], history: history, pool: pool, jobs: 2,
            clock: { Timestamp(seconds: 1_700_000_000 + 60 * minute) })
        var options = BuildOptions()
        options.subject = subject
        return try await builder.build(graph(texts), options: options) { _ in }
    }

    /// The record of such a build, which the history that is proved has not seen.
    private static func record(
        _ texts: [String], _ subject: BuildSubject, minute: Int64, store: MemoryStore = MemoryStore()
    ) async throws -> BuildRecord {
        let caught = Catch()
        // One that fails has a record, too.
        do { _ = try await build(texts, subject, minute: minute, in: caught, store: store) } catch is BuildError {}
        guard let record = caught.kept.withLock({ $0 }) else { throw Mismatch(reason: "a build left no record") }
        return record
    }

    private static func isEmptyAtFirst(_ history: Subject) throws {
        try expect(try history.lastBuild(of: subject("a")) == nil, "a build of a subject that was never built")
        try expect(try history.lastBuild() == nil, "a last build where there was none")
        try expectEqual(try history.builds(), [], "the subjects that were built")
    }

    private static func findsWhatWasKept(_ history: Subject) async throws {
        for (minute, texts) in [["one"], ["one", "two", "three"], ["one", "fail", "three"], ["fail"]].enumerated() {
            let record = try await record(texts, subject("\(minute)"), minute: Int64(minute))
            try history.keep(record)
            try expectEqual(try history.lastBuild(of: record.subject), record, "the build of \(texts)")
        }
    }

    private static func replaces(_ history: Subject) async throws {
        var last: BuildRecord?
        for (minute, texts) in [["one"], ["one", "fail"], ["other", "two"]].enumerated() {
            let record = try await record(texts, subject("a"), minute: Int64(minute))
            try history.keep(record)
            last = record
        }
        try expectEqual(try history.lastBuild(of: subject("a")), last, "the build that was kept last")
        try expectEqual(try history.builds(), [subject("a")], "the subjects that were built")
    }

    private static func separates(_ history: Subject) async throws {
        let subjects = [subject("a"), subject("b"), subject("a", context: "/other"), subject("/a", context: "")]
        var records: [BuildRecord] = []
        for (number, subject) in subjects.enumerated() {
            // Kept in another order than they were built in.
            records.append(try await record(["text \(number)"], subject, minute: Int64(number * 3 % 4)))
        }
        for record in records { try history.keep(record) }
        for record in records {
            try expectEqual(try history.lastBuild(of: record.subject), record, "the build of \(record.subject)")
        }
        let latestFirst = records.sorted { $0.started > $1.started }
        try expectEqual(try history.builds(), latestFirst.map(\.subject), "the subjects, latest first")
        try expectEqual(try history.lastBuild(), latestFirst.first, "the last build of all")
    }

    private static func notesRepetitions(_ history: Subject) async throws {
        let (store, texts) = (MemoryStore(), ["one", "two"])
        try history.keep(try await record(texts, subject("a"), minute: 1, store: store))
        // The first ran, the second found everything, the third went as the second.
        for minute: Int64 in [2, 3, 4] {
            let again = try await record(texts, subject("a"), minute: minute, store: store)
            if try !history.repeats(again) { try history.keep(again) }
            try expectEqual(try history.lastBuild(of: subject("a")), again, "the build that was made once more")
        }
    }

    private static func tellsOthersApart(_ history: Subject) async throws {
        let store = MemoryStore()
        let first = try await record(["one", "two"], subject("a"), minute: 1, store: store)
        try expect(try !history.repeats(first), "a repetition of what was never built")
        try history.keep(first)
        for other in [
            try await record(["one", "two"], subject("b"), minute: 2, store: store),
            try await record(["one", "other"], subject("a"), minute: 2, store: store),
            try await record(["one", "fail"], subject("a"), minute: 2, store: store),
            try await record(["one"], subject("a"), minute: 2, store: store),
        ] {
            try expect(try !history.repeats(other), "another build is taken for the one before")
            try expectEqual(
                try history.lastBuild(of: first.subject), first, "the last build after another was asked for")
        }
    }

    private static func explains(_ history: Subject) async throws {
        let store = MemoryStore()
        _ = try await build(["one", "two"], subject("a"), minute: 1, in: history, store: store)
        let outcomes = try await build(["one", "other"], subject("a"), minute: 2, in: history, store: store)
        try expectEqual(outcomes.map(\.state), [.hit, .ran], "what became of the steps")
        try expectEqual(outcomes.last?.reason, .differs(fields: ["text"]), "why the changed step ran")
        let kept = try history.lastBuild(of: subject("a"))
        try expectEqual(kept?.steps.map(\.state), [.hit, .ran], "the steps of the last build")
    }

    private static func isShared(_ history: Subject) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<16 {
                group.addTask {
                    for round in 0..<4 {
                        let record = try await record(
                            ["text \(round)"], subject("\(number)"), minute: Int64(4 * number + round))
                        try history.keep(record)
                        let found = try history.lastBuild(of: record.subject)
                        try expectEqual(found, record, "the build of \(number) among others")
                    }
                }
            }
            try await group.waitForAll()
        }
        try expectEqual(try history.builds().count, 16, "the number of subjects")
    }
}
