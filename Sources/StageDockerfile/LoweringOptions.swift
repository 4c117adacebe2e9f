// What goes into and comes out of the lowering of a Dockerfile.

import StageGraph

/// What the caller decides about a build.
public struct LoweringOptions: Sendable {
    /// The stage to build; nil is the last.
    public var target: String?
    /// Stages that are built along with the target, each into an image of its own.
    public var furtherTargets: [String] = []
    public var buildArguments: [String: String]
    /// Set on the image after everything else.
    public var labels: [String: String]
    public var platform: Platform
    /// The platform was asked for, so the image is said to be for it whatever its base is for.
    public var isPlatformAsked = false
    /// What `BUILDPLATFORM` and its kin say.
    public var buildPlatform: Platform
    /// Whether the ignore file leaves a source path of `COPY` out. Nil when there is none, or when its exceptions make that
    /// impossible to say of a path alone.
    public var isIgnored: (@Sendable (String) -> Bool)?
    /// What `--build-context` puts in the place of stages and images, by `NamedContext.name(of:)`.
    public var contexts: [String: NamedContext] = [:]
    /// What commands may do beyond a sandbox.
    public var entitlements: Set<Entitlement> = []
    /// How every `RUN` runs that does not say it itself.
    public var run = RunDefaults()
    /// `SOURCE_DATE_EPOCH` sets no time, whatever it says: for who only looks.
    public var leavesEpochOpen = false
    /// Looking without a target looks at the last stage alone, not at all of them.
    public var looksAtTargetOnly = false

    public init(
        target: String? = nil, buildArguments: [String: String] = [:], labels: [String: String] = [:],
        platform: Platform = .host, buildPlatform: Platform = .host
    ) {
        self.target = target
        self.buildArguments = buildArguments
        self.labels = labels
        self.platform = platform
        self.buildPlatform = buildPlatform
    }
}

/// What a name of `--build-context` means.
public enum NamedContext: Sendable, Hashable {
    case scratch
    /// An image, under the name that is asked for with.
    case image(String)
    /// Files: `Operation.context` with the name.
    case files

    /// The one spelling of a name: an image's without its registry and `latest`, as docker shows it.
    public static func name(of text: String) -> String {
        guard let reference = try? ImageReference(text), reference.digest == nil else { return text.lowercased() }
        let familiar = reference.familiar
        return familiar.hasSuffix(":latest") ? String(familiar.dropLast(7)) : familiar
    }
}

/// A right that a `RUN` can ask for and that the person who builds has to give: `--allow`.
public enum Entitlement: String, Sendable, Hashable, CaseIterable {
    case hostNetwork = "network.host"
    case insecure = "security.insecure"
}

/// Options of a build that go to every `RUN`.
public struct RunDefaults: Sendable, Hashable {
    public var network: RunCommand.Network = .default
    public var extraHosts: [ExtraHost] = []
    /// Bytes of `/dev/shm`; nil for docker's 64 MiB.
    public var sharedMemory: UInt64?
    public var limits: [ResourceLimit] = []

    public init() {}
}

/// A base image, as far as lowering needs it.
public struct BaseImage: Sendable, Hashable {
    public var settings: ImageSettings
    public var platform: Platform
    /// False when nothing could be learnt of it: then no check speaks about what it sets.
    public var isKnown = true

    public init(settings: ImageSettings, platform: Platform) {
        self.settings = settings
        self.platform = platform
    }

    /// An image that is not looked at.
    public static func unknown(platform: Platform) -> BaseImage {
        var image = BaseImage(settings: ImageSettings(), platform: platform)
        image.isKnown = false
        return image
    }
}

/// An image that a stage of the build needs.
public struct ImageRequest: Sendable, Hashable {
    /// As written, variables expanded.
    public var name: String
    public var platform: Platform
    /// The instruction that asks for it.
    public var range: SourceRange
    /// Its name in `images` and in `Operation.image`: the name as it is, with `@@platform` after it when it is
    /// wanted for another platform than the build's.
    public var key: String

    init(name: String, platform: Platform, range: SourceRange, buildsFor target: Platform) {
        self.name = name
        self.platform = platform
        self.range = range
        key = platform == target ? name : "\(name)@@\(platform)"
    }
}

public enum LoweringResult: Sendable {
    /// These images must be resolved first; then lower again with them. There may be further rounds: triggers of
    /// base images can name images too.
    case needs([ImageRequest])
    case graph(BuildGraph, warnings: [DockerfileWarning])
}
