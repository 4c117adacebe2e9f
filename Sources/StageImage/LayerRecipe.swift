// How the exact bytes of a layer's archive are made again: its file contents are in the store anyway, and what lies
// between them (headers, padding, end) is kept beside as contents of their own. Specs/image.md draws the encoding.

import StageHash
import StageStore

/// The parts of an archive, in order.
public struct LayerRecipe: Hashable, Sendable {
    /// Bytes of what lies between files, then a file's content.
    public struct Segment: Hashable, Sendable {
        public let literal: UInt64
        public let file: Digest
        public let size: UInt64
    }
    /// A content with a part of what lies between the files.
    public struct Chunk: Hashable, Sendable {
        public let digest: Digest
        public let size: UInt32
    }

    public let diffID: Digest
    /// The length of the archive.
    public let size: UInt64
    public let chunks: [Chunk]
    public let segments: [Segment]
    /// Bytes from the chunks after the last segment.
    public let tail: UInt64

    /// What its encoding begins with.
    public static let magic: [UInt8] = Array("SLR1".utf8)

    /// All contents that the archive is made of: what has to stay in the store for it.
    public var contents: [Digest] { chunks.map(\.digest) + segments.map(\.file) }

    /// Writes the archive; what comes out is compared with `diffID`.
    public func write(from store: any ContentSource, to sink: ByteSink) throws(ImageError) {
        var hasher = DigestHasher()
        var skeleton = SkeletonCursor(chunks: chunks, store: store)
        for segment in segments {
            try skeleton.pass(segment.literal) { piece throws(ImageError) in
                hasher.update(piece)
                try sink(piece)
            }
            var written: UInt64 = 0
            try store.stream(segment.file) { piece throws(ImageError) in
                hasher.update(piece)
                written += UInt64(piece.count)
                try sink(piece)
            }
            guard written == segment.size else {
                throw .sizeMismatch(subject: "content \(segment.file)", expected: segment.size, found: written)
            }
        }
        try skeleton.pass(tail) { piece throws(ImageError) in
            hasher.update(piece)
            try sink(piece)
        }
        let found = hasher.finalize()
        guard found == diffID else { throw .digestMismatch(subject: "a layer", expected: diffID, found: found) }
    }

    /// The bytes that are stored as one content.
    public func encoded() -> [UInt8] {
        var out = ByteWriter()
        out.bytes.reserveCapacity(64 + chunks.count * 36 + segments.count * 48)
        out.raw(Self.magic)
        out.digest(diffID)
        out.u64(size)
        out.u32(UInt32(chunks.count))
        for chunk in chunks {
            out.digest(chunk.digest)
            out.u32(chunk.size)
        }
        out.u32(UInt32(segments.count))
        for segment in segments {
            out.u64(segment.literal)
            out.digest(segment.file)
            out.u64(segment.size)
        }
        out.u64(tail)
        return out.bytes
    }

    /// Reads what `encoded()` gave; nil for anything else, and when the parts do not add up to the size.
    public init?(encoded bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard reader.raw(4) == Self.magic[...], let diffID = reader.digest(), let size = reader.u64(),
            let chunkCount = reader.u32()
        else { return nil }
        var chunks: [Chunk] = []
        var literals: UInt64 = 0
        for _ in 0..<chunkCount {
            guard let digest = reader.digest(), let size = reader.u32() else { return nil }
            chunks.append(Chunk(digest: digest, size: size))
            literals += UInt64(size)
        }
        guard let segmentCount = reader.u32() else { return nil }
        var segments: [Segment] = []
        var used: UInt64 = 0
        var total = literals
        for _ in 0..<segmentCount {
            guard let literal = reader.u64(), let file = reader.digest(), let size = reader.u64() else { return nil }
            segments.append(Segment(literal: literal, file: file, size: size))
            let (sum, over) = total.addingReportingOverflow(size)
            let (taken, tooMany) = used.addingReportingOverflow(literal)
            if over || tooMany { return nil }
            total = sum
            used = taken
        }
        guard let tail = reader.u64(), reader.isAtEnd, tail <= literals, used == literals - tail, total == size
        else { return nil }
        self.init(diffID: diffID, size: size, chunks: chunks, segments: segments, tail: tail)
    }

    init(diffID: Digest, size: UInt64, chunks: [Chunk], segments: [Segment], tail: UInt64) {
        self.diffID = diffID
        self.size = size
        self.chunks = chunks
        self.segments = segments
        self.tail = tail
    }

    /// Reads the recipe that `digest` names in `store`.
    public init(_ digest: Digest, from store: any ContentSource) throws(ImageError) {
        let bytes = try storing { () throws(StoreError) in try store.read(digest) }
        guard let recipe = LayerRecipe(encoded: bytes) else {
            throw .store(.corrupt("the layer recipe \(digest) does not decode"))
        }
        self = recipe
    }
}

/// Goes through the chunks, one in memory at a time.
private struct SkeletonCursor {
    let chunks: [LayerRecipe.Chunk]
    let store: any ContentSource
    private var index = 0
    private var current: [UInt8] = []
    private var position = 0

    init(chunks: [LayerRecipe.Chunk], store: any ContentSource) {
        self.chunks = chunks
        self.store = store
    }

    /// Hands the next `count` bytes to `sink`.
    mutating func pass(_ count: UInt64, to sink: ByteSink) throws(ImageError) {
        var rest = count
        while rest > 0 {
            if position == current.count {
                guard index < chunks.count else { throw .store(.corrupt("a layer recipe has too few literals")) }
                let digest = chunks[index].digest
                current = try storing { () throws(StoreError) in try store.read(digest) }
                position = 0
                index += 1
                if current.isEmpty { continue }
            }
            let taken = Int(min(rest, UInt64(current.count - position)))
            let range = position..<(position + taken)
            let result: Result<Void, ImageError> = current.withUnsafeBytes { bytes in
                do throws(ImageError) {
                    return .success(try sink(UnsafeRawBufferPointer(rebasing: bytes[range])))
                } catch {
                    return .failure(error)
                }
            }
            try result.get()
            position += taken
            rest -= UInt64(taken)
        }
    }
}

/// Makes a recipe while an archive is read.
struct RecipeRecorder {
    private let store: any ContentSink
    private var pending: [UInt8] = []
    private var literal: UInt64 = 0
    private var chunks: [LayerRecipe.Chunk] = []
    private var segments: [LayerRecipe.Segment] = []

    /// How many literal bytes go into one content.
    static let chunkSize = 1 << 20

    init(store: any ContentSink) { self.store = store }

    mutating func literal(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
        literal += UInt64(bytes.count)
        pending.append(contentsOf: bytes)
        if pending.count >= Self.chunkSize { try flush() }
    }

    mutating func file(_ digest: Digest, size: UInt64) {
        segments.append(LayerRecipe.Segment(literal: literal, file: digest, size: size))
        literal = 0
    }

    private mutating func flush() throws(ImageError) {
        if pending.isEmpty { return }
        let bytes = pending
        let digest = try storing { () throws(StoreError) in try store.put(bytes) }
        chunks.append(LayerRecipe.Chunk(digest: digest, size: UInt32(bytes.count)))
        pending.removeAll(keepingCapacity: true)
    }

    /// Stores the recipe and gives its content.
    mutating func finish(diffID: Digest, size: UInt64) throws(ImageError) -> Digest {
        try flush()
        let recipe = LayerRecipe(diffID: diffID, size: size, chunks: chunks, segments: segments, tail: literal)
        return try storing { () throws(StoreError) in try store.put(recipe.encoded()) }
    }
}
