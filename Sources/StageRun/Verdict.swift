// From what does not hold to what it affects, and what has to go so that everything left is whole.

import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore

/// The judgement on one census.
struct Verification {
    let census: Census
    let contexts: [ContextState]
    let damages: [Damage]
    private(set) var report = VerificationReport()

    /// Contents that are not here, or not what they should be.
    private var bad: Set<Digest> = []
    /// Items by number that something is wrong with.
    private var broken: Set<Int> = []
    private let names: [[UInt8]: [String]]

    /// More than this many contents are not traced one by one.
    private static let traced = 100

    init(census: Census, contexts: [ContextState], damages: [Damage]) {
        self.census = census
        self.contexts = contexts
        self.damages = damages
        names = census.imageNames
    }

    // MARK: Judging

    mutating func judge() {
        report.contents = census.contentCount
        report.bytes = census.packBytes
        report.steps = census.items.count { $0.table == .records }
        report.images = census.items.count { $0.table == .images }
        for pack in census.damagedPacks { add("pack \(pack.name)", pack.reason) }
        judgeContents()
        judgeItems()
        judgeNames()
        report.affected = broken.sorted().map(title)
    }

    private mutating func judgeContents() {
        var reasons: [Digest: String] = [:]
        for damage in damages {
            let own = "content \(damage.digest): "
            reasons[damage.digest] =
                damage.reason.hasPrefix(own) ? String(damage.reason.dropFirst(own.count)) : damage.reason
        }
        for fault in census.faults {
            switch fault {
            case .entry: add("index", fault.description)
            case .missing(let digest, let holder): reasons[digest] = "\(holder) names it, and it is not here"
            case .unreadable(let digest, let reason): reasons[digest] = reasons[digest] ?? reason
            }
        }
        for item in census.items {
            for digest in item.roots?.missing ?? [] {
                reasons[digest] = "\(title(item)) names it, and it is not here"
            }
        }
        bad = Set(reasons.keys)
        let sets = census.items.map { $0.roots ?? .none }
        for (index, isHit) in census.reaching(bad, sets).enumerated() where isHit { broken.insert(index) }
        // What is damaged by its part is told with that part.
        let parts = reasons.filter { _, reason in
            reason.hasPrefix("content ") && bad.contains { reason.hasPrefix("content \($0): ") }
        }
        for (digest, reason) in reasons.sorted(by: { $0.key < $1.key }) where parts[digest] == nil {
            var affects: [String] = []
            if reasons.count <= Self.traced {
                let hits = census.reaching([digest], sets)
                affects = census.items.indices.filter { hits[$0] }.map(title)
            }
            report.problems.append(.init(subject: "content \(digest)", reason: reason, affects: affects))
        }
    }

    private mutating func judgeItems() {
        for (index, item) in census.items.enumerated() where item.roots == nil {
            broken.insert(index)
            add(title(item), "its entry does not decode")
        }
    }

    private mutating func judgeNames() {
        let images = Set(census.items.filter { $0.table == .images }.map(\.key))
        for tag in census.tags where !images.contains(tag.value) {
            add("name " + String(decoding: tag.key, as: UTF8.self), "it leads to an image that is not here")
        }
    }

    private mutating func add(_ subject: String, _ reason: String) {
        report.problems.append(.init(subject: subject, reason: reason, affects: []))
    }

    /// A layer that cannot be made again although its contents hold.
    mutating func add(_ failure: String, to image: [UInt8]) {
        guard let index = census.items.firstIndex(where: { $0.table == .images && $0.key == image }) else { return }
        broken.insert(index)
        report.problems.append(.init(subject: title(index), reason: failure, affects: [title(index)]))
        report.affected = broken.sorted().map(title)
    }

    /// The images that nothing is wrong with so far.
    var soundImages: [(key: [UInt8], image: StoredImage)] {
        census.items.enumerated().compactMap { index, item in
            guard item.table == .images, !broken.contains(index), let image = try? StoredImage(encoded: item.value)
            else { return nil }
            return (item.key, image)
        }
    }

    // MARK: Names

    private func title(_ index: Int) -> String { title(census.items[index]) }

    private func title(_ item: Census.Item) -> String {
        if item.table == .images {
            return "image " + (names[item.key].map { $0.joined(separator: ", ") } ?? (item.digest ?? .zero).short)
        }
        if item.table == .builds {
            return BuildEntry(item.value).map { "the record of the last build of \($0.subject.file)" } ?? "a build"
        }
        guard let record = StepRecord(encoded: item.value, key: item.key) else { return "a step" }
        return "step \(record.label)"
    }

    // MARK: Repair

    typealias Change = (table: Table, key: [UInt8], value: [UInt8]?)

    /// What has to change so that everything left is whole, and the contexts whose files go.
    mutating func repair() -> (changes: [Change], contexts: [ContextState]) {
        var changes: [Change] = census.notWhole(bad).map { (.contents, $0.bytes, nil) }
        for digest in bad { changes.append((.condemned, digest.bytes, nil)) }
        for correction in census.packCorrections { changes.append((.facts, correction.key, correction.value)) }
        for case .entry(let table, let key) in census.faults { changes.append((table, key, nil)) }
        for index in broken.sorted() { changes += drop(index) }
        let images = Set(census.items.filter { $0.table == .images }.map(\.key))
        for tag in census.tags where !images.contains(tag.value) { changes.append((.tags, tag.key, nil)) }
        report.wasRepaired = true
        let sets = contexts.map { census.roots($0.links) }
        let hit = census.reaching(bad, sets)
        return (changes, contexts.indices.filter { hit[$0] || !sets[$0].missing.isEmpty }.map { contexts[$0] })
    }

    private mutating func drop(_ index: Int) -> [Change] {
        let item = census.items[index]
        if item.table == .records {
            report.dropped.append(title(index))
            let outcomes = census.outcomes.filter { $0.value == item.key }
            return [(.records, item.key, nil), (.uses, item.key, nil)] + outcomes.map { (.outcomes, $0.key, nil) }
        }
        if item.table == .builds {
            report.dropped.append(title(index))
            return [(.builds, item.key, nil)]
        }
        // What came from a file can only be loaded again; so it is taken for such when nothing tells.
        if let image = try? StoredImage(encoded: item.value), image.origin != .build, image.origin != .pull {
            report.remaining.append(
                "\(title(index)) was loaded or imported: load it again, or remove it with `stagerun rmi`")
            return []
        }
        report.dropped.append(title(index))
        return [(.images, item.key, nil)]
            + census.tags.filter { $0.value == item.key }.map { (.tags, $0.key, nil) }
    }
}
