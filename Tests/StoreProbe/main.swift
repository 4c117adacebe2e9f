// A program for the tests of the store and the system layer: what only another process can show (kills, limits, memory).

import Glibc
import StageConformance
import StageHash
import StageStore
import StageSystem

IndexDamage.whenHopeless { error in
    say("failed: \(error)\n")
    _exit(1)
}
let arguments = Array(CommandLine.arguments.dropFirst())
do {
    switch (arguments.first ?? "", arguments.count) {
    case ("write", 4): try writeForever(arguments[1], seed: number(arguments[2]), until: Int(number(arguments[3])))
    case ("say", 4): try writeAndSay(arguments[1], seed: number(arguments[2]), until: Int(number(arguments[3])))
    case ("prune", 4): try prune(arguments[1], seed: number(arguments[2]), batches: Int(number(arguments[3])))
    case ("check", 4): try check(arguments[1], seed: number(arguments[2]), batches: Int(number(arguments[3])))
    case ("ingest", 3): try ingest(arguments[1], arguments[2])
    case ("remove", 2): try removeTree(arguments[1])
    case ("large", 3): try largeContents(arguments[1], count: Int(number(arguments[2])))
    case ("hold", 3): try hold(arguments[1], key: arguments[2])
    default: throw SystemError("arguments", arguments.joined(separator: " "), errno: EINVAL)
    }
} catch {
    say("failed: \(error)\n")
    exit(1)
}

func number(_ text: String) -> UInt64 { UInt64(text) ?? 0 }

/// Commits batch after batch and says each number once it is durable.
func writeForever(_ path: String, seed: UInt64, until: Int) throws {
    let store = try Store(path: path)
    for batch in 0..<until {
        let names = try SampleBatch(seed: seed, number: batch).contents.map { try store.put($0) }
        store.set(.records, SampleBatch.key(seed: seed, batch), names.flatMap(\.bytes))
        if batch % 5 == 4 { say("uncommitted\n") }
        try store.commit()
        say("\(batch)\n")
    }
}

/// The same with the seed in every line, so that a log of several processes tells them apart.
func writeAndSay(_ path: String, seed: UInt64, until: Int) throws {
    say("seed \(seed)\n")
    let store = try Store(path: path)
    for batch in 0..<until {
        let names = try SampleBatch(seed: seed, number: batch).contents.map { try store.put($0) }
        store.set(.records, SampleBatch.key(seed: seed, batch), names.flatMap(\.bytes))
        try store.commit()
        say("durable \(seed) \(batch)\n")
    }
}

/// A record of these programs leads to its contents.
struct SampleLinks: LinkReader {
    func links(of table: Table, _ value: [UInt8]) -> [Link]? {
        stride(from: 0, to: value.count - 31, by: 32).compactMap { start in
            value[start..<(start + 32)].withUnsafeBytes { Digest(bytes: $0) }.map { .content($0) }
        }
    }

    func links(inList bytes: [UInt8]) -> [Link]? { nil }
}

/// Takes out the record of every second batch that `writeAndSay` kept, with what only that leads to; packs are written anew.
/// Says which go before, and when all is done.
func prune(_ path: String, seed: UInt64, batches: Int) throws {
    let store = try Store(path: path, links: SampleLinks())
    store.rest()
    for batch in stride(from: 1, to: batches, by: 2) { say("gone \(seed) \(batch)\n") }
    guard let lease = try store.collectorLease() else { throw SystemError("lease", path, errno: EBUSY) }
    var removal = Removal()
    removal.items = stride(from: 1, to: batches, by: 2).map { (.records, SampleBatch.key(seed: seed, $0)) }
    let collected = try store.collect(
        removal, from: try store.census(SampleLinks()), deadShare: 0.05, under: lease)
    say("pruned \(collected.freed)\n")
}

/// Reads all that `writeAndSay` kept. Says what is refused, and what is wrong; ends with 3 when anything is.
func check(_ path: String, seed: UInt64, batches: Int) throws {
    let store = try Store(path: path)
    var isWhole = true
    func expect(_ what: String, _ expected: [UInt8], _ read: () throws -> [UInt8]?) {
        do {
            let found = try read()
            if found == expected { return }
            say(found == nil ? "refused \(what): it is missing\n" : "wrong \(what)\n")
        } catch { say("refused \(what): \(error)\n") }
        isWhole = false
    }
    for batch in 0..<batches {
        let contents = SampleBatch(seed: seed, number: batch).contents
        let record = contents.flatMap { Digest.of($0).bytes }
        expect("record \(batch)", record) { try store.get(.records, SampleBatch.key(seed: seed, batch)) }
        for (index, content) in contents.enumerated() {
            expect("content \(batch)/\(index)", content) { try store.read(Digest.of(content)) }
        }
    }
    if !isWhole { exit(3) }
}

/// Ingests a file and says its digest, size and the most memory that took, in KiB.
func ingest(_ path: String, _ file: String) throws {
    let store = try Store(path: path)
    let fd = try OwnedFD.open(file, O_RDONLY)
    let result = try store.ingest(descriptor: fd.raw, file)
    try store.commit()
    var size: UInt64 = 0
    try store.withContent(result.digest) { size += UInt64($0.count) }
    let status = String(decoding: try readFile("/proc/self/status"), as: UTF8.self)
    let peak =
        status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }?.split(separator: " ").dropLast().last ?? ""
    say("\(result.digest) \(result.size) \(size) \(peak)\n")
}

/// Keeps contents that have a pack each, without a commit, then reads them all.
func largeContents(_ path: String, count: Int) throws {
    let store = try Store(path: path)
    var random = SeededGenerator(seed: 5)
    var names: [Digest] = []
    for _ in 0..<count {
        let ingest = try store.ingest()
        names.append(try feed(random.bytes((4 << 20) + 65536), to: ingest))
    }
    for name in names { try store.withContent(name) { _ in } }
    try store.commit()
    say("\(names.count)\n")
}

func feed(_ bytes: [UInt8], to ingest: any ContentIngest) throws -> Digest {
    var ingest = ingest
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
        try bytes[start..<min(start + (1 << 20), bytes.count)].withUnsafeBytes { try ingest.update($0) }
    }
    return try ingest.finish().digest
}

/// Writes at once: nothing may wait in a buffer when the end comes by kill -9.
func say(_ text: String) {
    Array(text.utf8).withUnsafeBytes { try? writeAll(1, $0) }
}

/// Holds a lease, the right to collect and the claim of a key until it is killed; says which of them it got.
func hold(_ path: String, key: String) throws {
    let store = try Store(path: path)
    let lease = try store.lease()
    let claim = try store.claim(Digest.of(key))
    if case .granted = claim { say("granted\n") } else { say("taken\n") }
    while true { sleep(1000) }
    withExtendedLifetime((lease, claim)) {}
}
