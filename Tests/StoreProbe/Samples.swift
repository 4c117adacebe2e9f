// Contents that a seed decides, so that two processes know them without telling each other.

import StageConformance
import StageHash

/// What a writing process keeps in one commit.
public struct SampleBatch {
    public let contents: [[UInt8]]

    public init(seed: UInt64, number: Int) {
        var random = SeededGenerator(seed: seed &* 1_000_003 &+ UInt64(number))
        var contents = (0..<12).map { _ in
            random.next() % 2 == 0
                ? random.bytes(Int(random.next() % 30_000)) : random.text(Int(random.next() % 90_000))
        }
        if number % 4 == 3 { contents.append(random.bytes((4 << 20) + Int(random.next() % 100_000))) }
        self.contents = contents
    }

    public static func key(seed: UInt64, _ number: Int) -> [UInt8] { Array("\(seed)/\(number)".utf8) }
}
