// What is done for one step: its key, its look-up, its work, its record. Runs on the blocking pool; keeps no state.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// A step with its key, ready to be looked up or to run.
struct KeyedStep: Sendable {
    let key: StepKey
    let text: String
    let inputs: [TreeRef]
    let selection: CopySelection?
    /// What the binds of a `RUN` show, by the number of the mount.
    var mounted: [Int: Entry] = [:]
}

/// Does the work of steps.
struct StepWorker: Sendable {
    enum Result: Sendable {
        case done(StepOutcome)
        case failed(BuildError)
    }

    let store: any Builder.Store
    let executor: any Executor
    let unpacker: (any ArchiveUnpacker)?
    let loans: Loans
    let clock: @Sendable () -> Timestamp
    let checkpoint: @Sendable () -> Void
    let events: EventSequence

    // MARK: Sources

    func scratch() -> Result {
        do throws(StoreError) {
            let tree = try store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
            return .done(StepOutcome(state: .hit, tree: tree, record: nil))
        } catch { return .failed(.store(error)) }
    }

    func source(_ step: Step, _ sources: Builder.Sources) async -> Result {
        let begin = started(step)
        do throws(SourceError) {
            let tree = try await sources(step.operation)
            finished(step, .ran, begin, reason: "")
            return .done(StepOutcome(state: .ran, tree: tree, record: nil))
        } catch {
            let cancelled = Task.isCancelled
            finished(step, cancelled ? .cancelled : .failed, begin, reason: error.message)
            return .failed(cancelled ? .cancelled : .sourceFailed(step: step, message: error.message))
        }
    }

    // MARK: Keys

    func key(_ step: Step, inputs: [TreeRef], platform: Platform) throws(BuildError) -> KeyedStep {
        var selection: CopySelection?
        if case .copy(let copy) = step.operation {
            do throws(CopyFailure) {
                selection = try CopySelection(copy, inputs: inputs, store: store)
            } catch { throw failure(step, error) }
        }
        var mounted: [Int: Entry] = [:]
        if case .run(let run) = step.operation {
            for (index, mount) in run.mounts.enumerated() {
                guard let bind = mount.bind else { continue }
                do throws(CopyFailure) {
                    mounted[index] = try CopySelection.entry(at: bind.source, in: inputs[bind.input], store)
                } catch { throw failure(step, error) }
            }
        }
        let encoder = KeyEncoder(
            step.operation, inputs: inputs, selection: selection, mounted: mounted, platform: platform)
        return KeyedStep(
            key: encoder.finalize(), text: encoder.text, inputs: inputs, selection: selection, mounted: mounted)
    }

    func lookUp(_ keyed: KeyedStep, _ step: Step) throws(BuildError) -> StepRecord? {
        do throws(StoreError) {
            guard let record = try store.record(keyed.key) else { return nil }
            let id = step.id.index
            events.emit { .stepFinished(step: id, state: .hit, at: $0, seconds: 0, reason: "same inputs as before") }
            return record
        } catch { throw .store(error) }
    }

    /// Tells that a step was done by an equal one of the same build.
    func reportShared(_ step: Step) {
        let id = step.id.index
        events.emit {
            .stepFinished(step: id, state: .hit, at: $0, seconds: 0, reason: "an equal step of this build ran")
        }
    }

    // MARK: Work

    /// - Parameter isShared: whether the work of another process counts, and ours for others.
    func execute(_ step: Step, _ keyed: KeyedStep, chain: [TreeRef], isShared: Bool = true) async -> Result {
        let begin = started(step)
        let id = step.id.index
        let log = StepLog { stream, text in
            events.emit { _ in .stepOutput(step: id, stream: stream, text: text) }
        }
        do throws(BuildError) {
            let turn: Turn = isShared ? try await awaitTurn(keyed) : .ours(nil)
            if case .done(let record) = turn {
                finished(step, .hit, begin, reason: "another build ran it meanwhile")
                return .done(StepOutcome(state: .hit, tree: record.result, record: record))
            }
            let (tree, lease) = try await holding(turn) { () async throws(BuildError) in
                try await work(step, keyed, chain: chain, log)
            }
            let (record, isNew) = try keep(tree, step, keyed, log, begin)
            if let lease { store.endAfterCommit(lease) }
            let state: StepState = isNew ? .ran : .ranSameOutcome
            finished(step, state, begin, reason: "no earlier run with these inputs")
            checkpoint()
            return .done(StepOutcome(state: state, tree: record.result, record: record))
        } catch {
            if case .cancelled = error {
                finished(step, .cancelled, begin, reason: "")
            } else {
                finished(step, .failed, begin, reason: error.description)
            }
            return .failed(error)
        }
    }

    private func work(
        _ step: Step, _ keyed: KeyedStep, chain: [TreeRef], _ log: StepLog
    ) async throws(BuildError) -> TreeRef {
        guard let base = keyed.inputs.first else {
            throw .stepFailed(step: step, message: "it has no filesystem to work on", advice: nil)
        }
        switch step.operation {
        case .run(let run):
            return try await self.run(run, step, keyed, chain, log)
        case .copy(let copy):
            var graft = Graft(base: base, store: store, unpacker: unpacker)
            do throws(CopyFailure) {
                guard let selection = keyed.selection else { return base }
                let tree = try graft.apply(copy, selection)
                tell(graft.notes, log)
                return tree
            } catch { throw failure(step, error) }
        case .makeDirectory(let make):
            var graft = Graft(base: base, store: store, unpacker: unpacker)
            do throws(CopyFailure) {
                let tree = try graft.apply(make)
                tell(graft.notes, log)
                return tree
            } catch { throw failure(step, error) }
        case .merge:
            guard keyed.inputs.count == 2 else { return base }
            let merge = TreeMerge(store: store)
            do throws(StoreError) { return try merge.merged(keyed.inputs[1], over: base) } catch { throw .store(error) }
        case .scratch, .image, .context, .remote:
            return base
        }
    }

    private func tell(_ notes: [String], _ log: StepLog) {
        for note in notes { log.append(.error, Array("warning: \(note)\n".utf8), store: store) }
    }

    private func run(
        _ run: Run, _ step: Step, _ keyed: KeyedStep, _ chain: [TreeRef], _ log: StepLog
    ) async throws(BuildError) -> TreeRef {
        let outcome: ExecOutcome
        let store = store
        do throws(ExecutorError) {
            let request = ExecRequest(
                key: keyed.key, run: run, chain: chain, mounted: keyed.mounted, loans: loans)
            outcome = try await executor.execute(request) { stream, bytes in
                log.append(stream, bytes, store: store)
            }
        } catch {
            if Task.isCancelled { throw .cancelled }
            throw .stepFailed(step: step, message: error.message, advice: error.advice)
        }
        if Task.isCancelled { throw .cancelled }
        guard outcome.exit.isSuccess, let tree = outcome.tree else {
            _ = try? log.finish()
            throw .commandFailed(step: step, exit: outcome.exit, logTail: log.tail)
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
            let elapsed = ContinuousClock.now - begin
            var record = StepRecord(
                key: keyed.key, keyText: keyed.text, title: step.title, stage: step.stage, input: input, result: tree,
                created: clock(), duration: UInt64(max(0, elapsed / .seconds(1)) * 1e9), log: try log.finish())
            if let earlier {
                (record.input, record.result, record.created) = (earlier.input, earlier.result, earlier.created)
            }
            try store.keep(record)
            return (record, earlier == nil)
        } catch { throw .store(error) }
    }

    // MARK: Telling

    private func started(_ step: Step) -> ContinuousClock.Instant {
        let id = step.id.index
        events.emit { .stepStarted(step: id, at: $0) }
        return ContinuousClock.now
    }

    private func finished(_ step: Step, _ state: StepState, _ begin: ContinuousClock.Instant, reason: String) {
        let id = step.id.index
        let elapsed = (ContinuousClock.now - begin) / .seconds(1)
        events.emit { .stepFinished(step: id, state: state, at: $0, seconds: elapsed, reason: reason) }
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
        case .scratch, .image, .context, .remote, .run: false
        }
    }
}
