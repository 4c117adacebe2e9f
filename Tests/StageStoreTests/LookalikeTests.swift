// Files with the bytes of a directory object: files like any other, and no reason to rely on what they name.

import Foundation
import StageHash
import StageSystem
import Testing

@testable import StageStore

private struct NoLinks: LinkReader {
    func links(of table: Table, _ value: [UInt8]) -> [Link]? {
        value.withUnsafeBytes { Digest(bytes: $0) }.map { [table == .records ? .directory($0) : .content($0)] }
    }
    func links(inList bytes: [UInt8]) -> [Link]? { nil }
}

@Suite struct LookalikeTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func open() throws -> Store { try Store(path: scratch.store, links: NoLinks()) }

    /// A directory of files, of which the store has none.
    private func directory(_ files: Int) -> DirectoryObject {
        let items = (0..<files).map { number in
            DirectoryObject.Item(
                name: FileName("file\(100_000 + number)"),
                entry: .node(
                    Node(
                        attributes: Attributes(mode: 0o644),
                        content: .file(Digest.of("\(number)"), size: UInt64("\(number)".utf8.count)))))
        }
        return DirectoryObject(attributes: Attributes(mode: 0o755), items: items)
    }

    private func putFiles(_ store: Store, _ count: Int) throws {
        for number in 0..<count { _ = try store.put(Array("\(number)".utf8)) }
    }

    private func check(_ store: Store) throws -> (damages: Int, directories: [Digest], faults: Int) {
        var census = try store.census(NoLinks())
        var directories: [Digest] = []
        var damages = 0
        for part in census.readingParts(2) {
            let result = store.check(part, of: census)
            damages += result.damages.count
            directories += result.directories
        }
        store.extend(&census, with: directories.map { .directory($0) }, NoLinks())
        return (damages, directories, census.faults.count)
    }

    @Test(arguments: [3, 4000]) func aFileThatReadsAsADirectoryIsAFile(files: Int) throws {
        let store = try open()
        let bytes = directory(files).encoded()
        let name = files > 10 ? try store.put(bytes) : try bytes.withUnsafeBytes { try store.put(together: [$0])[0] }
        #expect(try store.vouches(for: [name]) == [false])
        // By an image that is no record: nothing leads to it as to a directory.
        store.set(.images, Digest.of("image").bytes, name.bytes)
        try store.commit()
        let other = try open()
        #expect(try other.vouches(for: [name, Digest.of("missing")]) == [false, false])
        #expect(try other.read(name) == bytes && other.size(of: name) == UInt64(bytes.count))
        #expect(try check(other) == (0, [], 0))
    }

    @Test(arguments: [3, 4000], [false, true])
    func theDirectoryItselfIsRelied(files: Int, isCommittedBetween: Bool) throws {
        let store = try open()
        let object = directory(files)
        let name = try store.put(object.encoded())
        if isCommittedBetween { try store.commit() }
        try putFiles(store, files)
        #expect(try store.put(object).object == name)
        #expect(try store.vouches(for: [name]) == [true])
        #expect(store.needsCommit)
        try store.commit()
        let other = try open()
        #expect(try other.vouches(for: [name]) == [true])
        // As a file once more: that takes nothing away.
        _ = try other.put(object.encoded())
        try other.commit()
        #expect(try open().vouches(for: [name]) == [true])
        #expect(try check(other) == (0, [name], 0))
    }

    /// A collection between whose census and end such a file came goes on, and the mark goes with the content.
    @Test func aCollectionCopesWithIt() throws {
        let (store, collector) = (try open(), try open())
        collector.rest()
        let lease = try #require(try collector.collectorLease())
        let census = try collector.census(NoLinks())
        let name = try store.put(directory(3).encoded())
        try store.commit()
        store.rest()
        _ = try collector.collect(Removal(), from: census, deadShare: 0.1, under: lease)
        #expect(try open().size(of: name) != nil)
        let after = try collector.census(NoLinks())
        _ = try collector.collect(Removal(), from: after, deadShare: 0.1, under: lease)
        #expect(try open().size(of: name) == nil)
        #expect(try open().all(.lookalikes).isEmpty)
    }
}
