// Everything that can go wrong between here and a registry, as facts; the sentences are made at the end.

import StageGraph
import StageHash

/// Why an image could not be had from its registry. Its description is one sentence for people, on one line.
public struct RegistryError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was asked for; names the registry and the image in the sentence.
    public let reference: ImageReference
    public let problem: Problem

    public init(_ reference: ImageReference, _ problem: Problem) {
        self.reference = reference
        self.problem = problem
    }

    public enum Problem: Hashable, Sendable {
        case nameNotResolved(host: String)
        /// No connection could be made.
        case unreachable(host: String, detail: String)
        case tls(host: String, detail: String)
        case timedOut(host: String, Wait)
        /// The connection ended before the answer did, as often as it was tried.
        case connectionBroken(host: String, detail: String)
        /// What answers does not speak HTTP as a registry does.
        case protocolViolation(host: String, detail: String)
        case unexpectedStatus(host: String, status: Int, message: String)
        /// `retryAfter` in seconds, when the registry said so.
        case rateLimited(retryAfter: Int?)
        case unauthorized(message: String, hasCredentials: Bool)
        case denied(message: String, hasCredentials: Bool)
        /// The token service that the registry named did not give a token.
        case noToken(realm: String, detail: String)
        case redirectRefused(from: String, detail: String)
        case manifestUnknown(message: String)
        case blobUnknown(Digest)
        case unexpectedContentType(String)
        /// Docker image manifest, version 2, schema 1.
        case schema1
        /// An artifact that is no container image; the type of its config.
        case notAnImage(mediaType: String)
        case invalidManifest(detail: String)
        case platformMissing(wanted: Platform, available: [Platform])
        case unsupportedDigest(String)
        case digestMismatch(Content, expected: Digest, actual: Digest)
        case sizeMismatch(Content, expected: Int64, actual: Int64)
        case truncated(Content, expected: Int64, received: Int64)
        case tooLarge(Content, limit: Int64)
        case cancelled
    }

    /// What a time limit was for.
    public enum Wait: String, Hashable, Sendable {
        case connection, response, body
    }

    /// What was being fetched.
    public enum Content: Hashable, Sendable, CustomStringConvertible {
        case manifest
        case blob(Digest)
        case token

        public var description: String {
            switch self {
            case .manifest: "manifest"
            case .blob(let digest): "blob \(digest)"
            case .token: "token"
            }
        }
    }

    public var description: String {
        "cannot pull \(reference.familiar) from registry \(reference.registry): \(explanation)"
    }
}

extension RegistryError {
    private var explanation: String {
        switch problem {
        case .nameNotResolved, .unreachable, .tls, .timedOut, .connectionBroken, .protocolViolation:
            connectionExplanation
        case .unexpectedStatus, .rateLimited, .unauthorized, .denied, .noToken, .redirectRefused, .manifestUnknown,
            .blobUnknown:
            answerExplanation
        default: contentExplanation
        }
    }

    private var connectionExplanation: String {
        switch problem {
        case .nameNotResolved(let host):
            "the name \(host) cannot be resolved; check its spelling and this machine's DNS"
        case .unreachable(let host, let detail):
            "no connection to \(host) (\(detail)); is the registry running, and does a firewall or proxy stand between?"
        case .tls(let host, let detail) where detail.contains("WRONG_VERSION_NUMBER"):
            "\(host) does not speak TLS; plain HTTP is only used with this machine's own addresses (localhost, 127.0.0.1)"
        case .tls(let host, let detail):
            "TLS with \(host) failed (\(detail)); if the registry has a certificate of its own authority, add that authority"
        case .timedOut(let host, .connection): "\(host) took too long to accept a connection; try again later"
        case .timedOut(let host, .response): "\(host) took too long to answer; try again later"
        case .timedOut(let host, .body): "\(host) stopped sending, or sends too slowly; try again later"
        case .connectionBroken(let host, let detail):
            "the connection to \(host) broke (\(detail)), also when tried again; try again later"
        case .protocolViolation(let host, let detail):
            "\(host) does not answer as a registry does (\(detail)); check the name and the port"
        default: ""
        }
    }

    private var answerExplanation: String {
        switch problem {
        case .unexpectedStatus(let host, let status, let message):
            "\(host) answered with status \(status)\(quoted(message)); "
                + (status >= 500 ? "try again later" : "check the name and the port")
        case .rateLimited(let seconds?): "too many requests; the registry asks to wait \(seconds) seconds, or log in"
        case .rateLimited(nil): "too many requests; wait some minutes, or log in"
        case .unauthorized(let message, false):
            "it needs a login, or the repository does not exist\(quoted(message)); check the name or give credentials"
        case .unauthorized(let message, true):
            "the credentials were not accepted, or the repository does not exist\(quoted(message)); check both"
        case .denied(let message, let hasCredentials):
            "access is denied\(quoted(message)); "
                + (hasCredentials ? "ask for the right to pull it" : "check the name or give credentials")
        case .noToken(let realm, let detail):
            "the token service \(realm) that the registry names gave no usable token (\(detail))"
        case .redirectRefused(let host, let detail): "a redirect by \(host) was refused: \(detail)"
        case .manifestUnknown(let message):
            "there is no such image\(quoted(message)); check the repository and the tag or digest"
        case .blobUnknown(let digest):
            "the registry does not have the blob \(digest) that the image's manifest names; the image is incomplete there"
        default: ""
        }
    }

    private var contentExplanation: String {
        switch problem {
        case .unexpectedContentType(let type):
            "the answer is of type \(type.isEmpty ? "\"\"" : type), not an image manifest; is it a registry?"
        case .schema1:
            "the image is in Docker's schema 1, which registries gave up in 2017; push it again with a current tool"
        case .notAnImage(let type): "it is not a container image: its config is of type \(type)"
        case .invalidManifest(let detail): "the manifest is not valid: \(detail)"
        case .platformMissing(let wanted, let available):
            "there is no image for \(wanted); available: "
                + (available.isEmpty
                    ? "none" : available.map { Self.printable($0.description) }.joined(separator: ", "))
        case .unsupportedDigest(let digest): "the digest \(digest) is not supported; only sha256 digests are"
        case .digestMismatch(let content, let expected, let actual):
            "the \(content) should have the digest \(expected) and has \(actual); do not trust this registry or what "
                + "stands between"
        case .sizeMismatch(let content, let expected, let actual):
            "the \(content) should have \(expected) bytes and the registry offers \(actual)"
        case .truncated(let content, let expected, let received):
            "the \(content) ended after \(received) of \(expected) bytes, also when tried again; try again later"
        case .tooLarge(let content, let limit): "the \(content) is longer than \(limit) bytes"
        case .cancelled: "cancelled"
        default: ""
        }
    }

    private func quoted(_ message: String) -> String { message.isEmpty ? "" : " (\(message))" }

    /// Text from outside, cut to 200 characters and without anything that a terminal would act on.
    static func printable(_ text: some StringProtocol) -> String {
        var out = ""
        for (count, scalar) in text.unicodeScalars.enumerated() {
            if count == 200 { return out + "..." }
            let isPlain = scalar.isASCII ? (0x20..<0x7F).contains(scalar.value) : scalar.properties.isAlphabetic
            out.unicodeScalars.append(isPlain ? scalar : "?")
        }
        return out
    }
}
