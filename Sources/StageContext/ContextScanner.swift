// The way in: a directory on disk becomes a tree in the store.
//
// A small context is one visit to one thread of the pool. A large one is a list of units that the loop here owns; workers
// take some, give back what they found and what is left, and never wait for each other. Specs/context.md.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// Which context to scan, and what of it.
public struct ContextRequest: Sendable {
    /// The directory. A symlink here is followed; none inside ever is.
    public var path: String
    public var rules: IgnoreRules
    /// What the reachable COPY and ADD can select: relative paths with their wildcards. Nil, or one of "", "." and "/"
    /// among them, selects everything.
    public var patterns: [String]?
    /// Where this context's stat index lives, in a directory that exists; nil reads every file each time.
    public var indexPath: String?
    /// False leaves the index as it is: for who only looks.
    public var updatesIndex = true
    /// A directory that never enters, wherever in the context it lies: the one that holds the store, which would take
    /// itself in and grow with each build.
    public var leftOut: String?

    public init(
        path: String, rules: IgnoreRules = .none, patterns: [String]? = nil, indexPath: String? = nil,
        leftOut: String? = nil
    ) {
        self.path = path
        self.rules = rules
        self.patterns = patterns
        self.indexPath = indexPath
        self.leftOut = leftOut
    }
}

/// What a scan found.
public struct ContextScan: Sendable {
    /// The context, in the store (not committed).
    public var tree: TreeRef
    /// Regular files, sockets among them, and the sum of their sizes.
    public var files: Int
    public var bytes: UInt64
    /// Directories beneath the root.
    public var directories: Int
    /// Files that were opened, and their bytes.
    public var read: Int
    public var readBytes: UInt64
    /// Files that the index vouched for.
    public var unchanged: Int
    public var events: [ContextEvent]
}

/// Scans contexts into a store, or whatever else takes contents and directories.
public struct ContextScanner: Sendable {
    private let sink: any ContextSink
    private let pool: BlockingPool
    private let width: Int

    /// Entries that one worker handles before it gives back what is left.
    private static let share = 512
    private static let firstShare = 192
    /// With an index of so many bytes (about 2,000 files) the context is large enough to share at once.
    private static let largeIndex = 256 * 1024
    /// Symlinks to symlinks: after so many rounds everything is scanned.
    private static let rounds = 40

    /// - Parameters:
    ///   - store: where contents and directories go; the caller commits it.
    ///   - pool: where all that blocks runs.
    public init(store: Store, pool: BlockingPool) { self.init(sink: store, pool: pool) }

    /// - Parameters:
    ///   - sink: where contents and directories go; `ContextNames` keeps nothing.
    ///   - pool: where all that blocks runs.
    public init(sink: any ContextSink, pool: BlockingPool) {
        self.sink = sink
        self.pool = pool
        width = 2 * max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)))
    }

    /// Reads the context, as narrow as the request says, and keeps what is new in the store.
    ///
    /// Two scans of one context at once are safe. Nothing is written when nothing changed.
    public func scan(_ request: ContextRequest) async throws(ContextError) -> ContextScan {
        var selection = Selection(request.patterns)
        for round in 0...Self.rounds {
            let pass = try await scan(request, selection)
            var grew = false
            for link in pass.outcome.links {
                if selection.insert(link ?? []) { grew = true }
            }
            if !grew { return try await finish(pass, request) }
            if round == Self.rounds - 1 { selection = .everything }
        }
        // Everything is selected by now, so the last round met no link that selects more.
        throw .unstable(path: request.path)
    }

    /// A scan, and another one where what the index vouched for turned out to be gone from the store.
    private func scan(_ request: ContextRequest, _ selection: Selection) async throws(ContextError) -> Pass {
        let pass = try await scan(request, selection, checksEach: false)
        return pass.outcome.isStale ? try await scan(request, selection, checksEach: true) : pass
    }

    private struct Pass: Sendable {
        var outcome: ScanOutcome
        var scene: ScanScene
    }

    private func scan(
        _ request: ContextRequest, _ selection: Selection, checksEach: Bool
    ) async throws(ContextError) -> Pass {
        let sink = self.sink
        var pass = try await pool.run { () throws(ContextError) in
            try Self.begin(request, selection, sink, checksEach)
        }
        if pass.outcome.error == nil, !pass.outcome.isStale, !pass.outcome.rest.isEmpty {
            pass.outcome = await spread(pass.outcome, pass.scene)
        }
        if let error = pass.outcome.error { throw error }
        return pass
    }

    /// Opens the context and does the first share of the work: for a small context, all of it.
    private static func begin(
        _ request: ContextRequest, _ selection: Selection, _ sink: any ContextSink, _ checksEach: Bool
    ) throws(ContextError) -> Pass {
        let settled = racyLimit()
        let root: DirectoryDescriptor
        do throws(SystemError) {
            root = DirectoryDescriptor(try OwnedFD.open(request.path, O_RDONLY | O_DIRECTORY))
        } catch {
            switch error.errno {
            case ENOENT: throw .missing(path: request.path)
            case ENOTDIR: throw .notDirectory(path: request.path)
            default: throw .unreadable(path: request.path, error)
            }
        }
        let info: clinux_stat
        do throws(SystemError) { info = try statDescriptor(root.fd.raw, request.path) } catch {
            throw .unreadable(path: request.path, error)
        }
        let index = request.indexPath.map { StatIndex.load($0) } ?? .empty
        let scene = ScanScene(
            path: request.path, sink: sink, rules: request.rules, index: index,
            opener: DirectoryOpener(root: root), leftOut: identity(of: request.leftOut), settled: settled,
            device: info.dev, isTrusted: InodeTrust.holds(root.fd.raw), checksEach: checksEach,
            isIndexed: request.indexPath != nil)
        let directory = ScannedDirectory(
            parent: nil, name: FileName(bytes: []), attributes: Attributes(mode: 0o755), device: info.dev,
            inode: info.ino, reach: selection.root, pattern: nil, isKept: true,
            record: index.find(device: info.dev, inode: info.ino))
        let budget = index.size > largeIndex ? 1 : firstShare
        let outcome = ScanWorker.work([.directory(directory)], in: scene, budget: budget)
        return Pass(outcome: outcome, scene: scene)
    }

    static func identity(of path: String?) -> ScanScene.DirectoryIdentity? {
        guard let path, let fd = try? OwnedFD.open(path, O_RDONLY | O_DIRECTORY),
            let info = try? statDescriptor(fd.raw, path)
        else { return nil }
        return ScanScene.DirectoryIdentity(device: info.dev, inode: info.ino)
    }

    /// Hands the units in `total` out until none is left.
    private func spread(_ start: ScanOutcome, _ scene: ScanScene) async -> ScanOutcome {
        let pool = self.pool
        let width = self.width
        return await withTaskGroup(of: ScanOutcome.self) { group in
            var total = start
            var running = 0
            while true {
                while total.error == nil, !total.isStale, running < width, !total.rest.isEmpty {
                    let count = min(64, max(1, total.rest.count / width))
                    let units = Array(total.rest.suffix(count))
                    total.rest.removeLast(count)
                    running += 1
                    group.addTask(executorPreference: pool) {
                        ScanWorker.work(units, in: scene, budget: Self.share)
                    }
                }
                guard let outcome = await group.next() else { return total }
                running -= 1
                total.absorb(outcome)
                if total.error != nil || total.isStale { group.cancelAll() }
            }
        }
    }

    private func finish(_ pass: Pass, _ request: ContextRequest) async throws(ContextError) -> ContextScan {
        let outcome = pass.outcome
        guard let tree = outcome.tree else { throw .unstable(path: request.path) }
        var scan = ContextScan(
            tree: tree, files: outcome.files, bytes: outcome.bytes, directories: outcome.directories,
            read: outcome.read,
            readBytes: outcome.readBytes, unchanged: outcome.unchanged, events: outcome.events)
        if let indexPath = request.indexPath, request.updatesIndex, !outcome.blocks.isEmpty {
            let failure = await pool.run { () -> SystemError? in
                do throws(SystemError) {
                    try pass.scene.index.update(indexPath, new: outcome.blocks, seen: outcome.seen)
                    return nil
                } catch { return error }
            }
            if let failure { scan.events.append(.indexNotWritten(reason: failure.description)) }
        }
        return scan
    }
}
