// A directory whose entries are all in: taken over from the index when nothing changed, made and stored when something did.

import Glibc
import StageHash
import StageStore
import StageSystem

extension ScanWorker {
    /// Takes in one part of a directory; assembles the directory when that was its last one, and so on upwards.
    mutating func finish(
        _ directory: ScannedDirectory, _ findings: DirectoryFindings, isGone: Bool = false
    ) throws(ContextError) {
        var here = directory
        var findings = findings
        var isGone = isGone
        while let all = here.finish(findings) {
            findings = DirectoryFindings()
            isGone = isGone || (all.found.isEmpty && all.unchanged.isEmpty && !here.isKept)
            if !isGone {
                guard let made = try assemble(here, all) else { return }
                guard here.parent != nil else {
                    outcome.tree = made.ref
                    return
                }
                outcome.directories += 1
                findings.found = [
                    FoundEntry(
                        number: here.number, item: .init(name: here.name, entry: .directory(made.ref)),
                        isReused: made.isReused)
                ]
            }
            guard let parent = here.parent else { return }
            here = parent
            isGone = false
        }
    }

    /// Nil when the sink lost what the index vouched for.
    private mutating func assemble(
        _ directory: ScannedDirectory, _ all: DirectoryFindings
    ) throws(ContextError) -> (ref: TreeRef, isReused: Bool)? {
        do throws(StoreError) {
            if let ref = unchangedTree(directory, all) {
                if directory.parent == nil, try scene.sink.holds([ref.object]) != [true] {
                    outcome.isStale = true
                    return nil
                }
                return (ref, true)
            }
            if !scene.checksEach, try !isHeld(directory, all) {
                outcome.isStale = true
                return nil
            }
            let rows = IndexRows(directory, all, scene.index)
            let ref = try scene.sink.put(DirectoryObject(attributes: directory.attributes, items: rows.items))
            if scene.isIndexed, let block = rows.block(ref) { outcome.blocks.append(block) }
            return (ref, false)
        } catch { throw .store(error) }
    }

    /// The recorded tree, when it is what would be made again.
    private func unchangedTree(_ directory: ScannedDirectory, _ all: DirectoryFindings) -> TreeRef? {
        guard let record = directory.record, let ref = record.ref, !scene.checksEach,
            record.mode == directory.attributes.mode, record.time == directory.attributes.time,
            all.unchanged.count + all.found.count == record.taken
        else { return nil }
        return scene.index.withBytes { index in
            var turn = 0
            for entry in all.found {
                guard case .directory(let found) = entry.item.entry,
                    recorded(entry.item.name, record, &turn, index) == found
                else { return nil }
            }
            for entry in all.unchanged where !record.isTaken(Int(entry.position), index) { return nil }
            return ref
        }
    }

    private func recorded(
        _ name: FileName, _ record: DirectoryRecord, _ turn: inout Int, _ index: UnsafeRawBufferPointer
    ) -> TreeRef? {
        name.bytes.withUnsafeBytes { record.find($0, turn: &turn, index) }.flatMap { record.directory($0, index) }
    }

    /// Whether the sink has all that the index vouched for in this directory. It has what was in a directory that it has.
    private func isHeld(_ directory: ScannedDirectory, _ all: DirectoryFindings) throws(StoreError) -> Bool {
        let reused = all.found.filter(\.isReused)
        guard let record = directory.record, !all.unchanged.isEmpty || !reused.isEmpty else {
            return try areHeld(reused.compactMap(\.directory).map(\.object))
        }
        let isRecordHeld =
            try record.ref.map { ref throws(StoreError) in try scene.sink.holds([ref.object]) == [true] } ?? false
        let questions: [Digest] = scene.index.withBytes { index in
            var turn = 0
            var digests: [Digest] = []
            for entry in reused {
                guard let ref = entry.directory else { continue }
                if isRecordHeld, recorded(entry.item.name, record, &turn, index) == ref { continue }
                digests.append(ref.object)
            }
            for entry in all.unchanged {
                if isRecordHeld, record.isTaken(Int(entry.position), index) { continue }
                if let file = record.file(Int(entry.position), index) { digests.append(file.digest) }
            }
            return digests
        }
        return try areHeld(questions)
    }

    private func areHeld(_ digests: [Digest]) throws(StoreError) -> Bool {
        digests.isEmpty ? true : try scene.sink.holds(digests).allSatisfy { $0 }
    }
}

extension FoundEntry {
    fileprivate var directory: TreeRef? {
        if case .directory(let ref) = item.entry { return ref }
        return nil
    }
}

/// The entries of a directory in name order, for the tree and for the index.
private struct IndexRows {
    private struct Row {
        let name: FileName
        let number: UInt32
        /// A position in the old record, or the place in `found`.
        let old: Int?
        let found: Int
        let isTaken: Bool
    }

    private let directory: ScannedDirectory
    private let all: DirectoryFindings
    private let index: StatIndex
    private var rows: [Row]
    /// What the tree has.
    private(set) var items: [DirectoryObject.Item] = []

    init(_ directory: ScannedDirectory, _ all: DirectoryFindings, _ index: StatIndex) {
        self.directory = directory
        self.all = all
        self.index = index
        rows = []
        rows.reserveCapacity(all.found.count + all.unchanged.count + all.spared.count)
        for (place, entry) in all.found.enumerated() {
            rows.append(Row(name: entry.item.name, number: entry.number, old: nil, found: place, isTaken: true))
        }
        if let record = directory.record {
            index.withBytes { bytes in
                for (entries, isTaken) in [(all.unchanged, true), (spared(record, bytes), false)] {
                    for entry in entries {
                        let name = FileName(bytes: record.name(Int(entry.position), bytes))
                        rows.append(
                            Row(name: name, number: entry.number, old: Int(entry.position), found: -1, isTaken: isTaken)
                        )
                    }
                }
            }
        }
        // A directory that changes while it is listed can give a name twice: one of them counts.
        rows = Self.sorted(rows)
        items = takenItems()
    }

    private static func sorted(_ rows: [Row]) -> [Row] {
        var order = Array(rows.indices)
        rows.withUnsafeBufferPointer { rows in order.sort { rows[$0].name < rows[$1].name } }
        var sorted: [Row] = []
        sorted.reserveCapacity(rows.count)
        for index in order where sorted.last?.name != rows[index].name { sorted.append(rows[index]) }
        return sorted
    }

    /// What is known of entries that this scan did not take. Where names were asked for, the others were not even seen.
    private func spared(_ record: DirectoryRecord, _ bytes: UnsafeRawBufferPointer) -> [KnownEntry] {
        guard let names = directory.reach.plainNames else { return all.spared }
        let asked = Set(names)
        return (0..<record.count).compactMap { position in
            if asked.contains(Array(record.name(position, bytes))) { return nil }
            return KnownEntry(number: UInt32(position), position: UInt32(position))
        }
    }

    private func takenItems() -> [DirectoryObject.Item] {
        var items: [DirectoryObject.Item] = []
        items.reserveCapacity(rows.count)
        index.withBytes { bytes in
            for row in rows where row.isTaken {
                if row.found >= 0 {
                    items.append(all.found[row.found].item)
                } else if let old = row.old, let node = directory.record?.node(old, bytes) {
                    items.append(.init(name: row.name, entry: .node(node)))
                }
            }
        }
        return items
    }

    /// The block for the index; nil when it has the same already.
    func block(_ ref: TreeRef) -> IndexBlock? {
        let count = rows.count
        let order = DirectoryRecord.head + count * DirectoryRecord.entrySize
        let texts = rows.reduce(0) { $0 + $1.name.bytes.count + (target($1)?.count ?? 0) }
        var bytes = [UInt8](repeating: 0, count: order + 4 * count)
        bytes.reserveCapacity(bytes.count + texts)
        bytes.withUnsafeMutableBytes { head(ref, $0) }
        let places = rows.indices.sorted { rows[$0].number < rows[$1].number }
        for (position, place) in places.enumerated() {
            let row = rows[place]
            let start = DirectoryRecord.head + position * DirectoryRecord.entrySize
            let name = bytes.count - order - 4 * count
            bytes += row.name.bytes
            let link = target(row).map { text in
                defer { bytes += text }
                return (offset: bytes.count - order - 4 * count, count: text.count)
            }
            bytes.withUnsafeMutableBytes { out in
                out.put(UInt32(position), order + 4 * place)
                let entry = UnsafeMutableRawBufferPointer(rebasing: out[start..<(start + DirectoryRecord.entrySize)])
                fill(entry, row)
                entry.put(UInt32(name), 44)
                entry.put(UInt16(row.name.bytes.count), 48)
                if let link {
                    entry.put(UInt32(link.offset), 56)
                    entry.put(UInt32(link.count), 60)
                }
            }
        }
        // The generation alone is no news.
        if let record = directory.record, record.range.count == bytes.count,
            index.withBytes({ old in bytes.withUnsafeBytes { same(old, record.range, $0) } })
        {
            return nil
        }
        return IndexBlock(device: directory.device, inode: directory.inode, bytes: bytes)
    }

    private func head(_ ref: TreeRef, _ out: UnsafeMutableRawBufferPointer) {
        out.put(UInt32(rows.count), 4)
        out.put(UInt32(items.count), 8)
        out.put(UInt32(directory.attributes.mode), 12)
        out.put(UInt64(bitPattern: directory.attributes.time.seconds), 16)
        out.put(directory.attributes.time.nanoseconds, 24)
        out.put(UInt32(1), 28)
        out.put(ref, 32)
    }

    private func fill(_ entry: UnsafeMutableRawBufferPointer, _ row: Row) {
        if let old = row.old, let record = directory.record {
            index.withBytes { entry.copyMemory(from: record.raw(old, $0)) }
            entry[51] = entry[51] & ~EntryFlags.taken | (row.isTaken ? EntryFlags.taken : 0)
            return
        }
        let found = all.found[row.found]
        entry[51] = EntryFlags.taken | (found.isTrusted ? EntryFlags.trusted : 0)
        if case .directory(let ref) = found.item.entry {
            entry[50] = FileType.directory.rawValue
            entry.put(ref, 56)
            return
        }
        guard let signature = found.signature, case .node(let node) = found.item.entry else { return }
        if node.linkGroup != 0 { entry[51] |= EntryFlags.linked }
        entry.put(signature.inode, 0)
        entry.put(signature.size, 8)
        entry.put(UInt64(bitPattern: signature.modified.seconds), 16)
        entry.put(UInt64(bitPattern: signature.changed.seconds), 24)
        entry.put(signature.modified.nanoseconds, 32)
        entry.put(signature.changed.nanoseconds, 36)
        entry.put(signature.mode, 40)
        entry[50] = FileType(mode: signature.mode)?.rawValue ?? 0
        switch node.content {
        case .file(let digest, _):
            entry.put(digest, 56)
            entry.put(found.fingerprint?.low ?? 0, 88)
            entry.put(found.fingerprint?.high ?? 0, 96)
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            entry.put(major, 56)
            entry.put(minor, 60)
        case .symlink, .fifo: break
        }
    }

    private func target(_ row: Row) -> [UInt8]? {
        if row.found >= 0 {
            guard case .node(let node) = all.found[row.found].item.entry, case .symlink(let target) = node.content
            else {
                return nil
            }
            return target
        }
        guard let old = row.old, let record = directory.record else { return nil }
        return index.withBytes {
            record.kind(old, $0) == .symlink ? Array(record.target(old, $0)) : nil
        }
    }
}

/// Whether `new` says what `old` has in `range`, but for the generation.
private func same(_ old: UnsafeRawBufferPointer, _ range: Range<Int>, _ new: UnsafeRawBufferPointer) -> Bool {
    old[range].dropFirst(4).elementsEqual(new.dropFirst(4))
}

extension UnsafeMutableRawBufferPointer {
    fileprivate func put<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }

    fileprivate func put(_ digest: Digest, _ offset: Int) {
        digest.write(to: UnsafeMutableRawBufferPointer(rebasing: self[offset..<(offset + 32)]))
    }

    fileprivate func put(_ ref: TreeRef, _ offset: Int) {
        put(ref.identity, offset)
        put(ref.object, offset + 32)
    }
}
