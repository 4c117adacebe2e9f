// The store as another builder would use it, one operation a process.
//
//   store-probe nothing                     what it takes to start
//   store-probe ingest STORE DIRECTORY      a tree of files, committed; prints its names
//   store-probe put STORE FILE              one file, committed
//   store-probe check-out STORE IDENTITY OBJECT DIRECTORY
//   store-probe fill STORE COUNT            that many contents and a record for each hundred
//   store-probe steps STORE COUNT           that many contents in directories of 100 files, with a step for each of those
//   store-probe record STORE NUMBER         opens the store and looks up one record
//
// Prints the milliseconds of the work itself first, without the process's start.

import Foundation
import StageContext
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageStore
import StageSystem

struct ProbeError: Error { var description: String }

func milliseconds() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e6 }

func key(_ number: Int) -> [UInt8] { Digest.of("record \(number)").bytes }

func digest(_ text: String) throws -> Digest {
    guard let digest = Digest(text) else { throw ProbeError(description: "\(text) is no digest") }
    return digest
}

/// Contents of 16 bytes: what is measured is the index.
func fill(_ path: String, count: Int) throws {
    let store = try Store(path: path)
    for number in 0..<count {
        _ = try store.put(
            [UInt8](withUnsafeBytes(of: UInt64(number).littleEndian) { Array($0) } + Array("contents".utf8)))
        if number % 100 == 0 { store.set(.records, key(number / 100), [UInt8](repeating: 7, count: 300)) }
        if number % 100_000 == 99_999 { try store.commit() }
    }
    try store.commit()
}

/// What a store holds after many builds, but for the sizes: what is measured is the index and the graph.
func fillSteps(_ path: String, count: Int) throws {
    let store = try Store(path: path)
    let attributes = Attributes(mode: 0o644)
    for number in 0..<(count / 101) {
        var items: [DirectoryObject.Item] = []
        for file in 0..<100 {
            let bytes = [UInt8]("\(number) \(file)".utf8)
            let node = Node(attributes: attributes, content: .file(try store.put(bytes), size: UInt64(bytes.count)))
            items.append(.init(name: FileName("file\(100 + file)"), entry: .node(node)))
        }
        let tree = try store.put(DirectoryObject(attributes: Attributes(mode: 0o755), items: items))
        let key = StepKey(Digest.of("step \(number)"))
        try store.keep(
            StepRecord(
                key: key, walk: KeyWalk(text: ""), title: "RUN step \(number)", stage: "build", input: nil,
                result: tree,
                created: Timestamp(seconds: Int64(number), nanoseconds: 0), duration: 1_000_000_000, log: nil))
        if number % 1000 == 999 { try store.commit() }
    }
    try store.commit()
}

let arguments = Array(CommandLine.arguments.dropFirst())
let start = milliseconds()
switch (arguments.first ?? "", arguments.count) {
case ("nothing", 1):
    print(milliseconds() - start)
case ("ingest", 3):
    let pool = BlockingPool(threads: 2 * ProcessInfo.processInfo.activeProcessorCount)
    let store = try Store(path: arguments[1])
    let scan = try await ContextScanner(store: store, pool: pool).scan(ContextRequest(path: arguments[2]))
    try store.commit()
    print(milliseconds() - start, scan.tree.identity, scan.tree.object, scan.files)
case ("put", 3):
    let store = try Store(path: arguments[1])
    let file = try OwnedFD.open(arguments[2], O_RDONLY)
    let result = try store.ingest(descriptor: file.raw, arguments[2])
    try store.commit()
    print(milliseconds() - start, result.digest, result.size)
case ("steps", 3):
    try fillSteps(arguments[1], count: Int(arguments[2]) ?? 0)
    print(milliseconds() - start)
case ("check-out", 5):
    let store = try Store(path: arguments[1])
    let tree = TreeRef(identity: try digest(arguments[2]), object: try digest(arguments[3]))
    try Checkout(store: store, setsOwners: geteuid() == 0).write(tree, to: arguments[4])
    print(milliseconds() - start)
case ("fill", 3):
    try fill(arguments[1], count: Int(arguments[2]) ?? 0)
    print(milliseconds() - start)
case ("record", 3):
    let store = try Store(path: arguments[1])
    guard let record = try store.get(.records, key(Int(arguments[2]) ?? 0)), record.count == 300 else {
        throw ProbeError(description: "no record \(arguments[2])")
    }
    print(milliseconds() - start)
default:
    print("usage: store-probe nothing | ingest | put | check-out | fill | record; the source says with what")
    exit(2)
}
