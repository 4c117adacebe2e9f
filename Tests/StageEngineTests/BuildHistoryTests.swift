// The records of builds: kept when something is new, noted when a build went as the last one did.

import Glibc
import StageConformance
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization
import Testing

@testable import StageEngine

/// Builds of one graph on a store on the disk, a minute apart.
private final class Site {
    let path: String
    let store: Store
    let sum = Sum()
    let subject = BuildSubject(file: "/work/Dockerfile", context: "/work")
    private let pool = BlockingPool(threads: 2)
    private var minutes: Int64 = 0

    init() throws {
        var template = Array("/tmp/stage-history-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        store = try Store(path: path + "/store")
    }

    deinit {
        pool.close()
        try? removeTree(path)
    }

    static func time(_ minutes: Int64) -> Timestamp { Timestamp(seconds: 1_700_000_000 + 60 * minutes) }

    /// Builds, commits, and says whether there was something to commit.
    func build(_ graph: BuildGraph, _ subject: BuildSubject? = nil, cache: CachePolicy = .use) async throws -> Bool {
        minutes += 1
        let now = Self.time(minutes)
        let builder = Builder(
            store: store, executor: NoCommands(), performers: ["sum": sum], history: store, pool: pool, jobs: 2,
            clock: { now })
        var options = BuildOptions()
        options.subject = subject ?? self.subject
        options.cache = cache
        let store = store
        _ = try? await builder.build(
            graph, options: options,
            sources: { _ async throws(SourceError) in
                do throws(StoreError) {
                    return try store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
                } catch {
                    throw SourceError("\(error)")
                }
            }, observe: { _ in })
        let isNew = store.needsCommit
        try store.commit()
        return isNew
    }

    /// As another process would see it.
    func last(_ subject: BuildSubject? = nil) throws -> BuildRecord? {
        try Store(path: path + "/store").lastBuild(of: subject ?? self.subject)
    }

    var noteFile: String { "\(path)/store/notes/\(subject.name.hex)" }
}

/// A store in memory whose second look-up of a record fails.
private final class FailingLookUp: MemoryBacked {
    let store = MemoryStore()
    let asked = Mutex<[StepKey]>([])

    func record(_ key: StepKey) throws(StoreError) -> StepRecord? {
        let count = asked.withLock { asked in
            asked.append(key)
            return asked.count
        }
        if count == 2 { throw .corrupt("the record of \(key.digest.hex)") }
        return try store.record(key)
    }
    func keep(_ record: StepRecord) throws(StoreError) { try store.keep(record) }
}

@Suite struct BuildHistoryTests {
    /// A context and two sums.
    private static func graph(adding number: Int = 1, stage: String = "s") -> BuildGraph {
        SumGraph.graph([
            Step(id: StepID(0), operation: .context("main"), inputs: [], stage: "", title: "context"),
            SumGraph.step(1, add: number, inputs: [], stage: stage),
            SumGraph.step(2, add: 2, inputs: [1], stage: stage),
        ])
    }

    @Test func aBuildLikeTheLastIsNotedAndCommitsNothing() async throws {
        let site = try Site()
        #expect(try await site.build(Self.graph()))
        #expect(try site.last()?.steps.map(\.state) == [.ran, .ran, .ran])
        // The first of hits has another record than the build that ran.
        #expect(try await site.build(Self.graph()))
        let kept = try #require(try site.last())
        #expect(kept.steps.map(\.state) == [.ran, .hit, .hit])
        #expect(kept.started == Site.time(2))
        let revision = try site.store.revision()
        for minute in 3...5 {
            #expect(try await !site.build(Self.graph()))
            var again = try #require(try site.last())
            #expect(again.started == Site.time(Int64(minute)))
            #expect(again.seconds > 0)
            #expect(again.steps[0].seconds > 0, "the time of a source is its own in each build")
            (again.started, again.seconds) = (kept.started, kept.seconds)
            again.steps[0].seconds = kept.steps[0].seconds
            #expect(again == kept)
        }
        #expect(try site.store.revision() == revision)
    }

    @Test func aNoteThatIsLostIsOneBuildLessAndNothingElse() async throws {
        let site = try Site()
        for _ in 1...3 { _ = try await site.build(Self.graph()) }
        #expect(try site.last()?.started == Site.time(3))
        let whole = try readFile(site.noteFile)
        for length in [0, 10, whole.count - 1] {
            try writeFile(site.noteFile, Array(whole[..<length]))
            #expect(try site.last()?.started == Site.time(2))
        }
        #expect(try await !site.build(Self.graph()))
        #expect(try site.last()?.started == Site.time(4))
        // Where notes cannot be written, the build is kept as any other.
        unlink(site.noteFile)
        rmdir(site.path + "/store/notes")
        try writeFile(site.path + "/store/notes", [])
        #expect(try await site.build(Self.graph()))
        #expect(try site.last()?.started == Site.time(5))
    }

    @Test func aNoteOfAnotherRecordCountsNothing() async throws {
        let site = try Site()
        for _ in 1...3 { _ = try await site.build(Self.graph()) }
        let old = try readFile(site.noteFile)
        #expect(try await site.build(Self.graph(adding: 7)))
        #expect(try site.last()?.started == Site.time(4))
        #expect(try site.last()?.steps.map(\.state) == [.ran, .ran, .ran])
        #expect(try site.last()?.steps[1].earlier != nil)
        // Even one that says it was later.
        try writeFile(site.noteFile, old)
        #expect(try site.last()?.started == Site.time(4))
    }

    @Test func whatFailedOrRanAgainIsNoRepetition() async throws {
        let site = try Site()
        for _ in 1...3 { _ = try await site.build(Self.graph()) }
        #expect(try await site.build(Self.graph(), cache: .ignore))
        #expect(try site.last()?.steps.map(\.state) == [.ran, .ranSameOutcome, .ranSameOutcome])
        var failing = Self.graph()
        failing.steps[2] = Step(
            id: StepID(2), operation: .own(OwnOperation(kind: "sum", fields: [.init("fails", .boolean(true))])),
            inputs: [StepID(1)], stage: "s", title: "step 2")
        for minute in 5...6 {
            #expect(try await site.build(failing))
            let last = try #require(try site.last())
            #expect(last.started == Site.time(Int64(minute)))
            #expect(last.steps[2].state == .failed)
        }
    }

    @Test func aStepWhoseRecordCannotBeReadKeepsItsKey() async throws {
        let store = FailingLookUp()
        let pool = BlockingPool(threads: 2)
        defer { pool.close() }
        let builder = Builder(
            store: store, executor: NoCommands(), performers: ["sum": Sum()], history: store.store, pool: pool, jobs: 2,
            clock: { Site.time(1) })
        let subject = BuildSubject(file: "/work/Dockerfile", context: "/work")
        var options = BuildOptions()
        options.subject = subject
        let graph = SumGraph.graph([SumGraph.step(0, add: 1, inputs: []), SumGraph.step(1, add: 2, inputs: [0])])
        await #expect(throws: BuildError.self) {
            _ = try await builder.build(graph, options: options) { _ in }
        }
        let last = try #require(try store.store.lastBuild(of: subject))
        #expect(last.steps.map(\.state) == [.ran, .failed])
        let asked = store.asked.withLock { $0 }
        #expect(last.steps.map(\.key) == asked)
        #expect(asked.count == 2)
        // What it was about to do is kept, so that whoever explains it need not read the record either.
        #expect(last.steps[0].attempt == nil)
        #expect(last.steps[1].attempt?.keyText.contains("operation = \"own\"") == true)
    }

    @Test func stepsOfOtherTargetsAreCarriedOnThroughNotes() async throws {
        let site = try Site()
        _ = try await site.build(Self.graph(stage: "one"))
        _ = try await site.build(Self.graph(stage: "two"))
        let carried = try #require(try site.last()).elsewhere
        #expect(carried.map(\.stage) == ["one", "one"])
        _ = try await site.build(Self.graph(stage: "two"))
        #expect(try await !site.build(Self.graph(stage: "two")))
        let last = try #require(try site.last())
        #expect(last.started == Site.time(4))
        #expect(last.elsewhere.map(\.stage) == ["one", "one"])
    }

    @Test func theLatestOfSeveralIsFoundByItsNote() async throws {
        let site = try Site()
        let other = BuildSubject(file: "/other/Dockerfile", context: "/other")
        for subject in [site.subject, site.subject, other, other] { _ = try await site.build(Self.graph(), subject) }
        #expect(try site.store.builds() == [other, site.subject])
        #expect(try await !site.build(Self.graph(), site.subject))
        #expect(try site.store.builds() == [site.subject, other])
        #expect(try site.store.lastBuild()?.subject == site.subject)
        // With its record a build's note goes.
        #expect(try await !site.build(Self.graph(), other))
        site.store.set(.builds, site.subject.name.bytes, nil)
        try site.store.removeNotes()
        #expect(site.store.notes() == [other.name])
    }

    @Test func anEntryOfTheFirstVersionLeadsToItsContentAndExplainsNothing() async throws {
        let site = try Site()
        let record = try site.store.put(Array("a record of version 1".utf8))
        var entry = ByteWriter()
        entry.u8(1)
        entry.digest(record)
        entry.time(Site.time(0))
        entry.string(site.subject.file)
        entry.string(site.subject.context)
        site.store.set(.builds, site.subject.name.bytes, entry.bytes)
        let read = try #require(BuildEntry(entry.bytes))
        #expect(read.record == record)
        #expect(read.started == Site.time(0))
        #expect(try site.last() == nil)
        #expect(try site.store.builds() == [site.subject])
        #expect(try await site.build(Self.graph()))
        #expect(try site.last()?.started == Site.time(1))
    }
}
