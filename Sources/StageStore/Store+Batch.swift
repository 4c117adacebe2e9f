// Many contents at once: looked up in one snapshot of the index, and those that lie close together read at once. What was
// kept together, as the files of a context are, lies together.

import StageHash
import StageSystem

extension Store {
    public func lookUp(_ digests: [Digest]) throws(StoreError) -> any ContentBatch {
        StoredBatch(store: self, digests: digests, entries: try entries(of: digests))
    }
}

private struct StoredBatch: ContentBatch {
    let store: Store
    let digests: [Digest]
    let entries: [ContentEntry?]

    func read(_ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void) throws(StoreError) {
        let reader = ContentRunReader()
        var next = 0
        while next < digests.count {
            let place = next
            // A pack that is gone was compacted since: each of its contents is looked up again.
            if let run = ContentRun(entries, from: place), run.places.count > 1,
                let file = try? store.packFile(run.whole)
            {
                try reader.read(run, of: file, digests, body)
                next = run.places.upperBound
            } else {
                try store.withContent(digests[place], entries[place]) { piece throws(StoreError) in
                    try body(place, piece)
                }
                next += 1
            }
        }
    }
}

/// Contents that follow each other in a list and lie close together in one pack, in any order.
private struct ContentRun {
    let pack: UInt64
    let places: Range<Int>
    let locations: [Location]
    /// Where they lie in the pack.
    let bytes: Range<UInt64>

    static let window: UInt64 = 256 << 10

    /// So many are looked at for a run: where they never lie close enough, each of them is looked at as often.
    private static let longest = 512

    /// The longest run that begins at `first` and is worth reading at once; nil where there is no block to read.
    init?(_ entries: [ContentEntry?], from first: Int) {
        guard case .stored(let location)? = entries[first], location.stored <= Self.window else { return nil }
        var locations = [location]
        var (start, end, used) = (location.offset, location.offset + location.stored, location.stored)
        // A directory's files lie in another order than they are listed in: its first few may be far apart, and all of it close.
        var (best, bytes) = (1, start..<end)
        for case .stored(let next)? in entries[(first + 1)...].lazy.prefix(while: { $0?.isBlocks ?? false }) {
            let (low, high) = (min(start, next.offset), max(end, next.offset + next.stored))
            guard next.pack == location.pack, high - low <= Self.window, locations.count < Self.longest else { break }
            locations.append(next)
            (start, end, used) = (low, high, used + next.stored)
            // What lies between is read in vain: a few system calls' worth of it is allowed.
            if high - low <= 4 * used + (32 << 10) { (best, bytes) = (locations.count, low..<high) }
        }
        locations.removeLast(locations.count - best)
        pack = location.pack
        places = first..<(first + locations.count)
        self.locations = locations
        self.bytes = bytes
    }

    var whole: Location {
        Location(pack: pack, offset: bytes.lowerBound, stored: UInt64(bytes.count), raw: 0)
    }
}

extension ContentEntry {
    fileprivate var isBlocks: Bool {
        if case .stored = self { return true }
        return false
    }
}

/// Reads runs, with room that serves one after the other.
private final class ContentRunReader {
    private var room = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit { room.deallocate() }

    func read(
        _ run: ContentRun, of file: SharedFile, _ digests: [Digest],
        _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        if room.baseAddress == nil {
            room = .allocate(byteCount: Int(ContentRun.window) + Block.size, alignment: 4096)
        }
        let window = UnsafeMutableRawBufferPointer(rebasing: room[..<run.bytes.count])
        let found: Int
        do throws(SystemError) { found = try readFull(file.fd.raw, window, at: Int64(run.bytes.lowerBound)) } catch {
            throw .system(error)
        }
        for (place, location) in zip(run.places, run.locations) {
            let start = Int(location.offset - run.bytes.lowerBound)
            guard start + Int(location.stored) <= found else {
                throw .corrupt("content \(digests[place]): its pack \(PackWriter.name(run.pack)) is cut short")
            }
            let stored = UnsafeRawBufferPointer(rebasing: window[start..<(start + Int(location.stored))])
            let largest = Int(min(location.raw, UInt64(Block.size)))
            let scratch = UnsafeMutableRawBufferPointer(
                rebasing: room[Int(ContentRun.window)..<(Int(ContentRun.window) + largest)])
            var total: UInt64 = 0
            let used = try Block.unpack(stored, name: digests[place], scratch: scratch) { piece throws(StoreError) in
                total += UInt64(piece.count)
                try body(place, piece)
            }
            guard used == stored.count, total == location.raw else {
                throw .corrupt("content \(digests[place]): \(total) bytes instead of \(location.raw)")
            }
        }
    }
}
