// The index against the truth: a context that changes at random, scanned with the index and without it.

import CLinux
import Glibc
import StageConformance
import StageContext
import StageStore
import StageSystem
import Testing

@Suite("Stat index against scans without one")
struct IndexModelTests {
    private struct Change {
        let fixture: Fixture
        var random: SeededGenerator
        var paths: [String] = []

        /// A directory of the context, relative.
        private mutating func directory() -> String {
            let depth = Int.random(in: 0...3, using: &random)
            return (0..<depth).map { _ in "d\(Int.random(in: 0..<3, using: &random))/" }.joined()
        }

        mutating func apply() throws {
            let path = directory() + "f\(Int.random(in: 0..<12, using: &random))"
            let absolute = fixture.root + "/" + path
            switch Int.random(in: 0..<12, using: &random) {
            case 0...4:
                unlink(absolute)
                try? fixture.write(path, "\(Int.random(in: 0..<40, using: &random))")
            case 5: unlink(absolute)
            case 6:
                let time = timespec(tv_sec: Int.random(in: 1000..<1010, using: &random), tv_nsec: 5)
                var times = [time, time]
                utimensat(AT_FDCWD, absolute, &times, AT_SYMLINK_NOFOLLOW)
            case 7: chmod(absolute, mode_t(Int.random(in: 0..<2, using: &random) == 0 ? 0o644 : 0o600))
            case 8:
                unlink(absolute)
                symlink("f\(Int.random(in: 0..<12, using: &random))", absolute)
            case 9:
                rename(
                    fixture.root + "/d\(Int.random(in: 0..<3, using: &random))",
                    fixture.root + "/" + directory() + "moved")
            case 10: try? removeTree(fixture.root + "/" + directory() + "d\(Int.random(in: 0..<3, using: &random))")
            default:
                unlink(absolute)
                mkfifo(absolute, 0o644)
            }
        }
    }

    @Test(arguments: 0..<12)
    func indexedScanGivesTheSameTree(seed: Int) async throws {
        let fixture = try Fixture()
        var change = Change(fixture: fixture, random: SeededGenerator(seed: UInt64(seed)))
        for _ in 0..<60 { try change.apply() }
        for round in 0..<25 {
            for _ in 0..<Int.random(in: 0..<4, using: &change.random) { try change.apply() }
            // Every other round is within the clock's grain of the changes.
            if round % 2 == 0 { fixture.settle() }
            let ignore = ["", "d1", "**/f1*\n!d0/f11", "*\n!d2"].randomElement(using: &change.random) ?? ""
            let patterns: [String]? =
                [nil, nil, ["d0", "f1"], ["d*/f?"], ["f0", "f1", "f2"]].randomElement(
                    using: &change.random) ?? nil
            let indexed = try await fixture.scan(ignore, patterns: patterns)
            let plain = try await fixture.scan(ignore, patterns: patterns, indexed: false)
            #expect(indexed.tree == plain.tree, "seed \(seed), round \(round)")
            #expect(indexed.files == plain.files && indexed.bytes == plain.bytes)
            #expect(indexed.directories == plain.directories)
            #expect(indexed.read + indexed.unchanged == plain.read)
            let named = try await ContextScanner(sink: ContextNames(), pool: fixture.pool).scan(
                ContextRequest(
                    path: fixture.root,
                    rules: ignore.isEmpty ? .none : try IgnoreRules(text: Array(ignore.utf8), file: ".dockerignore"),
                    patterns: patterns))
            #expect(named.tree == plain.tree)
            if round % 5 == 4 { try fixture.store.commit() }
        }
    }

    @Test func unchangedDirectoriesAreTakenOverWhole() async throws {
        let fixture = try Fixture()
        for index in 0..<40 { try fixture.write("d\(index % 4)/f\(index)", "\(index)") }
        try fixture.link("f0", "d0/link")
        fixture.settle()
        let first = try await fixture.scan()
        try fixture.write("d3/new", "n")
        fixture.settle()
        let second = try await fixture.scan()
        #expect(second.read == 1 && second.unchanged == 40)
        #expect(try fixture.text("d3/new", second.tree) == "n")
        #expect(try fixture.listing(second.tree).count == fixture.listing(first.tree).count + 1)
    }

    @Test func partOfTheStoreLost() async throws {
        let fixture = try Fixture()
        for index in 0..<30 { try fixture.write("d\(index % 3)/f\(index)", "\(index)") }
        fixture.settle()
        let first = try await fixture.scan()
        // Another store has one of the subdirectories with all its files, and not the others.
        let other = try Store(path: fixture.base + "/other")
        let scanner = ContextScanner(store: other, pool: fixture.pool)
        _ = try await scanner.scan(ContextRequest(path: fixture.root, patterns: ["d1"]))
        let scan = try await scanner.scan(ContextRequest(path: fixture.root, indexPath: fixture.index))
        #expect(scan.tree == first.tree)
        #expect(scan.read == 20 && scan.unchanged == 10)
        for index in 0..<30 { #expect(try other.read(.of("\(index)")) == Array("\(index)".utf8)) }
    }
}
