// The memory of directories: bounded, and of use to whoever goes through one tree again and again.

import StageHash
import StageSystem
import Testing

@testable import StageStore

@Suite struct DirectoryCacheTests {
    private func directory(_ entries: Int) -> DirectoryObject {
        let node = Node(attributes: Attributes(mode: 0o644), content: .file(.zero, size: 1))
        let items = (0..<entries).map { DirectoryObject.Item(name: FileName("file-\($0)"), entry: .node(node)) }
        return DirectoryObject(attributes: Attributes(mode: 0o755), items: items)
    }

    private func name(_ number: Int) -> Digest { Digest.of("directory \(number)") }

    /// The directories and entries of those among the first `count` that are there.
    private func held(_ cache: DirectoryCache, _ count: Int) -> Int {
        (0..<count).reduce(0) { $0 + (cache[name($1)].map { $0.items.count + 1 } ?? 0) }
    }

    @Test func aTreeThatHasRoomIsThereWhenItIsGoneThroughAgain() {
        let cache = DirectoryCache()
        let directory = directory(199)
        for number in 0..<500 { cache.add(directory, name(number)) }
        for round in 1...4 {
            for number in 0..<500 { #expect(cache[name(number)] != nil, "directory \(number) in round \(round)") }
        }
    }

    @Test func whatIsHeldIsBounded() {
        let cache = DirectoryCache()
        let directory = directory(99)
        for number in 0..<5000 { cache.add(directory, name(number)) }
        #expect(cache[name(4999)] != nil)
        #expect(cache[name(0)] == nil)
        let held = held(cache, 5000)
        #expect(held > 60_000 && held <= 120_000, "\(held) entries")
    }

    @Test func whatIsAskedForStays() {
        let cache = DirectoryCache()
        let directory = directory(99)
        cache.add(directory, name(-1))
        for number in 0..<5000 {
            cache.add(directory, name(number))
            if number % 100 == 0 { #expect(cache[name(-1)] != nil, "after \(number)") }
        }
        #expect(cache[name(-1)] != nil)
        cache.removeAll()
        #expect(cache[name(-1)] == nil)
    }

    @Test func oneThatWouldPushOutAllOthersIsNotKept() {
        let cache = DirectoryCache()
        cache.add(directory(99), name(0))
        cache.add(directory(40_000), name(1))
        #expect(cache[name(0)] != nil)
        #expect(cache[name(1)] == nil)
    }

    @Test func smallOnesAndLargeOnesTogether() {
        let cache = DirectoryCache()
        let (small, large) = (directory(0), directory(20_000))
        for number in 0..<200 {
            cache.add(large, name(number))
            for other in 0..<50 { cache.add(small, name(1000 + number * 50 + other)) }
            #expect(cache[name(number)] != nil)
        }
        #expect(held(cache, 200) <= 120_000)
    }
}
