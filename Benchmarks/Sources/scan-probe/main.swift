// One scan of a context as a linked builder does it: names, and nothing kept.
//
//   scan-probe PATH [--index FILE] [--ignore FILE]
//   scan-probe --xxh3    XXH3-128 of 128 KiB blocks in memory, through StageHash
//
// Prints the milliseconds that it took, without the process's start, then files, files read and files unchanged.

import Foundation
import StageContext
import StageHash
import StageSystem

func milliseconds() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e6 }

func value(_ flag: String) -> String? {
    let arguments = CommandLine.arguments
    guard let place = arguments.firstIndex(of: flag), place + 1 < arguments.count else { return nil }
    return arguments[place + 1]
}

guard CommandLine.arguments.count > 1 else {
    print("usage: scan-probe PATH [--index FILE] [--ignore FILE], or scan-probe --xxh3")
    exit(2)
}
let path = CommandLine.arguments[1]
if path == "--xxh3" {
    let size = 128 * 1024
    let data = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
    data.initializeMemory(as: UInt8.self, repeating: 7)
    let start = milliseconds()
    var sum: UInt64 = 0
    for round in 0..<40_000 {
        data[round & (size - 1)] ^= 1
        sum ^= Fingerprint.of(UnsafeRawBufferPointer(data)).low
    }
    print(milliseconds() - start, sum & 1)
    exit(0)
}
let pool = BlockingPool(threads: 2 * ProcessInfo.processInfo.activeProcessorCount)
let start = milliseconds()
let rules = try value("--ignore").map { try IgnoreRules(text: try readFile($0), file: $0) } ?? .none
let scanner = ContextScanner(sink: ContextNames(), pool: pool)
let scan = try await scanner.scan(ContextRequest(path: path, rules: rules, indexPath: value("--index")))
print(milliseconds() - start, scan.files, scan.read, scan.unchanged)
