// What a status other than success means, with the words of the registry where it has any.

import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import StageGraph

extension Transport {
    /// `opened`, when it is a success.
    func accept(_ opened: Opened, of call: Call, origin: Origin, grant: Grant?) async throws(Failure) -> Opened {
        let status = Int(opened.response.status.code)
        if (200..<300).contains(status) { return opened }
        let message = await refusalMessage(opened)
        let other = RegistryError.Problem.unexpectedStatus(host: opened.sender.name, status: status, message: message)
        let retryAfter = opened.response.headers.first(name: "Retry-After").flatMap { Int64($0) }.map { max(0, $0) }
        let pause = retryAfter.map { Duration.seconds($0) }
        // The place that a redirect led to: its permission may have run out, the next try gets a new one.
        if opened.sender != origin, [401, 403, 404].contains(status) { throw Failure(other, .passing) }
        let isKnown = grant?.hasCredentials == true
        switch (status, call.content) {
        case (401, _): throw Failure(.unauthorized(message: message, hasCredentials: isKnown))
        case (403, _): throw Failure(.denied(message: message, hasCredentials: isKnown))
        case (404, .manifest): throw Failure(.manifestUnknown(message: message))
        case (404, .blob(let digest)): throw Failure(.blobUnknown(digest))
        case (429, _):
            let seconds = retryAfter.flatMap { Int(exactly: $0) }
            throw Failure(.rateLimited(retryAfter: seconds), .passing, retryAfter: pause)
        case (408, _), (500, _), (502, _), (503, _), (504, _): throw Failure(other, .passing, retryAfter: pause)
        default: throw Failure(other)
        }
    }

    private struct WireErrors: Decodable {
        struct Item: Decodable {
            var code: String?
            var message: String?
        }
        var errors: [Item]?
    }

    /// `CODE: message` of the first error that the body names, else nothing: web pages are not repeated.
    private func refusalMessage(_ opened: Opened) async -> String {
        guard let bytes = try? await collect(opened, limit: 64 << 10, content: .manifest),
            let wire = try? JSONDecoder().decode(WireErrors.self, from: Data(bytes)), let first = wire.errors?.first
        else { return "" }
        return RegistryError.printable([first.code, first.message].compactMap { $0 }.joined(separator: ": "))
    }
}
