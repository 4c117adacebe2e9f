// Programs that tests run beside the library. A missing one skips its tests loudly, and fails them in CI.

import Foundation
import Testing

struct ExternalTool: Sendable {
    var path: String

    struct Failed: Error, CustomStringConvertible {
        var description: String
    }

    /// nil, after saying so, when it is not installed; in CI that is an error.
    static func find(_ name: String) throws -> ExternalTool? {
        let environment = ProcessInfo.processInfo.environment
        for directory in (environment["PATH"] ?? "/usr/bin").split(separator: ":") {
            let path = directory + "/" + name
            if access(path, X_OK) == 0 { return ExternalTool(path: path) }
        }
        if environment["CI"] != nil { throw Failed(description: "\(name) is not installed, and CI must have it") }
        print(
            "SKIPPED [\(environment["PATH"] ?? "no PATH")]: \(Test.current?.name ?? "a test") needs \(name), which is not installed"
        )
        return nil
    }

    /// Runs it to its end; its output is in the error when it fails.
    func run(_ arguments: [String]) throws {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        if process.terminationStatus != 0 {
            throw Failed(description: "\(path) \(arguments.joined(separator: " ")): \(text)")
        }
    }

    /// Starts it and lets it run.
    func start(_ arguments: [String]) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        return process
    }
}

/// A directory that is removed with its last user.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "stagerun-registry-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
