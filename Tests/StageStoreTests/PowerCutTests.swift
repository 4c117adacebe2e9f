// Power cuts and failing disks, below the store and below LMDB: see Disk/diskfaults.c.
//
// STAGERUN_POWER_CUTS says how many cuts are tried (default 60); STAGERUN_SEED replays the one that failed.

import Foundation
import StageConformance
import StageHash
import StageStore
import StageSystem
import StoreProbe
import Testing

private func number(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap { Int($0) } }

@Suite(.serialized) struct PowerCutTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// The batches that were said to be durable, by seed of the process that said so.
    private func durable(_ said: String) -> [UInt64: Int] {
        var batches: [UInt64: Int] = [:]
        for line in said.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, words[0] == "seed", let seed = UInt64(words[1]) { batches[seed] = 0 }
            if words.count == 3, words[0] == "durable", let seed = UInt64(words[1]), let batch = Int(words[2]) {
                batches[seed] = batch + 1
            }
        }
        return batches
    }

    /// Those that were about to be taken out, as "seed batch".
    private func gone(_ said: String) -> Set<String> {
        Set(said.split(separator: "\n").filter { $0.hasPrefix("gone ") }.map { String($0.dropFirst(5)) })
    }

    /// All that was said to be durable is whole; what follows, and what was to go, is whole or not there.
    private func expectWhole(_ path: String, _ said: String, _ comment: Comment) throws {
        let store = try Store(path: path)
        let gone = gone(said)
        for (seed, batches) in durable(said) {
            for batch in 0..<(batches + 2) {
                let record = try store.get(.records, SampleBatch.key(seed: seed, batch))
                if batch < batches && !gone.contains("\(seed) \(batch)") { #expect(record != nil, comment) }
                guard let record else { continue }
                let contents = SampleBatch(seed: seed, number: batch).contents
                #expect(record == contents.flatMap { Digest.of($0).bytes }, comment)
                for content in contents {
                    #expect(try store.read(Digest.of(content)) == content, comment)
                }
            }
        }
        // And it goes on being a store.
        let digest = try store.put(Array("after the power came back".utf8))
        try store.commit()
        #expect(try store.read(digest).count == 25, comment)
    }

    /// Three processes one after the other; the last one has large contents and packs of their own.
    @Test func powerCutsAtAnyMoment() throws {
        try cutPower([["say", "1", "3"], ["say", "2", "2"], ["say", "3", "5"]], from: 0)
    }

    /// The same while records are taken out, packs removed and written anew, and more comes behind it.
    @Test func powerCutsWhilePruning() throws {
        try cutPower([["say", "5", "6"], ["prune", "5", "6"], ["say", "6", "2"], ["prune", "6", "2"]], from: 1)
    }

    /// - Parameter first: the process before which no power is cut.
    private func cutPower(_ processes: [[String]], from first: Int) throws {
        let log = scratch.path + "/log"
        var start = 0
        for (index, words) in processes.enumerated() {
            if index == first && index > 0 { start = try #require(DiskOperation.read(try readFile(log))).count }
            let run = try DiskFaults.run([words[0], scratch.store] + words[1...], root: scratch.store, log: log)
            #expect(run.status == 0, "\(run.lines)")
        }
        let operations = try #require(DiskOperation.read(try readFile(log)))
        #expect(operations.count { $0.kind == .sync } >= 20)
        let replayed = number("STAGERUN_SEED")
        let seeds = replayed.map { [$0] } ?? Array(1...(number("STAGERUN_POWER_CUTS") ?? 60))
        for seed in seeds {
            var random = SeededGenerator(seed: UInt64(seed))
            let end = start + Int(random.next() % UInt64(operations.count + 1 - start))
            var disk = PowerCut()
            for operation in operations[..<end] { disk.apply(operation) }
            let target = scratch.path + "/cut-\(seed)"
            try disk.leave(scratch.store, in: target, &random)
            let comment: Comment = "STAGERUN_SEED=\(seed): cut after operation \(end) of \(operations.count)"
            do { try expectWhole(target, disk.said, comment) } catch { Issue.record("\(comment): \(error)") }
            try removeTree(target)
        }
    }

    // MARK: Errors

    /// Every operation in turn fails once: one clear error, what was durable stays, and the next process goes on.
    @Test(arguments: [EIO, ENOSPC]) func everyOperationFailsOnce(errno code: CInt) throws {
        var failures = 0
        for operation in 1...400 {
            let path = scratch.path + "/fail-\(operation)"
            defer { try? removeTree(path) }
            let run = try DiskFaults.run(["say", path, "4", "2"], root: path, fail: (operation, code))
            let said = run.lines.joined(separator: "\n")
            if run.status == 0 {
                // Beyond the last operation, or one whose failure is made good.
                if !said.contains("failed") && durable(said)[4] == 2 && operation > failures + 12 { break }
                continue
            }
            failures += 1
            let complaint = run.lines.filter { $0.hasPrefix("failed: ") }
            let comment: Comment = "operation \(operation): \(said)"
            #expect(run.status == 1 && complaint.count == 1 && run.lines.last == complaint.last, comment)
            let words = code == EIO ? ["Input/output error"] : ["disk is full"]
            #expect(words.contains { complaint.first?.contains($0) == true }, comment)
            try expectWhole(path, said, comment)
            let next = try DiskFaults.run(["say", path, "4", "2"], root: path)
            #expect(next.status == 0, "operation \(operation), afterwards: \(next.lines)")
            try expectWhole(path, next.lines.joined(separator: "\n"), comment)
        }
        #expect(failures > 20, "\(failures)")
    }
}
