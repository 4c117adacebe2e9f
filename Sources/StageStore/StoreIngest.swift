// A content that comes in pieces. A small one is put whole; a larger one is cut into chunks, whose blocks wait in memory
// while they are few and go to packs of their own beyond that. Until `finish()` nobody else knows of any of it.
//
// There are two windows: while one is filled, cut and hashed, the chunks of the other are looked up, compressed and written.

import Glibc
import StageHash
import StageSystem

/// A class, so that letting go of one that was not finished removes the packs it began.
final class StoreIngest: ContentIngest {
    private let store: Store
    private var size: UInt64 = 0
    /// What is not cut yet is in the first; the other has what is being named.
    private var window = StoreIngest.makeWindow()
    private var other = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var filled = 0
    /// How much at the start of the window was in the one before, and is hashed already.
    private var carried = 0
    /// What the other window was cut into.
    private var pieces: [ChunkWriter.Piece] = []
    private let naming = ContentNaming()
    private var chunks: ChunkWriter
    /// Whether it is a directory object of more than a block.
    private let isDirectory: Bool
    private var beginsAsDirectory = false

    /// Handing a window on costs as much as hashing a few kilobytes of it.
    private static let windowSize = 4 << 20

    private static func makeWindow() -> UnsafeMutableRawBufferPointer {
        .allocate(byteCount: windowSize, alignment: 4096)
    }

    init(store: Store, isDirectory: Bool = false) {
        self.store = store
        self.isDirectory = isDirectory
        chunks = ChunkWriter(store: store)
    }

    deinit {
        _ = naming.names()
        window.deallocate()
        other.deallocate()
        chunks.abandon()
    }

    func update(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, window.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: window[filled...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<count]))
            try advance(count)
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    /// Takes all that can be read from `fd`.
    func update(from fd: CInt, _ subject: String) throws(StoreError) {
        while true {
            let room = UnsafeMutableRawBufferPointer(rebasing: window[filled...])
            let count: Int
            do throws(SystemError) { count = try readFull(fd, room, subject) } catch { throw .system(error) }
            try advance(count)
            if count < room.count { return }
        }
    }

    private func advance(_ count: Int) throws(StoreError) {
        filled += count
        size += UInt64(count)
        if filled == window.count { try cut(isLast: false) }
    }

    /// Takes chunks from the window, as long as what follows cannot move their end.
    private func cut(isLast: Bool) throws(StoreError) {
        if pieces.isEmpty && carried == 0 {
            beginsAsDirectory = window[..<min(filled, 4)].elementsEqual(DirectoryObject.objectMagic)
        }
        var next: [ChunkWriter.Piece] = []
        var start = 0
        while filled - start >= (isLast ? 1 : Chunking.largest) {
            let rest = UnsafeRawBufferPointer(rebasing: window[start..<filled])
            let first = UnsafeRawBufferPointer(rebasing: rest[..<min(rest.count, Chunking.largest)])
            if Block.isZero(first) {
                next.append(.zeros(first.count))
                start += first.count
            } else {
                let length = Chunking.cut(rest)
                next.append(.chunk(UnsafeRawBufferPointer(rebasing: rest[..<length])))
                start += length
            }
        }
        let names = naming.names()
        naming.start(
            UnsafeRawBufferPointer(rebasing: window[carried..<filled]), chunks: ChunkWriter.chunks(in: next),
            beside: !isLast)
        let last = pieces
        pieces = next
        try chunks.append(last, names: names)
        if isLast { try chunks.append(next, names: naming.names()) } else { turn(start) }
    }

    /// Goes on in the other window with what is not cut yet.
    private func turn(_ start: Int) {
        if other.baseAddress == nil { other = Self.makeWindow() }
        carried = filled - start
        other.copyMemory(from: UnsafeRawBufferPointer(rebasing: window[start..<filled]))
        swap(&window, &other)
        filled = carried
    }

    func finish() throws(StoreError) -> (digest: Digest, size: UInt64) {
        if size <= Block.size {
            let bytes = UnsafeRawBufferPointer(rebasing: window[..<filled])
            let digest = Digest.of(bytes)
            try store.noteLookalike(bytes, digest)
            try store.put(bytes, named: digest)
            return (digest, size)
        }
        try cut(isLast: true)
        let digest = naming.finish()
        if isDirectory { store.announce(directory: digest) }
        if try store.entry(of: digest) == nil {
            if !isDirectory && beginsAsDirectory { store.announce(lookalike: digest) }
            try chunks.publish(as: digest, size: size)
        }
        return (digest, size)
    }
}
