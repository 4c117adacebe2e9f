// Leases: what a running process may still need is not collected. Specs/garbage-collection.md.
//
// The store counts generations; each collection begins one. A process holds a shared lock on one byte of ROOT/leases, the
// one whose offset is the generation it began in. Nobody ever waits for these locks: a collector only asks whether an
// earlier byte is locked. The kernel gives a lock up with the process that held it, however that ended.

import CLinux
import Glibc
import StageSystem
import Synchronization

/// A promise: what was in the store when this began can be read, and be named by what is committed, while it is held.
/// Ends when the last reference goes.
public final class Lease: Sendable {
    let generation: UInt64
    private let file: LeaseFile

    fileprivate init(_ generation: UInt64, _ file: LeaseFile) {
        self.generation = generation
        self.file = file
    }

    deinit { file.end(generation) }
}

/// The right to collect, one at a time in all processes. Ends when the last reference goes.
public final class CollectorLease: Sendable {
    private let file: LeaseFile

    fileprivate init(_ file: LeaseFile) { self.file = file }

    deinit { file.endCollection() }
}

/// The leases that one store object holds, and its view of the others'.
final class LeaseFile: Sendable {
    private let fd: OwnedFD
    private let path: String
    private let state = Mutex(State())

    private struct State {
        /// How many leases of each generation are held here.
        var held: [UInt64: Int] = [:]
        var collects = false
    }

    /// Beyond all generations.
    private static let collectorByte: Int64 = 1 << 61

    init(_ store: String) throws(SystemError) {
        path = store + "/leases"
        fd = try OwnedFD.open(path, O_RDWR | O_CREAT, mode: 0o644)
    }

    /// Begins a lease in the generation that `current` gives.
    func begin(_ current: () throws(StoreError) -> UInt64) throws(StoreError) -> Lease {
        while true {
            let generation = try current()
            do throws(SystemError) { try hold(generation) } catch { throw .system(error) }
            let lease = Lease(generation, self)
            // A collection that began between the two looked for leases before this one was there.
            if try current() == generation { return lease }
        }
    }

    private func hold(_ generation: UInt64) throws(SystemError) {
        try state.withLock { state throws(SystemError) in
            let count = state.held[generation] ?? 0
            if count == 0 { try retrying("lock", path) { clinux_lock_range(fd.raw, 0, Int64(generation), 1) } }
            state.held[generation] = count + 1
        }
    }

    fileprivate func end(_ generation: UInt64) {
        state.withLock { state in
            let count = (state.held[generation] ?? 1) - 1
            state.held[generation] = count > 0 ? count : nil
            if count == 0 { _ = clinux_lock_range(fd.raw, 2, Int64(generation), 1) }
        }
    }

    /// The generation of the oldest lease held here; nil without one.
    var oldest: UInt64? { state.withLock { $0.held.keys.min() } }

    /// Whether anybody, here or elsewhere, holds a lease from before `generation`.
    func isHeld(before generation: UInt64) throws(SystemError) -> Bool {
        if generation == 0 { return false }
        if let oldest, oldest < generation { return true }
        return try retrying("lock", path) { clinux_range_is_locked(fd.raw, 0, Int64(generation)) } == 1
    }

    /// The right to collect; nil while somebody has it.
    func collect() throws(SystemError) -> CollectorLease? {
        let taken = try state.withLock { state throws(SystemError) in
            if state.collects { return false }
            if clinux_lock_range(fd.raw, 1, Self.collectorByte, 1) != 0 {
                if errno == EAGAIN || errno == EACCES { return false }
                throw .last("lock", path)
            }
            state.collects = true
            return true
        }
        return taken ? CollectorLease(self) : nil
    }

    fileprivate func endCollection() {
        state.withLock { state in
            state.collects = false
            _ = clinux_lock_range(fd.raw, 2, Self.collectorByte, 1)
        }
    }
}

extension Store {
    private static let generationKey = Array("generation".utf8)

    /// How many collections have begun.
    func generation() throws(StoreError) -> UInt64 {
        try database.read { transaction throws(StoreError) in try Self.generation(in: transaction) }
    }

    static func generation(in transaction: borrowing Database.ReadTransaction) throws(StoreError) -> UInt64 {
        try transaction.value(.facts, generationKey) {
            $0.count == 8 ? UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) : 0
        } ?? 0
    }

    static func generation(in transaction: borrowing Database.WriteTransaction) throws(StoreError) -> UInt64 {
        guard let bytes = try transaction.value(.facts, generationKey), bytes.count == 8 else { return 0 }
        var reader = ByteReader(bytes)
        return reader.u64() ?? 0
    }

    static func setGeneration(
        _ generation: UInt64, in transaction: borrowing Database.WriteTransaction
    ) throws(StoreError) {
        var value = ByteWriter()
        value.u64(generation)
        try transaction.put(.facts, generationKey, value.bytes)
    }

    /// A lease from now on. Costs microseconds, and never waits.
    public func lease() throws(StoreError) -> Lease {
        try leases.begin { () throws(StoreError) in try generation() }
    }

    /// Gives up the lease that a store holds from its opening on: for owners that take one for each piece of work, so
    /// that a store which is open and idle keeps nothing from being collected. What waits to be committed should be
    /// committed before the lease ends under which it was found or put.
    public func rest() {
        openingLease.withLock { $0 = nil }
        letGoOfPacks()
    }
}
