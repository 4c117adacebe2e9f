// How what was put becomes durable and visible to others: packs first, then one index transaction.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

extension Store {
    /// True unless all that was put is durable. What another thread is just committing is not yet: `commit()` waits for it.
    public var needsCommit: Bool {
        state.withLock { !$0.waiting.pending.isEmpty || !$0.waiting.inFlight.isEmpty }
    }

    /// Makes all that was put so far durable and visible to other processes. On an error what was committed before stays
    /// as it is, and the next commit tries again; but not after a failed sync, since the kernel does not say what it
    /// has lost: then every commit of this value fails. A store that is opened anew goes on from the last commit.
    public func commit() throws(StoreError) { try commit(values: true) }

    /// Commits the contents when their packs take up too many descriptors. Contents alone name nothing, so having them
    /// early shows nothing half-done.
    func commitManyPacks() throws(StoreError) {
        if state.withLock({ $0.complete.count }) >= Self.openPacks { try commit(values: false) }
    }

    /// So many new contents may have changed every page of the index: each is written anew, and what it was before is free.
    private static let manyContents = 1000

    private struct PackEnd {
        let id: UInt64
        let end: UInt64
        let file: SharedFile

        init(_ writer: PackWriter) { (id, end, file) = (writer.id, writer.end, writer.file) }
    }

    private func commit(values: Bool) throws(StoreError) {
        try committing.withLock { _ throws(StoreError) in
            var batch = Batch()
            var packEnds: [PackEnd] = []
            var refused: Key?
            var finished: [WorkLease] = []
            try withState { state throws(StoreError) in
                if var writer = state.writer.take() {
                    defer { state.writer = writer }
                    try writer.flush()
                    packEnds.append(PackEnd(writer))
                }
                packEnds += state.complete.map(PackEnd.init)
                refused = Self.takeBatch(from: &state, values: values)
                batch = state.waiting.inFlight
                if values { swap(&finished, &state.finished) }
            }
            if !batch.isEmpty {
                do throws(StoreError) {
                    if let failure = state.withLock({ $0.syncFailure }) { throw failure }
                    try publish(batch, packEnds)
                } catch {
                    state.withLock { state in
                        Self.takeBack(&state)
                        state.finished += finished
                    }
                    throw error
                }
                state.withLock { Self.retire(packEnds, &$0) }
            }
            withExtendedLifetime(finished) {}
            if let refused {
                throw .database(
                    operation: "write \(refused.table.rawValue)",
                    reason: "a key of \(refused.key.count) bytes, where 1 to 511 can be kept: it is left out")
            }
        }
    }

    /// Moves what waits into flight. Gives a key that LMDB would refuse, which would hold all the others back for ever.
    private static func takeBatch(from state: inout State, values: Bool) -> Key? {
        state.waiting.inFlight.contents = state.waiting.pending.contents
        state.waiting.pending.contents = [:]
        state.waiting.inFlight.directories = state.waiting.pending.directories
        state.waiting.inFlight.lookalikes = state.waiting.pending.lookalikes
        swap(&state.waiting.inFlight.vouched, &state.waiting.pending.vouched)
        // What is being put at this moment is for the next commit to look at.
        let taken = state.waiting.inFlight.contents
        state.waiting.pending.directories = state.waiting.pending.directories.filter { taken[$0] == nil }
        state.waiting.pending.lookalikes = state.waiting.pending.lookalikes.filter { taken[$0] == nil }
        if !values { return nil }
        let refused = state.waiting.pending.values.keys.first { !keySizes.contains($0.key.count) }
        state.waiting.inFlight.values =
            refused == nil
            ? state.waiting.pending.values : state.waiting.pending.values.filter { keySizes.contains($0.key.key.count) }
        state.waiting.pending.values = [:]
        return refused
    }

    /// After a failure: all waits again, and what was set since then counts.
    private static func takeBack(_ state: inout State) {
        state.waiting.pending.contents.merge(state.waiting.inFlight.contents) { new, _ in new }
        state.waiting.pending.values.merge(state.waiting.inFlight.values) { new, _ in new }
        state.waiting.pending.directories.formUnion(state.waiting.inFlight.directories)
        state.waiting.pending.lookalikes.formUnion(state.waiting.inFlight.lookalikes)
        state.waiting.pending.vouched.formUnion(state.waiting.inFlight.vouched)
        state.waiting.inFlight = Batch()
    }

    /// Lets go of the packs that are durable to their end.
    private static func retire(_ packEnds: [PackEnd], _ state: inout State) {
        state.waiting.inFlight = Batch()
        state.complete.removeAll { writer in packEnds.contains { $0.id == writer.id } }
        // A writer that went on meanwhile holds bytes that no commit has seen.
        if let writer = state.writer, writer.end >= PackWriter.fullSize,
            packEnds.contains(where: { $0.id == writer.id && $0.end == writer.end })
        {
            state.writer = nil
        }
    }

    /// The order in which names, which come sorted, go into the index, such that its pages are filled to three quarters.
    ///
    /// LMDB halves a page that is full, unless the key comes at the very end. Names in ascending order would thus fill the
    /// pages of an empty index to the brim, and the next contents, whose names fall anywhere, would halve nearly each of them:
    /// the index of a store doubled with its second image. In descending order they leave each page half full, and the third
    /// of them that comes after that has room there.
    static func looselyFilling<Name>(_ sorted: [Name]) -> [Name] {
        guard sorted.count >= manyContents else { return sorted }
        var order: [Name] = []
        order.reserveCapacity(sorted.count)
        for place in sorted.indices.reversed() where place % 3 != 1 { order.append(sorted[place]) }
        for place in stride(from: 1, to: sorted.count, by: 3) { order.append(sorted[place]) }
        return order
    }

    /// Where the names of `contents` are, in the order of the names. The first word of a name nearly always decides.
    private static func ordered(_ contents: [(key: Digest, value: ContentEntry)]) -> [Int] {
        contents.indices.map { (word: contents[$0].key.leadingWord, place: $0) }.sorted { first, second in
            first.word == second.word
                ? contents[first.place].key < contents[second.place].key : first.word < second.word
        }.map(\.place)
    }

    private func publish(_ batch: Batch, _ packEnds: [PackEnd]) throws(StoreError) {
        if !batch.contents.isEmpty {
            do throws(SystemError) {
                for pack in packEnds {
                    try retrying("fdatasync", PackWriter.name(pack.id)) { fdatasync(pack.file.fd.raw) }
                }
                try retrying("fsync", "packs") { fsync(packs.fd.raw) }
            } catch {
                // The kernel forgets what it could not write: another sync would succeed, and the bytes be lost.
                state.withLock { $0.syncFailure = .system(error) }
                throw .system(error)
            }
        }
        let contents = Array(batch.contents)
        try database.write { transaction throws(StoreError) in
            for place in Self.looselyFilling(Self.ordered(contents)) {
                let (digest, entry) = contents[place]
                let isNew = try transaction.putIfAbsent(digest, entry)
                if isNew && batch.lookalikes.contains(digest) { try transaction.put(.lookalikes, digest.bytes, []) }
            }
            try Self.vouch(for: batch, in: transaction)
            for pack in packEnds where !batch.contents.isEmpty {
                var end = ByteWriter()
                end.u64(pack.end)
                try transaction.put(.facts, PackWriter.factKey(pack.id), end.bytes)
            }
            for (key, value) in batch.values { try transaction.put(key.table, key.key, value) }
            try self.rescue(batch, in: transaction)
        }
        // What was to be kept is kept: where this fails, the next commit says why.
        if batch.contents.count >= Self.manyContents { _ = try? giveBackIndexSpace(share: 0.25) }
    }
}
