// What is kept of a build: what became of each step and why, so that it can be explained, and its logs found, later.

import StageGraph
import StageHash
import StageStore

/// What was built: builds of one subject follow each other, and the later is explained by the earlier.
public struct BuildSubject: Sendable, Hashable, Codable {
    /// The Dockerfile, as an absolute path; whatever else names the graph for a host program.
    public var file: String
    /// The context, as an absolute path.
    public var context: String

    public init(file: String, context: String) {
        self.file = file
        self.context = context
    }

    /// Its name in the history.
    var name: Digest {
        var writer = ByteWriter()
        writer.string(file)
        writer.string(context)
        return Digest.of(writer.bytes)
    }
}

/// When and how long: what tells a build from one that went the same way.
struct BuildTimes: Sendable, Hashable {
    var started: Timestamp
    var seconds: Double
    /// How long each step took that has no key, in the order of the steps: contexts, images, downloads.
    var sources: [Double]
}

/// How a build ended.
public enum BuildEnd: Sendable, Hashable {
    case completed
    case failed(String)
    case cancelled
}

/// The record of a build.
public struct BuildRecord: Sendable, Hashable {
    /// One step of it.
    public struct Step: Sendable, Hashable {
        public var description: StepDescription
        /// The steps it takes in, by index; the first is the filesystem that it starts from.
        public var inputs: [Int] { description.inputs }
        /// Nil when the build ended before it came to it.
        public var state: StepState?
        public var reason: StepReason?
        /// Nil for sources, and for what the build did not come to.
        public var key: StepKey?
        /// How long it ran in this build.
        public var seconds: Double = 0
        /// What it left; nil when it did not get that far.
        public var result: TreeRef?
        /// What it wrote, as a content.
        public var log: Digest?
        /// What a source is called where it comes from: the ID of an image.
        public var origin: Digest?
        /// Variables of a `RUN` that are build arguments, by name.
        public var arguments: [String] = []
        /// What a step that left no record of its own was about to do.
        public var attempt: StepAttempt?
        /// The nearest step that ran before this build.
        public var earlier: EarlierStep?
    }

    public var subject: BuildSubject
    public var target: String
    public var platform: String
    public var started: Timestamp
    public var seconds: Double
    public var end: BuildEnd
    public var steps: [Step]
    public var skippedStages: [SkippedStage]
    /// The latest records of steps that this build did not have, from builds before it.
    public var elsewhere: [EarlierStep]
}

/// The walk of a key that led to no record.
public struct StepAttempt: Sendable, Hashable {
    public var keyText: String
    public var sources: [StepSource]
}

/// A step of an earlier build, for comparison.
public struct EarlierStep: Sendable, Hashable {
    public var stage: String
    public var title: String
    public var kind: String
    /// Which one of its kind it was in its stage, from 0.
    public var ordinal: Int
    public var key: StepKey
    /// The image that its stage started from, if that was one.
    public var base: Digest?
    /// How long it ran when it last did.
    public var seconds: Double
    /// It was this very key, and it failed.
    public var failed: Bool
    /// Of a step that failed: the key of the run that it was compared with.
    public var before: StepKey?
}
