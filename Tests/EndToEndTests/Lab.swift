// Where the end-to-end tests run: the binary under test, its store, the base images made once, scratch directories.

import Foundation
import Testing

/// The machine under test.
enum Lab {
    /// The checkout.
    static let checkout = String(#filePath.dropLast("/Tests/EndToEndTests/Lab.swift".count))
    static let inCI = ProcessInfo.processInfo.environment["CI"].map { !$0.isEmpty && $0 != "false" } ?? false

    /// STAGERUN_BINARY, else the checkout's release build.
    static let binary: String =
        ProcessInfo.processInfo.environment["STAGERUN_BINARY"] ?? checkout + "/.build/release/stagerun"

    static let hasBinary: Bool = {
        if access(binary, X_OK) == 0 { return true }
        let notice = """

            ************************************************************************************
            The end-to-end tests did not run: there is no binary at
            \(binary)
            Run Tests/run, or build it with
            swift build -c release --static-swift-stdlib --product stagerun
            ************************************************************************************


            """
        FileHandle.standardError.write(Data(notice.utf8))
        return false
    }()

    /// STAGERUN_TEST_ROOT is kept for the next run; a directory of our own is removed at exit.
    private static let root: String = {
        if let given = ProcessInfo.processInfo.environment["STAGERUN_TEST_ROOT"], !given.isEmpty { return given }
        return scratchRoot + "/lab"
    }()

    static let store = root + "/store"

    /// Root filesystems from debootstrap outlive the run: they take a minute and do not depend on the binary.
    private static let basesCache: String = {
        if ProcessInfo.processInfo.environment["STAGERUN_TEST_ROOT"] != nil { return root + "/bases" }
        return checkout + "/Examples/bases/out"
    }()

    /// Runs the binary on the shared store.
    @discardableResult
    static func stagerun(
        _ arguments: String..., directory: String? = nil, environment: [String: String] = [:],
        atMost limit: Duration = .seconds(600)
    ) async throws -> Outcome {
        try await start(arguments, directory: directory, environment: environment).wait(atMost: limit)
    }

    static func start(
        _ arguments: [String], directory: String? = nil, environment: [String: String] = [:], root: String = store
    ) throws -> RunningCommand {
        try RunningCommand(
            [binary] + arguments, directory: directory,
            environment: ["STAGERUN_ROOT": root].merging(environment) { $1 })
    }

    /// alpine:3.19 in the shared store.
    static func busybox() async throws { try await busyboxBase.value }
    /// golang:1.22, node:20-alpine and alpine:3.19 in the shared store.
    static func toolchains() async throws { try await toolchainBases.value }

    private static let busyboxBase = Task { try await makeBases("alpine", root: store) }
    private static let toolchainBases = Task { try await makeBases("alpine", "golang", "node", root: store) }

    static func makeBases(_ names: String..., root: String) async throws {
        let made = try await RunningCommand(
            [checkout + "/Examples/bases/make-bases"] + names,
            environment: ["STAGERUN": binary, "STAGERUN_ROOT": root, "BASES_CACHE": basesCache]
        ).wait(atMost: .seconds(1800))
        guard made.succeeded else { throw LabFailure("the base images could not be made", made) }
    }

    /// Builds, and lists what is in the image.
    static func tree(_ arguments: [String], environment: [String: String] = [:]) async throws -> [String] {
        let place = try scratchDirectory("sources")
        let outcome = try await start(
            ["build", "-o", "type=tar,dest=\(place)/tree.tar"] + arguments, environment: environment
        ).wait()
        try expectSuccess(outcome)
        try FileManager.default.createDirectory(atPath: place + "/tree", withIntermediateDirectories: true)
        try expectSuccess(
            try await command(
                "tar", "--extract", "--file", "\(place)/tree.tar", "--directory", place + "/tree",
                "--numeric-owner",
                "--same-permissions"))
        return try await listing(of: place + "/tree")
    }

    /// What a build says that has to fail.
    static func refusal(_ arguments: [String]) async throws -> String {
        let outcome = try await start(["build"] + arguments).wait()
        #expect(outcome.status != 0, "\(outcome)")
        return outcome.errors
    }

    static func example(_ name: String) -> String { checkout + "/Examples/" + name }
}

/// Something that a test needs is not as it should be.
struct LabFailure: Error, CustomStringConvertible {
    var description: String

    init(_ message: String, _ outcome: Outcome? = nil) {
        description = message + (outcome.map { "\n\($0)" } ?? "")
    }
}

/// Fails with what the program wrote, not only with "false".
func expectSuccess(_ outcome: Outcome, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try #require(outcome.succeeded, "\(outcome)", sourceLocation: sourceLocation)
}

/// Removed when the tests end.
private let scratchRoot: String = {
    let parent = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
    atexit { removeScratch() }
    return "\(parent)/stagerun-end-to-end.\(UUID().uuidString)"
}()

/// By `rm`: a store with checked-out toolchains is a hundred thousand files, which FileManager takes minutes for.
private func removeScratch() {
    guard let rm = try? RunningCommand(["rm", "-rf", "--one-file-system", scratchRoot]) else { return }
    var status: Int32 = 0
    waitpid(rm.process, &status, 0)
}

/// A new empty directory.
func scratchDirectory(_ name: String) throws -> String {
    let path = "\(scratchRoot)/\(name)-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}

/// A new directory with these files: path and text.
func scratchDirectory(_ name: String, _ files: [String: String]) throws -> String {
    let directory = try scratchDirectory(name)
    for (path, text) in files {
        let file = "\(directory)/\(path)"
        try FileManager.default.createDirectory(
            atPath: String(file[..<(file.lastIndex(of: "/") ?? file.endIndex)]), withIntermediateDirectories: true)
        try text.write(toFile: file, atomically: false, encoding: .utf8)
    }
    return directory
}

/// A port that nothing listens on at the moment.
func freePort() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw LabFailure("no socket") }
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { general in
            bind(descriptor, general, length) == 0 && getsockname(descriptor, general, &length) == 0
        }
    }
    guard bound else { throw LabFailure("no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
}
