// One directory that keeps everything: contents in packs, and tables in an index.
//
// Commit order: pack data, fdatasync, then one index transaction that makes it visible. What is not committed yet is
// found in memory, so a build reads its own writes; after a kill the uncommitted tail of a pack is simply not indexed.

import CLinux
import Glibc
import StageHash
import StageSystem
import Synchronization

/// The store on disk. All calls block: use it on a `BlockingPool`.
public final class Store: DirectorySink, ContentSink, TableStore {
    /// The root directory, absolute or relative to where the process was when it opened.
    public let path: String
    let database: Database
    let packs: SharedFile
    let state = Mutex(State())
    let committing = Mutex(())
    private let directories = DirectoryCache()
    /// Open packs: bounded, only to be faster.
    let files = Mutex<[UInt64: SharedFile]>([:])
    let leases: LeaseFile
    let linkReader: (any LinkReader)?
    let openingLease = Mutex<Lease?>(nil)

    /// Packs that wait for a commit, and packs open for reading, each at most this many: a process has few descriptors.
    static let openPacks = 64

    struct State {
        var writer: PackWriter?
        /// Written packs that are not committed: kept open for their lock and their fsync.
        var complete: [PackWriter] = []
        var waiting = Waiting()
        /// What a sync of packs failed with.
        var syncFailure: StoreError?
        /// Claims whose work is done, and only has to be committed.
        var finished: [WorkLease] = []
    }

    /// What is not committed yet.
    struct Waiting {
        var pending = Batch()
        /// The batch that a running commit writes; still looked up until that is done.
        var inFlight = Batch()

        subscript(digest: Digest) -> ContentEntry? { pending.contents[digest] ?? inFlight.contents[digest] }

        func holds(_ digest: Digest) -> Bool { self[digest] != nil }

        mutating func add(_ digest: Digest, _ entry: ContentEntry) { pending.contents[digest] = entry }

        /// Adds a large content with its new chunks. What is there stays: another may read it right now.
        mutating func add(_ places: [Digest: Location], _ digest: Digest, _ entry: ContentEntry) {
            for (name, place) in places where !holds(name) { add(name, .stored(place)) }
            add(digest, entry)
        }
    }

    struct Batch {
        var contents: [Digest: ContentEntry] = [:]
        /// Directories that were put: they name others.
        var directories: Set<Digest> = []
        /// Contents of files that read as directory objects.
        var lookalikes: Set<Digest> = []
        /// Directories whose bytes were here as a file's: from now on all beneath them is here, too.
        var vouched: Set<Digest> = []
        var values: [Key: [UInt8]?] = [:]
        var isEmpty: Bool { contents.isEmpty && values.isEmpty && vouched.isEmpty }
    }

    struct Key: Hashable {
        var table: Table
        var key: [UInt8]
    }

    /// Opens the store at `path`, making it when there is none.
    ///
    /// - Parameter links: tells what the values of the tables lead to. Without it, what is committed while a collection
    ///   runs takes back all that the collection gave up.
    public init(path: String, links: (any LinkReader)? = nil) throws(StoreError) {
        self.path = path
        linkReader = links
        let format: StoreFormat?
        do throws(SystemError) {
            try Self.makeDirectory(path)
            // What another version keeps there is left as it is, so the format comes first.
            format = try StoreFormat.read(path)
        } catch { throw .system(error) }
        try format?.check(path)
        do throws(SystemError) {
            for directory in ["/index", "/packs", "/tmp"] { try Self.makeDirectory(path + directory) }
            if format == nil { try StoreFormat.current.write(path) }
            packs = SharedFile(try OwnedFD.open(path + "/packs", O_RDONLY | O_DIRECTORY))
            leases = try LeaseFile(path)
        } catch { throw .system(error) }
        database = try Database.shared(path + "/index")
        if format?.version == 1 { try upgradeFromFormat1() }
        let lease = try lease()
        openingLease.withLock { $0 = lease }
    }

    private static func makeDirectory(_ path: String) throws(SystemError) {
        if mkdir(path, 0o755) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw .last("mkdir", path)
        }
        try makeDirectory(String(path[..<slash]))
        if mkdir(path, 0o755) != 0 && errno != EEXIST { throw .last("mkdir", path) }
    }

    deinit { database.release() }

    // MARK: Tables

    /// What LMDB takes for a key.
    static let keySizes = 1...511

    /// The value of `key`; nil when there is none.
    public func get(_ table: Table, _ key: [UInt8]) throws(StoreError) -> [UInt8]? {
        let pending = state.withLock { state -> [UInt8]?? in
            let key = Key(table: table, key: key)
            return state.waiting.pending.values[key] ?? state.waiting.inFlight.values[key]
        }
        if let pending { return pending }
        if !Self.keySizes.contains(key.count) { return nil }
        return try database.read { transaction throws(StoreError) in
            try transaction.value(table, key) { Array($0) }
        } ?? nil
    }

    /// Keeps `value`, from the next `commit()` on durably; nil takes the key away. Keys have 1 to 511 bytes.
    public func set(_ table: Table, _ key: [UInt8], _ value: [UInt8]?) {
        state.withLock { $0.waiting.pending.values[Key(table: table, key: key)] = .some(value) }
    }

    /// All pairs of a table, in key order.
    public func all(_ table: Table) throws(StoreError) -> [(key: [UInt8], value: [UInt8])] {
        // Memory first: what a commit finishes in between is then in the index.
        let waiting = state.withLock { state in
            state.waiting.inFlight.values.merging(state.waiting.pending.values) { $1 }.filter { $0.key.table == table }
        }
        var pairs: [[UInt8]: [UInt8]] = [:]
        for (key, value) in try database.read({ transaction throws(StoreError) in try transaction.all(table) }) {
            pairs[key] = value
        }
        for (key, value) in waiting { pairs[key.key] = value }
        return pairs.sorted { precedes($0.key, $1.key) }.map { ($0.key, $0.value) }
    }

    /// Which state of the index this is: another number after each change that anybody commits.
    public func revision() throws(StoreError) -> Int {
        try database.read { transaction throws(StoreError) in transaction.state }
    }

    func withState(_ body: (inout sending State) throws(StoreError) -> Void) throws(StoreError) {
        try state.withLock { state throws(StoreError) in try body(&state) }
    }

    // MARK: Directories

    public func directory(_ object: Digest) throws(StoreError) -> DirectoryObject {
        if let cached = directories[object] { return cached }
        guard let directory = DirectoryObject(encoded: try read(object)) else {
            throw .corrupt("directory \(object) does not decode")
        }
        directories.add(directory, object)
        return directory
    }

    public func put(_ directory: DirectoryObject) throws(StoreError) -> TreeRef {
        try directory.checkNames()
        let (bytes, identity) = (directory.encoded(), directory.identityBytes())
        let result: Result<TreeRef, StoreError> = bytes.withUnsafeBytes { bytes in
            identity.withUnsafeBytes { identity in
                do throws(StoreError) { return .success(try put(directory: bytes, identity)) } catch {
                    return .failure(error)
                }
            }
        }
        let ref = try result.get()
        directories.add(directory, ref.object)
        return ref
    }

    private func put(
        directory bytes: UnsafeRawBufferPointer, _ identity: UnsafeRawBufferPointer
    ) throws(StoreError) -> TreeRef {
        let ref: TreeRef
        if bytes.count > Block.size {
            let ingest = StoreIngest(store: self, isDirectory: true)
            try ingest.update(bytes)
            ref = TreeRef(identity: Digest.of(identity), object: try ingest.finish().digest)
        } else {
            let names = Digest.of(identity, bytes)
            ref = TreeRef(identity: names.first, object: names.second)
            announce(directory: ref.object)
            try put(bytes, named: ref.object)
        }
        try settle(directory: ref.object)
        return ref
    }

    /// Before the content: whichever commit takes that knows that it names others.
    func announce(directory object: Digest) {
        _ = state.withLock { $0.waiting.pending.directories.insert(object) }
    }

    func forgetDirectories() { directories.removeAll() }
}
