// Both stores do what StageConformance asks of every store; and a store that does not is found out.

import StageConformance
import StageHash
import StageStore
import StageSystem
import Testing

@Suite struct ConformanceTests {
    @Test(arguments: ContentStoreRequirements.all) func contents(_ requirement: Requirement<any ContentSink>)
        async throws
    {
        let scratch = try Scratch()
        try await requirement.check { MemoryStore() }
        try await requirement.check { try Store(path: scratch.store) }
    }

    @Test(arguments: TreeStoreRequirements.all) func trees(_ requirement: Requirement<any TreeStore>) async throws {
        let scratch = try Scratch()
        try await requirement.check { MemoryStore() }
        try await requirement.check { try Store(path: scratch.store) }
    }

    @Test(arguments: TableStoreRequirements.all) func tables(_ requirement: Requirement<any TableStore>) async throws {
        let scratch = try Scratch()
        try await requirement.check { MemoryStore() }
        try await requirement.check { try Store(path: scratch.store) }
    }

    /// Loses the last byte of what is longer than a block.
    private struct ForgetfulStore: ContentSink {
        let store = MemoryStore()

        func size(of digest: Digest) throws(StoreError) -> UInt64? { try store.size(of: digest) }

        func withContent(
            _ digest: Digest, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
        ) throws(StoreError) {
            try store.withContent(digest) { piece throws(StoreError) in
                try body(UnsafeRawBufferPointer(rebasing: piece.count > 262_144 ? piece.dropLast() : piece[...]))
            }
        }

        func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> Digest { try store.put(bytes) }
        func ingest() throws(StoreError) -> any ContentIngest { try store.ingest() }
    }

    @Test func aStoreThatForgetsIsFoundOut() async {
        var failures: [ConformanceFailure] = []
        for requirement in ContentStoreRequirements.all {
            do { try await requirement.check { ForgetfulStore() } } catch { failures.append(error) }
        }
        #expect(failures.count >= 3)
        #expect(failures.first?.description.contains("262145 bytes") == true, "\(failures)")
    }
}
