// Blobs over connections that break, stall, lie and never end.

import StageGraph
import StageHash
import Synchronization
import Testing

@testable import StageRegistry

@Suite struct BlobTests {
    private static let blob = noise(700_000)
    private static let descriptor = describe(blob)
    private var blob: [UInt8] { Self.blob }
    private var descriptor: BlobDescriptor { Self.descriptor }

    private static func describe(_ bytes: [UInt8]) -> BlobDescriptor {
        BlobDescriptor(mediaType: ociLayer, digest: Digest.of(bytes), size: Int64(bytes.count))
    }

    @Test func streamsInOrder() async throws {
        let blob = noise(300_000) + [UInt8](repeating: 5, count: 2_700_000)
        let registry = try await FakeRegistry(answer: serve([:], blobs: [blob]))
        let client = RegistryClient(quick())
        var pieces: [Int] = []
        var bytes: [UInt8] = []
        try await client.fetchBlob(Self.describe(blob), from: registry.reference()) {
            pieces.append($0.count)
            bytes += $0
        }
        #expect(bytes == blob)
        #expect(pieces.count > 2 && pieces.allSatisfy { $0 > 0 && $0 < 1 << 20 })
        #expect(registry.requests.count == 1)
    }

    @Test func readsAnEmptyBlob() async throws {
        let registry = try await FakeRegistry(answer: serve([:], blobs: [[]]))
        #expect(try await RegistryClient(quick()).readBlob(Self.describe([]), from: registry.reference()) == [])
    }

    @Test(arguments: [true, false]) func resumesWhereItBroke(knowsRanges: Bool) async throws {
        let blob = blob
        let registry = try await FakeRegistry { request in
            let start = knowsRanges ? request.rangeStart ?? 0 : 0
            var reply = FakeRegistry.Reply(start > 0 ? 206 : 200, body: Array(blob[start...]))
            if start > 0 { reply.headers = [("Content-Range", "bytes \(start)-\(blob.count - 1)/\(blob.count)")] }
            // Each connection brings a third.
            if !knowsRanges && (request.rangeStart ?? 0) > 400_000 { return reply }
            let third = knowsRanges ? 250_000 : (request.rangeStart ?? 0) + 250_000
            if reply.body.count > third {
                reply.cut = third
                reply.ending = .close
            }
            return reply
        }
        let bytes = try await RegistryClient(quick(attempts: 10)).readBlob(descriptor, from: registry.reference())
        #expect(bytes == blob)
        let starts = registry.requests.map { $0.rangeStart ?? 0 }
        #expect(starts.count >= 3 && starts.first == 0 && starts == starts.sorted() && (starts.last ?? 0) > 0)
    }

    @Test func progressRenewsTheTries() async throws {
        let blob = blob
        let registry = try await FakeRegistry { request in
            let start = request.rangeStart ?? 0
            var reply = FakeRegistry.Reply(start > 0 ? 206 : 200, body: Array(blob[start...]))
            if start > 0 { reply.headers = [("Content-Range", "bytes \(start)-\(blob.count - 1)/*")] }
            if reply.body.count > 70_000 {
                reply.cut = 70_000
                reply.ending = .close
            }
            return reply
        }
        let patient = RegistryClient(quick(attempts: 2, progressBytes: 1))
        #expect(try await patient.readBlob(descriptor, from: registry.reference()) == blob)
        let needed = registry.requests.count
        #expect(needed >= 10)
        let strict = RegistryClient(quick(attempts: 2, progressBytes: 70_001))
        let error = await strict.failure(ofBlob: descriptor, from: try registry.reference())
        guard case .connectionBroken = error?.problem else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(registry.requests.count == needed + 2)
    }

    @Test func triesAgainWhatWasBusy() async throws {
        let (blob, count) = (blob, Counter())
        let registry = try await FakeRegistry { _ in
            switch count.next() {
            case 1: .init(503, [("Retry-After", "1")])
            case 2: .init(500)
            default: .init(200, body: blob)
            }
        }
        let start = ContinuousClock.now
        #expect(try await RegistryClient(quick()).readBlob(descriptor, from: registry.reference()) == blob)
        #expect(start.duration(to: .now) >= .seconds(1))
        #expect(registry.requests.count == 3)
    }

    @Test func failsOnWrongBytes() async throws {
        var other = blob
        other[699_999] ^= 1
        let wrong = other
        let registry = try await FakeRegistry { _ in .init(200, body: wrong) }
        let error = await RegistryClient(quick()).failure(ofBlob: descriptor, from: try registry.reference())
        #expect(
            error?.problem
                == .digestMismatch(
                    .blob(descriptor.digest), expected: descriptor.digest, actual: Digest.of(wrong)))
        #expect(registry.requests.count == 1)
    }

    @Test func failsOnAnotherLength() async throws {
        let blob = blob
        let registry = try await FakeRegistry { _ in .init(200, body: blob + [1]) }
        let error = await RegistryClient(quick()).failure(ofBlob: descriptor, from: try registry.reference())
        #expect(error?.problem == .sizeMismatch(.blob(descriptor.digest), expected: 700_000, actual: 700_001))
    }

    @Test func neverGivesMoreThanDeclared() async throws {
        let blob = blob
        let registry = try await FakeRegistry { _ in
            var reply = FakeRegistry.Reply(200, body: blob + [UInt8](repeating: 9, count: 5_000_000))
            reply.isChunked = true
            reply.pieces = (65_536, .microseconds(1))
            return reply
        }
        var given = 0
        let error = await #expect(throws: RegistryError.self) {
            try await RegistryClient(quick()).fetchBlob(descriptor, from: registry.reference()) { given += $0.count }
        }
        #expect(error?.problem == .tooLarge(.blob(descriptor.digest), limit: 700_000))
        #expect(given <= 700_000)
    }

    @Test func failsOnACleanButEarlyEnd() async throws {
        let blob = blob
        let registry = try await FakeRegistry { request in
            var reply = FakeRegistry.Reply(200, body: Array(blob.prefix(1000)))
            reply.isChunked = true
            if let start = request.rangeStart {
                reply.status = 206
                reply.body = []
                reply.headers = [("Content-Range", "bytes \(start)-\(blob.count - 1)/\(blob.count)")]
            }
            return reply
        }
        let error = await RegistryClient(quick()).failure(ofBlob: descriptor, from: try registry.reference())
        #expect(error?.problem == .truncated(.blob(descriptor.digest), expected: 700_000, received: 1000))
        #expect(registry.requests.count == 3)
    }

    @Test(arguments: ["", "bytes 0-699999/700000", "bytes 1001-699999/700000", "bytes 1000-5/6", "lines 1000-2/700000"])
    func failsOnAnotherRange(_ range: String) async throws {
        let blob = blob
        let registry = try await FakeRegistry { request in
            guard request.rangeStart == nil else {
                return .init(206, [("Content-Range", range)], body: Array(blob[1000...]))
            }
            var reply = FakeRegistry.Reply(200, body: blob)
            reply.cut = 1000
            reply.ending = .close
            return reply
        }
        let error = await RegistryClient(quick()).failure(ofBlob: descriptor, from: try registry.reference())
        #expect(
            error?.problem
                == .protocolViolation(host: registry.host, detail: "asked for bytes from 1000, offered \(range)"))
    }

    @Test func failsOnAPartThatNobodyAskedFor() async throws {
        let blob = blob
        let registry = try await FakeRegistry { _ in
            .init(206, [("Content-Range", "bytes 0-699999/700000")], body: blob)
        }
        let error = await RegistryClient(quick()).failure(ofBlob: descriptor, from: try registry.reference())
        #expect(error?.problem == .unexpectedStatus(host: registry.host, status: 206, message: ""))
    }

    @Test func saysWhenABlobIsMissing() async throws {
        let registry = try await FakeRegistry { _ in .init(404) }
        let error = await RegistryClient(quick()).failure(ofBlob: descriptor, from: try registry.reference())
        #expect(error?.problem == .blobUnknown(descriptor.digest))
    }

    @Test func endsSilence() async throws {
        let blob = blob
        let registry = try await FakeRegistry { _ in
            var reply = FakeRegistry.Reply(200, body: blob)
            reply.cut = 1000
            reply.ending = .hang
            return reply
        }
        let client = RegistryClient(quick(attempts: 1, idle: .seconds(2)))
        let error = await client.failure(ofBlob: descriptor, from: try registry.reference())
        #expect(error?.problem == .timedOut(host: registry.host, .body))
    }

    @Test func endsDripping() async throws {
        let blob = noise(2000)
        let registry = try await FakeRegistry { _ in
            var reply = FakeRegistry.Reply(200, body: blob)
            reply.pieces = (1, .milliseconds(20))
            return reply
        }
        let client = RegistryClient(quick(attempts: 1, idle: .seconds(2), minimumBytes: 100_000))
        let error = await client.failure(ofBlob: Self.describe(blob), from: try registry.reference())
        #expect(error?.problem == .timedOut(host: registry.host, .body))
    }

    @Test func endsWaitingForAHead() async throws {
        let registry = try await FakeRegistry { _ in
            var reply = FakeRegistry.Reply()
            reply.raw = Array("HTTP/1.1 200 O".utf8)
            reply.ending = .hang
            return reply
        }
        let client = RegistryClient(quick(attempts: 2, response: .seconds(2)))
        let error = await client.failure(ofBlob: descriptor, from: try registry.reference())
        #expect(error?.problem == .timedOut(host: registry.host, .response))
        #expect((1...2).contains(registry.requests.count))
    }

    @Test func theSinksErrorEndsTheDownload() async throws {
        struct Full: Error {}
        let registry = try await FakeRegistry(answer: serve([:], blobs: [blob]))
        await #expect(throws: Full.self) {
            try await RegistryClient(quick()).fetchBlob(descriptor, from: registry.reference()) { _ in throw Full() }
        }
        #expect(registry.requests.count == 1)
    }

    @Test func aBlobBeyondTheLimitIsNotAskedFor() async throws {
        let registry = try await FakeRegistry(answer: serve([:], blobs: [blob]))
        let error = await #expect(throws: RegistryError.self) {
            try await RegistryClient(quick()).readBlob(descriptor, from: registry.reference(), limit: 699_999)
        }
        #expect(error?.problem == .tooLarge(.blob(descriptor.digest), limit: 699_999))
        #expect(registry.requests.isEmpty)
    }

    enum Moment: String, CaseIterable, Sendable { case head, body, backoff }

    @Test(arguments: Moment.allCases) func cancellationIsPrompt(_ moment: Moment) async throws {
        let blob = blob
        let registry = try await FakeRegistry { _ in
            var reply = FakeRegistry.Reply(moment == .backoff ? 503 : 200, [("Retry-After", "2")], body: blob)
            if moment == .head { reply.raw = [] }
            if moment == .body { reply.cut = 1000 }
            if moment != .backoff { reply.ending = .hang }
            return reply
        }
        let (client, reference, descriptor) = (RegistryClient(quick()), try registry.reference(), descriptor)
        let task = Task { await client.failure(ofBlob: descriptor, from: reference) }
        while registry.requests.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
        try await Task.sleep(for: .milliseconds(100))
        task.cancel()
        // Had it waited to the end, the error would be the stall or the refusal.
        let error = await task.value
        #expect(error?.problem == .cancelled)
    }

    @Test func downloadsRunInParallel() async throws {
        let blobs = (0..<12).map { noise(200_000, seed: UInt64($0) + 10) }
        let registry = try await FakeRegistry(answer: serve([:], blobs: blobs))
        let (client, reference) = (RegistryClient(quick()), try registry.reference())
        let ok = try await withThrowingTaskGroup(of: Bool.self) { group in
            for blob in blobs {
                group.addTask { try await client.readBlob(Self.describe(blob), from: reference) == blob }
            }
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(ok == 12)
        await client.shutdown()
    }
}

/// Counts from 1. The mutex guards the number.
final class Counter: Sendable {
    private let value = Mutex(0)
    func next() -> Int {
        value.withLock {
            $0 += 1
            return $0
        }
    }
}
