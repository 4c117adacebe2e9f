// `prune`: what goes, what that frees, and doing it.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageRunner
import StageStore
import StageSystem

/// What to take away.
public struct PruneRequest: Sendable {
    /// The kinds of things that a filter can name.
    public enum Kind: String, Sendable, CaseIterable { case image, step, build, context, cache, workspace, content }

    /// The most that is to be left, in bytes: what is worth least goes until the directory is under it.
    public var keepStorage: UInt64?
    /// Only what was not used for so many seconds.
    public var unusedFor: Double?
    /// Also what was used lately.
    public var all = false
    /// Only these kinds; empty means all.
    public var kinds: Set<Kind> = []
    /// Only what has an ID that begins with one of these; empty means all.
    public var ids: [String] = []
    /// Says what would go, and changes nothing.
    public var dryRun = false

    public init() {}
}

/// What went, or would go.
public struct PruneReport: Sendable {
    public struct Item: Sendable, Hashable {
        public var kind: PruneRequest.Kind
        public var id: String
        public var label: String
        /// What it alone added to the store.
        public var bytes: UInt64
    }

    /// The first to go first.
    public var items: [Item] = []
    /// Contents that nothing leads to.
    public var unreferenced: UInt64 = 0
    /// Bytes that the disk has more of.
    public var freed: UInt64 = 0
    /// Bytes that become free when the processes end that may still need them.
    public var awaiting: UInt64 = 0
    /// Bytes of the directory before.
    public var before: UInt64 = 0
    /// Bytes of the directory after.
    public var after: UInt64 = 0
    /// Set when a cap was given that what is left does not fit under.
    public var overCap: UInt64?
}

extension StageRoot {
    /// Takes away what the request says. Runs beside builds: what they need stays.
    public func prune(_ request: PruneRequest) async throws(StageRunError) -> PruneReport {
        try await commit()
        let right = try await collectorLease()
        let (store, path) = (store, path)
        return try await blocking { () throws(StageRunError) in
            defer { withExtendedLifetime(right) {} }
            return try Pruning(store: store, path: path, request: request, right: right).run()
        }
    }
}

/// One prune, under the right to collect.
struct Pruning {
    let store: Store
    let path: String
    let request: PruneRequest
    let right: CollectorLease

    /// The part of a pack that has to be dead for a copy of the rest to be worth it.
    static let deadShare = 0.1

    func run() throws(StageRunError) -> PruneReport {
        if !request.dryRun { try clearUp() }
        let survey = try onDisk { () throws(SystemError) in try StoreSurvey(store, path) }
        if let obstacle = survey.census.obstacle {
            throw .failed(
                "the store is damaged: \(obstacle)",
                advice: "see what is affected with `stagerun verify`, and repair it with `stagerun verify --repair`")
        }
        var plan = PrunePlan(survey: survey, request: request, now: now().seconds)
        plan.choose()
        let share = try fit(&plan)
        var report = plan.report
        if request.dryRun {
            let predicted = try predict(plan, share)
            report.freed = predicted.freed + predicted.index + plan.placeBytes
            report.awaiting = predicted.awaiting
            report.after = report.before - min(report.before, report.freed)
        } else {
            try carryOut(plan, share, &report)
        }
        if let cap = request.keepStorage, report.after > cap { report.overCap = report.after - cap }
        return report
    }

    /// What killed processes left.
    private func clearUp() throws(StageRunError) {
        do throws(ExecutorError) { try NamespaceExecutor.removeLeftovers(root: path) } catch {
            throw .failed(error.message, advice: error.advice)
        }
        removeStaleReplacements(in: path + "/contexts")
        store.removeStaleClaims()
    }

    private func predict(_ plan: PrunePlan, _ share: Double) throws(StageRunError) -> Collected {
        if !plan.collects { return Collected() }
        return try storing { () throws(StoreError) in
            try store.predict(plan.survey.census, keeping: plan.kept, deadShare: share)
        }
    }

    /// With a cap, packs are compacted for less, and then more goes, until what is left fits. Where that leaves much less, some
    /// of it stays: what the index gives back is in nobody's size.
    private func fit(_ plan: inout PrunePlan) throws(StageRunError) -> Double {
        guard let cap = request.keepStorage else { return Self.deadShare }
        // A prediction may be a few pages off.
        let limit = cap - min(cap / 100, 64 << 10)
        var share = Self.deadShare
        var left = try bytesLeft(by: plan, share)
        while left > limit {
            if share > 0 { share = 0 } else if !plan.takeMore(left - limit) { return share }
            left = try bytesLeft(by: plan, share)
        }
        if left >= cap - cap / 20 { return share }
        var (tooFew, enough) = (0, plan.taken)
        while tooFew < enough {
            let middle = tooFew + (enough - tooFew) / 2
            plan.take(middle)
            if try bytesLeft(by: plan, share) <= limit { enough = middle } else { tooFew = middle + 1 }
        }
        plan.take(enough)
        return share
    }

    private func bytesLeft(by plan: PrunePlan, _ share: Double) throws(StageRunError) -> UInt64 {
        let predicted = try predict(plan, share)
        let gone = predicted.freed + predicted.index + predicted.awaiting + plan.placeBytes
        return plan.survey.total - min(plan.survey.total, gone)
    }

    private func carryOut(
        _ plan: PrunePlan, _ share: Double, _ report: inout PruneReport
    ) throws(StageRunError) {
        let storage = RunnerStorage(root: path)
        for place in plan.places {
            let isRemoved = try onDisk { () throws(SystemError) in
                place.kind == .cache
                    ? try storage.removeCache(place.path) : try storage.removeWorkspace(place.path)
            }
            // A command uses it.
            if !isRemoved { report.items.removeAll { place.path.hasSuffix("/" + $0.id) } }
        }
        for context in plan.contexts { for file in context.files(in: path) { unlink(file) } }
        if plan.collects {
            let collected = try storing { () throws(StoreError) in
                try store.collect(plan.removal, from: plan.survey.census, deadShare: share, under: right)
            }
            report.awaiting = collected.awaiting
            try storing { () throws(StoreError) in try store.removeNotes() }
        }
        report.after = try onDisk { () throws(SystemError) in
            var usage = DiskUsage()
            return try usage.bytes(at: path)
        }
        report.freed = report.before - min(report.before, report.after)
    }
}

/// Lets an error of the system out as one of the facade.
func onDisk<R>(_ body: () throws(SystemError) -> R) throws(StageRunError) -> R {
    do throws(SystemError) { return try body() } catch { throw .store(.system(error)) }
}
