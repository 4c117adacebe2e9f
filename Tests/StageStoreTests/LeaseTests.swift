// Leases end with their holders, however those end, and nobody waits for them.

import Foundation
import StageHash
import StageSystem
import Testing

@testable import StageStore

@Suite struct LeaseTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// As a collection does.
    private func beginGeneration(_ store: Store) throws -> UInt64 {
        let next = try store.generation() + 1
        try store.database.write { transaction throws(StoreError) in
            try Store.setGeneration(next, in: transaction)
        }
        return next
    }

    @Test func anOpenStoreHoldsALeaseUntilItRests() throws {
        let store = try Store(path: scratch.store)
        let other = try Store(path: scratch.store)
        let next = try beginGeneration(store)
        #expect(try store.leases.isHeld(before: next))
        store.rest()
        #expect(try store.leases.isHeld(before: next), "the other one's")
        #expect(try !other.leases.isHeld(before: next - 1))
        other.rest()
        #expect(try !store.leases.isHeld(before: next))
        #expect(try !other.leases.isHeld(before: next))
    }

    @Test func leasesOfManyGenerationsEndOneByOne() throws {
        let store = try Store(path: scratch.store)
        store.rest()
        let other = try Store(path: scratch.store)
        other.rest()
        var first: Lease? = try store.lease()
        let one = try beginGeneration(store)
        var second: Lease? = try store.lease()
        var third: Lease? = try store.lease()
        let two = try beginGeneration(store)
        #expect(try other.leases.isHeld(before: one) && other.leases.isHeld(before: two))
        #expect(store.leases.oldest == one - 1)
        withExtendedLifetime(first) {}
        first = nil
        #expect(try !other.leases.isHeld(before: one) && other.leases.isHeld(before: two))
        withExtendedLifetime(second) {}
        second = nil
        #expect(try other.leases.isHeld(before: two), "the third is of the same generation")
        withExtendedLifetime(third) {}
        third = nil
        #expect(try !other.leases.isHeld(before: two))
    }

    @Test func onlyOneCollects() throws {
        let store = try Store(path: scratch.store)
        let other = try Store(path: scratch.store)
        var right = try store.leases.collect()
        #expect(right != nil)
        #expect(try store.leases.collect() == nil)
        #expect(try other.leases.collect() == nil)
        right = nil
        #expect(try other.leases.collect() != nil)
    }

    @Test func aKilledHolderHoldsNothing() async throws {
        let store = try Store(path: scratch.store)
        store.rest()
        let probe = try Probe("hold", scratch.store, "key")
        probe.waitForLine()
        let next = try beginGeneration(store)
        #expect(try store.leases.isHeld(before: next))
        guard case .taken(let silence) = try store.claim(Digest.of("key")) else {
            Issue.record("two have the claim")
            return
        }
        #expect(silence < 60)
        probe.kill()
        #expect(try probe.finish().lines.last?.hasSuffix("ranted") == true)
        #expect(try !store.leases.isHeld(before: next))
        guard case .granted(let lease?) = try store.claim(Digest.of("key")) else {
            Issue.record("the claim of a dead process still holds")
            return
        }
        withExtendedLifetime(lease) {}
    }

    // MARK: Claims

    private func runningFiles() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: scratch.store + "/running")
    }

    @Test func aClaimIsOneProcessesAtATime() throws {
        let store = try Store(path: scratch.store)
        let other = try Store(path: scratch.store)
        var claims: [WorkClaim] = [try store.claim(Digest.of("a")), try other.claim(Digest.of("b"))]
        for claim in claims {
            guard case .granted(_?) = claim else {
                Issue.record("\(claim)")
                return
            }
        }
        guard case .taken = try store.claim(Digest.of("b")), case .taken = try other.claim(Digest.of("a")) else {
            Issue.record("two have one claim")
            return
        }
        withExtendedLifetime(claims) {}
        claims = []
        #expect(try runningFiles().isEmpty, "an ended claim leaves nothing")
        guard case .granted = try other.claim(Digest.of("a")) else {
            Issue.record("it was given up")
            return
        }
    }

    @Test func aSilentHolderIsKnownAsSuch() throws {
        let store = try Store(path: scratch.store)
        guard case .granted(let lease?) = try store.claim(Digest.of("a")) else {
            Issue.record("nobody has it")
            return
        }
        func silence() throws -> Double {
            guard case .taken(let silence) = try store.claim(Digest.of("a")) else { return -1 }
            return silence
        }
        #expect((0..<30).contains(try silence()))
        let longAgo = [timespec(tv_sec: 1_000_000, tv_nsec: 0), timespec(tv_sec: 1_000_000, tv_nsec: 0)]
        #expect(utimensat(AT_FDCWD, "\(scratch.store)/running/\(Digest.of("a").hex)", longAgo, 0) == 0)
        #expect(try silence() > 1_000_000)
        lease.renew()
        #expect((0..<30).contains(try silence()))
    }

    @Test func aClaimOutlivesTheWorkUntilItIsCommitted() throws {
        let store = try Store(path: scratch.store)
        let other = try Store(path: scratch.store)
        guard case .granted(let lease?) = try store.claim(Digest.of("a")) else {
            Issue.record("nobody has it")
            return
        }
        store.set(.records, Digest.of("a").bytes, [1])
        store.endAfterCommit(lease)
        guard case .taken = try other.claim(Digest.of("a")) else {
            Issue.record("what it did cannot be seen yet")
            return
        }
        try store.commit()
        withExtendedLifetime(lease) {}
        #expect(try other.get(.records, Digest.of("a").bytes) == [1])
    }

    @Test func whatKilledHoldersLeftIsRemoved() throws {
        let probe = try Probe("hold", scratch.store, "key")
        probe.waitForLine()
        probe.kill()
        _ = try probe.finish()
        #expect(try runningFiles().count == 1)
        let store = try Store(path: scratch.store)
        let claim = try store.claim(Digest.of("mine"))
        store.removeStaleClaims()
        #expect(try runningFiles() == [Digest.of("mine").hex])
        withExtendedLifetime(claim) {}
    }
}
