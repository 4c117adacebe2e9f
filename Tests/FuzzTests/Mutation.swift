// Seeded mutation of inputs: every run can be repeated from its seed.

import Foundation
import StageConformance

/// How long each target runs, and from which seed: `STAGERUN_FUZZ_SECONDS`, `STAGERUN_FUZZ_SEED`.
enum FuzzRun {
    static let seconds = ProcessInfo.processInfo.environment["STAGERUN_FUZZ_SECONDS"].flatMap(Double.init) ?? 1
    /// The short form is the same each time; a long one looks elsewhere each time, and says where.
    static let seed: UInt64 =
        ProcessInfo.processInfo.environment["STAGERUN_FUZZ_SEED"].flatMap(UInt64.init)
        ?? (seconds > 1 ? UInt64.random(in: 1...UInt64(UInt32.max)) : 1)
}

/// What is mutated, and with what.
struct Corpus: Sendable {
    var inputs: [String]
    /// Put in anywhere: what the grammar gives a meaning to.
    var fragments: [String]

    func input(_ round: Int, _ random: inout SeededGenerator) -> [UInt8] {
        var bytes = Array(inputs[round % inputs.count].utf8)
        for _ in 0..<Int.random(in: 1...4, using: &random) { mutate(&bytes, &random) }
        return bytes
    }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        let place = Int.random(in: 0...bytes.count, using: &random)
        let end = min(bytes.count, place + Int.random(in: 1...20, using: &random))
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1: bytes.insert(contentsOf: (fragments.randomElement(using: &random) ?? "").utf8, at: place)
        case 2:
            // Mostly text: bytes that are no UTF-8 end most inputs at once.
            let highest: UInt8 = Int.random(in: 0...9, using: &random) == 0 ? 255 : 127
            if place < bytes.count { bytes[place] = UInt8.random(in: 0...highest, using: &random) }
        case 3: bytes.removeSubrange(place..<end)
        case 4: bytes.insert(contentsOf: Array(bytes[place..<end]), at: place)
        default:
            let other = Array((inputs.randomElement(using: &random) ?? "").utf8)
            let start = Int.random(in: 0...other.count, using: &random)
            bytes.replaceSubrange(place..<end, with: other[start..<min(other.count, start + 12)])
        }
    }
}
