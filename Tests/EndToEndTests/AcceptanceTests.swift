// Images that stagerun wrote, in the hands of the tools that people have: skopeo, buildah, umoci, crun, runc.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct AcceptedByOthers {
        init() async throws { try await Lab.busybox() }

        /// A two-stage image with owners, modes, links, an extended attribute and an environment.
        private func context() throws -> String {
            try scratchDirectory(
                "accepted",
                [
                    "Dockerfile": """
                    FROM alpine:3.19 AS builder
                    RUN mkdir -p /made/sub && echo one > /made/one && ln -s one /made/link && ln /made/one /made/hard \\
                        && chmod 4711 /made/one && chown 12:34 /made/sub && mkfifo /made/pipe
                    FROM alpine:3.19
                    ENV GREETING="good day"
                    LABEL org.example.kind=accepted
                    WORKDIR /work
                    COPY --from=builder /made /made
                    RUN rm /bin/vi && echo two > /work/two
                    USER 12:34
                    ENTRYPOINT ["/bin/sh", "-c"]
                    CMD ["echo $GREETING; cat /work/two"]
                    """
                ])
        }

        private func written(_ type: String, _ destination: String, _ more: String = "") async throws {
            try expectSuccess(
                try await Lab.stagerun(
                    "build", "-t", "accepted:latest", "-o", "type=\(type),dest=\(destination)\(more)", try context()))
        }

        @Test(arguments: ["oci-archive", "oci", "docker-archive"])
        func skopeoInspectsAndCopies(transport: String) async throws {
            let place = try scratchDirectory("skopeo")
            switch transport {
            case "oci-archive": try await written("oci", "\(place)/it")
            case "oci": try await written("oci", "\(place)/it", ",tar=false")
            default: try await written("docker", "\(place)/it")
            }
            let whole = try await imageConfig("\(transport):\(place)/it")
            let config = try #require(whole["config"] as? [String: Any])
            #expect(config["WorkingDir"] as? String == "/work")
            #expect(config["User"] as? String == "12:34")
            #expect((config["Env"] as? [String])?.contains("GREETING=good day") == true)
            #expect((config["Labels"] as? [String: String])?["org.example.kind"] == "accepted")
            try expectSuccess(
                try await command(
                    "skopeo", "copy", "--quiet", "\(transport):\(place)/it", "dir:\(place)/copied"))
        }

        @Test func buildahRunsIt() async throws {
            let place = try scratchDirectory("for-buildah")
            try await written("oci", "\(place)/it.tar")
            let buildah = try Buildah()
            do {
                let container = try await buildah("from", "oci-archive:\(place)/it.tar")
                let said = try await buildah(
                    "run", "--isolation", "chroot", "--network", "host", container, "--", "/bin/sh", "-c",
                    "echo $GREETING; id -u; id -g; cat /work/two; ls /bin/vi 2>/dev/null || echo gone")
                #expect(said.split(separator: "\n") == ["good day", "12", "34", "two", "gone"])
            } catch {
                await buildah.close()
                throw error
            }
            await buildah.close()
        }

        @Test func umociUnpacksItAndRuntimesRunIt() async throws {
            let place = try scratchDirectory("bundle")
            try await written("oci", "\(place)/layout", ",tar=false")
            let tag = try firstTag(ofLayout: "\(place)/layout")
            try expectSuccess(
                try await command("umoci", "unpack", "--image", "\(place)/layout:\(tag)", "\(place)/bundle"))
            let modes = try await command(
                "stat", "--format", "%n %a %u:%g %h", "one", "sub", "link", "hard",
                directory: "\(place)/bundle/rootfs/made")
            #expect(modes.output == "one 4711 0:0 2\nsub 755 12:34 2\nlink 777 0:0 1\nhard 4711 0:0 2\n")
            try adaptBundle("\(place)/bundle/config.json")

            let name = "stagerun-\(UUID().uuidString.prefix(8))"
            let runc = try await command("runc", "run", "\(name)-runc", directory: "\(place)/bundle")
            #expect(runc.succeeded && runc.output == "good day\ntwo\n", "\(runc)")
            // Debian's crun refuses machines with both cgroup versions mounted: show it one.
            let crun = try await command(
                "unshare", "--mount", "sh", "-c",
                "umount -l /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager=cgroupfs run \(name)-crun",
                directory: "\(place)/bundle")
            #expect(crun.succeeded && crun.output == "good day\ntwo\n", "\(crun)")
        }

        @Test func aTarAndALocalDirectoryHoldTheSameFiles() async throws {
            let place = try scratchDirectory("outputs")
            let context = try context()
            try expectSuccess(
                try await Lab.stagerun(
                    "build", "-o", "type=tar,dest=\(place)/it.tar", "-o", "type=local,dest=\(place)/local", context))
            try expectSuccess(try await command("mkdir", "\(place)/tar"))
            try expectSuccess(
                try await command(
                    "tar", "--extract", "--numeric-owner", "--file", "\(place)/it.tar", "--directory", "\(place)/tar"))
            let inTar = try await command("sh", "-c", "cd \(place)/tar && find . -type f | sort | xargs sha256sum")
            let inLocal = try await command("sh", "-c", "cd \(place)/local && find . -type f | sort | xargs sha256sum")
            try expectSuccess(inTar)
            #expect(inTar.output.contains("./work/two"))
            #expect(inTar.output == inLocal.output)
        }

        private func firstTag(ofLayout layout: String) throws -> String {
            let data = try Data(contentsOf: URL(fileURLWithPath: "\(layout)/index.json"))
            let index = try JSONSerialization.jsonObject(with: data) as? [String: Any]
            let manifests = try #require(index?["manifests"] as? [[String: Any]])
            let annotations = try #require(manifests.first?["annotations"] as? [String: String])
            return try #require(annotations["org.opencontainers.image.ref.name"])
        }

        /// No terminal, and no cgroup file system, which a nested machine may not be able to mount.
        private func adaptBundle(_ path: String) throws {
            let data = try Data(contentsOf: URL(fileURLWithPath: path))
            var bundle = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            var process = try #require(bundle["process"] as? [String: Any])
            process["terminal"] = false
            bundle["process"] = process
            let mounts = try #require(bundle["mounts"] as? [[String: Any]])
            bundle["mounts"] = mounts.filter { $0["type"] as? String != "cgroup" }
            try JSONSerialization.data(withJSONObject: bundle).write(to: URL(fileURLWithPath: path))
        }
    }
}
