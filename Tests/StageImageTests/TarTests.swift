// The archive format: what we write is what Go writes, and others read it; what others write, we read.

import StageConformance
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageImage

@Suite struct TarWriting {
    @Test func emptyArchiveIsTwoBlocksOfZeros() throws {
        #expect(try archive([]) == [UInt8](repeating: 0, count: 1024))
    }

    @Test func memberReadsBackAsItWas() throws {
        let long = String(repeating: "directory-with-a-long-name/", count: 9) + "file"
        var special = TarMember(path: Array("dev/é".utf8), kind: .characterDevice(major: 5, minor: 1), mode: 0o4755)
        special.uid = 3_000_000
        special.gid = 4_294_967_294
        special.time = Timestamp(seconds: -7)
        special.xattrs = [
            XAttr(name: Array("security.capability".utf8), value: [1, 0, 10, 61, 255]),
            XAttr(name: Array("user.x".utf8), value: []),
        ]
        let items: [Item] = [
            .directory("a/"), .file("a/b", "hello"), .file("empty", ""),
            .symlink("s", String(repeating: "t", count: 150)),
            .link("h", "a/b"), .file(long, [UInt8](repeating: 7, count: 513)), Item(member: special),
            Item(member: TarMember(path: [0x66, 0xFF, 0xFE], kind: .fifo, mode: 0o600)),
            .file(String(repeating: "p", count: 101), "x"),
        ]
        let reader = TarReader(MemorySource(try archive(items)))
        for item in items {
            let member = try #require(try reader.next())
            #expect(member == item.member)
            var content: [UInt8] = []
            try reader.content { content.append(contentsOf: $0) }
            #expect(content == item.content)
        }
        #expect(try reader.next() == nil)
    }

    @Test func contentHasToMatchTheAnnouncedSize() throws {
        let announced = TarMember(path: [0x61], kind: .file, size: 3)
        var writer = TarWriter { _ in }
        try writer.begin(announced)
        #expect(throws: ImageError.self) { try writer.finish() }
        var other = TarWriter { _ in }
        try other.begin(announced)
        #expect(throws: ImageError.self) { try [1, 2, 3, 4].withUnsafeBytes { try other.write($0) } }
    }

    /// The same members written by Go's archive/tar give the same bytes.
    @Test(.enabled(if: installed("go"))) func equalsGo() throws {
        let scratch = try ScratchDirectory()
        let nested = String(repeating: "0123456789/", count: 12)
        try scratch.write("main.go", Array(goWriter.utf8))
        try shell("HOME=$PWD GOCACHE=$PWD/cache GO111MODULE=off go run main.go > go.tar", in: scratch)
        var capability = Item.file("bin/ping", "x", mode: 0o755)
        capability.member.xattrs = [XAttr(name: Array("security.capability".utf8), value: [1, 0, 0, 2, 0, 32])]
        capability.member.time = Timestamp(seconds: 1_700_000_000)
        var big = Item.file("big-owner", "y")
        big.member.uid = 2_097_152
        var longDirectory = Item.directory(nested + "dir/")
        longDirectory.member.xattrs = [XAttr(name: Array("user.k".utf8), value: Array("v".utf8))]
        let ours = try archive([
            .directory("bin/"), capability, big, .file(nested + "file", "prefixed"), .symlink("link", nested + nested),
            .file("ümlaut/ß", "utf8"), longDirectory, .link("hard", "bin/ping"),
            Item(member: TarMember(path: Array("null".utf8), kind: .characterDevice(major: 1, minor: 3), mode: 0o666)),
            .file(nested + nested + nested + "z", "too long for ustar"), .file(".wh.gone", [], mode: 0),
        ])
        let theirs = try readFile(scratch("go.tar"))
        #expect(ours.count == theirs.count)
        let firstDifference = zip(ours, theirs).enumerated().first { $0.element.0 != $0.element.1 }?.offset
        #expect(firstDifference == nil)
    }

    /// GNU tar, bsdtar and Python list what we wrote, names and all.
    @Test func othersReadIt() throws {
        let scratch = try ScratchDirectory()
        let long = String(repeating: "long/", count: 60) + "file"
        var capability = Item.file("bin/ping", "ping", mode: 0o4755)
        capability.member.xattrs = [XAttr(name: Array("user.note".utf8), value: Array("hi".utf8))]
        try scratch.write(
            "ours.tar",
            try archive([
                .directory("bin/"), capability, .symlink("s", "bin"), .link("h", "bin/ping"), .file(long, "deep"),
            ]))
        let names = ["bin/", "bin/ping", "s", "h", long]
        for tool in ["tar", "bsdtar"] where installed(tool) {
            let list = try shell("\(tool) tf ours.tar", in: scratch).split(separator: "\n").map(String.init)
            #expect(list == names, "\(tool)")
            try shell(
                "mkdir \(tool).d && \(tool) xf ours.tar -C \(tool).d && test \"$(cat \(tool).d/h)\" = ping", in: scratch
            )
        }
        if installed("python3") {
            let script =
                "import tarfile\nfor m in tarfile.open('ours.tar'): print(m.name, oct(m.mode), m.pax_headers.get('SCHILY.xattr.user.note'))"
            let list = try shell("python3 -c \"\(script)\"", in: scratch)
            #expect(list.contains("bin/ping 0o4755 hi"))
        }
    }
}

@Suite struct TarReading {
    /// Archives in every format that GNU tar and Python write: right trees, and the recipe gives the same bytes again.
    @Test(arguments: ["v7", "oldgnu", "gnu", "ustar", "posix", "python-pax", "python-gnu", "python-ustar", "bsdtar"])
    func readsWhatOthersWrite(format: String) throws {
        let tool = format.hasPrefix("python") ? "python3" : format == "bsdtar" ? "bsdtar" : "tar"
        guard installed(tool) else { return }
        let scratch = try ScratchDirectory()
        // V7 and ustar cannot hold the longest names.
        let holdsLong = !["v7", "ustar", "python-ustar"].contains(format)
        let deep = holdsLong ? Array(repeating: "a-directory-name", count: 14).joined(separator: "/") : "short/path"
        try shell(
            """
            mkdir -p root/\(deep) root/bin && cd root
            echo hello > bin/hello && ln bin/hello bin/hello2 && ln -s hello bin/sym && chmod 4755 bin/hello
            head -c 700000 /dev/zero | tr '\\0' z > big && : > empty && head -c 512 /dev/zero > block
            echo deep > \(deep)/file && mkfifo pipe && touch -d '2001-02-03 04:05:06.789' empty
            ln -s \(deep)/file long-link
            \(format == "v7" ? "rm pipe" : "")
            """, in: scratch)
        if tool == "python3" {
            let constant = format.dropFirst(7).uppercased()
            try shell(
                "python3 -c \"import tarfile; t = tarfile.open('x.tar', 'w', format=tarfile.\(constant)_FORMAT); t.add('root', arcname='.'); t.close()\"",
                in: scratch)
        } else if tool == "bsdtar" {
            try shell("bsdtar --format pax -cf x.tar -C root .", in: scratch)
        } else {
            try shell("tar --format=\(format) --sort=name -cf x.tar -C root .", in: scratch)
        }
        let bytes = try readFile(scratch("x.tar"))
        let store = MemoryStore()
        let layer = try parse(bytes, into: store)
        #expect(layer.diffID == Digest.of(bytes))
        #expect(layer.size == UInt64(bytes.count))
        let root = try layer.apply(to: nil, in: store)

        let lines = try listing(root, in: store)
        #expect(lines.contains { $0.hasPrefix("/bin/hello file 'hello\n' 4755") })
        #expect(lines.contains { $0.hasPrefix("/bin/hello2 file 'hello\n'") && $0.hasSuffix("= /bin/hello") })
        #expect(lines.contains { $0.hasPrefix("/bin/sym -> hello 777") })
        #expect(lines.contains { $0.hasPrefix("/\(deep)/file file 'deep\n'") })
        #expect(lines.contains { $0.hasPrefix("/long-link -> \(deep)/file") })
        if format != "v7" { #expect(lines.contains { $0.hasPrefix("/pipe fifo") }) }
        guard case .node(let big)? = try store.entry(at: "big", in: root) else { return #expect(Bool(false), "no big") }
        #expect(big.file?.size == 700_000)
        guard case .node(let empty)? = try store.entry(at: "empty", in: root) else {
            return #expect(Bool(false), "no empty")
        }
        #expect(empty.attributes.time.seconds == 981_173_106)
        if format == "posix" { #expect(empty.attributes.time.nanoseconds == 789_000_000) }

        let recipe = try LayerRecipe(try #require(layer.recipe), from: store)
        var again: [UInt8] = []
        try recipe.write(from: store) { again.append(contentsOf: $0) }
        #expect(again == bytes)
    }

    @Test func archiveCutShortIsRefused() throws {
        let bytes = try archive([.file("a", [UInt8](repeating: 1, count: 1000)), .file("b", "b")])
        // At 1536 and 2560 a member ends: what follows is simply no longer there.
        for length in stride(from: 1, to: bytes.count - 1024, by: 37) {
            #expect(throws: ImageError.self, "\(length)") { try parse(Array(bytes[..<length]), into: MemoryStore()) }
        }
    }

    @Test func wrongChecksumIsRefused() throws {
        var bytes = try archive([.file("a", "content")])
        bytes[0] ^= 1
        #expect(throws: ImageError.malformedTar(offset: 0, reason: "it does not start with a tar header")) {
            try parse(bytes, into: MemoryStore())
        }
    }

    @Test func sparseMemberIsRefusedByName() throws {
        guard installed("tar") else { return }
        let scratch = try ScratchDirectory()
        try shell(
            "truncate -s 10M hole && echo x >> hole && tar --format=gnu -Scf gnu.tar hole && tar --format=posix -Scf pax.tar hole",
            in: scratch)
        for name in ["gnu.tar", "pax.tar"] {
            do {
                _ = try parse(try readFile(scratch(name)), into: MemoryStore())
                Issue.record("\(name) was taken")
            } catch let error as ImageError {
                #expect("\(error)".contains("hole"), "\(error)")
                #expect("\(error)".contains("sparse"))
            }
        }
    }

    @Test func numbersInBase256() throws {
        var block = [UInt8](repeating: 0, count: 512)
        func number(_ bytes: [UInt8]) -> Int64? {
            block.replaceSubrange(124..<136, with: bytes)
            return block.withUnsafeBytes { TarBlock(bytes: $0).number(TarField.size) }
        }
        #expect(number([0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]) == 0x2_0000_0001)
        #expect(number([UInt8](repeating: 0xFF, count: 12)) == -1)
        #expect(number([0x80, 0, 0, 1] + [UInt8](repeating: 0, count: 8)) == nil)
        #expect(number([0x80, 0, 0, 0, 0xFF] + [UInt8](repeating: 0, count: 7)) == nil)
        #expect(number(Array("00000000644\0".utf8)) == 420)
        #expect(number(Array(" 644 \0\0\0\0\0\0\0".utf8)) == 420)
        #expect(number(Array("0000000x644\0".utf8)) == nil)
        #expect(number(Array("777777777777".utf8)) == 0o777777777777)
    }

    @Test func extendedTimes() {
        #expect(PAXRecords.time(Array("12.5".utf8)) == Timestamp(seconds: 12, nanoseconds: 500_000_000))
        #expect(PAXRecords.time(Array("-1.25".utf8)) == Timestamp(seconds: -2, nanoseconds: 750_000_000))
        #expect(PAXRecords.time(Array("1.1234567899".utf8)) == Timestamp(seconds: 1, nanoseconds: 123_456_789))
        for wrong in ["", "-", "1e5", "1.2.3", "0x10", "99999999999999999999"] {
            #expect(PAXRecords.time(Array(wrong.utf8)) == nil)
        }
    }

    /// Random damage never crashes, and what still reads gives its very bytes back.
    @Test func damagedArchivesNeverCrash() throws {
        var random = SeededGenerator(seed: 42)
        var special = TarMember(path: Array("x".utf8), kind: .file, size: 5, mode: 0o644)
        special.xattrs = [XAttr(name: Array("user.a".utf8), value: [1, 2, 3])]
        let base = try archive([
            .directory("d/"), .file("d/f", "text"), Item(member: special, content: [1, 2, 3, 4, 5]), .symlink("l", "d"),
            .link("d/g", "d/f"), .file(String(repeating: "n", count: 200), "long"), .file("d/.wh.f", ""),
        ])
        var read = 0
        for round in 0..<3000 {
            var bytes = base
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                bytes[index] = UInt8.random(in: 0...255, using: &random)
            }
            if round % 2 == 0 { repairChecksums(&bytes) }
            let store = MemoryStore()
            guard let layer = try? parse(bytes, into: store) else { continue }
            read += 1
            var again: [UInt8] = []
            try LayerRecipe(try #require(layer.recipe), from: store).write(from: store) { again.append(contentsOf: $0) }
            #expect(again == bytes)
            if let root = try? layer.apply(to: nil, in: store) {
                _ = try LayerWriter(store: store).writeWhole(root) { _ in }
            }
        }
        #expect(read > 300)
    }

    /// Makes the checksums right again, so that damage gets past them.
    private func repairChecksums(_ bytes: inout [UInt8]) {
        for start in stride(from: 0, to: bytes.count - 511, by: 512)
        where bytes[(start + 257)..<(start + 262)].elementsEqual("ustar".utf8) {
            var sum = 8 * 0x20
            for index in 0..<512 where !(148..<156).contains(index) { sum += Int(bytes[start + index]) }
            let digits = String(sum, radix: 8)
            let field = String(repeating: "0", count: 6 - digits.count) + digits + "\0 "
            bytes.replaceSubrange((start + 148)..<(start + 156), with: field.utf8)
        }
    }
}

private let goWriter = """
    package main

    import ("archive/tar"; "os"; "strings"; "time")

    func main() {
        w := tar.NewWriter(os.Stdout)
        nested := strings.Repeat("0123456789/", 12)
        put := func(h tar.Header, body string) {
            if h.ModTime.IsZero() { h.ModTime = time.Unix(0, 0) }
            h.Size = int64(len(body))
            if err := w.WriteHeader(&h); err != nil { panic(err) }
            if _, err := w.Write([]byte(body)); err != nil { panic(err) }
        }
        put(tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0755}, "")
        put(tar.Header{Typeflag: tar.TypeReg, Name: "bin/ping", Mode: 0755, ModTime: time.Unix(1700000000, 0),
            PAXRecords: map[string]string{"SCHILY.xattr.security.capability": string([]byte{1, 0, 0, 2, 0, 32})}}, "x")
        put(tar.Header{Typeflag: tar.TypeReg, Name: "big-owner", Mode: 0644, Uid: 2097152}, "y")
        put(tar.Header{Typeflag: tar.TypeReg, Name: nested + "file", Mode: 0644}, "prefixed")
        put(tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: nested + nested, Mode: 0777}, "")
        put(tar.Header{Typeflag: tar.TypeReg, Name: "ümlaut/ß", Mode: 0644}, "utf8")
        put(tar.Header{Typeflag: tar.TypeDir, Name: nested + "dir/", Mode: 0755,
            PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v"}}, "")
        put(tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "bin/ping", Mode: 0644}, "")
        put(tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3, Mode: 0666}, "")
        put(tar.Header{Typeflag: tar.TypeReg, Name: nested + nested + nested + "z", Mode: 0644}, "too long for ustar")
        put(tar.Header{Typeflag: tar.TypeReg, Name: ".wh.gone"}, "")
        if err := w.Close(); err != nil { panic(err) }
    }
    """
