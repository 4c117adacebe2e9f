// Trees and files for the benchmarks of the store.

import Foundation

/// Bytes that a seed decides (SplitMix64).
struct SeededBytes {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// What no compressor makes smaller.
    mutating func noise(_ count: Int) -> Data {
        var data = Data(capacity: count + 8)
        while data.count < count { withUnsafeBytes(of: next()) { data.append(contentsOf: $0) } }
        return data.prefix(count)
    }
}

/// Text like a program's: 3,000 names of which few are frequent, indented, with signs between them. LZ4 makes about 0.5 of a
/// file of 20 kB of it, where it makes 0.41 of the C headers and Python modules of a Debian system.
struct SourceLikeText {
    private var random: SeededBytes
    private let words: [[UInt8]]
    private static let signs = [
        "(", ")", ".", " = ", ", ", ":", " ", " ", "\n    ", "\n        ", "\n", "(self, ", "[i]",
    ].map {
        Array($0.utf8)
    }

    init(seed: UInt64) {
        var vocabulary = SeededBytes(seed: 1)
        let letters = Array("etaoinsrhdlucmfywgpbvkxqjz_".utf8)
        words = (0..<3000).map { _ in
            (0..<(2 + vocabulary.next() % 11)).map { _ in
                letters[Int(min(vocabulary.next() % 27, vocabulary.next() % 27))]
            }
        }
        random = SeededBytes(seed: seed)
    }

    mutating func text(_ count: Int) -> Data {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 40)
        while bytes.count < count {
            let word = random.next()
            // The cube of a number between 0 and 1: the first words are by far the most frequent.
            let place = Double(word >> 40) / Double(1 << 24)
            bytes += words[Int(place * place * place * 3000)]
            bytes += Self.signs[Int(word % UInt64(Self.signs.count))]
        }
        return Data(bytes.prefix(count))
    }
}

enum StoreTree {
    /// `files` files in directories of a hundred, each as `content` gives it.
    static func make(_ path: String, files: Int, content: (Int) -> Data) throws {
        for file in 0..<files {
            let directory = "\(path)/dir-\(file / 100)"
            if file % 100 == 0 {
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            }
            try write(content(file), to: "\(directory)/file-\(file).txt")
        }
    }

    static func file(_ path: String, _ number: Int) -> String { "\(path)/dir-\(number / 100)/file-\(number).txt" }

    static func write(_ data: Data, to path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: data) else {
            throw BenchError("cannot write \(path)")
        }
    }

    /// The bytes of all files, as `ls` tells them.
    static func size(_ path: String) throws -> Double { try number(run(["du", "-s", "--apparent-size", "-B1", path])) }

    /// What the disk keeps for them.
    static func allocated(_ path: String) throws -> Double { try number(run(["du", "-s", "-B1", path])) }

    private static func number(_ usage: Usage) throws -> Double {
        guard let value = usage.output.split(whereSeparator: \.isWhitespace).first.flatMap({ Double($0) }) else {
            throw BenchError("no number in \(usage.output)")
        }
        return value
    }
}
