// What a build lends its commands and keeps no trace of: secrets and agent sockets. Neither is part of the graph, of a key,
// a record, a layer or a log.

import StageGraph

/// Bytes that show in no text, however they are printed.
public struct SecretValue: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    /// For handing on to the command that asked for them.
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public var description: String { "(secret)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Where a secret is.
public enum SecretOrigin: Sendable, Hashable {
    case value(SecretValue)
    /// Read when a command asks for it.
    case file(String)
}

/// What the person who builds has at hand for `RUN --mount=type=secret` and `ssh`.
public struct Loans: Sendable, Hashable {
    /// The most that a secret may hold, in bytes, as in BuildKit.
    public static let largestSecret = 500_000

    /// By ID.
    public var secrets: [String: SecretOrigin]
    /// Paths of the sockets that agents listen on, by ID.
    public var agents: [String: String]

    public init(secrets: [String: SecretOrigin] = [:], agents: [String: String] = [:]) {
        self.secrets = secrets
        self.agents = agents
    }
}
