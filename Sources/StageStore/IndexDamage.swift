// What happens when LMDB meets a page that makes no sense: an error where it says so, a last sentence where it gives up.

import CLMDB
import Glibc
import StageSystem
import Synchronization

/// LMDB on damage. `Store.indexProblems(at:)` finds it before.
public enum IndexDamage {
    /// What LMDB calls damage.
    static let codes: Set<CInt> = [
        MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_INVALID, MDB_VERSION_MISMATCH, MDB_CURSOR_FULL,
    ]

    private static let listener = Mutex<(@Sendable (StoreError) -> Void)?>(nil)

    /// Calls `body` when LMDB gives this process up: when `body` returns, the process is aborted. Without one, the error goes to
    /// standard error before.
    public static func whenHopeless(_ body: @escaping @Sendable (StoreError) -> Void) {
        listener.withLock { $0 = body }
    }

    /// LMDB's assertion failed; it aborts the process when this returns.
    static let said: @convention(c) (OpaquePointer?, UnsafePointer<CChar>?) -> Void = { environment, message in
        var path: UnsafePointer<CChar>?
        mdb_env_get_path(environment, &path)
        let place = path.map { String(cString: $0) } ?? "the index"
        let reason = message.map { String(cString: $0) } ?? "an assertion failed"
        let error = StoreError.corrupt("a page of \(place) makes no sense (\(reason))")
        if let body = listener.withLock({ $0 }) { return body(error) }
        try? writeAll(2, Array("\(error)\n".utf8))
    }
}
