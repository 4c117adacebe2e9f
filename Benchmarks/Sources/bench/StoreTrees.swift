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

/// Text as programs have it: cut from the source files that are installed on this machine, in an order that a seed decides. No
/// two pieces are the same. Text made up of words is no substitute: LZ4 leaves 0.68 of the most likely one, and 0.3 to 0.4 of this.
struct SourceText {
    private static let roots = ["/usr/include", "/usr/lib", "/usr/share"]
    private static let kinds: Set<String> = [
        "c", "cc", "cpp", "go", "h", "hh", "hpp", "java", "js", "pl", "pm", "py", "rb", "rs", "sh", "swift", "ts",
    ]
    /// Less would have to be cut in too many ways.
    private static let least = 16 << 20

    private let files: [String]
    private var next = 0
    private var rounds = 0
    private var held = Data()
    private var seen: Set<Int> = []

    init(seed: UInt64) throws {
        var found: [String] = []
        var size = 0
        for root in Self.roots {
            let keys: [URLResourceKey] = [.isRegularFileKey, .fileSizeKey]
            let walker = FileManager.default.enumerator(
                at: URL(fileURLWithPath: root), includingPropertiesForKeys: keys)
            while let file = walker?.nextObject() as? URL {
                guard Self.kinds.contains(file.pathExtension),
                    let values = try? file.resourceValues(forKeys: Set(keys)),
                    values.isRegularFile == true, let bytes = values.fileSize
                else { continue }
                found.append(file.path)
                size += bytes
            }
        }
        guard size >= Self.least else {
            throw BenchError("too few source files below \(Self.roots): install, say, python3 and libc6-dev")
        }
        found.sort()
        var random = SeededBytes(seed: seed)
        for last in stride(from: found.count - 1, to: 0, by: -1) {
            found.swapAt(last, Int(random.next() % UInt64(last + 1)))
        }
        files = found
    }

    mutating func text(_ count: Int) -> Data {
        while true {
            while held.count < count { held.append(nextFile()) }
            let piece = Data(held.prefix(count))
            held = Data(held.dropFirst(count))
            if seen.insert(piece.hashValue).inserted { return piece }
        }
    }

    /// When all were read they come again, cut at other places.
    private mutating func nextFile() -> Data {
        if next == files.count {
            (next, rounds, held) = (0, rounds + 1, held.dropFirst(min(held.count, 97 * (rounds + 1))))
        }
        defer { next += 1 }
        return (try? Data(contentsOf: URL(fileURLWithPath: files[next]))) ?? Data()
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
