// Small Dockerfiles that are data: Tests/Cases/buildah/*.cases and Tests/Cases/buildkit/*.cases.
//
// A case is a line `=== NAME`, lines `% ...`, the Dockerfile, and, where the images are known to differ, `--- WHY` with the exact
// difference below it, each line of it with the program that it is of. `% build ...` are arguments for both programs, `% ignore PATTERN`
// a line of the context's ignore file; `% crlf`, `% mark` and `% open` give the Dockerfile the line ends of Windows, a byte order mark,
// no line end at its end. With BuildKit also: `% sh COMMAND` runs in a copy of the context before the builds, `% empty` takes an empty
// context, `% cached` leaves out --no-cache; in commands and arguments $CTX is the context and $TMP a directory beside it.

import Foundation
import Testing

struct ComparisonCase: Sendable {
    var name: String
    /// Words of a shell.
    var arguments: [String] = []
    var ignoreFile: [String]?
    var preparations: [String] = []
    var startsEmpty = false
    var mayUseCache = false
    var dockerfile: String
    /// Why the other program's image is another one.
    var reason: String?
    var differences: [String] = []

    var ownsContext: Bool { ignoreFile != nil || !preparations.isEmpty || startsEmpty }

    /// All cases of some directories in Tests/Cases, with the differences from one program.
    static func all(in directories: String..., against other: String) throws -> [ComparisonCase] {
        try directories.flatMap { directory in
            try casesAndRecords(in: directory, ".cases").flatMap { topic, parts in
                try parts.map { try ComparisonCase($0, topic: topic, other) }
            }
        }
    }

    /// The parts of each file with this ending, and the directory's and the file's name before them.
    static func casesAndRecords(in directory: String, _ ending: String) throws -> [(topic: String, parts: [String])] {
        let path = Lab.checkout + "/Tests/Cases/" + directory
        let files = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(ending) }
        return try files.sorted().map { file in
            let text = try String(contentsOfFile: "\(path)/\(file)", encoding: .utf8)
            let parts = ("\n" + text).components(separatedBy: "\n=== ").dropFirst()
            return ("\(directory)/\(file.dropLast(ending.count))", Array(parts))
        }
    }

    private init(_ text: String, topic: String, _ other: String) throws {
        let parts = text.components(separatedBy: "\n--- ")
        var lines = parts[0].split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        name = "\(topic): \(lines.removeFirst())"
        var edits: [String] = []
        while let line = lines.first, line.hasPrefix("% ") {
            let words = lines.removeFirst().dropFirst(2).split(separator: " ", maxSplits: 1).map(String.init)
            let rest = words.count > 1 ? words[1] : ""
            switch words[0] {
            case "build": arguments.append(rest)
            case "ignore": ignoreFile = (ignoreFile ?? []) + [String(line.dropFirst("% ignore ".count))]
            case "sh": preparations.append(rest)
            case "empty": startsEmpty = true
            case "cached": mayUseCache = true
            case "crlf", "mark", "open": edits.append(words[0])
            default: throw LabFailure("\(name): % \(words[0])")
            }
        }
        while lines.last == "" { lines.removeLast() }
        dockerfile = lines.joined(separator: edits.contains("crlf") ? "\r\n" : "\n")
        if !edits.contains("open") { dockerfile += edits.contains("crlf") ? "\r\n" : "\n" }
        if edits.contains("mark") { dockerfile = "\u{feff}" + dockerfile }
        for paragraph in parts.dropFirst() {
            var known = paragraph.split(separator: "\n").map(String.init)
            let why = known.removeFirst()
            let program = why.hasPrefix("buildkit: ") ? "buildkit" : "buildah"
            guard !known.isEmpty, known.allSatisfy({ $0.hasPrefix("stagerun: ") || $0.hasPrefix(program + ": ") })
            else { throw LabFailure("\(name): --- without a difference") }
            guard program == other else { continue }
            reason = why
            differences = known
        }
    }
}

/// The lines of Tests/Cases/buildah/listing for images, each an OCI layout or what buildah writes for `dir:`.
func comparisonFacts(_ images: [String], exact: Bool = false) async throws -> [[String]] {
    let listed = try await RunningCommand(
        [Lab.checkout + "/Tests/Cases/buildah/listing"] + (exact ? ["--exact"] : []) + images
    ).wait(atMost: .seconds(120))
    guard listed.succeeded else { throw LabFailure("no listing", listed) }
    return try images.indices.map { index in
        let parts = listed.output.components(separatedBy: "# \(images[index])\n")
        guard parts.count == 2 else { throw LabFailure("no listing of \(images[index])", listed) }
        let own = index + 1 < images.count ? parts[1].components(separatedBy: "# \(images[index + 1])\n")[0] : parts[1]
        return own.split(separator: "\n").map(String.init)
    }
}

/// The context that the cases share, and the image `base` as an archive for another program.
struct ComparisonContext {
    let path: String

    init() async throws {
        path = try scratchDirectory("comparison-context")
        try expectSuccess(try await command("sh", "-e", Lab.checkout + "/Tests/Cases/buildah/context", path))
    }

    /// Makes `base` in the shared store and returns the path of the archive.
    func makeBase() async throws -> String {
        // With the files that buildah mounts its own on, so that it leaves no empty ones.
        let place = try scratchDirectory(
            "comparison-base",
            ["Dockerfile": "FROM alpine:3.19\nCOPY none /etc/hosts\nCOPY none /etc/resolv.conf\n", "none": ""])
        let archive = place + "/image.tar"
        try expectSuccess(try await Lab.stagerun("build", "-t", "base", "-o", "type=oci,dest=\(archive)", place))
        return archive
    }
}
