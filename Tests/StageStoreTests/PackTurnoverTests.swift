// Contents that come while a commit runs, across the change from a full pack to the next.

import Foundation
import StageHash
import StageStore
import Synchronization
import Testing

/// Raised once, by one task for another.
private final class Flag: Sendable {
    let raised = Atomic(false)
}

@Suite struct PackTurnoverTests {
    /// Writers and a committer at once, past the size at which a pack is full; a fresh look at the store finds all.
    @Test func nothingIsLostWhenAPackGetsFullDuringACommit() async throws {
        let path = NSTemporaryDirectory() + "stagerun-turnover-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let digests: [Digest]
        do {
            let store = try Store(path: path)
            let done = Flag()
            digests = try await withThrowingTaskGroup(of: [Digest].self) { group in
                group.addTask {
                    while !done.raised.load(ordering: .acquiring) {
                        try store.commit()
                        await Task.yield()
                    }
                    return []
                }
                group.addTask {
                    defer { done.raised.store(true, ordering: .releasing) }
                    var generator = SystemRandomNumberGenerator()
                    return try (0..<160).map { _ in
                        let words = (0..<(1 << 17)).map { _ in generator.next() as UInt64 }
                        return try words.withUnsafeBytes { try store.put($0) }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            try store.commit()
        }
        #expect(digests.count == 160)
        let reopened = try Store(path: path)
        for digest in digests {
            var hasher = DigestHasher()
            try reopened.withContent(digest) { hasher.update($0) }
            #expect(hasher.finalize() == digest)
        }
    }
}

@Suite struct StoreIdentityTests {
    /// The embedded database must not be opened twice in one process, whatever the directory is called.
    @Test func oneDirectoryByManyNamesIsOneStore() throws {
        let path = NSTemporaryDirectory() + "stagerun-names-\(UUID().uuidString)"
        defer {
            try? FileManager.default.removeItem(atPath: path)
            try? FileManager.default.removeItem(atPath: path + ".link")
        }
        let store = try Store(path: path)
        try FileManager.default.createSymbolicLink(atPath: path + ".link", withDestinationPath: path)
        for name in [path + "/", path + ".link", path + "/../" + (path as NSString).lastPathComponent] {
            let other = try Store(path: name)
            other.set(.facts, Array(name.utf8), [1])
            try other.commit()
            #expect(try store.get(.facts, Array(name.utf8)) == [1])
        }
        // Two environments would be two descriptors on its data.
        let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)
            return target?.hasPrefix(path) == true && target?.hasSuffix("data.mdb") == true
        }
        #expect(descriptors.count <= 2)
    }
}
