// What can be asked of a store directory, and what comes back.

import StageDockerfile
import StageEngine
import StageGraph
import StageHash
import StageStore

/// Where an output goes.
public enum Destination: Sendable, Hashable {
    /// A file or directory; it appears whole or not at all.
    case path(String)
    /// An open descriptor that stays the caller's.
    case descriptor(CInt)
}

/// A form in which an image leaves the store.
public enum ImageOutput: Sendable, Hashable {
    /// An OCI image layout, as one tar file or as a directory.
    case oci(Destination, asTar: Bool)
    /// What `docker load` takes.
    case docker(Destination)
    /// The root filesystem as a tar file.
    case tar(Destination)
    /// The root filesystem as a directory.
    case local(String)
}

/// A build.
public struct BuildRequest: Sendable {
    /// The directory, or what the context is called where it is none.
    public var contextPath: String
    /// Where the context comes from; nil is the directory `contextPath`.
    public var context: ContextSource?
    /// `--build-context`, by `NamedContext.name(of:)`.
    public var contexts: [String: ContextSource] = [:]
    public var tools = FetchTools()
    /// The Dockerfile's path, within the context where that is no directory of this machine and the path is not absolute;
    /// or its address in the web; nil is `Dockerfile` (or `dockerfile`) in the context.
    public var dockerfile: String?
    public var target: String?
    /// Stages that are built along with the target: one graph, what they share runs once.
    public var furtherTargets: [TargetRequest] = []
    public var buildArguments: [String: String] = [:]
    public var labels: [String: String] = [:]
    public var names: [ImageReference] = []
    public var useCache = true
    /// Stages whose steps all run, by name, whatever is known of them.
    public var uncachedStages: [String] = []
    public var outputs: [ImageOutput] = []
    public var platform: Platform = .host
    /// The platform was asked for: the image says that it is for it, whatever its base image is for.
    public var isPlatformAsked = false
    /// Secrets and agents for `RUN --mount`.
    public var loans = Loans()
    /// Files with private keys, by the ID of the agent that holds them while the build runs.
    public var keys: [String: [String]] = [:]
    /// What `RUN` may do beyond a sandbox.
    public var entitlements: Set<Entitlement> = []
    /// How every `RUN` runs that does not say it itself.
    public var run = RunDefaults()

    public init(contextPath: String) { self.contextPath = contextPath }
}

/// A further target of a build.
public struct TargetRequest: Sendable {
    public var target: String
    public var names: [ImageReference]
    public var outputs: [ImageOutput]

    public init(target: String, names: [ImageReference], outputs: [ImageOutput]) {
        self.target = target
        self.names = names
        self.outputs = outputs
    }
}

/// What a build made of a further target.
public struct TargetReport: Sendable {
    public var target: String
    public var imageID: Digest
    public var manifestDigest: Digest?
    public var names: [ImageReference]
    public var size: UInt64
}

/// What a build made.
public struct BuildReport: Sendable {
    public var imageID: Digest
    /// The digest of the manifest that an `oci` output wrote; nil without one.
    public var manifestDigest: Digest?
    public var names: [ImageReference]
    /// Bytes of all layers, uncompressed.
    public var size: UInt64
    public var states: [StepState: Int]
    public var seconds: Double
    /// In the order in which they were asked for.
    public var furtherTargets: [TargetReport] = []
}

/// One image, as a list shows it.
public struct ImageSummary: Sendable, Hashable {
    public var id: Digest
    /// Sorted; empty when no name leads to it any more.
    public var names: [ImageReference]
    public var created: Timestamp
    /// Bytes of all layers, uncompressed.
    public var size: UInt64
}

/// All about one image.
public struct ImageDetails: Sendable {
    public struct Layer: Sendable, Hashable {
        public var diffID: Digest
        /// Bytes, uncompressed.
        public var size: UInt64
    }

    public struct History: Sendable, Hashable {
        public var created: Timestamp?
        public var createdBy: String
        public var comment: String
        /// Bytes of its layer; nil for an entry without one.
        public var layerSize: UInt64?
    }

    public var id: Digest
    public var names: [ImageReference]
    /// The config, byte for byte; its SHA-256 is the ID.
    public var configuration: [UInt8]
    public var settings: ImageSettings
    public var platform: Platform
    public var author: String?
    public var layers: [Layer]
    /// Oldest first.
    public var history: [History]
    public var size: UInt64
    public var created: Timestamp
}

/// What removing an image did, in order.
public enum RemovedItem: Sendable, Hashable {
    case untagged(ImageReference)
    case deleted(Digest)
}

/// A mount of a host path: `-v`.
public struct HostMount: Sendable, Hashable {
    /// Absolute.
    public var source: String
    /// Absolute, in the container.
    public var target: String
    public var readOnly: Bool

    public init(source: String, target: String, readOnly: Bool) {
        self.source = source
        self.target = target
        self.readOnly = readOnly
    }
}

/// How a container's streams are connected.
public enum RunStreams: Sendable, Hashable {
    /// These descriptors of the caller; nil input is empty.
    case descriptors(input: CInt?, output: CInt, error: CInt)
    /// A terminal of its own, connected to these descriptors of the caller.
    case terminal(input: CInt?, output: CInt, rows: UInt16, columns: UInt16)
}

/// A command in an image. Its changes are thrown away.
public struct RunRequest: Sendable {
    public var image: String
    /// In place of the image's command; empty keeps it.
    public var arguments: [String] = []
    /// In place of the image's entrypoint; an empty array clears it.
    public var entrypoint: [String]?
    /// `NAME=value`, over the image's own.
    public var environment: [String] = []
    public var workingDirectory: String?
    public var user: String?
    public var hostname: String?
    public var mounts: [HostMount] = []
    public var streams: RunStreams
    /// Called once when the command runs, with what steers it.
    public var started: @Sendable (any RunControl) -> Void = { _ in }

    public init(image: String, streams: RunStreams) {
        self.image = image
        self.streams = streams
    }
}

/// Steers a running command.
public protocol RunControl: Sendable {
    /// Sends a signal to the command.
    func signal(_ number: Int32)
    /// Tells its terminal a new size.
    func resize(rows: UInt16, columns: UInt16)
}
