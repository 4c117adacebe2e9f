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
    let sink: any ContextSink
    let rules: IgnoreRules
    let index: StatIndex
    let opener: DirectoryOpener
    /// The directory that does not enter.
    let leftOut: DirectoryIdentity?
    /// Files that changed later than this are read again next time.
    let settled: Timestamp
    /// The root's device, and whether signatures on it can be relied on.
    let device: UInt64
    let isTrusted: Bool
    /// True when the sink lost something that the index vouches for: each content is asked for, each directory put.
    let checksEach: Bool
    let room = ReadingRoom()
    /// Whether an index will be written.
    let isIndexed: Bool

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
    case part(ScannedDirectory, DirectoryDescriptor, Listing, isTrusted: Bool)
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
    /// Directories that the index lacks or has differently.
    var blocks: [IndexBlock] = []
    /// Rows of the index that were visited.
    var seen: [Int] = []
    /// Where symlinks lead that a selected path goes through; nil stands for "anywhere".
    var links: [Selection.Path?] = []
    /// The sink has lost something that the index vouched for.
    var isStale = false
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
        blocks.append(contentsOf: other.blocks)
        seen.append(contentsOf: other.seen)
        links.append(contentsOf: other.links)
        isStale = isStale || other.isStale
        error = error ?? other.error
    }
}

/// Works through units on one thread.
struct ScanWorker: ~Copyable {
    let scene: ScanScene
    var outcome = ScanOutcome()
    var stack: [ScanUnit]
    private var budget: Int
    private var reader: FileReader
    /// A small file of the listing at hand that was read and waits to be named together with the next.
    private var waiting: UnnamedFile?
    /// A file that was taken for changed was not.
    private var wasMistaken = false

    private typealias UnnamedFile = (candidate: Candidate, file: HeldFile)

    private init(_ scene: ScanScene, _ units: [ScanUnit], budget: Int) {
        self.scene = scene
        stack = units
        self.budget = budget
        reader = FileReader(scene.room, sink: scene.sink, settled: scene.settled)
    }

    /// Works on `units` until they are done or the budget, in entries, is used up.
    static func work(_ units: [ScanUnit], in scene: ScanScene, budget: Int) -> ScanOutcome {
        var worker = ScanWorker(scene, units, budget: budget)
        do throws(ContextError) {
            while worker.budget > 0, !worker.outcome.isStale, let unit = worker.stack.popLast() {
                if Task.isCancelled { throw .cancelled }
                switch unit {
                case .directory(let directory): try worker.open(directory)
                case .part(let directory, let descriptor, let listing, let isTrusted):
                    try worker.enter(directory, descriptor, listing, isTrusted)
                }
            }
            worker.outcome.rest = worker.stack
        } catch {
            worker.outcome.error = error
        }
        return worker.outcome
    }

    func shown(_ directory: ScannedDirectory, _ name: FileName? = nil) -> String {
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
        var listings: [Listing]
        do throws(SystemError) {
            descriptor = DirectoryDescriptor(try scene.opener.open(directory.names))
            if let names = directory.reach.plainNames {
                listings = [Listing(names: names.filter { $0.count <= 255 })]
            } else {
                listings = try Listing.read(descriptor.fd.raw, reader.buffer)
            }
        } catch {
            switch error.errno {
            case ENOENT where directory.parent != nil:
                outcome.events.append(.vanished(path: shown(directory)))
                return try finish(directory, DirectoryFindings(), isGone: true)
            case ENOTDIR, ELOOP: throw .unstable(path: shown(directory))
            default: throw .unreadable(path: shown(directory), error)
            }
        }
        let isTrusted =
            directory.device == scene.device ? scene.isTrusted : InodeTrust.holds(descriptor.fd.raw)
        if let row = directory.record?.row { outcome.seen.append(row) }
        let first = listings.isEmpty ? Listing(bytes: [], first: 0) : listings.removeFirst()
        directory.expect(listings.count)
        for listing in listings.reversed() {
            stack.append(.part(directory, descriptor, listing, isTrusted: isTrusted))
        }
        try enter(directory, descriptor, first, isTrusted)
    }

    // MARK: Entries

    private mutating func enter(
        _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor, _ listing: Listing, _ isTrusted: Bool
    ) throws(ContextError) {
        budget -= listing.weight
        var findings = DirectoryFindings()
        var candidates = try sift(directory, descriptor, listing, isTrusted, &findings)
        if scene.checksEach { try distrust(directory, &findings, &candidates) }
        var next = 0
        while next < candidates.count {
            let batch = nextBatch(candidates[next...])
            if batch.isEmpty {
                try place(candidates[next], directory, descriptor, isTrusted, &findings)
                next += 1
                continue
            }
            next += batch.count
            try readTogether(batch, directory, descriptor, isTrusted, &findings)
            if wasMistaken {
                wasMistaken = false
                candidates = try look(candidates[next...], directory, descriptor, &findings)
                next = 0
            }
        }
        try nameWaiting(directory, isTrusted, &findings)
        try finish(directory, findings)
    }

    /// The small files that are read next. What is opened in vain when a run of changed files ends is a batch: so how many
    /// are presumed in one grows with what speaks for the run.
    private func nextBatch(_ candidates: ArraySlice<Candidate>) -> ArraySlice<Candidate> {
        let isVeryLong = scene.room.changedInARow.load(ordering: .relaxed) >= Self.veryLongRun
        var presumed = isVeryLong ? FileRings.batch : 16
        return candidates.prefix(FileRings.batch).prefix { file in
            if file.isPresumed { presumed -= 1 }
            return presumed >= 0 && file.isSmallFile
        }
    }

    /// Changed files in a row before the largest batches are presumed.
    private static let veryLongRun = 256

    /// Fewer files than this are read one by one: a ring costs more than it saves.
    private static let fewest = 4

    /// Finds the contents of some regular files by reading them.
    private mutating func readTogether(
        _ batch: ArraySlice<Candidate>, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor,
        _ isTrusted: Bool, _ findings: inout DirectoryFindings
    ) throws(ContextError) {
        var outcomes: [FileOutcome?] = Array(repeating: nil, count: batch.count)
        if batch.count >= Self.fewest {
            let files = scene.index.withBytes { index in
                batch.map { file in
                    BatchFile(
                        name: file.name, seen: file.info,
                        known: file.position.flatMap { directory.record?.file($0, index) })
                }
            }
            outcomes = try reader.readTogether(descriptor.fd.raw, files, isTrusted: isTrusted)
        }
        var held: [UnnamedFile] = []
        for (candidate, outcome) in zip(batch, outcomes) {
            switch outcome {
            case .read(let file): record(candidate, file, directory, isTrusted, &findings)
            case .held(let file): held.append((candidate, file))
            case .vanished, .replaced, nil: continue
            }
        }
        try name(held, directory, isTrusted, &findings)
        for (candidate, outcome) in zip(batch, outcomes) where outcome == nil {
            try place(candidate, directory, descriptor, isTrusted, &findings)
        }
    }

    /// Finds the content of a regular file by reading it.
    mutating func read(
        _ candidate: Candidate, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor, _ isTrusted: Bool,
        _ findings: inout DirectoryFindings
    ) throws(ContextError) {
        let known: KnownFile? = candidate.position.flatMap { position in
            scene.index.withBytes { directory.record?.file(position, $0) }
        }
        let outcome = try reader.read(
            descriptor.fd.raw, candidate.name, seen: candidate.info, known: known, isTrusted: isTrusted
        ) {
            String(decoding: Array((directory.names + [candidate.name.bytes]).joined(separator: [0x2F])), as: UTF8.self)
        }
        switch outcome {
        case .read(let file): record(candidate, file, directory, isTrusted, &findings)
        case .held(let file):
            guard let first = waiting.take() else {
                waiting = (candidate, file)
                return reader.turn()
            }
            try name([first, (candidate, file)], directory, isTrusted, &findings)
        case .vanished: self.outcome.events.append(.vanished(path: shown(directory, candidate.name)))
        case .replaced: throw .unstable(path: shown(directory, candidate.name))
        }
    }

    /// Names the small file that waits for another one, which does not come.
    private mutating func nameWaiting(
        _ directory: ScannedDirectory, _ isTrusted: Bool, _ findings: inout DirectoryFindings
    ) throws(ContextError) {
        if let last = waiting.take() { try name([last], directory, isTrusted, &findings) }
    }

    private mutating func name(
        _ files: [UnnamedFile], _ directory: ScannedDirectory, _ isTrusted: Bool, _ findings: inout DirectoryFindings
    ) throws(ContextError) {
        if files.isEmpty { return }
        let digests: [Digest]
        do throws(StoreError) { digests = try scene.sink.put(together: files.map { reader.bytes($0.file) }) } catch {
            throw .store(error)
        }
        for (file, digest) in zip(files, digests) {
            record(file.candidate, file.file.named(digest), directory, isTrusted, &findings)
        }
    }

    private mutating func record(
        _ candidate: Candidate, _ file: ReadFile, _ directory: ScannedDirectory, _ isTrusted: Bool,
        _ findings: inout DirectoryFindings
    ) {
        budget -= 4 + Int(clamping: file.info.size >> 14)
        if candidate.isPresumed {
            if wasUnchanged(candidate, file.info, directory) {
                wasMistaken = true
                scene.room.endRun()
            } else {
                scene.room.changedInARow.wrappingAdd(1, ordering: .relaxed)
            }
        }
        outcome.read += 1
        outcome.readBytes += file.info.size
        outcome.files += 1
        outcome.bytes += file.info.size
        let node = Node(
            attributes: Attributes(context: file.info), content: .file(file.digest, size: file.info.size),
            linkGroup: file.info.nlink > 1 ? linkGroup(device: file.info.dev, inode: file.info.ino) : 0)
        findings.found.append(
            entry(candidate, node, file.info, directory, isTrusted: isTrusted, fingerprint: file.fingerprint))
    }
}

extension HeldFile {
    fileprivate func named(_ digest: Digest) -> ReadFile {
        ReadFile(info: info, digest: digest, fingerprint: fingerprint)
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
