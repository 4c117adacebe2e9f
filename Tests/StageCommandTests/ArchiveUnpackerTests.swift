// What `ADD` unpacks with does what StageConformance asks for; and what does not is found out.

import StageConformance
import StageEngine
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageRun

@Suite struct ArchiveUnpackerTests {
    private static func withStore(_ body: (Store) async throws -> Void) async throws {
        let path = "/tmp/stage-unpacker-\(UInt64.random(in: 0 ... .max))"
        defer { try? removeTree(path) }
        try await body(try Store(path: path))
    }

    @Test(arguments: ArchiveUnpackerRequirements.all) func archives(
        _ requirement: Requirement<ArchiveUnpackerSubject>
    ) async throws {
        try await Self.withStore { store in
            try await requirement.check {
                ArchiveUnpackerSubject(unpacker: LayerArchives(store: store), store: store)
            }
        }
    }

    /// Unpacks onto nothing.
    private struct Replacing: ArchiveUnpacker {
        let archives: LayerArchives

        func unpack(_ digest: Digest, onto base: TreeRef, _ unpacking: Unpacking) throws(StoreError) -> TreeRef? {
            let empty = try archives.store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
            return try archives.unpack(digest, onto: empty, unpacking)
        }
    }

    @Test func anUnpackerThatReplacesIsFoundOut() async throws {
        try await Self.withStore { store in
            var failed: [String] = []
            for requirement in ArchiveUnpackerRequirements.all {
                do {
                    try await requirement.check {
                        ArchiveUnpackerSubject(
                            unpacker: Replacing(archives: LayerArchives(store: store)), store: store)
                    }
                } catch { failed.append(requirement.name) }
            }
            #expect(failed.contains("what was there stays, but for what the archive names"))
            #expect(!failed.contains("what an archive holds is in the tree"))
        }
    }
}
