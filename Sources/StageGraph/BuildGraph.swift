// What a build is, as a pure value: steps, what each takes in, and what each does. No disk, no clock, no user.

import StageHash

/// A step's place in its graph; inputs always come before what takes them.
public struct StepID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    public let index: Int
    public init(_ index: Int) { self.index = index }
    public static func < (a: StepID, b: StepID) -> Bool { a.index < b.index }
    public var description: String { "#\(index + 1)" }
}

/// Where in a text something stands: 1-based lines and columns (columns count UTF-8 bytes), both ends included.
public struct SourceRange: Hashable, Sendable, Codable {
    public var file: String
    public var firstLine: Int
    public var lastLine: Int
    public var firstColumn: Int
    public var lastColumn: Int

    public init(file: String, firstLine: Int, lastLine: Int, firstColumn: Int = 1, lastColumn: Int = 1) {
        self.file = file
        self.firstLine = firstLine
        self.lastLine = lastLine
        self.firstColumn = firstColumn
        self.lastColumn = lastColumn
    }
}

/// A platform as OCI names it.
public struct Platform: Hashable, Sendable, Codable, CustomStringConvertible {
    public var os: String
    public var architecture: String
    public var variant: String?

    public init(os: String, architecture: String, variant: String? = nil) {
        self.os = os
        self.architecture = architecture
        self.variant = variant
    }

    /// `os/architecture` or `os/architecture/variant`, with the usual names (`x86_64` is `amd64`, `aarch64` is `arm64`).
    public init?(_ text: String) {
        let parts = text.lowercased().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard (2...3).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        os = parts[0]
        architecture = ["x86_64": "amd64", "aarch64": "arm64", "i386": "386"][parts[1]] ?? parts[1]
        variant = parts.count == 3 ? parts[2] : nil
    }

    /// The platform this code runs on.
    public static var host: Platform {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #else
            Platform(os: "linux", architecture: "unknown")
        #endif
    }

    public var description: String { [os, architecture, variant].compactMap { $0 }.joined(separator: "/") }
}

/// One node of the graph.
public struct Step: Sendable {
    public var id: StepID
    public var operation: Operation
    /// For `copy` and `addArchive`: the filesystem it changes first, then what its sources come from, in order.
    public var inputs: [StepID]
    /// The name of the stage it belongs to ("builder", or "stage-1" when it has none); empty for the context and images.
    public var stage: String
    /// What people see: `RUN go build -o server .`
    public var title: String
    /// Its number within the stage's numbered steps, from 1, and how many there are; 0 when it is not numbered.
    public var number: Int
    public var total: Int
    /// Its instruction in the Dockerfile.
    public var source: SourceRange?

    public init(
        id: StepID, operation: Operation, inputs: [StepID], stage: String, title: String, number: Int = 0,
        total: Int = 0,
        source: SourceRange? = nil
    ) {
        self.id = id
        self.operation = operation
        self.inputs = inputs
        self.stage = stage
        self.title = title
        self.number = number
        self.total = total
        self.source = source
    }
}

/// What a step does.
public enum Operation: Sendable, Hashable {
    /// The empty filesystem.
    case scratch
    /// A base image's filesystem. The name is a key of the images that were resolved before.
    case image(String)
    /// A build context by name; `""` is the main one.
    case context(String)
    /// A file of the web, alone in a directory, or what is in a git repository.
    case remote(RemoteSource)
    /// `WORKDIR`: makes a directory and its missing parents.
    case makeDirectory(MakeDirectory)
    /// `COPY` and `ADD` of files: a graft.
    case copy(Copy)
    /// `COPY --link`: the second input over the first, whatever is in the first.
    ///
    /// `time` is that of the copy, if it has one.
    case merge(time: Int64?)
    /// `RUN`.
    case run(Run)
    /// A step of a host program's own kind.
    case own(OwnOperation)

    /// Whether it only brings a filesystem in: such a step takes nothing and has no key.
    public var isSource: Bool {
        switch self {
        case .scratch, .image, .context, .remote: true
        case .makeDirectory, .copy, .merge, .run, .own: false
        }
    }
}

/// `WORKDIR /a/b`: created 0755 with its parents where missing, owned by `owner`; nothing else changes.
public struct MakeDirectory: Sendable, Hashable {
    /// Absolute.
    public var path: String
    public var owner: Owner?
    /// Of what is made, in seconds since 1970; nil for 0.
    public var time: Int64?

    public init(path: String, owner: Owner? = nil, time: Int64? = nil) {
        self.time = time
        self.path = path
        self.owner = owner
    }
}

/// Who owns what is created: names are looked up in the target filesystem's /etc/passwd and /etc/group.
public struct Owner: Sendable, Hashable, Codable {
    /// A name or a number.
    public var user: String
    /// A name or a number; nil when only the user was given (then the gid is the user's number, as docker has it).
    public var group: String?

    public init(user: String, group: String? = nil) {
        self.user = user
        self.group = group
    }
}

/// `COPY` and `ADD`: selected sources are grafted onto the first input.
public struct Copy: Sendable, Hashable {
    /// One source: a path or wildcard pattern within one input, or the text of a heredoc.
    public enum Source: Sendable, Hashable {
        /// `pattern` within `inputs[input]` of the step (input 0 is the destination, so sources start at 1).
        case path(input: Int, pattern: String)
        /// `--parents`: what `pattern` (`**` included) takes of the directory `pivot`, with the directories on the way.
        case parents(input: Int, pivot: String, pattern: String)
        /// The one file of an input that was fetched; unpacked when it is an archive and `unpacks` says so.
        case fetched(input: Int, unpacks: Bool)
        /// A heredoc's text as a file of that name, mode 0644.
        case text(name: String, content: String)
    }
    public var sources: [Source]
    /// Absolute. A trailing slash says "into this directory".
    public var destination: String
    public var chown: Owner?
    /// Octal digits or a symbolic mode.
    public var chmod: String?
    /// True for a local context: what is copied is owned by 0:0 unless `chown` says otherwise.
    public var resetsOwner: Bool
    /// `ADD`: a source file that is a tar archive is unpacked.
    public var unpacksArchives: Bool
    /// `--exclude`: patterns as in an ignore file, relative to each source directory.
    public var excludes: [String]
    /// What everything that is copied has for its time, in seconds since 1970; nil leaves the sources' own.
    public var time: Int64?

    public init(
        sources: [Source], destination: String, chown: Owner? = nil, chmod: String? = nil, resetsOwner: Bool,
        unpacksArchives: Bool = false, excludes: [String] = [], time: Int64? = nil
    ) {
        self.time = time
        self.sources = sources
        self.destination = destination
        self.chown = chown
        self.chmod = chmod
        self.resetsOwner = resetsOwner
        self.unpacksArchives = unpacksArchives
        self.excludes = excludes
    }
}

/// A history entry of the image, as the lowering knows it: the step gives it its time, none means an empty layer.
public struct HistoryEntry: Sendable, Hashable {
    public var createdBy: String
    /// The step whose change is this entry's layer; nil for an entry without one.
    public var step: StepID?

    public init(createdBy: String, step: StepID?) {
        self.createdBy = createdBy
        self.step = step
    }
}

/// The whole build: its steps, and the image that comes out.
public struct BuildGraph: Sendable {
    /// In topological order: `steps[i].id.index == i` and inputs come first.
    public var steps: [Step]
    /// The step whose filesystem is the image's.
    public var target: StepID
    /// The config of the image, without what only the build knows (history times, diff IDs).
    public var config: ImageSettings
    /// The history entries after the base image's own.
    public var history: [HistoryEntry]
    /// The base image that the target's stage chain starts from (a key as in `Operation.image`); nil for scratch.
    public var base: String?
    public var platform: Platform
    /// Stages that the target does not need, by name, in order.
    public var skippedStages: [SkippedStage]
    /// Patterns that the reachable `COPY` and `ADD` take from each context, relative, for narrowing the scan.
    public var contextPatterns: [String: [String]]
    /// The image's author, as `MAINTAINER` has it.
    public var author: String?
    /// `SOURCE_DATE_EPOCH`: when the image was made, whatever the clock says.
    public var epoch: Int64?
    /// The images of further targets. They have the same steps; `target`, `config`, `history`, `base`, `platform` and
    /// `author` are their own.
    public var siblings: [BuildGraph] = []

    public init(
        steps: [Step], target: StepID, config: ImageSettings, history: [HistoryEntry], base: String?,
        platform: Platform,
        skippedStages: [SkippedStage] = [], contextPatterns: [String: [String]] = [:], author: String? = nil,
        epoch: Int64? = nil
    ) {
        self.epoch = epoch
        self.steps = steps
        self.target = target
        self.config = config
        self.history = history
        self.base = base
        self.platform = platform
        self.skippedStages = skippedStages
        self.contextPatterns = contextPatterns
        self.author = author
    }
}

/// A stage that was left out, and how many instructions it would have had.
public struct SkippedStage: Sendable, Hashable, Codable {
    public var name: String
    public var instructions: Int
    public var source: SourceRange?

    public init(name: String, instructions: Int, source: SourceRange? = nil) {
        self.name = name
        self.instructions = instructions
        self.source = source
    }
}
