// `verify`: reads everything, says what is affected by what does not hold, and drops what can be made again.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageRunner
import StageStore
import StageSystem
import Synchronization

/// What a look at everything brought to light.
public struct VerificationReport: Sendable {
    /// One thing that does not hold.
    public struct Problem: Sendable, Hashable {
        /// What it is about: "content sha256:…", "pack …", "image app:1".
        public var subject: String
        public var reason: String
        /// The images and steps that cannot be used because of it.
        public var affects: [String]
    }

    public var contents = 0
    /// Bytes that the packs take on the disk.
    public var bytes: UInt64 = 0
    public var steps = 0
    public var images = 0
    public var layers = 0
    public var problems: [Problem] = []
    /// Images and steps that something is wrong with.
    public var affected: [String] = []
    /// What a repair dropped: it is made again when it is needed next.
    public var dropped: [String] = []
    /// What a repair could not heal, with what the person can do.
    public var remaining: [String] = []
    public var wasRepaired = false

    /// Nothing is wrong, or nothing is wrong any more.
    public var isSound: Bool { problems.isEmpty || (wasRepaired && remaining.isEmpty) }
}

extension VerificationReport {
    /// The report on the index of the store at `path`, which must not be open; nil when nothing is wrong with its pages.
    ///
    /// - Parameter repair: makes a damaged index again, of what in it is sound and of what the packs hold.
    public static func index(at path: String, repair: Bool) throws(StageRunError) -> VerificationReport? {
        try storing { () throws(StoreError) in
            var report = VerificationReport()
            guard repair else {
                report.problems = try Store.indexProblems(at: path).map(Self.indexProblem)
                return report.problems.isEmpty ? nil : report
            }
            guard let rebuilt = try Store.rebuildIndex(at: path) else { return nil }
            report.problems = rebuilt.problems.map(Self.indexProblem)
            report.wasRepaired = true
            for table in rebuilt.lossy.map(\.rawValue).sorted() {
                report.dropped.append("entries of the index's table \(table) that could not be read")
            }
            report.dropped.append(
                "the index: made again of \(rebuilt.kept) entries and of \(rebuilt.found) contents found in packs")
            return report
        }
    }

    private static func indexProblem(_ reason: String) -> Problem {
        Problem(subject: "index", reason: reason, affects: [])
    }

    /// Adds what was found, and done, before.
    public mutating func add(before earlier: VerificationReport) {
        problems = earlier.problems + problems
        dropped = earlier.dropped + dropped
        wasRepaired = wasRepaired || earlier.wasRepaired
    }
}

extension StageRoot {
    /// Calls `body` with what is to be said when a page of an index makes so little sense that this process cannot go on; it is
    /// aborted when `body` returns.
    public static func whenIndexIsHopeless(_ body: @escaping @Sendable (StageRunError) -> Void) {
        IndexDamage.whenHopeless { body(.store($0)) }
    }

    /// Reads everything that the store holds and compares it with its names and checksums, on all threads.
    ///
    /// - Parameter repair: drops what can be made again: damaged contents, steps, images that a build or a pull made.
    public func verify(repair: Bool) async throws(StageRunError) -> VerificationReport {
        try await commit()
        // A repair has the place of a collection; a check just keeps what it looks at from being collected.
        let right = repair ? try await collectorLease() : nil
        let lease = try lease()
        defer { withExtendedLifetime((right, lease)) {} }
        let contexts = ContextState.all(in: path)
        let store = store
        let taken = try await blocking { () throws(StageRunError) in
            try storing { () throws(StoreError) in try store.census(StoredLinks(), and: contexts.flatMap(\.links)) }
        }
        let reading = await read(taken)
        if Task.isCancelled { throw .cancelled }
        var census = taken
        store.extend(&census, with: reading.directories.map { .directory($0) }, StoredLinks())
        var verification = Verification(census: census, contexts: contexts, damages: reading.damages)
        verification.judge()
        let failures = try await checkLayers(of: verification.soundImages)
        for failure in failures { verification.add(failure.failure, to: failure.image) }
        guard let right else { return verification.report }
        try await dropWorkspaces()
        if verification.report.problems.isEmpty { return verification.report }
        let judgement = Judgement(census: taken, contexts: contexts, reading: reading, failures: failures)
        return try await blocking { () throws(StageRunError) in try self.repair(judgement, under: right) }
    }

    /// What a reading of everything brought to light.
    private struct Judgement: Sendable {
        let census: Census
        let contexts: [ContextState]
        let reading: ReadingResult
        let failures: [LayerProblem]
    }

    /// Judges again, by what is in the store now: builds went on while everything was read.
    private func repair(_ found: Judgement, under right: CollectorLease) throws(StageRunError) -> VerificationReport {
        let contexts = ContextState.all(in: path)
        var report = VerificationReport()
        var files: [ContextState] = []
        try storing { () throws(StoreError) in
            try store.repair(
                after: found.census, found.reading.directories, StoredLinks(), and: contexts.flatMap(\.links),
                under: right
            ) { census throws(StoreError) in
                var verification = Verification(census: census, contexts: contexts, damages: found.reading.damages)
                verification.judge()
                for failure in found.failures { verification.add(failure.failure, to: failure.image) }
                let changes: [Verification.Change]
                (changes, files) = verification.repair()
                report = verification.report
                return changes
            }
        }
        for file in files.flatMap({ $0.files(in: path) }) { unlink(file) }
        return report
    }

    /// Copies of what the store holds, with nothing to compare them by: they are made again.
    private func dropWorkspaces() async throws(StageRunError) {
        let path = path
        try await blocking { () throws(StageRunError) in
            try onDisk { () throws(SystemError) in
                let storage = RunnerStorage(root: path)
                for workspace in try StoredPlace.workspaceDirectories(in: path) {
                    _ = try storage.removeWorkspace(workspace.path)
                }
            }
        }
    }

    private func read(_ census: Census) async -> ReadingResult {
        let (store, pool) = (store, pool)
        return await withTaskGroup(of: ReadingResult.self) { group in
            for part in census.readingParts(jobs * 8) {
                group.addTask(executorPreference: pool) {
                    store.check(part, of: census, isStopped: { Task.isCancelled })
                }
            }
            var all = ReadingResult()
            for await result in group {
                all.damages += result.damages
                all.directories += result.directories
            }
            return all
        }
    }

    private struct LayerProblem: Sendable {
        var image: [UInt8]
        var failure: String
    }

    /// Makes every layer again, and compares it with its diff ID.
    private func checkLayers(of images: [(key: [UInt8], image: StoredImage)]) async throws(StageRunError)
        -> [LayerProblem]
    {
        var users: [Digest: [[UInt8]]] = [:]
        var layers: [Digest: StoredLayer] = [:]
        for (key, image) in images {
            for layer in image.layers {
                layers[layer.diffID] = layer
                users[layer.diffID, default: []].append(key)
            }
        }
        let (store, pool) = (store, pool)
        let failures = await withTaskGroup(of: (Digest, String)?.self) { group in
            for (diffID, layer) in layers {
                group.addTask(executorPreference: pool) {
                    do throws(ImageError) {
                        try layer.write(from: store) { _ in }
                        return nil
                    } catch { return (diffID, "layer \(diffID): \(error)") }
                }
            }
            var failures: [(Digest, String)] = []
            for await failure in group { if let failure { failures.append(failure) } }
            return failures
        }
        if Task.isCancelled { throw .cancelled }
        return failures.sorted { $0.0 < $1.0 }.flatMap { diffID, failure in
            (users[diffID] ?? []).map { LayerProblem(image: $0, failure: failure) }
        }
    }

    /// Waits for the right to collect.
    func collectorLease() async throws(StageRunError) -> CollectorLease {
        while true {
            let lease = try storing { () throws(StoreError) in try store.collectorLease() }
            if let lease { return lease }
            try? await Task.sleep(for: .milliseconds(50))
            if Task.isCancelled { throw .cancelled }
        }
    }
}

/// Lets a store's error out as one of the facade.
func storing<R>(_ body: () throws(StoreError) -> R) throws(StageRunError) -> R {
    do throws(StoreError) { return try body() } catch { throw .store(error) }
}
