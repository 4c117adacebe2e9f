// Small Dockerfiles, each by stagerun and by buildah: configuration, history, layers, and all about every file.

import Foundation
import Testing

extension EndToEnd.SameAsBuildah {
    @Test func everyCaseEqualsWhatBuildahBuilds() async throws {
        try await Lab.busybox()
        let cases = try ComparisonCase.all(in: "buildah", against: "buildah")
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
    let context: ComparisonContext

    init(_ buildah: Buildah) async throws {
        self.buildah = buildah
        context = try await ComparisonContext()
    }

    func make() async throws {
        let archive = try await context.makeBase()
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
            #expect(
                ours.count > 4 && found == known,
                "\(example.name)\n\(example.dockerfile)\nFound:\n\(found)\nKnown: \(example.reason ?? "")\n\(known)")
        } catch { Issue.record("\(example.name): \(error)") }
    }

    /// What is in the two images, by Tests/Cases/buildah/listing.
    private func lists(_ example: ComparisonCase) async throws -> ([String], [String]) {
        let place = try scratchDirectory("comparison", ["Dockerfile": example.dockerfile])
        defer { try? FileManager.default.removeItem(atPath: place) }
        var directory = context.path
        if let lines = example.ignoreFile {
            directory = place + "/context"
            try expectSuccess(try await command("cp", "-a", context.path, directory))
            try FileManager.default.removeItem(atPath: directory + "/special")
            let text = lines.joined(separator: "\n") + "\n"
            try text.write(toFile: directory + "/.dockerignore", atomically: false, encoding: .utf8)
        }
        let arguments =
            ["-f", place + "/Dockerfile"] + example.arguments.flatMap { $0.split(separator: " ").map(String.init) } + [
                directory
            ]
        let built = try await Lab.start(
            ["build", "--no-cache", "--progress", "plain", "-o", "type=oci,dest=\(place)/ours,tar=false"] + arguments,
            directory: context.path
        ).wait(atMost: .seconds(120))
        guard built.succeeded else { throw LabFailure("stagerun failed", built) }
        try await buildah.buildLayers(to: "dir:\(place)/theirs", arguments, directory: context.path)
        let facts = try await comparisonFacts([place + "/ours", place + "/theirs"])
        return (facts[0], facts[1])
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
