// The store, the bases and the scratch files that the benchmarks share.

import Foundation

struct Laboratory {
    let checkout: String
    let binary: String
    let directory: String
    /// The client of a docker daemon to compare with, where one is named.
    let docker: String?
    let cores = Double(ProcessInfo.processInfo.activeProcessorCount)
    private let keeps: Bool

    init() throws {
        let environment = ProcessInfo.processInfo.environment
        checkout = String(#filePath.dropLast("/Benchmarks/Sources/bench/Laboratory.swift".count))
        binary = environment["STAGERUN"] ?? checkout + "/.build/release/stagerun"
        guard access(binary, X_OK) == 0 else {
            throw BenchError(
                "no binary at \(binary); swift build -c release --static-swift-stdlib --product stagerun, or set STAGERUN"
            )
        }
        docker = environment["DOCKER"]
        keeps = environment["BENCH_ROOT"] != nil
        directory = environment["BENCH_ROOT"] ?? "/tmp/stagerun-bench.\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }

    var storeEnvironment: [String: String] { ["STAGERUN_ROOT": directory + "/store"] }

    func makeBases(_ names: String...) throws {
        let cache = keeps ? directory + "/bases" : checkout + "/Examples/bases/out"
        note("making the base images: \(names.joined(separator: ", "))")
        try run(
            [checkout + "/Examples/bases/make-bases"] + names,
            environment: storeEnvironment.merging(["STAGERUN": binary, "BASES_CACHE": cache]) { $1 })
    }

    /// A new directory with these files.
    func scratch(_ name: String, _ files: [String: String] = [:]) throws -> String {
        let path = "\(directory)/scratch/\(name)-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (file, text) in files { try text.write(toFile: "\(path)/\(file)", atomically: false, encoding: .utf8) }
        return path
    }

    /// Files of `size` bytes of text in directories below `path`: `dir-D/file-N.txt`.
    func tree(_ path: String, files: Int, size: Int, directories: Int) throws {
        for directory in 0..<directories {
            try FileManager.default.createDirectory(
                atPath: "\(path)/dir-\(directory)", withIntermediateDirectories: true)
        }
        for file in 0..<files {
            let line = Data("line of file \(file) in a tree of \(files)\n".utf8)
            var data = Data()
            while data.count < size { data += line }
            let name = "\(path)/dir-\(file % directories)/file-\(file).txt"
            guard FileManager.default.createFile(atPath: name, contents: data.prefix(size)) else {
                throw BenchError("cannot write \(name)")
            }
        }
    }

    func note(_ message: String) { FileHandle.standardError.write(Data("bench: \(message)\n".utf8)) }

    /// By `rm`, which takes a checked-out toolchain away far faster than FileManager does.
    func close() { _ = try? run(["rm", "-rf", "--one-file-system", keeps ? directory + "/scratch" : directory]) }
}
