// `stagerun load`, `stagerun save` and `stagerun import`

import ArgumentParser
import Glibc
import StageGraph
import StageRun

struct LoadCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Take in images from an archive (docker or OCI), or an OCI layout directory.",
        discussion: "Example:\n  stagerun load -i app.tar")
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @Option(
        name: [.customShort("i", allowingJoined: true), .long],
        help: ArgumentHelp("The archive (default: standard input).", valueName: "path"))
    var input: String?

    @Flag(name: .shortAndLong, help: "Print nothing.")
    var quiet = false

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let path = input == "-" ? nil : input
        if path == nil, isatty(STDIN_FILENO) == 1 {
            throw UsageError("standard input is a terminal; name the archive with -i FILE")
        }
        let loaded = try await surroundings.withRoot(root) { root in
            if let path { return try await root.load(path: path) }
            return try await root.load(descriptor: STDIN_FILENO)
        }
        if !quiet {
            for name in loaded {
                try surroundings.output.write("Loaded image\(name.hasPrefix("sha256:") ? " ID" : ""): \(name)\n")
            }
        }
        return 0
    }
}

struct SaveCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Write images to an archive.",
        discussion: "Example:\n  stagerun save -o app.tar app:1")
    static var isCancellable: Bool { true }

    enum Format: String, ExpressibleByArgument, CaseIterable, Sendable { case docker, oci }

    @OptionGroup var root: RootOption

    @Option(
        name: [.customShort("o", allowingJoined: true), .long],
        help: ArgumentHelp("The file (default: standard output).", valueName: "path"))
    var output: String?

    @Option(help: ArgumentHelp("docker or oci.", valueName: "format"))
    var format: Format = .docker

    @Argument(help: ArgumentHelp("Names or IDs.", valueName: "image"))
    var images: [String]

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        var destination = Destination.descriptor(STDOUT_FILENO)
        if let output, output != "-" {
            destination = .path(output)
        } else if surroundings.output.isTerminal {
            throw UsageError("not to a terminal; redirect it, or name a file with -o FILE")
        }
        let target: ImageOutput = format == .docker ? .docker(destination) : .oci(destination, asTar: true)
        try await surroundings.withRoot(root) { root in try await root.save(images, to: target) }
        return 0
    }
}

struct ImportCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Make an image from the tar file of a root filesystem; prints its ID.",
        discussion: "Example:\n  stagerun import rootfs.tar base:1")
    static var isCancellable: Bool { true }

    @OptionGroup var root: RootOption

    @Argument(help: ArgumentHelp("The tar file, or - for standard input.", valueName: "rootfs.tar"))
    var path: String

    @Argument(help: ArgumentHelp("A name for the image.", valueName: "name"))
    var name: String

    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        if path == "-", isatty(STDIN_FILENO) == 1 {
            throw UsageError("standard input is a terminal; name the tar file")
        }
        let reference = try imageReference(name)
        let id = try await surroundings.withRoot(root) { root in
            path == "-"
                ? try await root.importRootfs(descriptor: STDIN_FILENO, name: reference)
                : try await root.importRootfs(path: path, name: reference)
        }
        try surroundings.output.write("\(id)\n")
        return 0
    }
}
