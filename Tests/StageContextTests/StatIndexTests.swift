// The stat index: what is read again and what is not, and that losing or damaging it costs time only.

import CLinux
import Glibc
import StageConformance
import StageContext
import StageHash
import StageStore
import StageSystem
import Testing

@Suite("Stat index")
struct StatIndexTests {
    private func inode(_ path: String) throws -> UInt64 {
        let fd = try OwnedFD.open(path, O_RDONLY)
        return try statDescriptor(fd.raw).ino
    }

    @Test func unchangedFilesAreNotOpened() async throws {
        let fixture = try Fixture()
        for index in 0..<300 { try fixture.write("d\(index % 7)/f\(index)", "\(index)") }
        fixture.settle()
        let first = try await fixture.scan()
        #expect(first.read == 300 && first.unchanged == 0)
        let written = try inode(fixture.index)
        let second = try await fixture.scan()
        #expect(second.read == 0 && second.unchanged == 300 && second.readBytes == 0)
        #expect(second.tree == first.tree)
        // Nothing changed, so nothing was written.
        #expect(try inode(fixture.index) == written)
        try fixture.write("d0/f0", "other")
        fixture.settle()
        let third = try await fixture.scan()
        #expect(third.read == 1 && third.unchanged == 299)
        #expect(third.tree.identity != first.tree.identity)
        #expect(try fixture.text("d0/f0", third.tree) == "other")
        #expect(try await fixture.scan().read == 0)
    }

    @Test func racyFilesAreReadAgain() async throws {
        let fixture = try Fixture()
        var identities: Set<Digest> = []
        // Same size, same inode, written right after a scan: only the racy rule can tell.
        for round in 0..<60 {
            try fixture.write("f", round % 2 == 0 ? "aaaa" : "bbbb")
            let scan = try await fixture.scan()
            #expect(try fixture.text("f", scan.tree) == (round % 2 == 0 ? "aaaa" : "bbbb"))
            identities.insert(scan.tree.identity)
        }
        #expect(identities.count == 2)
    }

    @Test func futureTimesAreNotTrusted() async throws {
        let fixture = try Fixture()
        try fixture.write("f", "1")
        var times = [timespec(tv_sec: 4_000_000_000, tv_nsec: 0), timespec(tv_sec: 4_000_000_000, tv_nsec: 0)]
        utimensat(AT_FDCWD, fixture.root + "/f", &times, 0)
        fixture.settle()
        _ = try await fixture.scan()
        let written = try inode(fixture.index)
        #expect(try await fixture.scan().read == 1)
        #expect(try inode(fixture.index) == written)
    }

    @Test func contentOfTheSameTimesIsToldApart() async throws {
        let fixture = try Fixture()
        try fixture.write("f", "aaaa")
        var times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
        utimensat(AT_FDCWD, fixture.root + "/f", &times, 0)
        fixture.settle()
        let first = try await fixture.scan()
        try fixture.write("f", "bbbb")
        utimensat(AT_FDCWD, fixture.root + "/f", &times, 0)
        // Size and mtime are as before; ctime is not.
        let second = try await fixture.scan()
        #expect(second.tree.identity != first.tree.identity)
    }

    @Test func touchedFileKeepsItsDigest() async throws {
        let fixture = try Fixture()
        let large = (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
        try fixture.write("small", "content")
        try fixture.write("large", large)
        fixture.settle()
        let first = try await fixture.scan()
        try fixture.store.commit()
        var times = [timespec(tv_sec: 5000, tv_nsec: 1), timespec(tv_sec: 5000, tv_nsec: 1)]
        for name in ["small", "large"] { utimensat(AT_FDCWD, fixture.root + "/" + name, &times, 0) }
        fixture.settle()
        let second = try await fixture.scan()
        #expect(second.read == 2)
        #expect(second.tree.identity == first.tree.identity)
        #expect(second.tree.object != first.tree.object)
        #expect(try await fixture.scan().read == 0)
        try fixture.write("large", large.map { $0 ^ 1 })
        let third = try await fixture.scan()
        guard case .node(let node)? = try fixture.store.entry(at: "large", in: third.tree) else {
            Issue.record("no large")
            return
        }
        #expect(node.file?.digest == Digest.of(large.map { $0 ^ 1 }))
    }

    /// In the order that the kernel lists them.
    private func listed(_ path: String) throws -> [String] {
        let stream = try #require(opendir(path))
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Small files are read in batches, and after many changed ones the next are taken for changed before they are looked
    /// at: what that takes wrongly is at most a batch.
    @Test(arguments: [0, 3, 31, 32, 33, 47, 48, 49, 150, 299, 300])
    func manyTouchedFilesInARow(touched: Int) async throws {
        let fixture = try Fixture()
        for index in 0..<300 { try fixture.write("d/f\(index)", "content \(index)") }
        fixture.settle()
        let first = try await fixture.scan()
        _ = try await fixture.scan()
        let names = try listed(fixture.root + "/d")
        for name in names.prefix(touched) { utimensat(AT_FDCWD, fixture.root + "/d/" + name, nil, 0) }
        if let name = names.prefix(touched).last { try fixture.write("d/" + name, "other") }
        fixture.settle()
        let second = try await fixture.scan()
        #expect(second.files == 300 && second.read + second.unchanged == 300)
        #expect(second.read >= touched && second.read <= touched + 16)
        if touched < 32 { #expect(second.read == touched) }
        #expect((second.tree.identity == first.tree.identity) == (touched == 0))
        for name in names {
            let expected = touched > 0 && name == names[touched - 1] ? "other" : "content \(name.dropFirst())"
            #expect(try fixture.text(TreePath("d/" + name), second.tree) == expected)
        }
        let third = try await fixture.scan()
        #expect(third.read == 0 && third.unchanged == 300 && third.tree.identity == second.tree.identity)
    }

    /// An index that is written in several pieces, and read again as one.
    @Test func aLargeIndexComesBackWhole() async throws {
        let fixture = try Fixture()
        for index in 0..<3_000 { try fixture.write("d\(index % 7)/\(index)", "\(index)") }
        fixture.settle()
        let first = try await fixture.scan()
        #expect(first.read == 3_000)
        let second = try await fixture.scan()
        #expect(second.read == 0 && second.unchanged == 3_000 && second.tree == first.tree)
        for index in 0..<3_000 { utimensat(AT_FDCWD, fixture.root + "/d\(index % 7)/\(index)", nil, 0) }
        fixture.settle()
        let third = try await fixture.scan()
        #expect(third.read == 3_000 && third.tree.identity == first.tree.identity)
        let fourth = try await fixture.scan()
        #expect(fourth.read == 0 && fourth.unchanged == 3_000 && fourth.tree == third.tree)
    }

    /// Directories, links and new files say nothing about the files that follow them.
    @Test func otherEntriesInARowChangeNothing() async throws {
        let fixture = try Fixture()
        for index in 0..<200 {
            try fixture.write("f\(index)", "\(index)")
            try fixture.write("d\(index)/f", "\(index)")
            try fixture.link("f\(index)", "l\(index)")
        }
        fixture.settle()
        _ = try await fixture.scan()
        for index in 0..<200 { try fixture.write("n\(index)", "\(index)") }
        fixture.settle()
        let scan = try await fixture.scan()
        #expect(scan.read == 200 && scan.unchanged == 400)
    }

    /// Around the size up to which files are read in batches.
    @Test func filesOfAllSizesAreReadWhole() async throws {
        let fixture = try Fixture()
        let sizes = [0, 1, 4095, 4096, 16382, 16383, 16384, 16385, 40000, 262143, 262144, 262145, 2, 3]
        for size in sizes { try fixture.write("f\(size)", String(repeating: "x", count: size)) }
        fixture.settle()
        for _ in 0..<2 {
            let scan = try await fixture.scan()
            #expect(scan.read == sizes.count)
            for size in sizes { #expect(try fixture.text(TreePath("f\(size)"), scan.tree)?.utf8.count == size) }
            for size in sizes { utimensat(AT_FDCWD, fixture.root + "/f\(size)", nil, 0) }
            fixture.settle()
        }
    }

    @Test func contentThatTheStoreLostIsReadAgain() async throws {
        let fixture = try Fixture()
        for index in 0..<20 { try fixture.write("f\(index)", "\(index)") }
        fixture.settle()
        let first = try await fixture.scan()
        let other = try Store(path: fixture.base + "/other")
        let scan = try await ContextScanner(store: other, pool: fixture.pool).scan(
            ContextRequest(path: fixture.root, indexPath: fixture.index))
        #expect(scan.read == 20)
        #expect(scan.tree == first.tree)
        #expect(try other.read(Digest.of("7")) == Array("7".utf8))
    }

    @Test func damagedIndexCountsAsNone() async throws {
        let fixture = try Fixture()
        for index in 0..<10 { try fixture.write("f\(index)", "\(index)") }
        fixture.settle()
        let first = try await fixture.scan()
        let good = try readFile(fixture.index)
        var random = SeededGenerator(seed: 7)
        for _ in 0..<200 {
            var bad = good
            switch Int.random(in: 0..<3, using: &random) {
            case 0: bad.removeLast(Int.random(in: 1...bad.count, using: &random))
            case 1:
                bad[Int.random(in: 0..<bad.count, using: &random)] ^= UInt8(1 << Int.random(in: 0..<8, using: &random))
            default: bad += [0]
            }
            try writeFile(fixture.index, bad)
            let scan = try await fixture.scan()
            #expect(scan.read == 10)
            #expect(scan.tree == first.tree)
        }
        try writeFile(fixture.index, good)
        #expect(try await fixture.scan().read == 0)
    }

    @Test func narrowScansShareTheIndex() async throws {
        let fixture = try Fixture()
        for index in 0..<10 { try fixture.write("a/f\(index)", "a\(index)") }
        for index in 0..<10 { try fixture.write("b/f\(index)", "b\(index)") }
        fixture.settle()
        #expect(try await fixture.scan(patterns: ["a"]).read == 10)
        #expect(try await fixture.scan(patterns: ["b"]).read == 10)
        #expect(try await fixture.scan().read == 0)
    }

    @Test func twoScansAtOnce() async throws {
        let fixture = try Fixture()
        for index in 0..<3000 { try fixture.write("d\(index % 40)/f\(index)", "\(index)") }
        fixture.settle()
        let trees = try await withThrowingTaskGroup(of: TreeRef.self) { group in
            for _ in 0..<6 { group.addTask { try await fixture.scan().tree } }
            return try await group.reduce(into: Set<TreeRef>()) { $0.insert($1) }
        }
        #expect(trees.count == 1)
        #expect(try await fixture.scan().read == 0)
    }

    @Test func smallChangesAreAppendedAndManyWrittenAnew() async throws {
        let fixture = try Fixture()
        for index in 0..<400 { try fixture.write("d\(index % 20)/f\(index)", "\(index)") }
        fixture.settle()
        _ = try await fixture.scan()
        let base = try readFile(fixture.index).count
        var sizes = [base]
        for round in 0..<40 {
            try fixture.write("d\(round % 20)/f\(round % 20)", "round \(round)")
            fixture.settle()
            #expect(try await fixture.scan().read == 1)
            // What was written is what the next scan goes by.
            #expect(try await fixture.scan().read == 0)
            sizes.append(try readFile(fixture.index).count)
        }
        #expect(sizes[1] > base)
        #expect(zip(sizes, sizes.dropFirst()).contains { $0 > $1 }, "it is written anew at times")
        #expect(try #require(sizes.max()) < 3 * base)
    }

    @Test func indexThatIsRemovedMeanwhileIsMadeAgain() async throws {
        let fixture = try Fixture()
        for index in 0..<40 { try fixture.write("d\(index % 20)/f\(index)", "\(index)") }
        fixture.settle()
        _ = try await fixture.scan()
        try fixture.write("d0/f0", "other")
        fixture.settle()
        unlink(fixture.index)
        #expect(try await fixture.scan().read == 40)
        #expect(try await fixture.scan().read == 0)
    }

    @Test func indexThatCannotBeWrittenIsToldNotFatal() async throws {
        let fixture = try Fixture()
        try fixture.write("f", "1")
        let scan = try await ContextScanner(store: fixture.store, pool: fixture.pool).scan(
            ContextRequest(path: fixture.root, indexPath: fixture.base + "/no/such/index"))
        guard case .indexNotWritten? = scan.events.first else {
            Issue.record("\(scan.events)")
            return
        }
        #expect(scan.files == 1)
    }
}

@Suite("Contexts that change during the scan", .serialized)
struct ChangingContextTests {
    /// Runs `disturb` on a thread of its own while scans go on.
    private func whileDisturbed(
        _ fixture: Fixture, scans: Int, _ disturb: @escaping @Sendable (Int) -> Void,
        _ check: (Result<ContextScan, ContextError>) throws -> Void
    ) async throws {
        let task = Task {
            await fixture.pool.run {
                var round = 0
                while !Task.isCancelled {
                    disturb(round)
                    round += 1
                }
            }
        }
        defer { task.cancel() }
        for _ in 0..<scans {
            let result: Result<ContextScan, ContextError>
            do throws(ContextError) {
                result = .success(
                    try await ContextScanner(store: fixture.store, pool: fixture.pool).scan(
                        ContextRequest(path: fixture.root, indexPath: fixture.index)))
            } catch { result = .failure(error) }
            try check(result)
        }
        task.cancel()
        await task.value
    }

    @Test func vanishingFiles() async throws {
        let fixture = try Fixture()
        for index in 0..<50 { try fixture.write("stay\(index)", "s") }
        let root = fixture.root
        try await whileDisturbed(
            fixture, scans: 60,
            { round in
                let path = "\(root)/go\(round % 20)"
                if round / 20 % 2 == 0 { close(open(path, O_WRONLY | O_CREAT, 0o644)) } else { unlink(path) }
            },
            { result throws in
                let scan = try result.get()
                #expect(try fixture.listing(scan.tree).filter { $0.hasPrefix("stay") }.count == 50)
            })
    }

    @Test func fileThatTurnsIntoADirectoryOrALink() async throws {
        let fixture = try Fixture()
        try fixture.write("stay", "s")
        let path = fixture.root + "/f"
        try await whileDisturbed(
            fixture, scans: 150,
            { round in
                switch round % 4 {
                case 0: close(open(path, O_WRONLY | O_CREAT, 0o644))
                case 1: unlink(path); symlink("/etc/passwd", path)
                case 2: unlink(path); mkdir(path, 0o755)
                default: rmdir(path)
                }
            },
            { result throws in
                switch result {
                case .success(let scan):
                    #expect(try fixture.text("stay", scan.tree) == "s")
                    #expect(scan.bytes == 1, "nothing from outside came in")
                case .failure(.unstable(let path)): #expect(path == "f")
                case .failure(let error): Issue.record("\(error)")
                }
            })
    }

    @Test func growingAndShrinkingFile() async throws {
        let fixture = try Fixture()
        let path = fixture.root + "/f"
        close(open(path, O_WRONLY | O_CREAT, 0o644))
        try await whileDisturbed(
            fixture, scans: 60,
            { round in
                truncate(path, off_t([0, 10, 100_000, 400_000][round % 4]))
            },
            { result throws in
                switch result {
                case .success(let scan):
                    // Whatever state was caught, it is one that existed.
                    let size = try #require(try fixture.text("f", scan.tree)).utf8.count
                    #expect([0, 10, 100_000, 400_000].contains(size))
                    #expect(scan.bytes == UInt64(size))
                case .failure(.unstable(let path)): #expect(path == "f")
                case .failure(let error): Issue.record("\(error)")
                }
            })
    }

    @Test func unreadableNamesWhatAndWhy() async throws {
        let error = ContextError.unreadable(path: "secret/key", SystemError("open", "key", errno: EACCES))
        #expect(error.description.contains("secret/key: Permission denied"))
        #expect(error.description.contains(".dockerignore"))
    }

    @Test func cancelledScanSaysSo() async throws {
        let fixture = try Fixture()
        for index in 0..<3000 { try fixture.write("f\(index)", "\(index)") }
        let task = Task { try await fixture.scan() }
        task.cancel()
        await #expect(throws: ContextError.cancelled) { try await task.value }
    }
}
