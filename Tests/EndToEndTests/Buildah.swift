// buildah with a storage of its own, so that the machine's images neither help nor disturb.

import Foundation
import Testing

/// One buildah storage under a scratch directory; `close()` unmounts and removes it.
struct Buildah {
    let directory: String

    /// It keeps caches of mounts beside other temporary files.
    private var environment: [String: String] { ["TMPDIR": directory + "/tmp"] }

    init() throws {
        directory = try scratchDirectory("buildah")
        try FileManager.default.createDirectory(atPath: directory + "/tmp", withIntermediateDirectories: true)
    }

    /// Runs buildah and returns what it wrote on standard output, without the line end.
    @discardableResult
    func callAsFunction(_ arguments: String...) async throws -> String {
        let outcome = try await RunningCommand(storage("buildah") + arguments, environment: environment)
            .wait(atMost: .seconds(900))
        guard outcome.succeeded else { throw LabFailure("buildah failed", outcome) }
        return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Builds as Dockerfile builders did before: in a chroot, on the host's network.
    func build(_ arguments: String...) async throws {
        let outcome = try await RunningCommand(
            storage("buildah")
                + ["bud", "--isolation", "chroot", "--network", "host", "--identity-label=false", "--layers=false"]
                + arguments, environment: environment
        ).wait(atMost: .seconds(900))
        guard outcome.succeeded else { throw LabFailure("buildah bud failed", outcome) }
    }

    /// Builds in a chroot, each instruction a layer of its own as everyone's builder has it, and with what only docker's format holds.
    func buildLayers(to destination: String, _ arguments: [String], directory: String) async throws {
        let outcome = try await RunningCommand(
            storage("buildah")
                + [
                    "bud", "--isolation", "chroot", "--network", "host", "--identity-label=false", "--layers=true",
                    "--no-cache",
                    "--format", "docker", "-t", destination,
                ] + arguments, directory: directory, environment: environment
        ).wait(atMost: .seconds(300))
        guard outcome.succeeded else { throw LabFailure("buildah bud failed", outcome) }
    }

    /// Calls `body` with the mounted root filesystem of an image of this storage.
    func withRoot<R>(of image: String, _ body: (String) async throws -> R) async throws -> R {
        let container = try await self("from", "--pull-never", image)
        let root = try await self("mount", container)
        let result: Result<R, any Error>
        do { result = .success(try await body(root)) } catch { result = .failure(error) }
        try await self("umount", container)
        try await self("rm", container)
        return try result.get()
    }

    /// The `config` part of an image's configuration.
    func config(of image: String) async throws -> [String: Any] {
        let layout = directory + "/config-\(UUID().uuidString)"
        try await self("push", "--quiet", image, "oci:\(layout):it")
        return try await imageConfig("oci:\(layout):it")
    }

    func close() async {
        _ = try? await RunningCommand(storage("buildah") + ["rm", "--all"]).wait()
        _ = try? await command("sh", "-c", "umount \(directory)/storage/overlay 2>/dev/null; true")
        try? FileManager.default.removeItem(atPath: directory)
    }

    private func storage(_ program: String) -> [String] {
        [program, "--root", directory + "/storage", "--runroot", directory + "/run", "--storage-driver", "overlay"]
    }
}

/// What `skopeo inspect --config` says of an image, without what differs from build to build.
func imageConfig(_ reference: String) async throws -> [String: Any] {
    let outcome = try await command("skopeo", "inspect", "--config", reference)
    guard outcome.succeeded else { throw LabFailure("skopeo does not take \(reference)", outcome) }
    guard let whole = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any] else {
        throw LabFailure("no object", outcome)
    }
    return whole
}

/// One line for each path of a root filesystem: kind, mode, owner, size, contents, link target, extended attributes, and
/// no times.
///
/// Go's build cache notes the time of day in its index entries and names one of them after the times of the sources: of
/// those only what they lead to is compared.
func listing(of root: String) async throws -> [String] {
    let script = """
        set -e
        getfattr --version > /dev/null
        cd "$1"
        find . -type d -printf '%P|d|%m|%U:%G\\n'
        find . -type l -printf '%P|l|%U:%G|%l\\n'
        find . ! -type d ! -type l ! -type f -printf '%P|%y|%m|%U:%G\\n'
        find . -type f ! -path './root/.cache/go-build/*-a' -printf '%P|f|%m|%U:%G|%s|%n links\\n'
        find . -type f ! -path './root/.cache/go-build/*-a' ! -path './root/.cache/go-build/trim.txt' -print0 \
            | xargs -0 -r sha256sum
        find . -type f -path './root/.cache/go-build/*-a' -print0 | xargs -0 -r cat | awk '{ print "go-build|" $3 "|" $4 }'
        getfattr --recursive --no-dereference --dump --match=- --encoding=hex . 2>/dev/null | awk '
            /^# file: / { file = substr($0, 9); next }
            /./ { print file "|xattr|" $0 }'
        """
    let outcome = try await command("sh", "-c", script, "listing", root)
    guard outcome.succeeded else { throw LabFailure("cannot list \(root)", outcome) }
    return outcome.output.split(separator: "\n").map(String.init).sorted()
}

/// The lines that are only in one of two listings.
func differences(_ ours: [String], _ theirs: [String]) -> [String] {
    let mine = Set(ours)
    let other = Set(theirs)
    return
        (mine.subtracting(other).map { "stagerun only: \($0)" } + other.subtracting(mine).map { "buildah only:  \($0)" })
        .sorted { $0.dropFirst(15) < $1.dropFirst(15) }
}
