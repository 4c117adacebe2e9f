// What is done for one step: its key, its look-up, its work, its record. Runs on the blocking pool; keeps no state.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// Does the work of steps. One for each build: an object, since it goes along with every step.
final class StepWorker: Sendable {
    enum Result: Sendable {
        case done(StepOutcome)
        case failed(FailedStep)
    }

    let store: any Builder.Store
    let executor: any Executor
    let unpacker: (any ArchiveUnpacker)?
    let loans: Loans
    let performers: [String: any StepPerformer]
    let flights: Flights
    let clock: @Sendable () -> Timestamp
    let checkpoint: @Sendable () -> Void
    let events: EventSequence

    init(_ builder: Builder, events: EventSequence) {
        store = builder.store
        executor = builder.executor
        unpacker = builder.unpacker
        loans = builder.loans
        performers = builder.performers
        flights = builder.flights
        clock = builder.clock
        checkpoint = builder.checkpoint
        self.events = events
    }

    // MARK: Sources

    func scratch(_ step: Step) -> Result {
        do throws(StoreError) {
            let tree = try store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
            let id = step.id.index
            events.emit { .stepFinished(step: id, state: .hit, at: $0, seconds: 0, reason: .source) }
            return .done(StepOutcome(state: .hit, tree: tree, record: nil, reason: .source))
        } catch { return .failed(FailedStep(.store(error))) }
    }

    func source(_ step: Step, _ sources: Builder.Sources) async -> Result {
        let begin = started(step)
        do throws(SourceError) {
            let tree = try await sources(step.operation)
            let seconds = finished(step, .ran, begin, .source)
            return .done(StepOutcome(state: .ran, tree: tree, record: nil, reason: .source, seconds: seconds))
        } catch {
            let error: BuildError = Task.isCancelled ? .cancelled : .sourceFailed(step: step, message: error.message)
            return failed(step, FailedStep(error), begin)
        }
    }

    // MARK: Keys

    func key(_ step: Step, inputs: [TreeRef], platform: Platform) throws(BuildError) -> KeyedStep {
        var selection: CopySelection?
        var mounted: [Int: Entry] = [:]
        var sources: [StepSource] = []
        switch step.operation {
        case .copy(let copy):
            do throws(CopyFailure) {
                selection = try CopySelection(copy, inputs: inputs, store: store)
            } catch { throw failure(step, error) }
            sources = selection?.sources.map(\.source) ?? []
        case .run(let run):
            for (index, mount) in run.mounts.enumerated() {
                guard let bind = mount.bind else { continue }
                do throws(CopyFailure) {
                    let entry = try CopySelection.entry(at: bind.source, in: inputs[bind.input], store)
                    mounted[index] = entry
                    sources.append(
                        StepSource(input: bind.input, path: TreePath(bind.source).relativeBytes, entry: entry))
                } catch { throw failure(step, error) }
            }
        case .merge:
            if inputs.count == 2 { sources = [StepSource(input: 1, path: [], entry: .directory(inputs[1]))] }
        case .scratch, .image, .context, .remote, .makeDirectory, .own: break
        }
        let encoder = KeyEncoder(
            step.operation, inputs: inputs, selection: selection, mounted: mounted, platform: platform)
        return KeyedStep(
            step, encoder, inputs: inputs, selection: selection, mounted: mounted, sources: sources,
            solitude: flights.solitude)
    }

    /// What is recorded of an equal step. Tells nobody: several threads look up at once.
    func lookUp(_ keyed: KeyedStep) throws(BuildError) -> StepOutcome? {
        do throws(StoreError) {
            guard let record = try store.record(keyed.key) else { return nil }
            try store.markUsed(keyed.key)
            let reason = StepReason.recorded(at: record.created, seconds: Double(record.duration) / 1e9)
            return StepOutcome(state: .hit, tree: record.result, record: record, reason: reason)
        } catch { throw .store(error) }
    }

    /// Tells that a record stands for a step.
    func reportHit(_ step: Step, _ reason: StepReason) {
        let id = step.id.index
        events.emit { .stepFinished(step: id, state: .hit, at: $0, seconds: 0, reason: reason) }
    }

    /// Tells that a step was done by an equal one of the same build.
    func reportShared(_ step: Step, with other: Int) { reportHit(step, .sharedWith(step: other)) }

    // MARK: Work

    /// Runs the step, unless another build is just running an equal one: then its outcome is waited for.
    func executeAlone(_ work: StepWork) async -> Result {
        if !work.usesCache { return await execute(work) }
        while !flights.take(work.keyed.key) {
            await flights.wait(for: work.keyed.key)
            if Task.isCancelled { return .failed(FailedStep(.cancelled)) }
        }
        return await executeTaken(work)
    }

    /// Runs a step whose flight was taken, and leaves it. Like what it calls, it stays where its caller is: a step that
    /// is done on the spot goes through no executor.
    nonisolated(nonsending) func executeTaken(_ work: StepWork) async -> Result {
        defer { flights.leave(work.keyed.key) }
        // Another build may have finished it since it was looked up.
        if work.usesCache, work.keyed.solitude == nil || work.keyed.solitude != flights.solitude {
            do throws(StoreError) {
                if let record = try store.record(work.keyed.key) {
                    let reason = StepReason.sharedWithAnotherBuild
                    reportHit(work.step, reason)
                    return .done(StepOutcome(state: .hit, tree: record.result, record: record, reason: reason))
                }
            } catch { return .failed(FailedStep(.store(error))) }
        }
        return await execute(work)
    }

    nonisolated(nonsending) func execute(_ work: StepWork) async -> Result {
        let (step, keyed) = (work.step, work.keyed)
        let begin = started(step)
        let log = StepLog(of: step.id, events)
        do throws(BuildError) {
            let turn: Turn = work.isClaimed ? try await awaitTurn(keyed) : .ours(nil)
            if case .done(let record) = turn {
                finished(step, .hit, begin, .sharedWithAnotherBuild)
                return .done(
                    StepOutcome(
                        state: .hit, tree: record.result, record: record, reason: .sharedWithAnotherBuild))
            }
            let tree: TreeRef
            var lease: WorkLease?
            if case .ours(let held?) = turn {
                lease = held
                tree = try await holding(held) { () async throws(BuildError) in try await perform(work, log) }
            } else {
                tree = try await perform(work, log)
            }
            let (record, isNew) = try keep(tree, step, keyed, log, begin)
            if let lease { store.endAfterCommit(lease) }
            let state: StepState = isNew ? .ran : .ranSameOutcome
            let reason = reason(work)
            let seconds = finished(step, state, begin, reason)
            checkpoint()
            return .done(
                StepOutcome(state: state, tree: record.result, record: record, reason: reason, seconds: seconds))
        } catch {
            return failed(step, FailedStep(error, log: (try? log.finish()) ?? nil), begin)
        }
    }

    /// Why a step had to run, from the nearest one that ran before.
    private func reason(_ work: StepWork) -> StepReason {
        guard let earlier = work.earlier else { return work.usesCache ? .firstRun : .cacheOff }
        if earlier.key == work.keyed.key {
            return earlier.failed ? .failedBefore : work.usesCache ? .firstRun : .cacheOff
        }
        guard let record = earlier.run(in: store) else { return .firstRun }
        let fields = KeyDifference(from: KeyText(record.walk.text), to: KeyText(work.keyed.walk.text)).names
        return fields.isEmpty ? .firstRun : .differs(fields: fields)
    }

    nonisolated(nonsending) private func perform(_ work: StepWork, _ log: StepLog) async throws(BuildError) -> TreeRef {
        let (step, keyed) = (work.step, work.keyed)
        switch step.operation {
        case .run(let run): return try await self.run(run, work, log)
        case .copy, .makeDirectory, .merge: return try graft(step, keyed, log)
        case .own(let own): return try await self.own(own, work, log)
        case .scratch, .image, .context, .remote:
            throw .stepFailed(step: step, message: "a source is not run", advice: nil)
        }
    }

    /// What a `COPY`, `ADD` or `WORKDIR` leaves; remarks go to `log`, where there is one.
    func graft(_ step: Step, _ keyed: KeyedStep, _ log: StepLog? = nil) throws(BuildError) -> TreeRef {
        guard let base = keyed.inputs.first else {
            throw .stepFailed(step: step, message: "it has no filesystem to work on", advice: nil)
        }
        var graft = Graft(base: base, store: store, unpacker: unpacker)
        do throws(CopyFailure) {
            switch step.operation {
            case .copy(let copy):
                guard let selection = keyed.selection else { return base }
                let tree = try graft.apply(copy, selection)
                tell(graft.notes, log)
                return tree
            case .makeDirectory(let make):
                let tree = try graft.apply(make)
                tell(graft.notes, log)
                return tree
            case .merge:
                guard keyed.inputs.count == 2 else { return base }
                do throws(StoreError) {
                    return try TreeMerge(store: store).merged(keyed.inputs[1], over: base)
                } catch { throw CopyFailure.store(error) }
            case .run, .own, .scratch, .image, .context, .remote: return base
            }
        } catch { throw failure(step, error) }
    }

    private func tell(_ notes: [String], _ log: StepLog?) {
        for note in notes { log?.append(.error, Array("warning: \(note)\n".utf8), store: store) }
    }

    nonisolated(nonsending) private func own(
        _ own: OwnOperation, _ work: StepWork, _ log: StepLog
    ) async throws(BuildError) -> TreeRef {
        guard let performer = performers[own.kind] else {
            throw .stepFailed(
                step: work.step, message: "nothing was given to do a \(own.kind) with",
                advice: "give the builder a performer for \(own.kind)")
        }
        let store = store
        do throws(StepFailure) {
            let request = StepRequest(
                key: work.keyed.key, operation: own, inputs: work.keyed.inputs, store: store,
                output: { stream, bytes in log.append(stream, bytes, store: store) })
            return try await performer.perform(request)
        } catch {
            if Task.isCancelled { throw .cancelled }
            throw .stepFailed(step: work.step, message: error.message, advice: error.advice)
        }
    }

    private func run(_ run: Run, _ work: StepWork, _ log: StepLog) async throws(BuildError) -> TreeRef {
        let outcome: ExecOutcome
        let store = store
        do throws(ExecutorError) {
            let request = ExecRequest(
                key: work.keyed.key, run: run, chain: work.chain, mounted: work.keyed.mounted,
                loans: loans)
            outcome = try await executor.execute(request) { stream, bytes in
                log.append(stream, bytes, store: store)
            }
        } catch {
            if Task.isCancelled { throw .cancelled }
            throw .stepFailed(step: work.step, message: error.message, advice: error.advice)
        }
        if Task.isCancelled { throw .cancelled }
        guard outcome.exit.isSuccess, let tree = outcome.tree else {
            throw .commandFailed(step: work.step, exit: outcome.exit, logTail: log.tail)
        }
        return tree
    }

    /// Writes the record, unless the same change was recorded before: then that one counts, with its times, so that
    /// what follows does not move.
    private func keep(
        _ tree: TreeRef, _ step: Step, _ keyed: KeyedStep, _ log: StepLog, _ begin: ContinuousClock.Instant
    ) throws(BuildError) -> (record: StepRecord, isNew: Bool) {
        do throws(StoreError) {
            let input = keyed.inputs.first
            // Times are no part of an identity: where they were asked for, an equal outcome with others will not do.
            let earlier = step.operation.fixesTimes ? nil : try store.outcome(from: input, to: tree)
            let elapsed = (ContinuousClock.now - begin).components
            let duration = max(0, elapsed.seconds * 1_000_000_000 + elapsed.attoseconds / 1_000_000_000)
            var record = StepRecord(
                key: keyed.key, walk: keyed.walk, title: step.title, stage: step.stage, input: input, result: tree,
                created: clock(), duration: UInt64(duration), log: try log.finish(),
                sources: keyed.sources)
            if let earlier {
                (record.input, record.result, record.created) = (earlier.input, earlier.result, earlier.created)
            }
            try store.keep(record)
            return (record, earlier == nil)
        } catch { throw .store(error) }
    }

    // MARK: Telling

    /// Tells that a step could not even be looked up.
    func refused(_ step: Step, _ error: BuildError) -> FailedStep {
        let id = step.id.index
        let reason = StepReason.failed(message: error.description)
        events.emit { .stepFinished(step: id, state: .failed, at: $0, seconds: 0, reason: reason) }
        return FailedStep(error)
    }

    private func started(_ step: Step) -> ContinuousClock.Instant {
        let id = step.id.index
        events.emit { .stepStarted(step: id, at: $0) }
        return ContinuousClock.now
    }

    @discardableResult
    private func finished(
        _ step: Step, _ state: StepState, _ begin: ContinuousClock.Instant, _ reason: StepReason
    ) -> Double {
        let id = step.id.index
        let elapsed = (ContinuousClock.now - begin).inSeconds
        events.emit { .stepFinished(step: id, state: state, at: $0, seconds: elapsed, reason: reason) }
        return elapsed
    }

    private func failed(_ step: Step, _ failed: FailedStep, _ begin: ContinuousClock.Instant) -> Result {
        var failed = failed
        failed.seconds =
            failed.isCancelled
            ? finished(step, .cancelled, begin, .stopped)
            : finished(step, .failed, begin, .failed(message: failed.error.description))
        return .failed(failed)
    }

    private func failure(_ step: Step, _ error: CopyFailure) -> BuildError {
        switch error {
        case .refused(let error): .stepFailed(step: step, message: error.message, advice: error.advice)
        case .store(let error): .store(error)
        }
    }
}

extension Operation {
    /// Whether the times of what it leaves are part of what was asked for.
    fileprivate var fixesTimes: Bool {
        switch self {
        case .copy(let copy): copy.time != nil
        case .makeDirectory(let make): make.time != nil
        case .merge(let time): time != nil
        case .scratch, .image, .context, .remote, .run, .own: false
        }
    }
}
