// Real tools take what we write, and we take what they write.

import StageGraph
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageImage

@Suite(.serialized) struct Interop {
    @Test(.enabled(if: installed("skopeo"))) func skopeoTakesEachOutput() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        let writer = ImageWriter(store: sample.store)
        let blobs = try sample.blobs(scratch)
        let one = [NamedImage(sample.image, names: [sample.names[0]])]
        try writer.writeLayout(one, blobs: blobs, to: scratch("layout"))
        try writer.writeLayoutArchive(one, blobs: blobs, to: .file(scratch("oci.tar")))
        try writer.writeDockerArchive(one, to: .file(scratch("docker.tar")))
        for source in ["oci:layout", "oci-archive:oci.tar", "docker-archive:docker.tar"] {
            let config = try shell("skopeo inspect --config --raw \(source)", in: scratch)
            #expect(Digest.of(config) == sample.image.id, "\(source)")
            try shell(
                "rm -rf copy back.tar && skopeo copy --insecure-policy \(source) oci:copy:x && skopeo copy --insecure-policy \(source) docker-archive:back.tar:back:1",
                in: scratch)
            // From docker to OCI, skopeo writes the config anew in its own spelling.
            try sample.expectSame(scratch("copy"), scratch, sameConfig: !source.hasPrefix("docker"))
            try sample.expectSame(scratch("back.tar"), scratch, names: ["docker.io/library/back:1"])
        }
    }

    @Test(.enabled(if: installed("umoci"))) func umociUnpacks() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try ImageWriter(store: sample.store).writeLayout(
            [NamedImage(sample.image, names: [sample.names[0]])], blobs: try sample.blobs(scratch),
            to: scratch("layout"))
        let name = sample.names[0].canonical
        let tag =
            try shell("umoci ls --layout layout", in: scratch).split(separator: "\n").first.map(String.init) ?? name
        let rootless = try shell("id -u", in: scratch) == "0\n" ? "" : "--rootless"
        try shell(
            "umoci unpack \(rootless) --image layout:\(tag) bundle && cat bundle/rootfs/etc/other && test ! -e bundle/rootfs/etc/conf",
            in: scratch)
    }

    @Test(.enabled(if: installed("buildah"))) func buildahStartsFromThem() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        let writer = ImageWriter(store: sample.store)
        let one = [NamedImage(sample.image, names: [sample.names[0]])]
        try writer.writeLayoutArchive(one, blobs: try sample.blobs(scratch), to: .file(scratch("oci.tar")))
        try writer.writeDockerArchive(one, to: .file(scratch("docker.tar")))
        let buildah = "buildah --root $PWD/storage --runroot $PWD/run --storage-driver vfs"
        for source in ["oci-archive:oci.tar", "docker-archive:docker.tar"] {
            let images = try shell(
                """
                rm -rf storage run
                name=$(\(buildah) from --signature-policy $PWD/policy.json \(source)) || exit 1
                test "$(cat $(\(buildah) mount $name)/etc/other)" = two
                \(buildah) images --format '{{.Name}}:{{.Tag}}'
                \(buildah) rm -a > /dev/null
                """.replacingPolicy, in: scratch)
            #expect(images.contains("myapp:1"), "\(source): \(images)")
        }
    }

    /// An image that buildah commits comes in, base layers and all.
    @Test(.enabled(if: installed("buildah"))) func buildahsImagesComeIn() throws {
        let scratch = try ScratchDirectory()
        let buildah = "buildah --root $PWD/storage --runroot $PWD/run --storage-driver vfs"
        try shell(
            """
            mkdir ctx && echo hello > ctx/f && ln ctx/f ctx/g && ln -s f ctx/s && printf 'FROM scratch\\nCOPY . /data/\\nENV A=b\\nCMD ["x"]\\n' > Dockerfile
            \(buildah) bud --signature-policy $PWD/policy.json --layers -f Dockerfile -t made:1 ctx
            \(buildah) push --signature-policy $PWD/policy.json made:1 oci-archive:oci.tar:made:1
            \(buildah) push --signature-policy $PWD/policy.json made:1 docker-archive:docker.tar:made:1
            """.replacingPolicy, in: scratch)
        let store = MemoryStore()
        let reader = ImageReader(store: store, platform: .host, spoolDirectory: scratch.path)
        for file in ["oci.tar", "docker.tar"] {
            let loaded = try #require(try reader.load(path: scratch(file)).first)
            #expect(loaded.names.first?.hasSuffix("made:1") == true, "\(loaded.names)")
            let lines = try listing(loaded.image.tree, in: store)
            #expect(lines.contains { $0.hasPrefix("/data/f file 'hello\n'") })
            #expect(lines.contains { $0.hasPrefix("/data/s -> f") })
            #expect(try loaded.image.configuration(from: store).config?.environment.contains("A=b") == true)
        }
    }
}

extension String {
    /// Puts a policy file that takes everything in front, so that no file of the machine is needed.
    fileprivate var replacingPolicy: String {
        "echo '{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}' > policy.json\n" + self
    }
}
