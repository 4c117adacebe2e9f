// One blob, over as many connections as it takes: counted and hashed as it comes, taken up again where it broke.

import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import StageGraph
import StageHash

/// How far a download has come. What was given to the sink stays given: a later try continues behind it.
private struct BlobProgress {
    let descriptor: BlobDescriptor
    var hasher = DigestHasher()
    var received: Int64 = 0
    /// Chunks of the network are small; sinks take few large pieces sooner than many small ones.
    var pending: [UInt8] = []
    static let pieceSize = 256 << 10

    mutating func deliver(to sink: ([UInt8]) async throws -> Void) async throws {
        if pending.isEmpty { return }
        hasher.update(pending)
        try await sink(pending)
        received += Int64(pending.count)
        pending.removeAll(keepingCapacity: true)
    }
}

extension Transport {
    /// - Throws: `Failure`, or what `sink` throws.
    func download(
        _ descriptor: BlobDescriptor, from reference: ImageReference, into sink: ([UInt8]) async throws -> Void
    ) async throws {
        var progress = BlobProgress(descriptor: descriptor)
        var tries = 0
        while true {
            let before = progress.received
            do {
                try await attempt(&progress, from: reference, into: sink)
                break
            } catch let failure as Failure {
                if progress.received - before >= configuration.retries.progressBytes { tries = 0 }
                tries += 1
                let mayHeal = failure.kind == .passing || (failure.kind == .unconnected && progress.received > 0)
                guard mayHeal, tries < configuration.retries.attempts else { throw failure }
                try await pause(after: failure, tries: tries)
            }
        }
        let actual = progress.hasher.finalize()
        if actual != descriptor.digest {
            throw Failure(.digestMismatch(.blob(descriptor.digest), expected: descriptor.digest, actual: actual))
        }
    }

    /// One request for what is missing, read to its end.
    private func attempt(
        _ progress: inout BlobProgress, from reference: ImageReference, into sink: ([UInt8]) async throws -> Void
    ) async throws {
        let (digest, size) = (progress.descriptor.digest, progress.descriptor.size)
        let call = Call(
            reference: reference, path: "/v2/\(reference.repository)/blobs/\(digest)",
            headers: progress.received > 0 ? ["Range": "bytes=\(progress.received)-"] : [:], content: .blob(digest))
        let opened = try await open(call)
        try refuseEncoding(opened)
        var skipped = try skip(opened, progress)
        var reader = BodyReader(opened, timeouts: configuration.timeouts)
        do {
            while var chunk = try await reader.next() {
                let known = Int(min(skipped, Int64(chunk.readableBytes)))
                chunk.moveReaderIndex(forwardBy: known)
                skipped -= Int64(known)
                let room = size - progress.received - Int64(progress.pending.count)
                if Int64(chunk.readableBytes) > room { throw Failure(.tooLarge(.blob(digest), limit: size)) }
                chunk.withUnsafeReadableBytes { progress.pending.append(contentsOf: $0) }
                if progress.pending.count >= BlobProgress.pieceSize { try await progress.deliver(to: sink) }
            }
        } catch let failure as Failure where failure.kind == .passing {
            try await progress.deliver(to: sink)
            throw failure
        }
        try await progress.deliver(to: sink)
        if progress.received < size {
            throw Failure(.truncated(.blob(digest), expected: size, received: progress.received), .passing)
        }
    }

    /// How many bytes of the body are known already: all of them when the sender does not know ranges, else none.
    private func skip(_ opened: Opened, _ progress: BlobProgress) throws(Failure) -> Int64 {
        let size = progress.descriptor.size
        let headers = opened.response.headers
        switch opened.response.status.code {
        case 200:
            let length = headers.first(name: "Content-Length").flatMap { Int64($0) }
            if let length, length != size {
                throw Failure(.sizeMismatch(.blob(progress.descriptor.digest), expected: size, actual: length))
            }
            return progress.received
        case 206 where progress.received > 0:
            let range = headers.first(name: "Content-Range") ?? ""
            let prefix = "bytes \(progress.received)-"
            guard range.lowercased().hasPrefix(prefix), range.hasSuffix("/\(size)") || range.hasSuffix("/*") else {
                throw Failure(
                    .protocolViolation(
                        host: opened.sender.name,
                        detail: "asked for bytes from \(progress.received), offered \(RegistryError.printable(range))"))
            }
            return 0
        default:
            let status = Int(opened.response.status.code)
            throw Failure(.unexpectedStatus(host: opened.sender.name, status: status, message: ""))
        }
    }
}
