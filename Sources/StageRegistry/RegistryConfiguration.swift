// What a client is told from outside: it reads no environment, no home directory and no credential files of its own.

import NIOSSL

/// Who the client is at a registry.
public enum RegistryCredentials: Hashable, Sendable {
    /// Sent as HTTP Basic to the registry, or to the token service that it names.
    case basic(user: String, password: String)
    /// A registry token, sent as it is.
    case bearer(token: String)
}

/// How long the client waits.
public struct RegistryTimeouts: Hashable, Sendable {
    /// For a connection, TLS included.
    public var connect: Duration
    /// From sending a request to the head of its response.
    public var response: Duration
    /// Within this much time of waiting for a body, `minimumBytes` or its end must come; silence as long ends it too.
    public var idle: Duration
    public var minimumBytes: Int

    public init(
        connect: Duration = .seconds(10), response: Duration = .seconds(60), idle: Duration = .seconds(60),
        minimumBytes: Int = 16 << 10
    ) {
        self.connect = connect
        self.response = response
        self.idle = idle
        self.minimumBytes = minimumBytes
    }
}

/// How often the client tries again what may heal: a broken connection, a stall, 408, 429, 500, 502, 503, 504.
public struct RegistryRetries: Hashable, Sendable {
    /// Tries in all, the first one included.
    public var attempts: Int
    /// Before the second try; doubled for each further one, with a fifth of it at random either way.
    public var delay: Duration
    /// A longer `Retry-After` is not waited for: the call fails and says how long the registry asked for.
    public var longestDelay: Duration
    /// A try of a blob that brought this many bytes is progress: the count of tries starts anew.
    public var progressBytes: Int64

    public init(
        attempts: Int = 4, delay: Duration = .milliseconds(500), longestDelay: Duration = .seconds(30),
        progressBytes: Int64 = 1 << 20
    ) {
        self.attempts = max(1, attempts)
        self.delay = delay
        self.longestDelay = longestDelay
        self.progressBytes = max(1, progressBytes)
    }
}

/// Whom the client trusts, beside the system's authorities.
public struct RegistryTLS: Sendable {
    let roots: [NIOSSLCertificate]
    /// False turns the check of certificates off. For tests of one's own registry; nothing protects credentials then.
    public var verifiesCertificates: Bool

    /// The system's authorities.
    public init() {
        roots = []
        verifiesCertificates = true
    }

    /// The system's authorities and those in `pem`, the text of one or more certificates.
    public init(additionalRoots pem: [UInt8]) throws(RegistryTLSError) {
        do {
            roots = try NIOSSLCertificate.fromPEMBytes(pem)
        } catch {
            throw RegistryTLSError()
        }
        verifiesCertificates = true
    }
}

/// The text given as root certificates is not PEM.
public struct RegistryTLSError: Error, Hashable, CustomStringConvertible {
    public var description: String {
        "the additional root certificates cannot be read: give PEM text with \"BEGIN CERTIFICATE\" blocks"
    }
}

/// Everything a `RegistryClient` depends on.
public struct RegistryConfiguration: Sendable {
    public var userAgent: String
    public var timeouts: RegistryTimeouts
    public var retries: RegistryRetries
    public var tls: RegistryTLS
    /// Asked once per challenge with the registry's name as references have it (`docker.io`, `localhost:5000`); nil is
    /// anonymous.
    public var credentials: @Sendable (_ registry: String) async -> RegistryCredentials?
    public var maximumRedirects: Int
    /// Bytes of a manifest or index that are read at most.
    public var manifestLimit: Int

    public init(
        userAgent: String = "stagerun", timeouts: RegistryTimeouts = RegistryTimeouts(),
        retries: RegistryRetries = RegistryRetries(), tls: RegistryTLS = RegistryTLS(), maximumRedirects: Int = 5,
        manifestLimit: Int = 4 << 20,
        credentials: @escaping @Sendable (_ registry: String) async -> RegistryCredentials? = { _ in nil }
    ) {
        self.userAgent = userAgent
        self.timeouts = timeouts
        self.retries = retries
        self.tls = tls
        self.maximumRedirects = maximumRedirects
        self.manifestLimit = manifestLimit
        self.credentials = credentials
    }
}
