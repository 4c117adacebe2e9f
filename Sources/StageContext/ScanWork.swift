// The blocking part of a scan: a worker takes directories and parts of large ones from its list, up to a budget, and gives
// back what it found and what is left. Nothing here waits for anybody.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// What one scan's workers share; all of it immutable.
struct ScanScene: Sendable {
    let path: String
    let store: Store
    let rules: IgnoreRules
    let index: StatIndex
    let opener: DirectoryOpener
    /// The directory that does not enter.
    let leftOut: DirectoryIdentity?
    /// Files that changed later than this are read again next time.
    let settled: Timestamp

    struct DirectoryIdentity: Sendable, Equatable {
        let device: UInt64
        let inode: UInt64
    }

    /// Directories inside each other beyond this are refused: trees are walked recursively elsewhere.
    static let deepest = TreePath.depthLimit
}

/// A piece of work.
enum ScanUnit: Sendable {
    case directory(ScannedDirectory)
    case part(ScannedDirectory, DirectoryDescriptor, [DirectoryEntry], trusted: Bool)
}

/// What came of some work.
struct ScanOutcome: Sendable {
    /// What is still to do.
    var rest: [ScanUnit] = []
    var tree: TreeRef?
    var files = 0
    var bytes: UInt64 = 0
    var directories = 0
    var read = 0
    var readBytes: UInt64 = 0
    var unchanged = 0
    var events: [ContextEvent] = []
    /// Files that the index lacks or has differently.
    var records: [StatRecord] = []
    /// Positions in the index of files that it has as they are.
    var seen: [UInt32] = []
    /// Where symlinks lead that a selected path goes through; nil stands for "anywhere".
    var links: [Selection.Path?] = []
    var error: ContextError?

    mutating func absorb(_ other: ScanOutcome) {
        rest.append(contentsOf: other.rest)
        tree = tree ?? other.tree
        files += other.files
        bytes += other.bytes
        directories += other.directories
        read += other.read
        readBytes += other.readBytes
        unchanged += other.unchanged
        events.append(contentsOf: other.events)
        records.append(contentsOf: other.records)
        seen.append(contentsOf: other.seen)
        links.append(contentsOf: other.links)
        error = error ?? other.error
    }
}

/// Works through units on one thread.
struct ScanWorker: ~Copyable {
    private let scene: ScanScene
    private var outcome = ScanOutcome()
    private var stack: [ScanUnit]
    private var budget: Int
    private var reader: FileReader

    /// Entries of a directory that are worked on in one piece.
    private static let partSize = 512

    private init(_ scene: ScanScene, _ units: [ScanUnit], budget: Int) {
        self.scene = scene
        stack = units
        self.budget = budget
        reader = FileReader(store: scene.store, settled: scene.settled)
    }

    /// Works on `units` until they are done or the budget, in entries, is used up.
    static func work(_ units: [ScanUnit], in scene: ScanScene, budget: Int) -> ScanOutcome {
        var worker = ScanWorker(scene, units, budget: budget)
        do throws(ContextError) {
            while worker.budget > 0, let unit = worker.stack.popLast() {
                if Task.isCancelled { throw .cancelled }
                switch unit {
                case .directory(let directory): try worker.open(directory)
                case .part(let directory, let descriptor, let entries, let trusted):
                    try worker.enter(directory, descriptor, entries, trusted)
                }
            }
            worker.outcome.rest = worker.stack
        } catch {
            worker.outcome.error = error
        }
        return worker.outcome
    }

    private func shown(_ directory: ScannedDirectory, _ name: FileName? = nil) -> String {
        var names = directory.names
        if let name { names.append(name.bytes) }
        if names.isEmpty { return scene.path }
        return String(decoding: Array(names.joined(separator: [0x2F])), as: UTF8.self)
    }

    // MARK: Directories

    private mutating func open(_ directory: ScannedDirectory) throws(ContextError) {
        budget -= 4
        if directory.depth > ScanScene.deepest { throw .tooDeep(path: shown(directory), limit: ScanScene.deepest) }
        let descriptor: DirectoryDescriptor
        var entries: [DirectoryEntry]
        do throws(SystemError) {
            descriptor = DirectoryDescriptor(try scene.opener.open(directory.names))
            if let names = directory.reach.plainNames {
                entries = names.map { DirectoryEntry(name: FileName(bytes: $0), type: UInt8(DT_UNKNOWN)) }
            } else {
                entries = try readEntries(descriptor.fd.raw)
            }
        } catch {
            switch error.errno {
            case ENOENT where directory.parent != nil:
                outcome.events.append(.vanished(path: shown(directory)))
                return try finish(directory, [], isGone: true)
            case ENOTDIR, ELOOP: throw .unstable(path: shown(directory))
            default: throw .unreadable(path: shown(directory), error)
            }
        }
        let trusted = InodeTrust.holds(descriptor.fd.raw)
        let parts = max(1, (entries.count + Self.partSize - 1) / Self.partSize)
        if parts > 1 {
            directory.expect(parts - 1)
            for part in stride(from: Self.partSize, to: entries.count, by: Self.partSize) {
                let slice = Array(entries[part..<min(part + Self.partSize, entries.count)])
                stack.append(.part(directory, descriptor, slice, trusted: trusted))
            }
            entries.removeSubrange(Self.partSize...)
        }
        try enter(directory, descriptor, entries, trusted)
    }

    /// Stores the directory when that was its last part, and so on upwards.
    private mutating func finish(
        _ directory: ScannedDirectory, _ items: [DirectoryObject.Item], isGone: Bool = false
    ) throws(ContextError) {
        var here = directory
        var items = items
        var isGone = isGone
        while let all = here.finish(items) {
            isGone = isGone || (all.isEmpty && !here.isKept)
            items = []
            if !isGone {
                let ref: TreeRef
                do throws(StoreError) {
                    ref = try scene.store.put(DirectoryObject(attributes: here.attributes, items: all))
                } catch { throw .store(error) }
                guard here.parent != nil else {
                    outcome.tree = ref
                    return
                }
                outcome.directories += 1
                items = [.init(name: here.name, entry: .directory(ref))]
            }
            guard let parent = here.parent else { return }
            here = parent
            isGone = false
        }
    }

    // MARK: Entries

    /// A regular file that still needs its digest.
    private struct Waiting {
        let name: FileName
        let info: clinux_stat
        let known: (position: Int, record: StatRecord)?
        let isUnchanged: Bool
    }

    private mutating func enter(
        _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor, _ entries: [DirectoryEntry], _ trusted: Bool
    ) throws(ContextError) {
        budget -= entries.count
        var items: [DirectoryObject.Item] = []
        items.reserveCapacity(entries.count)
        var waiting: [Waiting] = []
        var prefix = scene.rules.isEmpty ? [] : directory.path
        if !prefix.isEmpty { prefix.append(0x2F) }
        for entry in entries {
            guard let verdict = judge(entry, in: directory, prefix) else { continue }
            var attempt = 0
            var placed = false
            while !placed {
                guard let info = try stat(entry, in: directory, descriptor) else { break }
                guard let kind = FileType(mode: info.mode) else {
                    throw .unreadable(path: shown(directory, entry.name), SystemError("statx", errno: EINVAL))
                }
                placed = true
                switch kind {
                case .directory: descend(entry, info, directory, verdict, prefix)
                case .file where verdict.isTaken:
                    let known = scene.index.find(device: info.dev, inode: info.ino)
                    let same =
                        trusted
                        && known.map { $0.record.isTrusted && $0.record.signature == StatSignature(info) } ?? false
                    waiting.append(Waiting(name: entry.name, info: info, known: known, isUnchanged: same))
                case .symlink where verdict.isTaken || verdict.isPassed:
                    attempt += 1
                    guard let item = try link(entry, info, directory, descriptor, verdict) else {
                        placed = false
                        if attempt > 4 { throw .unstable(path: shown(directory, entry.name)) }
                        continue
                    }
                    items.append(item)
                case _ where verdict.isTaken: items.append(try special(entry, info, kind, directory))
                default: break
                }
            }
        }
        try place(waiting, directory, descriptor, trusted, &items)
        try finish(directory, items)
    }

    /// What selection and ignore rules say about an entry.
    private struct Verdict {
        let reach: Selection.Reach
        let pattern: Int?
        let isIgnored: Bool
        /// Selected itself, or in something selected, and not ignored.
        var isTaken: Bool { reach == .whole && !isIgnored }
        /// On the way to something selected, and not ignored.
        var isPassed: Bool { reach != .whole && !isIgnored }
    }

    /// Nil when nothing beneath the entry can enter either, as far as can be told without looking at it.
    private func judge(_ entry: DirectoryEntry, in directory: ScannedDirectory, _ prefix: [UInt8]) -> Verdict? {
        guard let reach = directory.reach.entering(entry.name.bytes) else { return nil }
        if scene.rules.isEmpty { return Verdict(reach: reach, pattern: nil, isIgnored: false) }
        let path = prefix + entry.name.bytes
        let pattern = scene.rules.last(matching: path, after: directory.pattern)
        let isIgnored = pattern.map { !scene.rules.patterns[$0].negated } ?? false
        if isIgnored, let pattern {
            if entry.type != UInt8(DT_DIR) && entry.type != UInt8(DT_UNKNOWN) { return nil }
            if !scene.rules.canReinclude(beneath: path, after: pattern) { return nil }
        }
        return Verdict(reach: reach, pattern: pattern, isIgnored: isIgnored)
    }

    private mutating func stat(
        _ entry: DirectoryEntry, in directory: ScannedDirectory, _ descriptor: DirectoryDescriptor
    ) throws(ContextError) -> clinux_stat? {
        if entry.name.bytes.count > 255 {
            if directory.reach.plainNames != nil { return nil }
            throw .nameTooLong(path: shown(directory, entry.name))
        }
        do throws(SystemError) { return try statEntry(descriptor.fd.raw, entry.name) } catch {
            guard error.errno == ENOENT else { throw .unreadable(path: shown(directory, entry.name), error) }
            // A name that was asked for and not listed may well be missing: COPY says so.
            if directory.reach.plainNames == nil {
                outcome.events.append(.vanished(path: shown(directory, entry.name)))
            }
            return nil
        }
    }

    private mutating func descend(
        _ entry: DirectoryEntry, _ info: clinux_stat, _ directory: ScannedDirectory, _ verdict: Verdict,
        _ prefix: [UInt8]
    ) {
        if let leftOut = scene.leftOut, leftOut == .init(device: info.dev, inode: info.ino) {
            if !verdict.isIgnored { outcome.events.append(.storeLeftOut(path: shown(directory, entry.name))) }
            return
        }
        directory.expect(1)
        stack.append(
            .directory(
                ScannedDirectory(
                    parent: directory, name: entry.name, attributes: Attributes(context: info), reach: verdict.reach,
                    pattern: verdict.pattern, isKept: verdict.isTaken)))
    }

    /// Nil when the link turned into something else.
    private mutating func link(
        _ entry: DirectoryEntry, _ info: clinux_stat, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor,
        _ verdict: Verdict
    ) throws(ContextError) -> DirectoryObject.Item? {
        let target: [UInt8]
        do throws(SystemError) { target = try readLink(descriptor.fd.raw, entry.name) } catch {
            if error.errno == EINVAL || error.errno == ENOENT { return nil }
            throw .unreadable(path: shown(directory, entry.name), error)
        }
        let remainders = directory.reach.remainders(entry.name.bytes)
        if !remainders.isEmpty {
            let names = directory.names
            for remainder in remainders {
                outcome.links.append(LinkTarget.path(target, in: names, remainder: remainder))
            }
        }
        var attributes = Attributes(context: info)
        attributes.mode = 0o777
        return .init(name: entry.name, entry: .node(Node(attributes: attributes, content: .symlink(target))))
    }

    private mutating func special(
        _ entry: DirectoryEntry, _ info: clinux_stat, _ kind: FileType, _ directory: ScannedDirectory
    ) throws(ContextError) -> DirectoryObject.Item {
        let content: Node.Content
        switch kind {
        case .fifo: content = .fifo
        case .characterDevice: content = .characterDevice(major: info.rdev_major, minor: info.rdev_minor)
        case .blockDevice: content = .blockDevice(major: info.rdev_major, minor: info.rdev_minor)
        case .socket, .file, .directory, .symlink:
            outcome.events.append(.socketBecameFile(path: shown(directory, entry.name)))
            outcome.files += 1
            do throws(StoreError) { content = .file(try scene.store.put([]), size: 0) } catch { throw .store(error) }
        }
        return .init(name: entry.name, entry: .node(Node(attributes: Attributes(context: info), content: content)))
    }

    // MARK: Files

    /// Finds the digests of files: by the index where it has them and the store has the content, else by reading.
    private mutating func place(
        _ waiting: [Waiting], _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor, _ trusted: Bool,
        _ items: inout [DirectoryObject.Item]
    ) throws(ContextError) {
        let candidates = waiting.compactMap { $0.isUnchanged ? $0.known?.record.digest : nil }
        var stored: [UInt64?]
        do throws(StoreError) { stored = try scene.store.sizes(of: candidates) } catch { throw .store(error) }
        stored.reverse()
        for file in waiting {
            if file.isUnchanged, let known = file.known, stored.popLast() == .some(file.info.size) {
                outcome.unchanged += 1
                outcome.seen.append(UInt32(known.position))
                append(file.name, file.info, known.record.digest, &items)
                continue
            }
            try read(file, directory, descriptor, &items)
        }
    }

    private mutating func read(
        _ file: Waiting, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor,
        _ items: inout [DirectoryObject.Item]
    ) throws(ContextError) {
        let known = file.known
        let read = try reader.read(descriptor.fd.raw, file.name, file.info, known: known?.record) {
            String(decoding: Array((directory.names + [file.name.bytes]).joined(separator: [0x2F])), as: UTF8.self)
        }
        switch read {
        case .read(let record, let info):
            budget -= 4 + Int(clamping: info.size >> 14)
            outcome.read += 1
            outcome.readBytes += info.size
            if let known, known.record.sameFacts(as: record) {
                outcome.seen.append(UInt32(known.position))
            } else {
                outcome.records.append(record)
            }
            append(file.name, info, record.digest, &items)
        case .vanished: outcome.events.append(.vanished(path: shown(directory, file.name)))
        case .replaced: throw .unstable(path: shown(directory, file.name))
        }
    }

    private mutating func append(
        _ name: FileName, _ info: clinux_stat, _ digest: Digest, _ items: inout [DirectoryObject.Item]
    ) {
        outcome.files += 1
        outcome.bytes += info.size
        let node = Node(attributes: Attributes(context: info), content: .file(digest, size: info.size))
        items.append(.init(name: name, entry: .node(node)))
    }
}

extension Attributes {
    /// As an entry of a local context enters a build: owned by 0:0, without extended attributes.
    init(context info: clinux_stat) {
        self.init(
            mode: UInt16(info.mode & 0o7777),
            time: Timestamp(seconds: info.mtime_sec, nanoseconds: min(info.mtime_nsec, 999_999_999)))
    }
}

extension StatRecord {
    /// True when writing `other` in its place would say nothing new.
    func sameFacts(as other: StatRecord) -> Bool {
        signature == other.signature && isTrusted == other.isTrusted && digest == other.digest
            && fingerprint == other.fingerprint
    }
}
