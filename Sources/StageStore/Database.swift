// The store's index: LMDB, which readers read without a lock and which survives a kill at any moment.
//
// LMDB forbids opening one environment twice in a process, so open environments are shared by path (`shared`).

import CLMDB
import CLinux
import Glibc
import StageSystem
import Synchronization

/// An LMDB environment with one named database a table.
///
/// `@unchecked Sendable`: LMDB environments may be used from any thread (opened with MDB_NOTLS); nothing else is mutable.
final class Database: @unchecked Sendable {
    let environment: OpaquePointer
    private let handles: [MDB_dbi]

    private let identity: Identity
    /// The directory, until its names are known to be durable: LMDB syncs its file, not the name.
    private let unsyncedDirectory: Mutex<SharedFile?>
    /// The addresses of read transactions that are over: they hold no snapshot, but a place among the readers, with which the
    /// next one begins sooner.
    private let idle = Mutex<[UInt]>([])
    private static let mostIdle = 2

    /// A directory, however its path is spelled.
    private struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    private struct Shared {
        let database: Database
        var users: Int
    }

    private static let open = Mutex<[Identity: Shared]>([:])

    /// The environment in the directory `path`, which has to exist: one a directory and process. `release()` it once.
    static func shared(_ path: String) throws(StoreError) -> Database {
        let identity = try identity(of: path)
        let result: Result<Database, StoreError> = open.withLock { table in
            if let existing = table[identity]?.database {
                table[identity]?.users += 1
                return .success(existing)
            }
            do throws(StoreError) {
                let database = try Database(path, identity)
                table[identity] = Shared(database: database, users: 1)
                return .success(database)
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// Gives up one use; with the last the environment closes, under the lock, so that nobody opens it meanwhile.
    func release() {
        Self.open.withLock { table in
            table[identity]?.users -= 1
            if table[identity]?.users == 0 {
                table[identity] = nil
                for transaction in idle.withLock({ $0 }) { mdb_txn_abort(OpaquePointer(bitPattern: transaction)) }
                mdb_env_close(environment)
            }
        }
    }

    /// Opens and closes the environment in `path`, so that its lock file is a fresh one for whoever waits to open it, while this
    /// process holds the lock on that file: no descriptor of it is closed before.
    static func renewLocks(_ path: String) throws(StoreError) {
        var environment: OpaquePointer?
        try check(mdb_env_create(&environment), "create")
        defer { mdb_env_close(environment) }
        try check(mdb_env_set_maxreaders(environment, readers), "set up")
        try check(mdb_env_open(environment, path, UInt32(MDB_NOTLS), 0o644), "open \(path)")
    }

    /// Whether this process has the environment in `path` open.
    static func isOpen(_ path: String) -> Bool {
        guard let identity = try? identity(of: path) else { return false }
        return open.withLock { $0[identity] != nil }
    }

    private static func identity(of path: String) throws(StoreError) -> Identity {
        do throws(SystemError) {
            let directory = try OwnedFD.open(path, O_RDONLY | O_DIRECTORY)
            let info = try statDescriptor(directory.raw, path)
            return Identity(device: info.dev, inode: info.ino)
        } catch { throw .system(error) }
    }

    /// Writers touch the lock file through memory, where a full disk is no error but a SIGBUS: so its blocks are taken
    /// beforehand. Not once the environment is open: closing a descriptor of that file would drop LMDB's locks on it.
    private static func allocateLockFile(_ path: String) throws(StoreError) {
        do throws(SystemError) {
            let file = try OwnedFD.open(path + "/lock.mdb", O_RDWR | O_CREAT, mode: 0o644)
            do throws(SystemError) {
                try retrying("fallocate", path + "/lock.mdb") { clinux_fallocate(file.raw, 0, 0, lockFileSize) }
            } catch {
                // A filesystem without fallocate: LMDB sets the size.
                if error.errno != EOPNOTSUPP { throw error }
            }
        } catch { throw .system(error) }
    }

    private static let readers: UInt32 = 1022
    /// What LMDB needs: a header of 192 bytes and 64 a reader, in whole pages.
    private static let lockFileSize: Int64 = 64 * 1024

    private init(_ path: String, _ identity: Identity) throws(StoreError) {
        try Self.allocateLockFile(path)
        var environment: OpaquePointer?
        try check(mdb_env_create(&environment), "create")
        guard let environment else { throw .database(operation: "create", reason: "no environment") }
        do throws(StoreError) {
            try check(mdb_env_set_assert(environment, IndexDamage.said), "set up")
            try check(mdb_env_set_maxdbs(environment, UInt32(Table.allCases.count + 4)), "set up")
            try check(mdb_env_set_maxreaders(environment, Self.readers), "set up")
            // Address space only: the file grows as it is used.
            try check(mdb_env_set_mapsize(environment, 256 << 30), "set up")
            let flags = UInt32(MDB_NOTLS) | UInt32(MDB_NORDAHEAD) | UInt32(MDB_NOMEMINIT)
            try check(mdb_env_open(environment, path, flags, 0o644), "open \(path)")
            var dead: CInt = 0
            try check(mdb_reader_check(environment, &dead), "check readers")
            handles = try Self.openTables(environment)
        } catch {
            mdb_env_close(environment)
            throw error
        }
        self.environment = environment
        self.identity = identity
        do throws(SystemError) {
            unsyncedDirectory = Mutex(SharedFile(try OwnedFD.open(path, O_RDONLY | O_DIRECTORY)))
        } catch {
            mdb_env_close(environment)
            throw .system(error)
        }
    }

    /// Opens the tables, for reading where they exist and by a write only the first time.
    private static func openTables(_ environment: OpaquePointer) throws(StoreError) -> [MDB_dbi] {
        for creating in [false, true] {
            var transaction: OpaquePointer?
            try check(mdb_txn_begin(environment, nil, creating ? 0 : UInt32(MDB_RDONLY), &transaction), "begin")
            var handles: [MDB_dbi] = []
            var missing = false
            for table in Table.allCases {
                var handle = MDB_dbi()
                let status = mdb_dbi_open(transaction, table.rawValue, creating ? UInt32(MDB_CREATE) : 0, &handle)
                if status == MDB_NOTFOUND && !creating {
                    missing = true
                    break
                }
                if status != 0 {
                    mdb_txn_abort(transaction)
                    try check(status, "open table \(table.rawValue)")
                }
                handles.append(handle)
            }
            if missing {
                mdb_txn_abort(transaction)
                continue
            }
            try check(mdb_txn_commit(transaction), "open tables")
            return handles
        }
        throw .database(operation: "open tables", reason: "they cannot be created")
    }

    func handle(_ table: Table) -> MDB_dbi { handles[table.place] }

    /// Reads within one snapshot.
    func read<R>(_ body: (borrowing ReadTransaction) throws(StoreError) -> R) throws(StoreError) -> R {
        let transaction = try beginReading()
        defer { endReading(transaction) }
        let snapshot = ReadTransaction(raw: transaction, database: self)
        return try body(snapshot)
    }

    private func beginReading() throws(StoreError) -> OpaquePointer {
        if let idle = idle.withLock({ $0.popLast() }).flatMap(OpaquePointer.init(bitPattern:)) {
            if mdb_txn_renew(idle) == 0 { return idle }
            mdb_txn_abort(idle)
        }
        var transaction: OpaquePointer?
        try check(mdb_txn_begin(environment, nil, UInt32(MDB_RDONLY), &transaction), "read")
        guard let transaction else { throw .database(operation: "read", reason: "no transaction") }
        return transaction
    }

    private func endReading(_ transaction: OpaquePointer) {
        mdb_txn_reset(transaction)
        let isKept = idle.withLock { idle in
            if idle.count >= Self.mostIdle { return false }
            idle.append(UInt(bitPattern: transaction))
            return true
        }
        if !isKept { mdb_txn_abort(transaction) }
    }

    /// Writes all or nothing; durable when it returns.
    func write(_ body: (borrowing WriteTransaction) throws(StoreError) -> Void) throws(StoreError) {
        var transaction: OpaquePointer?
        try check(mdb_txn_begin(environment, nil, 0, &transaction), "write")
        guard let transaction else { throw .database(operation: "write", reason: "no transaction") }
        do throws(StoreError) {
            let changes = WriteTransaction(raw: transaction, database: self)
            try body(changes)
        } catch {
            mdb_txn_abort(transaction)
            throw error
        }
        try check(mdb_txn_commit(transaction), "commit")
        guard let directory = unsyncedDirectory.withLock({ $0 }) else { return }
        do throws(SystemError) { try retrying("fsync", "index") { fsync(directory.fd.raw) } } catch {
            throw .system(error)
        }
        unsyncedDirectory.withLock { $0 = nil }
    }

    struct ReadTransaction: ~Copyable {
        let raw: OpaquePointer
        fileprivate let database: Database

        /// Which state of the index this is: one more with each write.
        var state: Int { Int(mdb_txn_id(raw)) }

        /// Calls `body` with the value, valid during the call only; nil when the key is not there.
        func value<R>(_ table: Table, _ key: [UInt8], _ body: (UnsafeRawBufferPointer) -> R) throws(StoreError) -> R? {
            let value = try get(raw, isSnapshot: true, database.handle(table), key) {
                CheckedValue.open($0, key: key).map(body)
            }
            guard let value else { return nil }
            guard let value else { throw CheckedValue.damaged(table, key) }
            return value
        }

        /// How many pairs a table has.
        func count(_ table: Table) throws(StoreError) -> Int {
            try StageStore.count(raw, database.handle(table), table)
        }

        /// Calls `body` with each pair in key order; both are valid during the call only.
        ///
        /// - Parameter damaged: takes the keys whose values do not hold; without it, the first is an error.
        func visit(
            _ table: Table, damaged: (([UInt8]) -> Void)? = nil,
            _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
        ) throws(StoreError) {
            try StageStore.visit(raw, database.handle(table), table, isSnapshot: true, damaged, body)
        }

        /// Visits all pairs in key order.
        func all(_ table: Table) throws(StoreError) -> [(key: [UInt8], value: [UInt8])] {
            var checked: [(key: [UInt8], value: [UInt8])] = []
            for (key, value) in try pairs(raw, database.handle(table), table) {
                let content = value.withUnsafeBytes { bytes in CheckedValue.open(bytes, key: key).map { Array($0) } }
                guard let content else { throw CheckedValue.damaged(table, key) }
                checked.append((key, content))
            }
            return checked
        }
    }

    struct WriteTransaction: ~Copyable {
        let raw: OpaquePointer
        let database: Database

        /// Keeps `value`; nil takes the key away.
        func put(_ table: Table, _ key: [UInt8], _ value: [UInt8]?) throws(StoreError) {
            let handle = database.handle(table)
            let status = withValue(key) { key in
                guard let value else { return mdb_del(raw, handle, &key, nil) }
                return withValue(CheckedValue.close(value, key: bytes(of: key))) { mdb_put(raw, handle, &key, &$0, 0) }
            }
            if value == nil && status == MDB_NOTFOUND { return }
            try check(status, "write \(table.rawValue)")
        }

        func value(_ table: Table, _ key: [UInt8]) throws(StoreError) -> [UInt8]? {
            let value = try get(raw, isSnapshot: false, database.handle(table), key) {
                CheckedValue.open($0, key: key).map { Array($0) }
            }
            guard let value else { return nil }
            guard let value else { throw CheckedValue.damaged(table, key) }
            return value
        }

        /// How many pairs a table has.
        func count(_ table: Table) throws(StoreError) -> Int {
            try StageStore.count(raw, database.handle(table), table)
        }

        /// The state of the index that this starts from.
        var previousState: Int { Int(mdb_txn_id(raw)) - 1 }

        /// Calls `body` with each pair in key order; both are valid during the call only, in which nothing may be written.
        func visit(
            _ table: Table,
            _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
        ) throws(StoreError) {
            try StageStore.visit(raw, database.handle(table), table, isSnapshot: false, nil, body)
        }

        /// Gives every value of the table its check: how format 1 becomes format 2.
        func closeValues(of table: Table) throws(StoreError) {
            for (key, value) in try pairs(raw, database.handle(table), table) { try put(table, key, value) }
        }
    }
}

func check(_ status: CInt, _ operation: String) throws(StoreError) {
    if status == 0 { return }
    // Positive codes are errno, negative ones LMDB's own.
    if status > 0 { throw .system(SystemError("index \(operation)", errno: status)) }
    if IndexDamage.codes.contains(status) {
        throw .corrupt("the index does not hold (\(operation): \(String(cString: mdb_strerror(status))))")
    }
    throw .database(operation: operation, reason: String(cString: mdb_strerror(status)))
}

private func count(_ transaction: OpaquePointer, _ handle: MDB_dbi, _ table: Table) throws(StoreError) -> Int {
    var figures = MDB_stat()
    try check(mdb_stat(transaction, handle, &figures), "count \(table.rawValue)")
    return figures.ms_entries
}

func bytes(of value: MDB_val) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size)
}

/// For snapshots only: what a transaction wrote itself lies in memory that is no page of the file.
///
/// LMDB believes the lengths in its file: a wrong one would lead out of the file, where reading is a SIGBUS. A value lies in
/// one page, or behind the header of a run of pages that says how many they are.
private func checkBounds(_ value: MDB_val) throws(StoreError) {
    let page = 4096
    let header = 16
    let place = Int(bitPattern: value.mv_data) % page
    var room = page - place
    if place == header, value.mv_size > room, let start = value.mv_data.map({ $0 - header }) {
        let isRun = start.loadUnaligned(fromByteOffset: 10, as: UInt16.self) & 0x04 != 0
        let pages = start.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
        if isRun { room = Int(pages) * page - header }
    }
    if value.mv_size > room { throw .corrupt("the index has a value that leads out of its page") }
}

private func withValue<R>(_ bytes: [UInt8], _ body: (inout MDB_val) -> R) -> R {
    bytes.withUnsafeBytes { buffer in
        // LMDB does not write through mv_data of keys and values that it is given.
        var value = MDB_val(
            mv_size: buffer.count, mv_data: UnsafeMutableRawPointer(mutating: buffer.baseAddress))
        return body(&value)
    }
}

private func get<R>(
    _ transaction: OpaquePointer, isSnapshot: Bool, _ handle: MDB_dbi, _ key: [UInt8],
    _ body: (UnsafeRawBufferPointer) -> R
) throws(StoreError) -> R? {
    var value = MDB_val()
    let status = withValue(key) { key in mdb_get(transaction, handle, &key, &value) }
    if status == MDB_NOTFOUND { return nil }
    try check(status, "read")
    if isSnapshot { try checkBounds(value) }
    return body(bytes(of: value))
}

/// Goes through all pairs as they are stored, in key order. An error says that it was to list `what`.
func eachPair(
    _ transaction: OpaquePointer, _ handle: MDB_dbi, of what: String,
    _ body: (_ key: MDB_val, _ value: MDB_val) throws(StoreError) -> Void
) throws(StoreError) {
    var cursor: OpaquePointer?
    try check(mdb_cursor_open(transaction, handle, &cursor), "list \(what)")
    defer { mdb_cursor_close(cursor) }
    var key = MDB_val()
    var value = MDB_val()
    var status = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)
    while status == 0 {
        try body(key, value)
        status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    }
    if status != MDB_NOTFOUND { try check(status, "list \(what)") }
}

/// All pairs as they are stored, in key order.
private func pairs(
    _ transaction: OpaquePointer, _ handle: MDB_dbi, _ table: Table
) throws(StoreError) -> [(key: [UInt8], value: [UInt8])] {
    var pairs: [(key: [UInt8], value: [UInt8])] = []
    try eachPair(transaction, handle, of: table.rawValue) { key, value throws(StoreError) in
        try checkBounds(value)
        pairs.append((Array(bytes(of: key)), Array(bytes(of: value))))
    }
    return pairs
}

/// Goes through all pairs in key order; each value is checked, and handed on without its check.
private func visit(
    _ transaction: OpaquePointer, _ handle: MDB_dbi, _ table: Table, isSnapshot: Bool,
    _ damaged: (([UInt8]) -> Void)?,
    _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
) throws(StoreError) {
    try eachPair(transaction, handle, of: table.rawValue) { key, value throws(StoreError) in
        var isWithin = true
        if isSnapshot { do throws(StoreError) { try checkBounds(value) } catch { isWithin = false } }
        if isWithin, let content = CheckedValue.open(bytes(of: value), keyBytes: bytes(of: key)) {
            return try body(bytes(of: key), content)
        }
        guard let damaged else { throw CheckedValue.damaged(table, Array(bytes(of: key))) }
        damaged(Array(bytes(of: key)))
    }
}
