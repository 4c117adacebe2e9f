// What a program did to its files, as Disk/diskfaults.c wrote it down, and what a power cut may leave of that.

import Foundation
import StageConformance
import StageStore
import StageSystem
import StoreProbe
import Testing

/// One operation on a file below the directory that was watched.
struct DiskOperation {
    enum Kind: UInt8 {
        case write = 0x57
        case truncate = 0x54
        case sync = 0x53
        case create = 0x43
        case rename = 0x52
        case directory = 0x4D
        case unlink = 0x55
        /// What the program said meanwhile: no operation, but a promise to hold it to.
        case said = 0x50
    }

    var kind: Kind
    /// A write that was durable when it came back.
    var isDurable: Bool
    var file: UInt64
    /// Where it was written, or the length that it was cut to.
    var offset: Int
    var path: String
    var data: [UInt8]

    /// Nil when the log is not what the library writes.
    static func read(_ log: [UInt8]) -> [DiskOperation]? {
        var reader = ByteReader(log)
        var operations: [DiskOperation] = []
        while !reader.isAtEnd {
            guard let raw = reader.u8(), let kind = Kind(rawValue: raw), let durable = reader.u8(),
                let pathLength = reader.u16(), let size = reader.u32(), let file = reader.u64(),
                let offset = reader.u64(), let path = reader.raw(Int(pathLength)), let data = reader.raw(Int(size))
            else { return nil }
            operations.append(
                DiskOperation(
                    kind: kind, isDurable: durable != 0, file: file, offset: Int(truncatingIfNeeded: offset),
                    path: String(decoding: path, as: UTF8.self), data: Array(data)))
        }
        return operations
    }
}

/// The disk after the first operations of a log, when the power went: what was synced is there, of everything else each
/// write, each new name and each removal may be there or not, and a write may be cut short at any sector.
struct PowerCut {
    private final class File {
        var durable: [UInt8] = []
        /// Since the last sync, in order.
        var pending: [DiskOperation] = []
    }

    /// A change of names that its directory has not synced yet: nil removes.
    private struct Naming {
        var path: String
        var file: File?
        var isDirectory = false
    }

    private var files: [UInt64: File] = [:]
    private var names: [String: File] = [:]
    private var directories: Set<String> = []
    /// As a process sees it now.
    private var live: [String: File] = [:]
    private var pendingNames: [Naming] = []
    private(set) var said = ""

    static func parent(_ path: String) -> String {
        String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }

    mutating func apply(_ operation: DiskOperation) {
        switch operation.kind {
        case .said: said += String(decoding: operation.data, as: UTF8.self)
        case .directory: pendingNames.append(Naming(path: operation.path, file: nil, isDirectory: true))
        case .create:
            let file = File()
            files[operation.file] = file
            live[operation.path] = file
            pendingNames.append(Naming(path: operation.path, file: file))
        case .rename:
            let target = String(decoding: operation.data, as: UTF8.self)
            guard let file = live.removeValue(forKey: operation.path) else { return }
            live[target] = file
            pendingNames.append(Naming(path: target, file: file))
            pendingNames.append(Naming(path: operation.path, file: nil))
        case .unlink:
            live[operation.path] = nil
            pendingNames.append(Naming(path: operation.path, file: nil))
        case .write, .truncate:
            guard let file = files[operation.file] else { return }
            if operation.isDurable { Self.write(operation, to: &file.durable) } else { file.pending.append(operation) }
        case .sync:
            if let file = files[operation.file] {
                for write in file.pending { Self.write(write, to: &file.durable) }
                file.pending = []
            } else {
                settleNames { Self.parent($0.path) == operation.path }
            }
        }
    }

    /// Names that are wanted become durable; the others go on waiting.
    private mutating func settleNames(_ isWanted: (Naming) -> Bool) {
        for naming in pendingNames where isWanted(naming) {
            if naming.isDirectory { directories.insert(naming.path) } else { names[naming.path] = naming.file }
        }
        pendingNames.removeAll(where: isWanted)
    }

    private static func write(_ operation: DiskOperation, to bytes: inout [UInt8], count: Int? = nil) {
        if operation.kind == .truncate {
            if bytes.count > operation.offset { bytes.removeLast(bytes.count - operation.offset) }
            bytes += [UInt8](repeating: 0, count: max(0, operation.offset - bytes.count))
            return
        }
        let data = operation.data.prefix(count ?? operation.data.count)
        if data.isEmpty { return }
        let end = operation.offset + data.count
        bytes += [UInt8](repeating: 0, count: max(0, end - bytes.count))
        bytes.replaceSubrange(operation.offset..<end, with: data)
    }

    /// Lays down below `target` what is left of `root`.
    mutating func leave(_ root: String, in target: String, _ random: inout SeededGenerator) throws {
        // The directory itself belongs to whoever made it.
        directories.insert(root)
        var chosen: Set<Int> = []
        for index in pendingNames.indices where random.next() % 2 == 0 { chosen.insert(index) }
        for (index, naming) in pendingNames.enumerated() where chosen.contains(index) {
            if naming.isDirectory { directories.insert(naming.path) } else { names[naming.path] = naming.file }
        }
        for directory in directories.sorted() {
            try? FileManager.default.createDirectory(
                atPath: target + directory.dropFirst(root.count), withIntermediateDirectories: false)
        }
        for (path, file) in names.sorted(by: { $0.key < $1.key }) {
            var bytes = file.durable
            for write in file.pending {
                switch random.next() % 3 {
                case 0: continue
                case 1: Self.write(write, to: &bytes)
                default:
                    Self.write(write, to: &bytes, count: write.data.count * Int(random.next() % 16) / 16 / 512 * 512)
                }
            }
            // A file whose directory did not last is gone with it.
            let place = target + path.dropFirst(root.count)
            if FileManager.default.fileExists(atPath: Self.parent(place)) { try writePlain(place, bytes) }
        }
    }

    private func writePlain(_ path: String, _ bytes: [UInt8]) throws {
        let fd = try OwnedFD.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
        try bytes.withUnsafeBytes { try writeAll(fd.raw, $0) }
    }
}

/// The library that is preloaded, compiled once a run of the tests.
enum DiskFaults {
    static let library: Result<String, any Error> = Result {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "Disk/diskfaults.c")
        let library = NSTemporaryDirectory() + "diskfaults-\(getpid()).so"
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments = ["clang", "-shared", "-fPIC", "-O1", "-o", library, source.path, "-ldl"]
        try compiler.run()
        compiler.waitUntilExit()
        guard compiler.terminationStatus == 0 else { throw SystemError("clang", source.path, errno: EINVAL) }
        return library
    }

    /// Runs Tests/StoreProbe on the store at `root`, with its operations written to `log` or one of them failing.
    static func run(
        _ arguments: [String], root: String, log: String? = nil, fail: (number: Int, errno: CInt)? = nil
    ) throws -> (status: Int32, lines: [String]) {
        var environment = ["LD_PRELOAD": try library.get(), "DISKFAULTS_ROOT": root]
        environment["DISKFAULTS_LOG"] = log
        if let fail { environment["DISKFAULTS_FAIL"] = "\(fail.number) \(fail.errno)" }
        return try Probe(arguments, environment: environment).finish()
    }
}
