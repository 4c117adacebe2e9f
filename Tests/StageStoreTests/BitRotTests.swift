// One byte that changes at a random place of any file of a store: never wrong bytes, always a clear error or nothing amiss.
//
// STAGERUN_BIT_ROT says how many bytes are flipped (default 120); STAGERUN_SEED replays the one that failed.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

@Suite struct BitRotTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private static let seed: UInt64 = 77
    private static let batches = 4

    /// Every regular file of the store with its bytes.
    private func files() throws -> [(path: String, bytes: [UInt8])] {
        var files: [(String, [UInt8])] = []
        guard let walker = FileManager.default.enumerator(atPath: scratch.store) else { return [] }
        for case let name as String in walker {
            let path = scratch.store + "/" + name
            var info = stat()
            if lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFREG, info.st_size > 0 {
                files.append((path, try readFile(path)))
            }
        }
        return files.sorted { $0.0 < $1.0 }
    }

    private func put(_ byte: UInt8, at offset: Int, of path: String) throws {
        let fd = try OwnedFD.open(path, O_WRONLY)
        try withUnsafeBytes(of: byte) { try writeAll(fd.raw, $0, at: Int64(offset)) }
    }

    /// Read by another process: LMDB gives up a process whose index makes no sense by an assertion.
    @Test func aFlippedByteIsNeverWrongBytes() throws {
        let made = try Probe("say", scratch.store, "\(Self.seed)", "\(Self.batches)").finish()
        #expect(made.status == 0)
        let files = try files()
        #expect(files.count >= 4)
        let environment = ProcessInfo.processInfo.environment
        let seeds =
            environment["STAGERUN_SEED"].flatMap { UInt64($0) }.map { [$0] }
            ?? Array(1...(environment["STAGERUN_BIT_ROT"].flatMap { UInt64($0) } ?? 120))
        var outcomes: [String: Int] = [:]
        for seed in seeds {
            var random = SeededGenerator(seed: seed)
            // Each file as often as another, however small: the index would hardly be met otherwise.
            let file = files[Int(random.next() % UInt64(files.count))]
            let offset = Int(random.next() % UInt64(file.bytes.count))
            let flipped = file.bytes[offset] ^ UInt8(1 + random.next() % 255)
            try put(flipped, at: offset, of: file.path)
            let run = try Probe("check", scratch.store, "\(Self.seed)", "\(Self.batches)").finish()
            let place = "STAGERUN_SEED=\(seed): byte \(offset) of \(file.path.dropFirst(scratch.store.count))"
            #expect(!run.lines.contains { $0.hasPrefix("wrong") }, "\(place): \(run.lines)")
            // 0: all is there; 3: something is refused or missing, and said so; 1: the store does not open, and says so.
            #expect([0, 1, 3].contains(run.status), "\(place): ended by \(run.status): \(run.lines)")
            if run.status != 0 { #expect(run.lines.contains { $0.hasPrefix("refused") || $0.hasPrefix("failed") }) }
            let name =
                file.path.contains("/packs/") ? "packs" : file.path.split(separator: "/").last.map { String($0) } ?? ""
            outcomes["\(name) \(run.status)", default: 0] += 1
            for file in files { try restore(file) }
        }
        print("bit rot by file and exit status:", outcomes.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })
    }

    /// Opening takes a store's lock and lease files into use; data that was changed by the probe would be another test's.
    private func restore(_ file: (path: String, bytes: [UInt8])) throws {
        if try readFile(file.path) != file.bytes {
            let fd = try OwnedFD.open(file.path, O_WRONLY | O_TRUNC)
            try file.bytes.withUnsafeBytes { try writeAll(fd.raw, $0) }
        }
    }
}
