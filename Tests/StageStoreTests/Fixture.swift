// A directory and a store for one test, and other processes that use it.

import Foundation
import StageHash
import StageStore
import StageSystem
import Testing

/// A directory that goes with the test.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/stage-store-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? removeTree(path) }

    var store: String { path + "/store" }

    /// The packs' names.
    func packs() throws -> [String] {
        let fd = try OwnedFD.open(store + "/packs", O_RDONLY | O_DIRECTORY)
        return try readEntries(fd.raw).map(\.name.description).sorted()
    }

    func size(_ pack: String) throws -> UInt64 { try statEntry(AT_FDCWD, FileName("\(store)/packs/\(pack)")).size }

    /// The length of all packs together.
    func packBytes() throws -> UInt64 { try packs().map(size).reduce(0, +) }

    /// Writes over one byte of a pack.
    func set(_ pack: String, at offset: Int, to byte: UInt8) throws {
        let fd = try OwnedFD.open("\(store)/packs/\(pack)", O_WRONLY)
        try withUnsafeBytes(of: byte) { try writeAll(fd.raw, $0, at: Int64(offset)) }
    }

    func bytes(of pack: String) throws -> [UInt8] { try readFile("\(store)/packs/\(pack)") }
}

/// A run of Tests/StoreProbe.
final class Probe {
    private let process = Process()
    private let output = Pipe()

    convenience init(_ arguments: String..., descriptors: Int? = nil) throws {
        try self.init(arguments, descriptors: descriptors)
    }

    /// - Parameter environment: beside that of the tests; for the program only, not for the shell that starts it.
    init(_ arguments: [String], descriptors: Int? = nil, environment: [String: String] = [:]) throws {
        let own = try String(decoding: readLink(AT_FDCWD, "/proc/self/exe"), as: UTF8.self)
        var directory = own.split(separator: "/").dropLast().map { "/" + $0 }.joined()
        // `swift test` runs a helper of the toolchain that loads the bundle; the bundle says where the products are.
        if !FileManager.default.isExecutableFile(atPath: directory + "/StoreProbe") {
            directory = Bundle(for: Probe.self).bundleURL.deletingLastPathComponent().path
        }
        let limit = descriptors.map { "ulimit -n \($0); " } ?? ""
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments =
            ["-c", limit + #"exec env "$@""#, "sh"] + environment.map { "\($0)=\($1)" }
            + [directory + "/StoreProbe"] + arguments
        process.standardOutput = output
        try process.run()
    }

    /// Waits for the end; gives what it said, by line.
    func finish() throws -> (status: Int32, lines: [String]) {
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
        return (process.terminationStatus, lines)
    }

    /// Waits for its first line, so that it is in the middle of things.
    func waitForLine() { _ = output.fileHandleForReading.readData(ofLength: 1) }

    func kill() { Foundation.kill(process.processIdentifier, SIGKILL) }
}

/// The error that `body` throws, if it is the store's.
func storeError(_ body: () throws -> Void) -> StoreError? {
    do {
        try body()
        return nil
    } catch { return error as? StoreError }
}

extension StoreError {
    var isCorrupt: Bool {
        if case .corrupt = self { return true }
        return false
    }

    var isMissing: Bool {
        if case .missing = self { return true }
        return false
    }
}
