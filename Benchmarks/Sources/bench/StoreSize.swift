// What a store takes on disk: all of its directory, index included, by `du`.

import Foundation

func storeSize(_ laboratory: Laboratory) throws -> [Finding] {
    let bench = try StoreSpeed(laboratory)
    laboratory.note("making 25,000 files of 20,000 bytes, as text and as noise")
    var text = try SourceText(seed: 1)
    var noise = SeededBytes(seed: 2)
    var findings: [Finding] = []
    findings += try bench.twoImages("source text", isFirstJudged: true) { text.text(20_000) }
    findings += try bench.twoImages("noise", isFirstJudged: false) { noise.noise(20_000) }
    return findings
}

extension StoreSpeed {
    private static let files = 25_000

    /// A tree of 500 MB, and the same with a tenth of its files replaced, all over it.
    fileprivate func twoImages(
        _ kind: String, isFirstJudged: Bool, content: () -> Data
    ) throws -> [Finding] {
        let tree = "\(place)/tree"
        try StoreTree.make(tree, files: Self.files) { _ in content() }
        try run([probe, "ingest", "\(place)/into", tree])
        let first = try StoreTree.allocated("\(place)/into")
        let size = Double(Self.files * 20_000)
        var held = Finding(benchmark: "25,000 files of \(kind), 500 MB: the store", stagerun: first / 1e6)
        held.unit = "MB"
        held.floors["the files"] = size / 1e6
        if isFirstJudged {
            held.bar = 0.6
            held.barValue = first / size
        }
        for number in stride(from: 0, to: Self.files, by: 10) {
            try StoreTree.write(content(), to: StoreTree.file(tree, number))
        }
        try run([probe, "ingest", "\(place)/into", tree])
        var growth = Finding(
            benchmark: "25,000 files of \(kind), a tenth replaced: growth",
            stagerun: (try StoreTree.allocated("\(place)/into") - first) / 1e6)
        growth.unit = "MB"
        growth.floors["the new files"] = size / 10 / 1e6
        growth.bar = 1.03
        growth.barValue = growth.stagerun / (size / 10 / 1e6)
        try remove("tree", "into")
        return [held, growth]
    }
}
