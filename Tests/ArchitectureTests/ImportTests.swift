// Compares Specs/architecture.md with the code: which target imports what, and what no code may do.

import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

private struct SourceFile {
    let target: String
    let path: String
    let lines: [Substring]
}

private func sources(_ suffixes: Set<String>) throws -> [SourceFile] {
    let base = root.appendingPathComponent("Sources")
    var files: [SourceFile] = []
    for target in try FileManager.default.contentsOfDirectory(atPath: base.path).sorted() {
        let directory = base.appendingPathComponent(target)
        guard let walker = FileManager.default.enumerator(atPath: directory.path) else { continue }
        for case let path as String in walker where suffixes.contains(URL(fileURLWithPath: path).pathExtension) {
            let text = try String(contentsOf: directory.appendingPathComponent(path), encoding: .utf8)
            files.append(
                SourceFile(
                    target: target, path: "Sources/\(target)/\(path)",
                    lines: text.split(separator: "\n", omittingEmptySubsequences: false)))
        }
    }
    return files
}

/// The rows of the first table under "Targets and allowed imports".
private func allowedImports() throws -> [String: Set<String>] {
    let text = try String(contentsOf: root.appendingPathComponent("Specs/architecture.md"), encoding: .utf8)
    var table: [String: Set<String>] = [:]
    var inside = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
        if line.hasPrefix("| target | may import |") {
            inside = true
        } else if inside, line.hasPrefix("|---") {
            continue
        } else if inside, line.hasPrefix("|") {
            let cells = line.split(separator: "|", omittingEmptySubsequences: true).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            table[cells[0]] = Set(cells.count > 1 ? cells[1].split(separator: " ").map(String.init) : [])
        } else if inside {
            break
        }
    }
    return table
}

@Suite struct ImportTests {
    @Test func everyImportIsInTheTable() throws {
        let table = try allowedImports()
        let files = try sources(["swift"])
        #expect(files.count > 50)
        for file in files {
            guard let allowed = table[file.target] else {
                Issue.record("\(file.target) has no row in Specs/architecture.md")
                continue
            }
            for line in file.lines {
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"),
                    words[..<index].allSatisfy({ $0.hasPrefix("@") || $0 == "public" })
                else { continue }
                let module = String(words[index + 1].split(separator: ".")[0])
                #expect(allowed.contains(module), "\(file.path) imports \(module)")
            }
        }
    }

    @Test func everyTargetHasARowAndEveryRowATarget() throws {
        let directories = Set(
            try FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent("Sources").path))
        #expect(Set(try allowedImports().keys) == directories)
    }

    @Test func importsGoDownOnly() throws {
        let table = try allowedImports()
        var visiting: [String] = []
        func visit(_ target: String) {
            guard !visiting.contains(target) else {
                Issue.record("a circle: \(visiting + [target])")
                return
            }
            visiting.append(target)
            for next in table[target] ?? [] where table[next] != nil { visit(next) }
            visiting.removeLast()
        }
        for target in table.keys { visit(target) }
    }

    @Test func onlyTheRegistryLinksAnHTTPStackAndNobodyBelowTheCommandFoundation() throws {
        for (target, modules) in try allowedImports() where target != "StageRegistry" {
            #expect(!modules.contains { $0.hasPrefix("NIO") || $0 == "AsyncHTTPClient" }, "\(target)")
            #expect(!modules.contains("Foundation"), "\(target)")
        }
    }

    /// The primitives that may say `@unchecked Sendable`; each says beside it why that holds.
    private static let unchecked: Set<String> = [
        "Sources/StageStore/Database.swift", "Sources/StageSystem/BlockingPool.swift",
        "Sources/StageSystem/Companion.swift",
        "Sources/StageImage/ContentReader.swift", "Sources/StageSystem/MappedFile.swift",
    ]

    @Test func whatNoCodeMayDo() throws {
        for file in try sources(["swift", "c", "h"]) {
            for (number, line) in file.lines.enumerated() {
                let code = line.trimmingCharacters(in: .whitespaces)
                if code.hasPrefix("//") { continue }
                let place = Comment(rawValue: "\(file.path):\(number + 1): \(code)")
                #expect(code.range(of: #"(^|[^A-Za-z0-9_])v?fork\(\)"#, options: .regularExpression) == nil, place)
                #expect(!code.contains("try!") && !code.contains("fatalError("), place)
                if code.contains("@unchecked Sendable") { #expect(Self.unchecked.contains(file.path), place) }
            }
        }
    }

    @Test func librariesReadNoEnvironment() throws {
        for file in try sources(["swift"]) where file.target != "stagerun" {
            for (number, line) in file.lines.enumerated() {
                let banned = [
                    "getenv(", "ProcessInfo", "CommandLine.", "Glibc.umask", "Glibc.chdir", "sigaction(", "signal(SIG",
                ]
                for word in banned where line.contains(word) {
                    Issue.record("\(file.path):\(number + 1) has \(word)")
                }
            }
        }
    }
}
