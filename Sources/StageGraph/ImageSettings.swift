// The part of an image's config that instructions set: OCI image-spec config.md, "config", and docker's additions.

/// `HEALTHCHECK`, with durations in nanoseconds, as docker stores them.
public struct Healthcheck: Sendable, Hashable, Codable {
    public var test: [String]?
    public var interval: Int64?
    public var timeout: Int64?
    public var startPeriod: Int64?
    public var startInterval: Int64?
    public var retries: Int?

    public init(
        test: [String]? = nil, interval: Int64? = nil, timeout: Int64? = nil, startPeriod: Int64? = nil,
        startInterval: Int64? = nil, retries: Int? = nil
    ) {
        self.test = test
        self.interval = interval
        self.timeout = timeout
        self.startPeriod = startPeriod
        self.startInterval = startInterval
        self.retries = retries
    }

    enum CodingKeys: String, CodingKey {
        case test = "Test"
        case interval = "Interval"
        case timeout = "Timeout"
        case startPeriod = "StartPeriod"
        case startInterval = "StartInterval"
        case retries = "Retries"
    }
}

/// What runs, how, and with what around it. Coding keys are those of the image config's `config` object.
public struct ImageSettings: Sendable, Hashable, Codable {
    public var user: String?
    /// `80/tcp`, sorted.
    public var exposedPorts: [String]
    /// `NAME=value`, in order.
    public var environment: [String]
    public var entrypoint: [String]?
    public var command: [String]?
    public var argumentsEscaped: Bool?
    /// Absolute paths, sorted.
    public var volumes: [String]
    public var workingDirectory: String?
    public var labels: [String: String]
    public var stopSignal: String?
    public var healthcheck: Healthcheck?
    public var onBuild: [String]
    public var shell: [String]?

    public init() {
        exposedPorts = []
        environment = []
        volumes = []
        labels = [:]
        onBuild = []
    }

    private struct Empty: Codable {}

    enum CodingKeys: String, CodingKey {
        case user = "User"
        case exposedPorts = "ExposedPorts"
        case environment = "Env"
        case entrypoint = "Entrypoint"
        case command = "Cmd"
        case argumentsEscaped = "ArgsEscaped"
        case volumes = "Volumes"
        case workingDirectory = "WorkingDir"
        case labels = "Labels"
        case stopSignal = "StopSignal"
        case healthcheck = "Healthcheck"
        case onBuild = "OnBuild"
        case shell = "Shell"
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        user = try container.decodeIfPresent(String.self, forKey: .user).flatMap { $0.isEmpty ? nil : $0 }
        exposedPorts = (try container.decodeIfPresent([String: Empty?].self, forKey: .exposedPorts) ?? [:]).keys
            .sorted()
        environment = try container.decodeIfPresent([String].self, forKey: .environment) ?? []
        entrypoint = try container.decodeIfPresent([String].self, forKey: .entrypoint)
        command = try container.decodeIfPresent([String].self, forKey: .command)
        argumentsEscaped = try container.decodeIfPresent(Bool.self, forKey: .argumentsEscaped)
        volumes = (try container.decodeIfPresent([String: Empty?].self, forKey: .volumes) ?? [:]).keys.sorted()
        workingDirectory = try container.decodeIfPresent(String.self, forKey: .workingDirectory)
            .flatMap { $0.isEmpty ? nil : $0 }
        labels = try container.decodeIfPresent([String: String].self, forKey: .labels) ?? [:]
        stopSignal = try container.decodeIfPresent(String.self, forKey: .stopSignal)
        healthcheck = try container.decodeIfPresent(Healthcheck.self, forKey: .healthcheck)
        onBuild = try container.decodeIfPresent([String].self, forKey: .onBuild) ?? []
        shell = try container.decodeIfPresent([String].self, forKey: .shell)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        func set(_ names: [String]) -> [String: Empty] { Dictionary(names.map { ($0, Empty()) }) { a, _ in a } }
        try container.encodeIfPresent(user, forKey: .user)
        if !exposedPorts.isEmpty { try container.encode(set(exposedPorts), forKey: .exposedPorts) }
        if !environment.isEmpty { try container.encode(environment, forKey: .environment) }
        // As docker's `omitempty` has it: an empty list is none.
        if let entrypoint, !entrypoint.isEmpty { try container.encode(entrypoint, forKey: .entrypoint) }
        if let command, !command.isEmpty { try container.encode(command, forKey: .command) }
        try container.encodeIfPresent(argumentsEscaped, forKey: .argumentsEscaped)
        if !volumes.isEmpty { try container.encode(set(volumes), forKey: .volumes) }
        try container.encodeIfPresent(workingDirectory, forKey: .workingDirectory)
        if !labels.isEmpty { try container.encode(labels, forKey: .labels) }
        try container.encodeIfPresent(stopSignal, forKey: .stopSignal)
        try container.encodeIfPresent(healthcheck, forKey: .healthcheck)
        if !onBuild.isEmpty { try container.encode(onBuild, forKey: .onBuild) }
        if let shell, !shell.isEmpty { try container.encode(shell, forKey: .shell) }
    }
}
