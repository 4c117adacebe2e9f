// Reading a response's body from a sender that may stop, or drip.

import AsyncHTTPClient
import NIOCore

/// The chunks of one body. Waiting is limited: within each `idle` of waiting, `minimumBytes` or the end must come.
struct BodyReader {
    private var iterator: HTTPClientResponse.Body.AsyncIterator
    private let host: String
    private let timeouts: RegistryTimeouts
    private var waited = Duration.zero
    private var arrived = 0

    init(_ opened: Opened, timeouts: RegistryTimeouts) {
        iterator = opened.response.body.makeAsyncIterator()
        host = opened.sender.name
        self.timeouts = timeouts
    }

    /// nil at the end. The time that the caller takes between calls does not count.
    mutating func next() async throws(Failure) -> ByteBuffer? {
        let start = ContinuousClock.now
        let chunk: ByteBuffer?
        do {
            chunk = try await iterator.next()
        } catch {
            throw Task.isCancelled ? Failure(.cancelled) : Failure(error, host: host, waitingFor: .body)
        }
        if Task.isCancelled { throw Failure(.cancelled) }
        waited += start.duration(to: .now)
        arrived += chunk?.readableBytes ?? 0
        if chunk != nil, waited >= timeouts.idle {
            if arrived < timeouts.minimumBytes { throw Failure(.timedOut(host: host, .body), .passing) }
            (waited, arrived) = (.zero, 0)
        }
        return chunk
    }
}

extension Transport {
    /// The whole body, when it has at most `limit` bytes.
    func collect(_ opened: Opened, limit: Int, content: RegistryError.Content) async throws(Failure) -> [UInt8] {
        let tooLarge = Failure(.tooLarge(content, limit: Int64(limit)))
        let declared = opened.response.headers.first(name: "Content-Length").flatMap { Int64($0) }
        if let declared, declared > Int64(limit) { throw tooLarge }
        var bytes: [UInt8] = []
        var reader = BodyReader(opened, timeouts: configuration.timeouts)
        while let chunk = try await reader.next() {
            if bytes.count + chunk.readableBytes > limit { throw tooLarge }
            chunk.withUnsafeReadableBytes { bytes.append(contentsOf: $0) }
        }
        return bytes
    }
}
