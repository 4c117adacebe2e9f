// Whole processes, measured by the kernel's own books: wall time, CPU time, the largest resident set.

import CFloor
import Foundation

/// A benchmark cannot be measured.
struct BenchError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// How a process went; times in milliseconds.
struct Usage: Sendable {
    var wall: Double
    var cpu: Double
    var maxRSS: Int64
    /// What it wrote, to either stream.
    var output = ""
}

/// Runs a program to its end; a failure says what it wrote.
@discardableResult
func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Usage {
    let log = FileManager.default.temporaryDirectory.appendingPathComponent("bench-\(getpid()).log").path
    let descriptor = open(log, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw BenchError("cannot write \(log)") }
    defer {
        close(descriptor)
        unlink(log)
    }
    let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
    var usage = floor_usage()
    let code = withCStrings(arguments) { argv in
        withCStrings(variables) { envp in floor_spawn(argv, envp, descriptor, &usage) }
    }
    guard code == 0 else { throw BenchError("cannot start \(arguments[0]): \(String(cString: strerror(code)))") }
    let said = String(decoding: FileManager.default.contents(atPath: log) ?? Data(), as: UTF8.self)
    guard usage.status == 0 else {
        throw BenchError("\(arguments.joined(separator: " ")) ended with \(usage.status):\n\(said.suffix(2000))")
    }
    return Usage(
        wall: Double(usage.wall_ns) / 1e6, cpu: Double(usage.cpu_ns) / 1e6, maxRSS: usage.max_rss_kib, output: said)
}

/// Runs a program `count` times and returns each run.
func repeated(_ count: Int, _ arguments: [String], environment: [String: String] = [:]) throws -> [Usage] {
    try (0..<count).map { _ in try run(arguments, environment: environment) }
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return .nan }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// Where a program is on PATH.
func found(_ program: String) -> String? {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return path.split(separator: ":").map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
}

private func withCStrings<R>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
    let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
    for (index, string) in strings.enumerated() { pointers[index] = strdup(string) }
    pointers[strings.count] = nil
    defer {
        for index in strings.indices { free(pointers[index]) }
        pointers.deallocate()
    }
    return body(pointers)
}
