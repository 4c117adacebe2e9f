// The chunks of one large content on their way into packs: kept once, published together.

import StageHash
import StageSystem

/// Owned by one ingest, which publishes or abandons it.
struct ChunkWriter {
    /// What a window of an ingest is cut into.
    enum Piece {
        case zeros(Int)
        case chunk(UnsafeRawBufferPointer)
    }

    /// Blocks up to this size wait in memory for the shared pack; more go to packs of this content's own, so that a
    /// content that does not come to its end can be taken back.
    static let sharedLimit = 4 << 20
    /// A pack of one content ends here: each is open until it is committed, and a process has few descriptors.
    private static let packLimit: UInt64 = 1 << 30
    private static let spillSize = 1 << 20
    /// What is written beyond this goes past the page cache: copying there costs as much as hashing, and it would push out
    /// what is needed sooner.
    private static let directFrom: UInt64 = 128 << 20
    private static let page = 4096

    private let store: Store
    private var list = ChunkList()
    /// New chunks by name: where they are in packs of this content's own, or in `blocks` (pack 0).
    private var places: [Digest: Location] = [:]
    private var blocks = ChunkWriter.makeRoom()
    private var filled = 0
    /// Bytes at the start of `blocks` that were in them before: pages are written whole, up to the end of a pack.
    private var carried = 0
    /// What packs of this content's own have of it.
    private var written: UInt64 = 0
    /// What was in `blocks` before, while it is written.
    private var other = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private let writing = BlockWriting()
    /// Names of the chunks in `blocks`.
    private var waiting: [Digest] = []
    private var packs: [PackWriter] = []

    private static func makeRoom() -> UnsafeMutableRawBufferPointer {
        .allocate(byteCount: sharedLimit, alignment: 4096)
    }

    init(store: Store) { self.store = store }

    /// Lets go of everything that is not published.
    func abandon() {
        _ = try? writing.wait()
        blocks.deallocate()
        other.deallocate()
        for pack in packs { store.dropPack(pack) }
    }

    // MARK: Taking chunks

    /// The chunks among the pieces: what has to be named.
    static func chunks(in pieces: [Piece]) -> [UnsafeRawBufferPointer] {
        pieces.compactMap { piece in
            if case .chunk(let bytes) = piece { bytes } else { nil }
        }
    }

    /// Adds pieces, which are valid during the call, with the names of the chunks among them.
    mutating func append(_ pieces: [Piece], names: [Digest]) throws(StoreError) {
        let known = try store.sizes(of: names)
        var next = 0
        for piece in pieces {
            switch piece {
            case .zeros(let count):
                list.append(zeros: count)
            case .chunk(let bytes):
                list.append(chunk: names[next], length: bytes.count)
                if known[next] == nil && places[names[next]] == nil { try keep(bytes, named: names[next]) }
                next += 1
            }
        }
    }

    private mutating func keep(_ bytes: UnsafeRawBufferPointer, named name: Digest) throws(StoreError) {
        let needed = Block.header + bytes.count
        let isEnough = !packs.isEmpty && !isDirect && filled >= Self.spillSize
        if isEnough || filled + needed > blocks.count { try spill(isLast: false) }
        let length = Block.write(bytes, to: UnsafeMutableRawBufferPointer(rebasing: blocks[filled...]))
        places[name] = Location(pack: 0, offset: UInt64(filled), stored: UInt64(length), raw: UInt64(bytes.count))
        waiting.append(name)
        filled += length
    }

    private var isDirect: Bool { written >= Self.directFrom }

    /// Moves the blocks from memory to a pack of this content's own, where they are after the next `writing.wait()`.
    private mutating func spill(isLast: Bool) throws(StoreError) {
        if filled == 0 { return }
        if packs.last.map({ $0.end >= Self.packLimit }) ?? true { packs.append(try store.createPack()) }
        let last = packs.count - 1
        try writing.wait()
        let start = packs[last].reserve(filled - carried) - UInt64(carried)
        let endsPack = isLast || packs[last].end >= Self.packLimit
        let count = endsPack ? filled : filled / Self.page * Self.page
        let rest = UnsafeRawBufferPointer(rebasing: blocks[count..<filled])
        writing.start(
            UnsafeRawBufferPointer(rebasing: blocks[..<count]), to: packs[last], at: start,
            isDirect: isDirect && !endsPack)
        written += UInt64(count)
        settle(pack: packs[last].id, start: start)
        if other.baseAddress == nil { other = Self.makeRoom() }
        other.copyMemory(from: rest)
        (carried, filled) = (rest.count, rest.count)
        swap(&blocks, &other)
    }

    private mutating func settle(pack: UInt64, start: UInt64) {
        for name in waiting {
            places[name]?.pack = pack
            places[name]?.offset += start
        }
        waiting.removeAll(keepingCapacity: true)
    }

    // MARK: The end

    /// Makes the content and its chunks known.
    mutating func publish(as digest: Digest, size: UInt64) throws(StoreError) {
        if !packs.isEmpty { try spill(isLast: true) }
        try writing.wait()
        let list = try store.put(list.encoded())
        let entry = ContentEntry.chunked(size: size, list: list)
        if packs.isEmpty {
            let bytes = UnsafeRawBufferPointer(rebasing: blocks[..<filled])
            var places = places
            try store.withWriter { writer, batch throws(StoreError) in
                let start = try writer.append(bytes)
                for name in places.keys {
                    places[name]?.pack = writer.id
                    places[name]?.offset += start
                }
                batch.add(places, digest, entry)
            }
        } else if store.publish(packs, places, digest, entry) {
            packs = []
            try store.commitManyPacks()
        }
    }
}
