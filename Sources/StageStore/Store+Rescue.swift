// What a commit names is whole, though a collection may have given parts of it up since its process found them there.
//
// Every entry of `contents` leads to entries of `contents` alone: whoever finds a directory may rely on all beneath it. A
// collection keeps that, as it gives up all that nothing leads to at once. A process whose lease is older than a collection
// may have found something that was given up since; it can still read it, and when it commits what names it, takes it back
// in the same transaction. Specs/garbage-collection.md.

import StageHash
import StageSystem

extension Store {
    /// What `digest` is stored as, as far as the leases of this store reach.
    func condemned(
        _ digest: Digest, in transaction: borrowing Database.ReadTransaction
    ) throws(StoreError) -> ContentEntry? {
        guard let row = try transaction.value(.condemned, digest.bytes, { CondemnedRow($0) }) ?? nil else { return nil }
        // Given up before our lease began: it may go at any moment.
        guard let oldest = leases.oldest, row.generation > oldest else { return nil }
        return row.entry
    }

    /// Takes back what the batch names and a collection gave up. Does nothing unless one ran since our lease began.
    func rescue(_ batch: Batch, in transaction: borrowing Database.WriteTransaction) throws(StoreError) {
        let now = try Self.generation(in: transaction)
        let since = leases.oldest ?? now
        if now <= since { return }
        guard let reader = linkReader else {
            return try takeBack(since: since, in: transaction)
        }
        var links: [Link] = []
        for digest in batch.directories.union(batch.vouched)
        where try transaction.value(.contents, digest.bytes) != nil {
            links += try self.links(ofDirectory: digest)
        }
        for entry in batch.contents.values { links += try self.links(of: entry) }
        for (key, value) in batch.values {
            guard let value else { continue }
            switch key.table {
            case .records, .images, .builds: links += reader.links(of: key.table, value) ?? []
            case .tags: try checkImage(value, batch, transaction)
            default: break
            }
        }
        try takeBack(links, reader, in: transaction)
    }

    private func takeBack(
        _ links: [Link], _ reader: any LinkReader, in transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        var stack = links
        while let link = stack.popLast() {
            let digest = link.digest
            // A list may be here while it was only kept as a content: what it names is looked at in any case.
            if case .list = link {
                guard let more = reader.links(inList: try read(digest)) else {
                    throw .corrupt("the list \(digest) does not decode")
                }
                stack += more
            }
            if try transaction.value(.contents, digest.bytes) != nil { continue }
            guard let value = try transaction.value(.condemned, digest.bytes),
                let row = value.withUnsafeBytes({ CondemnedRow($0) })
            else { throw .missing(digest) }
            try transaction.put(.contents, digest.bytes, row.entry.encoded())
            try transaction.put(.condemned, digest.bytes, nil)
            stack += try self.links(of: row.entry)
            switch link {
            case .directory: stack += try self.links(ofDirectory: digest)
            case .content, .list: break
            }
        }
    }

    /// Without knowing what values mean: takes back all that was given up since our lease began.
    private func takeBack(
        since generation: UInt64, in transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        var rows: [(digest: Digest, row: CondemnedRow)] = []
        try transaction.visit(.condemned) { key, value throws(StoreError) in
            guard let digest = Digest(bytes: key), let row = CondemnedRow(value), row.generation > generation else {
                return
            }
            rows.append((digest, row))
        }
        for (digest, row) in rows {
            try transaction.putIfAbsent(digest, row.entry)
            try transaction.put(.condemned, digest.bytes, nil)
        }
    }

    /// A name leads to an image that is here, or nothing is committed.
    private func checkImage(
        _ id: [UInt8], _ batch: Batch, _ transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        if let known = batch.values[Key(table: .images, key: id)] {
            if known != nil { return }
        } else if try transaction.value(.images, id) != nil {
            return
        }
        throw .missing(id.withUnsafeBytes { Digest(bytes: $0) } ?? .zero)
    }

    /// What a directory names, by reading it.
    func links(ofDirectory digest: Digest) throws(StoreError) -> [Link] {
        var links: [Link] = []
        let decodes = try read(digest).withUnsafeBytes { raw in
            DirectoryObject.visitLinks(in: raw) {
                links.append(.directory($0))
            } file: {
                links.append(.content($0))
            }
        }
        if !decodes { throw .corrupt("directory \(digest) does not decode") }
        return links
    }

    /// The list and the chunks of a content that has such.
    func links(of entry: ContentEntry) throws(StoreError) -> [Link] {
        guard case .chunked(_, let list) = entry else { return [] }
        var bytes = try read(list)
        return [.content(list)]
            + ChunkList.decode(&bytes).filter { $0.chunk != .zero }.map { .content($0.chunk) }
    }
}
