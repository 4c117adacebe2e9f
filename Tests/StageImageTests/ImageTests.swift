// Whole images: records, documents, outputs and what comes back from them.

import Glibc
import StageGraph
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageImage

/// A store with an image of two derived layers.
struct Sample {
    let store = MemoryStore()
    let image: StoredImage
    let names = [try? ImageReference("myapp:1"), try? ImageReference("registry.example/team/app:v2")].compactMap { $0 }

    init() throws {
        let first: [Item] = [
            .directory("bin/"), .file("bin/app", [UInt8](repeating: 65, count: 300_000), mode: 0o755),
            .symlink("bin/sh", "app"),
            .link("bin/again", "bin/app"), .file("etc/conf", "one"), .directory("tmp/", mode: 0o1777),
        ]
        let base = try #require(try tree([first], in: store))
        let top = try #require(try tree([first, [.file("etc/.wh.conf", ""), .file("etc/other", "two")]], in: store))
        var settings = ImageSettings()
        settings.environment = ["PATH=/bin"]
        settings.command = ["/bin/app"]
        settings.labels = ["a/b": "c"]
        let layers = [try StoredLayer(from: nil, to: base, in: store), try StoredLayer(from: base, to: top, in: store)]
        let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 120_000_000)
        let history = [
            ImageConfiguration.History(created: time, createdBy: "COPY . /"),
            ImageConfiguration.History(created: time, createdBy: "ENV A=b", emptyLayer: true),
            ImageConfiguration.History(created: time, createdBy: "RUN x"),
        ]
        let configuration = ImageConfiguration(
            platform: Platform(os: "linux", architecture: "amd64"), settings: settings, diffIDs: [], history: history,
            created: time)
        image = try StoredImage(configuration: configuration, layers: layers, in: store)
    }

    var named: [NamedImage] { [NamedImage(image, names: names)] }

    func blobs(_ scratch: ScratchDirectory, _ compression: Compression = .gzip) throws -> [Digest: LayerBlob] {
        try LayerBlob.all(of: named, compression, from: store, spoolDirectory: scratch.path)
    }

    /// Loads what was written into a fresh store and compares.
    func expectSame(
        _ path: String, _ scratch: ScratchDirectory, names expected: [String]? = nil, sameConfig: Bool = true
    ) throws {
        let fresh = MemoryStore()
        let reader = ImageReader(store: fresh, platform: image.platform, spoolDirectory: scratch.path)
        let loaded = try reader.load(path: path)
        #expect(loaded.count == 1)
        let back = try #require(loaded.first)
        if sameConfig { #expect(back.image.id == image.id) }
        #expect(back.image.tree.identity == image.tree.identity)
        #expect(back.image.layers.map(\.diffID) == image.layers.map(\.diffID))
        #expect(back.image.contentSize == image.contentSize)
        #expect(try listing(back.image.tree, in: fresh) == listing(image.tree, in: store))
        if let expected { #expect(back.names == expected) }
        // And its layers can be written again, byte for byte.
        for layer in back.image.layers {
            var hasher = DigestHasher()
            try layer.write(from: fresh) { hasher.update($0) }
            #expect(hasher.finalize() == layer.diffID)
        }
    }
}

@Suite struct Records {
    @Test func recordRoundTrip() throws {
        let sample = try Sample()
        let bytes = try sample.image.encoded()
        #expect(try StoredImage(encoded: bytes) == sample.image)
        #expect(try StoredImage(encoded: bytes).encoded() == bytes)
        #expect(sample.image.created == Timestamp(seconds: 1_700_000_000, nanoseconds: 120_000_000))
        #expect(sample.image.contentSize == 300_003)
    }

    private var all: StoredImage {
        let tree = { (name: String) in TreeRef(identity: Digest.of(name), object: Digest.of(name + "!")) }
        var odd = Descriptor(
            mediaType: MediaType.layer, digest: Digest.of("odd"), size: 7, annotations: ["a": "b"],
            platform: Platform(os: "linux", architecture: "arm64", variant: "v8"))
        odd.urls = ["https://example.test/odd"]
        let plain = Descriptor(mediaType: MediaType.layer + "+gzip", digest: Digest.of("plain"), size: .max)
        return StoredImage(
            id: Digest.of("config"), platform: Platform(os: "linux", architecture: "arm", variant: "v7"),
            created: Timestamp(seconds: -5, nanoseconds: 999_999_999),
            layers: [
                StoredLayer(diffID: Digest.of("0"), size: 1024, tree: tree("a"), source: .derived(from: nil)),
                StoredLayer(
                    diffID: Digest.of("1"), size: .max, tree: tree("b"), source: .recipe(Digest.of("recipe")),
                    blobs: [plain, odd]),
                StoredLayer(diffID: Digest.of("2"), size: 0, tree: tree("c"), source: .derived(from: tree("b"))),
            ], tree: tree("c"), contentSize: 12_345, origin: .pull)
    }

    @Test func everyFieldOfARecordIsKept() throws {
        var image = all
        #expect(try StoredImage(encoded: image.encoded()) == image)
        for origin in [StoredImage.Origin.build, .archive, nil] {
            image.origin = origin
            #expect(try StoredImage(encoded: image.encoded()) == image)
        }
        let bare = StoredImage(
            id: image.id, platform: Platform(os: "linux", architecture: "amd64"), created: nil, layers: [],
            tree: image.tree, contentSize: 0, origin: nil)
        #expect(try StoredImage(encoded: bare.encoded()) == bare)
    }

    /// What stores hold from before `image-records`.
    @Test func aRecordThatIsJSONIsRead() throws {
        let tree = { (name: String) in #"{"identity":"\#(Digest.of(name))","object":"\#(Digest.of(name + "!"))"}"# }
        let json =
            #"{"contentSize":12345,"created":{"nanoseconds":999999999,"seconds":-5},"id":"\#(Digest.of("config"))","#
            + #""layers":[{"blobs":[],"diffID":"\#(Digest.of("0"))","size":1024,"source":{"derived":{}},"tree":\#(tree("a"))},"#
            + #"{"blobs":[{"digest":"\#(Digest.of("plain"))","mediaType":"\#(MediaType.layer)+gzip","size":18446744073709551615},"#
            + #"{"annotations":{"a":"b"},"digest":"\#(Digest.of("odd"))","mediaType":"\#(MediaType.layer)","#
            + #""platform":{"architecture":"arm64","os":"linux","variant":"v8"},"size":7,"urls":["https://example.test/odd"]}],"#
            + #""diffID":"\#(Digest.of("1"))","size":18446744073709551615,"source":{"recipe":{"_0":"\#(Digest.of("recipe"))"}},"#
            + #""tree":\#(tree("b"))},{"blobs":[],"diffID":"\#(Digest.of("2"))","size":0,"#
            + #""source":{"derived":{"from":\#(tree("b"))}},"tree":\#(tree("c"))}],"#
            + #""origin":"pull","platform":{"architecture":"arm","os":"linux","variant":"v7"},"tree":\#(tree("c"))}"#
        #expect(try StoredImage(encoded: Array(json.utf8)) == all)
    }

    @Test func aRecordThatIsCutOrGoesOnIsRefused() throws {
        let bytes = try all.encoded()
        for count in 0..<bytes.count {
            #expect(throws: ImageError.self, "\(count) bytes") { try StoredImage(encoded: Array(bytes[..<count])) }
        }
        #expect(throws: ImageError.self) { try StoredImage(encoded: bytes + [0]) }
        // No count is believed.
        for place in bytes.indices {
            var broken = bytes
            broken[place] = 0xFF
            _ = try? StoredImage(encoded: broken)
        }
    }

    @Test func configIsGolden() throws {
        let sample = try Sample()
        let ids = sample.image.layers.map { "\"\($0.diffID)\"" }.joined(separator: ",")
        let expected =
            #"{"architecture":"amd64","config":{"Cmd":["/bin/app"],"Env":["PATH=/bin"],"Labels":{"a/b":"c"}},"#
            + #""created":"2023-11-14T22:13:20.12Z","history":[{"created":"2023-11-14T22:13:20.12Z","created_by":"COPY . /"},"#
            + #"{"created":"2023-11-14T22:13:20.12Z","created_by":"ENV A=b","empty_layer":true},"#
            + #"{"created":"2023-11-14T22:13:20.12Z","created_by":"RUN x"}],"os":"linux","rootfs":{"diff_ids":["# + ids
            + #"],"type":"layers"}}"#
        #expect(String(decoding: try sample.image.config(from: sample.store), as: UTF8.self) == expected)
        #expect(sample.image.id == Digest.of(expected))
    }

    @Test func foreignFieldsAreTolerated() throws {
        let json =
            #"{"architecture":"arm64","os":"linux","variant":"v8","container":"x","config":{"Hostname":"","ExposedPorts":{"80/tcp":{}},"Volumes":null},"rootfs":{"type":"layers","diff_ids":[]},"moby.buildkit":{"a":[1]}}"#
        let configuration = try ImageConfiguration(json: Array(json.utf8))
        #expect(configuration.platform.description == "linux/arm64/v8")
        #expect(configuration.config?.exposedPorts == ["80/tcp"])
        let store = MemoryStore()
        let image = try StoredImage(config: Array(json.utf8), inputs: [], in: store)
        #expect(image.id == Digest.of(json))
        #expect(try image.config(from: store) == Array(json.utf8))
    }

    @Test func wrongDocumentsAreExplained() {
        for (json, reason) in [("", ""), ("{}", "architecture"), (#"{"architecture":1}"#, "architecture")] {
            do {
                _ = try ImageConfiguration(json: Array(json.utf8))
                Issue.record("\(json) was taken")
            } catch { #expect("\(error)".contains(reason), "\(error)") }
        }
    }

    @Test func layersHaveToBeThoseOfTheConfig() throws {
        let sample = try Sample()
        let config = try sample.image.config(from: sample.store)
        let layer = try parse(try archive([.file("x", "x")]), into: sample.store)
        #expect(throws: ImageError.self) {
            try StoredImage(
                config: config, inputs: [.stored(sample.image.layers[0]), .parsed(layer, blob: nil)], in: sample.store)
        }
        #expect(throws: ImageError.self) { try StoredImage(config: config, inputs: [], in: sample.store) }
        #expect(throws: ImageError.self) {
            try StoredImage(
                config: config, digest: Digest.of("other"), inputs: sample.image.layers.map { .stored($0) },
                in: sample.store)
        }
    }

    @Test func blobThatLiesIsRefused() throws {
        let bytes = try archive([.file("x", "x")])
        let right = Descriptor(mediaType: MediaType.layer, digest: Digest.of(bytes), size: UInt64(bytes.count))
        _ = try ParsedLayer(blob: right, from: MemorySource(bytes), into: MemoryStore())
        var wrong = right
        wrong.digest = Digest.of("something else")
        #expect(throws: ImageError.digestMismatch(subject: "a layer", expected: wrong.digest, found: right.digest)) {
            try ParsedLayer(blob: wrong, from: MemorySource(bytes), into: MemoryStore())
        }
        // A broken archive that is not even the promised bytes is called by that name.
        #expect(
            throws: ImageError.digestMismatch(
                subject: "a layer", expected: right.digest, found: Digest.of([UInt8](repeating: 1, count: bytes.count)))
        ) {
            try ParsedLayer(
                blob: right, from: MemorySource([UInt8](repeating: 1, count: bytes.count)), into: MemoryStore())
        }
        wrong = right
        wrong.size += 1
        #expect(
            throws: ImageError.sizeMismatch(subject: "layer \(right.digest)", expected: wrong.size, found: right.size)
        ) {
            try ParsedLayer(blob: wrong, from: MemorySource(bytes), into: MemoryStore())
        }
        wrong = right
        wrong.mediaType = "application/vnd.in-toto+json"
        #expect(throws: ImageError.self) {
            try ParsedLayer(blob: wrong, from: MemorySource(bytes), into: MemoryStore())
        }
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0, 0), ("2023-11-14T22:13:20.12Z", 1_700_000_000, 120_000_000),
        ("2000-02-29T12:00:00Z", 951_825_600, 0), ("1969-12-31T23:59:59.999999999Z", -1, 999_999_999),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0), ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
    ])
    func timesAreGos(text: String, seconds: Int64, nanoseconds: UInt32) {
        let time = Timestamp(seconds: seconds, nanoseconds: nanoseconds)
        #expect(RFC3339.format(time) == text)
        #expect(RFC3339.parse(text) == time)
    }

    @Test func otherTimes() {
        #expect(
            RFC3339.parse("2023-11-15T00:13:20.1200000001+02:00")
                == Timestamp(seconds: 1_700_000_000, nanoseconds: 120_000_000))
        for wrong in [
            "", "2023-11-14", "2023-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20", "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20ZZ",
        ] {
            #expect(RFC3339.parse(wrong) == nil, "\(wrong)")
        }
        for day in stride(from: Int64(-719_000), to: 2_932_000, by: 997) {
            let time = Timestamp(seconds: day * 86_400 + 12_345)
            if let parsed = RFC3339.parse(RFC3339.format(time)), time.seconds > -62_167_219_200 {
                #expect(parsed == time)
            }
        }
    }
}

@Suite struct Outputs {
    @Test(arguments: [Compression.gzip, .zstd, .none])
    func layoutsComeBack(compression: Compression) throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        let blobs = try sample.blobs(scratch, compression)
        let writer = ImageWriter(store: sample.store)
        let names = sample.names.map(\.canonical)
        try writer.writeLayout(sample.named, blobs: blobs, to: scratch("layout"))
        try sample.expectSame(scratch("layout"), scratch, names: names)
        try writer.writeLayoutArchive(sample.named, blobs: blobs, to: .file(scratch("layout.tar")))
        try sample.expectSame(scratch("layout.tar"), scratch, names: names)
        let again = scratch("again.tar")
        try writer.writeLayoutArchive(sample.named, blobs: try sample.blobs(scratch, compression), to: .file(again))
        #expect(try readFile(again) == readFile(scratch("layout.tar")))
        // Compressed as a whole, it has to be laid down first.
        try shell("gzip -k layout.tar", in: scratch)
        try sample.expectSame(scratch("layout.tar.gz"), scratch, names: names)
        #expect(try shell("ls -A", in: scratch).contains(".stagerun") == false)
    }

    @Test func dockerArchiveComesBack() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try ImageWriter(store: sample.store).writeDockerArchive(sample.named, to: .file(scratch("d.tar")))
        try sample.expectSame(scratch("d.tar"), scratch)
        // Without the index, as older tools write it.
        try shell(
            "mkdir d && tar xf d.tar -C d && rm d/index.json d/oci-layout && tar cf old.tar -C d manifest.json blobs",
            in: scratch)
        try sample.expectSame(scratch("old.tar"), scratch, names: ["myapp:1", "registry.example/team/app:v2"])
        let fd = try OwnedFD.open(scratch("old.tar"), O_RDONLY)
        let fresh = MemoryStore()
        let reader = ImageReader(store: fresh, platform: sample.image.platform, spoolDirectory: scratch.path)
        #expect(try reader.load(descriptor: fd.raw, name: "standard input").first?.image.id == sample.image.id)
    }

    @Test func nothingStaysOfAFailedOutput() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try scratch.write("there.tar", [1])
        let writer = ImageWriter(store: sample.store)
        #expect(throws: ImageError.self) {
            try writer.writeLayoutArchive(sample.named, blobs: [:], to: .file(scratch("there.tar")))
        }
        #expect(throws: ImageError.self) { try writer.writeLayout(sample.named, blobs: [:], to: scratch("layout")) }
        #expect(throws: ImageError.self) {
            try writer.writeLayout(sample.named, blobs: try sample.blobs(scratch), to: scratch("there.tar"))
        }
        #expect(try shell("ls -A | grep -v '^.output$'", in: scratch) == "there.tar\n")
        #expect(try readFile(scratch("there.tar")) == [1])
    }

    @Test func damagedArchivesAreRefused() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try ImageWriter(store: sample.store).writeLayout(
            sample.named, blobs: try sample.blobs(scratch), to: scratch("l"))
        let reader = ImageReader(store: MemoryStore(), platform: sample.image.platform, spoolDirectory: scratch.path)
        for blob in try shell("ls l/blobs/sha256", in: scratch).split(separator: "\n") {
            try shell("cp -r l x && truncate -s -1 x/blobs/sha256/\(blob)", in: scratch)
            #expect(throws: ImageError.self) { try reader.load(path: scratch("x")) }
            try shell(
                "cp l/blobs/sha256/\(blob) x/blobs/sha256/ && printf X | dd of=x/blobs/sha256/\(blob) bs=1 seek=40 conv=notrunc",
                in: scratch)
            #expect(throws: ImageError.self) { try reader.load(path: scratch("x")) }
            try shell("rm x/blobs/sha256/\(blob) && ln -s /etc/passwd x/blobs/sha256/\(blob)", in: scratch)
            #expect(throws: ImageError.self) { try reader.load(path: scratch("x")) }
            try shell("rm x/blobs/sha256/\(blob)", in: scratch)
            #expect(throws: ImageError.self) { try reader.load(path: scratch("x")) }
            try shell("rm -r x", in: scratch)
        }
        try scratch.write("text", Array("hello".utf8))
        #expect(throws: ImageError.self) { try reader.load(path: scratch("text")) }
        try scratch.write("other.tar", try archive([.file("readme", "x")]))
        #expect(throws: ImageError.self) { try reader.load(path: scratch("other.tar")) }
        #expect(throws: ImageError.self) { try reader.load(path: scratch("missing")) }
    }

    @Test func platformIsChosen() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try ImageWriter(store: sample.store).writeLayout(
            sample.named, blobs: try sample.blobs(scratch), to: scratch("l"))
        let json = String(decoding: try readFile(scratch("l/index.json")), as: UTF8.self)
        var index = try JSONDocument.decode(ImageIndex.self, Array(json.utf8), name: "index")
        var other = index.manifests[0]
        other.platform = Platform(os: "linux", architecture: "s390x")
        other.digest = Digest.of("not there")
        index.manifests = [other, index.manifests[0]]
        // As an index within the index, the way buildx writes several platforms.
        let nested = try JSONDocument.encode(index)
        try scratch.write("l/blobs/sha256/\(Digest.of(nested).hex)", nested)
        try scratch.write(
            "l/index.json",
            try JSONDocument.encode(
                ImageIndex(manifests: [
                    Descriptor(
                        mediaType: MediaType.index, digest: Digest.of(nested), size: UInt64(nested.count),
                        annotations: [Annotation.referenceName: "latest"])
                ])))
        try sample.expectSame(scratch("l"), scratch, names: [])
        let reader = ImageReader(
            store: MemoryStore(), platform: Platform(os: "linux", architecture: "riscv64"), spoolDirectory: scratch.path
        )
        #expect(
            throws: ImageError.noPlatform(
                wanted: Platform(os: "linux", architecture: "riscv64"), available: ["linux/s390x", "linux/amd64"])
        ) {
            try reader.load(path: scratch("l"))
        }
    }

    @Test func importedRootfsIsAnImage() throws {
        let scratch = try ScratchDirectory()
        let store = MemoryStore()
        let bytes = try archive([.directory("./"), .file("bin/sh", "x", mode: 0o755)])
        let image = try StoredImage.importing(
            MemorySource(bytes), platform: Platform(os: "linux", architecture: "amd64"), created: .epoch,
            comment: "imported", into: store)
        #expect(image.layers.map(\.diffID) == [Digest.of(bytes)])
        var rootfs: [UInt8] = []
        try ImageWriter(store: store).writeRootfs(image.tree, to: .file(scratch("r.tar")))
        rootfs = try readFile(scratch("r.tar"))
        let reader = TarReader(MemorySource(rootfs))
        #expect(try reader.next()?.path == Array("bin/".utf8))
    }
}

@Suite struct CheckingOut {
    @Test func filesAreAsInTheTree() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try Checkout(store: sample.store, setsOwners: geteuid() == 0).write(sample.image.tree, to: scratch("out"))
        let found = try shell(
            "cd out && find . -printf '%p %y %m %n\\n' | sort && readlink bin/sh && cat etc/other", in: scratch)
        #expect(
            found
                == """
                . d 755 3
                ./bin d 755 2
                ./bin/again f 755 2
                ./bin/app f 755 2
                ./bin/sh l 777 1
                ./etc d 755 2
                ./etc/other f 644 1
                ./tmp d 1777 2
                app
                two
                """.replacingPrefix(". d 755 3", with: ". d 755 5"))
    }

    @Test func linksInTheDestinationAreNeverFollowed() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try shell(
            "mkdir out outside && ln -s ../outside out/bin && ln -s ../outside/target out/tmp && mkdir out/etc && ln -s ../../outside/f out/etc/other && echo mine > out/mine",
            in: scratch)
        try Checkout(store: sample.store, setsOwners: false).write(sample.image.tree, to: scratch("out"))
        #expect(
            try shell(
                "ls -A outside; cat out/mine; test ! -L out/bin && test ! -L out/etc/other && cat out/etc/other",
                in: scratch) == "mine\ntwo")
    }

    @Test func directoryInTheWayStays() throws {
        let sample = try Sample()
        let scratch = try ScratchDirectory()
        try shell("mkdir -p out/bin/app && echo x > out/bin/app/keep", in: scratch)
        #expect(throws: ImageError.self) {
            try Checkout(store: sample.store, setsOwners: false).write(sample.image.tree, to: scratch("out"))
        }
        #expect(try shell("cat out/bin/app/keep", in: scratch) == "x\n")
    }
}

extension String {
    func replacingPrefix(_ prefix: String, with other: String) -> String {
        hasPrefix(prefix) ? other + dropFirst(prefix.count) : self
    }
}

@Suite struct SpecialDestinationTests {
    let directory: String

    init() throws {
        var template = Array("/tmp/stage-output-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        directory = template.withUnsafeBufferPointer { String(cString: $0.baseAddress.unsafelyUnwrapped) }
    }

    private func write(_ text: String, to path: String) throws {
        try writing(to: .file(path)) { sink throws(ImageError) in try push(Array(text.utf8), to: sink) }
    }

    /// `dest=/dev/null` must never put a file in the place of the device: a pipe stands for it here.
    @Test func whatIsNoFileIsWrittenTo() throws {
        defer { try? removeTree(directory) }
        let pipe = directory + "/pipe"
        try retrying("mkfifo") { mkfifo(pipe, 0o600) }
        let reader = try OwnedFD.open(pipe, O_RDWR)
        try write("through", to: pipe)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
        defer { buffer.deallocate() }
        let count = read(reader.raw, buffer.baseAddress, buffer.count)
        #expect(String(decoding: buffer[..<max(0, count)], as: UTF8.self) == "through")
        #expect(FileType(mode: try statEntry(AT_FDCWD, FileName(pipe)).mode) == .fifo)
        #expect(throws: ImageError.self) { try write("x", to: directory) }
    }

    @Test func aLinkStaysAndItsFileIsReplaced() throws {
        defer { try? removeTree(directory) }
        try write("old", to: directory + "/file")
        try retrying("symlink") { symlink("file", directory + "/link") }
        try write("new", to: directory + "/link")
        #expect(try readFile(directory + "/file") == Array("new".utf8))
        #expect(FileType(mode: try statEntry(AT_FDCWD, FileName(directory + "/link")).mode) == .symlink)
    }
}
