// Why steps ran: what differs from the nearest run before, down to the file. `Explainer` finds it out.

import StageGraph
import StageHash
import StageStore

/// Why one step of a build ran, or did not.
public struct StepExplanation: Sendable, Hashable {
    /// Its index in the build.
    public var step: Int
    /// The run that it is compared with; nil when there is none, or when the step did not run.
    public var earlier: EarlierRun?
    /// What differs, in the order of the key: the first is what decided first. Empty when nothing does.
    public var differences: [Difference] = []

    /// A run of a step in an earlier build.
    public struct EarlierRun: Sendable, Hashable {
        public var stage: String
        public var title: String
        public var key: StepKey
        public var created: Timestamp
        public var seconds: Double
    }
}

/// Something that one run had otherwise than the other.
public enum Difference: Sendable, Hashable {
    /// The instruction itself, as it is written.
    case instruction(was: String, now: String)
    /// A variable of the command; nil where it is not set.
    case variable(name: String, isArgument: Bool, was: String?, now: String?)
    /// Another field of the key, by its name: `user`, `working directory`, `platform`.
    case field(name: String, was: String?, now: String?)
    /// The image that the stage starts from, by its ID.
    case base(step: Int, was: Digest?, now: Digest?)
    /// Files; `total` counts those that are not listed too.
    case files(FileOrigin, changes: [FileChange], total: Int)
    /// Files, of which the store does not know any more how they were.
    case forgotten(FileOrigin)
}

/// What the files of a difference are files of.
public enum FileOrigin: Sendable, Hashable {
    /// The filesystem that the step starts from.
    case filesystem
    /// What it takes from another step, by its index: the context, an image, a stage.
    case input(step: Int)
    /// A heredoc of the instruction.
    case heredoc
}

/// One file that is not as it was.
public struct FileChange: Sendable, Hashable {
    /// Where it is in what the difference is about, without a leading slash.
    public var path: String
    /// Nil when it was not there.
    public var was: FileState?
    /// Nil when it is not there any more.
    public var now: FileState?
    /// The step of this build whose change it is, where one is found.
    public var broughtBy: Int?
}

/// A file as far as keys know it.
public struct FileState: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable { case file, directory, symlink, fifo, device }

    public var kind: Kind
    public var mode: UInt16
    public var uid: UInt32
    public var gid: UInt32
    /// Of a regular file.
    public var digest: Digest?
    public var size: UInt64?
    /// Where a symlink leads.
    public var link: String?
    /// Names of extended attributes.
    public var attributes: [String] = []
    /// The step that changed nothing but its time.
    public var touch: Digest?
    /// Of a directory that came or went as a whole: how many files it holds.
    public var contained: Int?

    public init(_ node: Node) {
        let attributes = node.attributes
        (mode, uid, gid) = (attributes.mode, attributes.uid, attributes.gid)
        self.attributes = attributes.xattrs.map { String(decoding: $0.name, as: UTF8.self) }
        touch = node.touch
        switch node.content {
        case .file(let digest, let size): (kind, self.digest, self.size) = (.file, digest, size)
        case .symlink(let target): (kind, link) = (.symlink, String(decoding: target, as: UTF8.self))
        case .fifo: kind = .fifo
        case .characterDevice, .blockDevice: kind = .device
        }
    }

    public init(directory attributes: Attributes, contained: Int? = nil) {
        kind = .directory
        (mode, uid, gid) = (attributes.mode, attributes.uid, attributes.gid)
        self.attributes = attributes.xattrs.map { String(decoding: $0.name, as: UTF8.self) }
        self.contained = contained
    }
}
