// What of a store is to go, by what is asked for: candidates, their worth, and the order in which they go.

import StageEngine
import StageHash
import StageImage
import StageStore

/// The choice for one prune. A value: nothing is changed here.
struct PrunePlan {
    let survey: StoreSurvey
    let request: PruneRequest
    /// Seconds since 1970.
    let now: Int64
    private let records: [(item: Census.Item, record: StepRecord)]
    private let images: [Census.Item]
    private let builds: [(item: Census.Item, entry: BuildEntry)]
    /// What may go, the first to go first; and how many of them go.
    private(set) var ordered: [Candidate] = []
    private(set) var taken = 0
    private(set) var unreferenced: UInt64 = 0

    init(survey: StoreSurvey, request: PruneRequest, now: Int64) {
        self.survey = survey
        self.request = request
        self.now = now
        records = survey.records
        images = survey.images
        builds = survey.builds
    }

    // MARK: Choosing

    mutating func choose() {
        let all = candidates()
        let retention = Retention(cap: request.keepStorage)
        // What is used most counts first while it is not known what is worth most.
        let byAge = attributed(all.sorted { ($0.age, $0.index) < ($1.age, $1.index) })
        let worthMostFirst = attributed(Array(retention.order(byAge).reversed()))
        ordered = worthMostFirst.reversed().filter(isWanted)
        taken = retention.count(ordered, size: survey.total - min(survey.total, unreferenced))
    }

    /// Takes more candidates, for at least so many bytes; false when there are none.
    mutating func takeMore(_ bytes: UInt64) -> Bool {
        if taken == ordered.count { return false }
        var found: UInt64 = 0
        while taken < ordered.count, found < bytes {
            found += ordered[taken].bytes
            taken += 1
        }
        return true
    }

    /// Takes so many candidates, those that are worth least.
    mutating func take(_ count: Int) { taken = min(count, ordered.count) }

    private var unusedFor: Double {
        if let asked = request.unusedFor { return asked }
        return request.all || request.keepStorage != nil ? 0 : Retention.recent
    }

    /// Whether a candidate may go at all under this request.
    private func isWanted(_ candidate: Candidate) -> Bool {
        // An image that lost its name is nobody's, however young.
        let limit = candidate.kind == .image ? request.unusedFor ?? 0 : unusedFor
        guard candidate.age >= limit else { return false }
        if let kind = PruneRequest.Kind(rawValue: candidate.kind.rawValue), !request.kinds.isEmpty,
            !request.kinds.contains(kind)
        {
            return false
        }
        let id = id(of: candidate)
        return request.ids.isEmpty || request.ids.contains { id.hasPrefix($0) }
    }

    private func age(_ time: Int64) -> Double { Double(max(0, now - time)) }

    private func candidates() -> [Candidate] {
        let names = survey.census.imageNames
        var all: [Candidate] = []
        for (index, item) in images.enumerated() where names[item.key] == nil {
            let image = try? StoredImage(encoded: item.value)
            all.append(
                Candidate(kind: .image, index: index, seconds: 0, age: age(image?.created?.seconds ?? 0)))
        }
        for (index, (_, record)) in records.enumerated() {
            all.append(
                Candidate(
                    kind: .step, index: index, seconds: Double(record.duration) / 1e9,
                    age: age(survey.lastUsed(record))))
        }
        for (index, (_, entry)) in builds.enumerated() {
            // Nothing makes it again; but that is all it says.
            all.append(Candidate(kind: .build, index: index, seconds: 10, age: age(entry.started.seconds)))
        }
        for (index, context) in survey.contexts.enumerated() {
            all.append(Candidate(kind: .context, index: index, seconds: 0, age: age(context.lastUsed)))
        }
        for (index, cache) in survey.caches.enumerated() {
            // Mostly downloads.
            all.append(
                Candidate(
                    kind: .cache, index: index, seconds: 1 + Double(cache.bytes) / 10e6, age: age(cache.lastUsed),
                    bytes: cache.bytes))
        }
        for (index, workspace) in survey.workspaces.enumerated() {
            all.append(
                Candidate(
                    kind: .workspace, index: index, seconds: Double(workspace.bytes) / 200e6,
                    age: age(workspace.lastUsed), bytes: workspace.bytes))
        }
        return all
    }

    /// The candidates in the same order, each with the bytes that it adds to what stays and to those before it.
    private mutating func attributed(_ order: [Candidate]) -> [Candidate] {
        let names = survey.census.imageNames
        let pinned = images.filter { names[$0.key] != nil }.reduce(into: Census.Roots.none) {
            $0.add($1.roots ?? .none)
        }
        let added = survey.census.bytesAdded(inOrder: [pinned] + order.map(roots))
        unreferenced = survey.census.contentBytes - added.reduce(0, +)
        return zip(order, added.dropFirst()).map { candidate, bytes in
            var candidate = candidate
            switch candidate.kind {
            case .image, .step, .build: candidate.bytes = bytes
            case .context:
                candidate.bytes = bytes + survey.contextFiles[candidate.index]
                candidate.seconds = Double(candidate.bytes) / 500e6
            case .cache, .workspace: break
            }
            return candidate
        }
    }

    private func roots(_ candidate: Candidate) -> Census.Roots {
        switch candidate.kind {
        case .image: images[candidate.index].roots ?? .none
        case .step: records[candidate.index].item.roots ?? .none
        case .build: builds[candidate.index].item.roots ?? .none
        case .context: survey.contextRoots[candidate.index]
        case .cache, .workspace: .none
        }
    }

    private func id(of candidate: Candidate) -> String {
        switch candidate.kind {
        case .image: images[candidate.index].digest?.hex ?? ""
        case .step: records[candidate.index].record.key.digest.hex
        case .build: builds[candidate.index].item.digest?.hex ?? ""
        case .context: survey.contexts[candidate.index].name
        case .cache: survey.caches[candidate.index].name
        case .workspace: survey.workspaces[candidate.index].name
        }
    }

    private func label(of candidate: Candidate) -> String {
        switch candidate.kind {
        case .image: ""
        case .step: records[candidate.index].record.label
        case .build: builds[candidate.index].entry.subject.file
        case .context: survey.contexts[candidate.index].path ?? ""
        case .cache: survey.caches[candidate.index].label
        case .workspace: survey.workspaces[candidate.index].label
        }
    }

    // MARK: What it comes to

    private var going: ArraySlice<Candidate> { ordered[..<taken] }

    private func indices(_ kind: Candidate.Kind) -> Set<Int> {
        Set(going.lazy.filter { $0.kind == kind }.map(\.index))
    }

    /// Whether contents are collected: not when a filter asks for nothing that leads to any.
    var collects: Bool {
        request.kinds.isEmpty && request.ids.isEmpty || request.kinds.contains(.content)
            || going.contains { [.image, .step, .build, .context].contains($0.kind) }
    }

    /// The roots that stay.
    var kept: [Census.Roots] {
        let (goneImages, goneRecords, goneBuilds) = (indices(.image), indices(.step), indices(.build))
        return images.enumerated().filter { !goneImages.contains($0.offset) }.map { $0.element.roots ?? .none }
            + records.enumerated().filter { !goneRecords.contains($0.offset) }.map { $0.element.item.roots ?? .none }
            + builds.enumerated().filter { !goneBuilds.contains($0.offset) }.map { $0.element.item.roots ?? .none }
            + keptContexts
    }

    private var keptContexts: [Census.Roots] {
        let gone = indices(.context)
        return survey.contextRoots.enumerated().filter { !gone.contains($0.offset) }.map(\.element)
    }

    /// Caches and workspaces that go.
    var places: [StoredPlace] {
        going.compactMap { candidate in
            switch candidate.kind {
            case .cache: survey.caches[candidate.index]
            case .workspace: survey.workspaces[candidate.index]
            case .image, .step, .build, .context: nil
            }
        }
    }

    var contexts: [ContextState] { indices(.context).sorted().map { survey.contexts[$0] } }

    /// Bytes of the places and of the contexts' own files.
    var placeBytes: UInt64 {
        places.reduce(0) { $0 + $1.bytes } + indices(.context).reduce(0) { $0 + survey.contextFiles[$1] }
    }

    /// What leaves the tables. An outcome that a record which goes led to first is handed on to another that led there.
    var removal: Removal {
        let (goneImages, goneRecords) = (indices(.image), indices(.step))
        var removal = Removal()
        removal.items = goneImages.sorted().map { (.images, images[$0].key) }
        removal.items += indices(.build).sorted().map { (.builds, builds[$0].item.key) }
        var heirs: [[UInt8]: [UInt8]] = [:]
        for (index, (item, record)) in records.enumerated() where !goneRecords.contains(index) {
            heirs[record.outcomeKey] = item.key
        }
        var gone: Set<[UInt8]> = []
        for index in goneRecords.sorted() {
            let key = records[index].item.key
            gone.insert(key)
            removal.items.append((.records, key))
            removal.changes.append((.uses, key, nil))
        }
        for outcome in survey.census.outcomes where gone.contains(outcome.value) {
            removal.changes.append((.outcomes, outcome.key, heirs[outcome.key]))
        }
        removal.keeping = keptContexts
        return removal
    }

    var report: PruneReport {
        var report = PruneReport()
        report.before = survey.total
        report.after = survey.total
        report.unreferenced = collects ? unreferenced : 0
        report.items = going.compactMap { candidate in
            PruneRequest.Kind(rawValue: candidate.kind.rawValue).map {
                .init(kind: $0, id: id(of: candidate), label: label(of: candidate), bytes: candidate.bytes)
            }
        }
        return report
    }
}
