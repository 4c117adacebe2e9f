// What a census has, as people know it: `du`, `prune` and `verify` say it alike.

import StageEngine
import StageGraph
import StageHash
import StageStore

extension Census {
    /// The names of each image as people write them, by its ID.
    var imageNames: [[UInt8]: [String]] {
        Dictionary(grouping: tags, by: \.value).mapValues { tags in
            tags.map { String(decoding: $0.key, as: UTF8.self) }
                .map { (try? ImageReference($0))?.familiar ?? $0 }.sorted()
        }
    }
}

extension Census.Item {
    /// The key as a digest; nil when it is none.
    var digest: Digest? { key.withUnsafeBytes { Digest(bytes: $0) } }
}

extension StepRecord {
    /// `[stage] instruction`.
    var label: String { stepLabel(stage: stage, title: title) }
}

extension StoreUsage.Step {
    /// `[stage] instruction`.
    public var label: String { stepLabel(stage: stage, title: title) }
}

private func stepLabel(stage: String, title: String) -> String { stage.isEmpty ? title : "[\(stage)] \(title)" }
