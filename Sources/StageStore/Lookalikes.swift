// Files whose bytes are those of a directory object. Contents have no kinds: whoever finds a directory object relies on all
// beneath it, and a file with the same bytes, which anybody can copy in, brings nothing along. So such a file is marked until
// the directory itself is put. Specs/store-format.md, "lookalikes".

import StageHash

extension Store {
    /// For each content or directory object, whether it is here, and for a directory, that all beneath it is, too.
    public func vouches(for digests: [Digest]) throws(StoreError) -> [Bool] {
        var held = try sizes(of: digests).map { $0 != nil }
        if try !hasLookalikes() { return held }
        for place in digests.indices where held[place] { held[place] = try !isLookalike(digests[place]) }
        return held
    }

    private func hasLookalikes() throws(StoreError) -> Bool {
        let waits = state.withLock { !$0.waiting.pending.lookalikes.isEmpty || !$0.waiting.inFlight.lookalikes.isEmpty }
        if waits { return true }
        return try database.read { transaction throws(StoreError) in try transaction.count(.lookalikes) > 0 }
    }

    /// Whether a content reads as a directory object and is only known as a file's.
    func isLookalike(_ digest: Digest) throws(StoreError) -> Bool {
        let waiting = state.withLock { state -> Bool? in
            let (pending, inFlight) = (state.waiting.pending, state.waiting.inFlight)
            for batch in [pending, inFlight] {
                if batch.vouched.contains(digest) || batch.directories.contains(digest) { return false }
            }
            return pending.lookalikes.contains(digest) || inFlight.lookalikes.contains(digest) ? true : nil
        }
        if let waiting { return waiting }
        return try database.read { transaction throws(StoreError) in
            if try transaction.count(.lookalikes) == 0 { return false }
            return try transaction.value(.lookalikes, digest.bytes) { _ in true } ?? false
        }
    }

    /// Marks a file's content that is new and reads as a directory object: before it is put, so that whichever commit takes it
    /// knows.
    func noteLookalike(_ bytes: UnsafeRawBufferPointer, _ digest: Digest) throws(StoreError) {
        guard bytes.count >= DirectoryObject.leastSize, bytes[..<4].elementsEqual(DirectoryObject.objectMagic),
            DirectoryObject.visitLinks(in: bytes, directory: { _ in }, file: { _ in }), try entry(of: digest) == nil
        else { return }
        announce(lookalike: digest)
    }

    func announce(lookalike digest: Digest) {
        _ = state.withLock { $0.waiting.pending.lookalikes.insert(digest) }
    }

    /// After a directory was put: it needs no commit's attention when it was here before, unless as a file.
    func settle(directory object: Digest) throws(StoreError) {
        let isNew = state.withLock { state in
            state.waiting.pending.lookalikes.remove(object)
            return state.waiting.pending.contents[object] != nil
        }
        if isNew { return }
        _ = state.withLock { $0.waiting.pending.directories.remove(object) }
        if try isLookalike(object) { _ = state.withLock { $0.waiting.pending.vouched.insert(object) } }
    }

    /// What was put as a directory is none that nobody vouches for.
    static func vouch(for batch: Batch, in transaction: borrowing Database.WriteTransaction) throws(StoreError) {
        if try transaction.count(.lookalikes) == 0 { return }
        for digest in batch.directories.union(batch.vouched) { try transaction.put(.lookalikes, digest.bytes, nil) }
    }
}
