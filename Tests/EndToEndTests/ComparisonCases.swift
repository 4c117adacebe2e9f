// Small Dockerfiles, each by stagerun and by buildah: configuration, history, layers, and all about every file. The cases
// are data: Tests/Cases/buildah/*.cases.
//
// A case is a line `=== NAME`, lines `% ...`, the Dockerfile, and, where buildah is known to do something else than BuildKit,
// `--- WHY` with the exact difference below it, each line of it with the program that it is of. `% build ...` are arguments for both
// programs, `% ignore PATTERN` a line of the context's ignore file; `% crlf`, `% mark` and `% open` give the Dockerfile the line
// ends of Windows, a byte order mark, no line end at its end.

import Foundation
import Testing

struct ComparisonCase: Sendable {
    var name: String
    var arguments: [String] = []
    var ignoreFile: [String]?
    var dockerfile: String
    /// Why buildah's image is another one.
    var reason: String?
    var differences: [String] = []

    static let directory = Lab.checkout + "/Tests/Cases/buildah"

    static func all() throws -> [ComparisonCase] {
        let files = try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasSuffix(".cases") }
        return try files.sorted().flatMap { file in
            let text = try String(contentsOfFile: "\(directory)/\(file)", encoding: .utf8)
            let cases = ("\n" + text).components(separatedBy: "\n=== ")
            return try cases.dropFirst().map { try ComparisonCase($0, topic: String(file.dropLast(".cases".count))) }
        }
    }

    private init(_ text: String, topic: String) throws {
        let parts = text.components(separatedBy: "\n--- ")
        var lines = parts[0].split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        name = "\(topic): \(lines.removeFirst())"
        var edits: [String] = []
        while let line = lines.first, line.hasPrefix("% ") {
            let words = lines.removeFirst().dropFirst(2).split(separator: " ", maxSplits: 1).map(String.init)
            let rest = words.count > 1 ? words[1] : ""
            switch words[0] {
            case "build": arguments += rest.split(separator: " ").map(String.init)
            case "ignore": ignoreFile = (ignoreFile ?? []) + [String(line.dropFirst("% ignore ".count))]
            case "crlf", "mark", "open": edits.append(words[0])
            default: throw LabFailure("\(name): % \(words[0])")
            }
        }
        while lines.last == "" { lines.removeLast() }
        dockerfile = lines.joined(separator: edits.contains("crlf") ? "\r\n" : "\n")
        if !edits.contains("open") { dockerfile += edits.contains("crlf") ? "\r\n" : "\n" }
        if edits.contains("mark") { dockerfile = "\u{feff}" + dockerfile }
        guard parts.count == 2 else { return }
        let known = parts[1].split(separator: "\n").map(String.init)
        reason = known[0]
        differences = Array(known.dropFirst())
        guard !differences.isEmpty, differences.allSatisfy({ $0.hasPrefix("stagerun: ") || $0.hasPrefix("buildah: ") })
        else { throw LabFailure("\(name): --- without a difference") }
    }
}

extension EndToEnd.SameAsBuildah {
    @Test func everyCaseEqualsWhatBuildahBuilds() async throws {
        try await Lab.busybox()
        let cases = try ComparisonCase.all()
        #expect(cases.count >= 150)
        let buildah = try Buildah()
        do {
            let bench = try await ComparisonBench(buildah)
            try await bench.make()
            // More than there are processors: buildah waits for its disk a good part of the time.
            await withTaskGroup(of: Void.self) { group in
                for (index, example) in cases.enumerated() {
                    if index >= 2 * ProcessInfo.processInfo.activeProcessorCount + 1 { await group.next() }
                    group.addTask { await bench.compare(example) }
                }
            }
        } catch {
            await buildah.close()
            throw error
        }
        await buildah.close()
    }
}

/// What the cases share: the context, and the image `base` in both storages.
private struct ComparisonBench {
    let buildah: Buildah
    let context: String

    init(_ buildah: Buildah) async throws {
        self.buildah = buildah
        context = try scratchDirectory("comparison-context")
    }

    func make() async throws {
        try expectSuccess(try await command("sh", "-e", ComparisonCase.directory + "/context", context))
        // With the files that buildah mounts its own on, so that it leaves no empty ones.
        let place = try scratchDirectory(
            "comparison-base",
            ["Dockerfile": "FROM alpine:3.19\nCOPY none /etc/hosts\nCOPY none /etc/resolv.conf\n", "none": ""])
        let archive = place + "/image.tar"
        try expectSuccess(try await Lab.stagerun("build", "-t", "base", "-o", "type=oci,dest=\(archive)", place))
        let identifier = try await buildah("pull", "--quiet", "oci-archive:\(archive)")
        try await buildah("tag", identifier, "localhost/base")
    }

    /// Records an issue when the images differ in another way than the case says.
    func compare(_ example: ComparisonCase) async {
        do {
            let (ours, theirs) = settled(try await lists(example))
            let different =
                Set(ours).subtracting(theirs).map { "stagerun: " + $0 }
                + Set(theirs).subtracting(ours).map { "buildah: " + $0 }
            let found = different.sorted().joined(separator: "\n")
            let known = example.differences.sorted().joined(separator: "\n")
            #expect(ours.count > 4 && found == known, "\(example.name)\n\(example.dockerfile)\n\(example.reason ?? "")")
        } catch { Issue.record("\(example.name): \(error)") }
    }

    /// What is in the two images, by Tests/Cases/buildah/listing.
    private func lists(_ example: ComparisonCase) async throws -> ([String], [String]) {
        let place = try scratchDirectory("comparison", ["Dockerfile": example.dockerfile])
        defer { try? FileManager.default.removeItem(atPath: place) }
        var directory = context
        if let lines = example.ignoreFile {
            directory = place + "/context"
            try expectSuccess(try await command("cp", "-a", context, directory))
            try FileManager.default.removeItem(atPath: directory + "/special")
            let text = lines.joined(separator: "\n") + "\n"
            try text.write(toFile: directory + "/.dockerignore", atomically: false, encoding: .utf8)
        }
        let arguments = ["-f", place + "/Dockerfile"] + example.arguments + [directory]
        let built = try await Lab.start(
            ["build", "--no-cache", "--progress", "plain", "-o", "type=oci,dest=\(place)/ours,tar=false"] + arguments,
            directory: context
        ).wait(atMost: .seconds(120))
        guard built.succeeded else { throw LabFailure("stagerun failed", built) }
        try await buildah.buildLayers(to: "dir:\(place)/theirs", arguments, directory: context)
        let listed = try await command(ComparisonCase.directory + "/listing", place + "/ours", place + "/theirs")
        guard listed.succeeded else { throw LabFailure("no listing", listed) }
        let parts = listed.output.components(separatedBy: "# \(place)/theirs\n")
        guard parts.count == 2 else { throw LabFailure("no two listings", listed) }
        return (
            parts[0].split(separator: "\n").dropFirst().map(String.init),
            parts[1].split(separator: "\n").map(String.init)
        )
    }

    /// Without what differs always and means the same. By BuildKit's rules WORKDIR is a layer (here also one that finds its directory),
    /// an image from scratch has the working directory `/`, and CMD sets `ArgsEscaped`, which only Windows reads; buildah has none of that.
    private func settled(_ lists: ([String], [String])) -> ([String], [String]) {
        func plain(_ lines: [String]) -> [String] {
            let history = lines.first { $0.hasPrefix("history|") } ?? ""
            let directories = history.split { $0 == " " || $0 == "|" }.count { $0 == "WORKDIR" }
            return lines.map { line in
                if line.hasPrefix("layers|"), let count = Int(line.dropFirst(7)) {
                    return "layers|\(count - directories)"
                }
                return line == history ? line.replacingOccurrences(of: "WORKDIR-", with: "WORKDIR") : line
            }
        }
        var (ours, theirs) = (plain(lists.0), plain(lists.1))
        for line in ["config|WorkingDir|\"/\"", "config|ArgsEscaped|true"] {
            let start = line.split(separator: "|").prefix(2).joined(separator: "|")
            if !theirs.contains(where: { $0.hasPrefix(start) }) { ours.removeAll { $0 == line } }
        }
        return (ours, theirs)
    }
}
