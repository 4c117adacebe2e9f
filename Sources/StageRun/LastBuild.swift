// The builds of a root, afterwards: what became of each step, why, and what it wrote.

import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem

extension StageRoot {
    /// The record of the last build: of all, or of this Dockerfile, or of this context.
    public func lastBuild(file: String? = nil, context: String? = nil) throws(StageRunError) -> BuildRecord {
        let file = file.map(canonicalPath)
        let context = context.map(canonicalPath)
        do throws(StoreError) {
            for subject in try store.builds() {
                if let file, subject.file != file { continue }
                if let context, subject.context != context { continue }
                if let build = try store.lastBuild(of: subject) { return build }
            }
        } catch { throw .store(error) }
        let what = [file.map { "the Dockerfile \($0)" }, context.map { "the context \($0)" }].compactMap { $0 }
        throw .failed(
            "no build" + (what.isEmpty ? "" : " of " + what.joined(separator: " and ")) + " is known here",
            advice: "stagerun build records each build in its --root")
    }

    /// The record of the last build of what `request` builds; nil when it did not come to its steps.
    public func lastBuild(of request: BuildRequest) throws(StageRunError) -> BuildRecord? {
        let subject = BuildFlow(root: self, request: request, observe: { _ in }).subject
        do throws(StoreError) { return try store.lastBuild(of: subject) } catch { throw .store(error) }
    }

    /// Why steps of `build` ran: those that `step` names, or all that ran.
    public func explain(_ build: BuildRecord, step: String? = nil) throws(StageRunError) -> [StepExplanation] {
        let explainer = Explainer(build, store: store)
        let wanted = try step.map { text throws(StageRunError) in try select(text, of: build) }
        do throws(StoreError) {
            guard let wanted else { return try explainer.explain() }
            var result: [StepExplanation] = []
            for index in wanted { result.append(try explainer.explain(index)) }
            return result
        } catch { throw .store(error) }
    }

    /// The steps of `build` that `text` names, by index.
    public func select(_ text: String, of build: BuildRecord) throws(StageRunError) -> [Int] {
        do throws(StepSelectionError) { return try build.select(text) } catch {
            throw .failed(error.description)
        }
    }

    /// Hands out all that a step wrote, piece by piece. False when nothing of it is kept any more.
    public func withLog(
        of step: BuildRecord.Step, _ body: @escaping (UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StageRunError) -> Bool {
        guard let log = step.log else { return true }
        do throws(StoreError) {
            guard try store.size(of: log) != nil else { return false }
            try store.withContent(log, body)
            return true
        } catch { throw .store(error) }
    }

    /// How much a step wrote, in bytes; nil when it is not kept any more.
    public func logSize(of step: BuildRecord.Step) throws(StageRunError) -> UInt64? {
        guard let log = step.log else { return 0 }
        do throws(StoreError) { return try store.size(of: log) } catch { throw .store(error) }
    }
}
