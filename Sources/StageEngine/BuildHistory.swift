// Where records of builds are kept and found: a content for how a build went, an entry for which build it was the last of, and
// a note for each time that the same build was made again. Specs/scheduler.md, "build records".

import StageGraph
import StageHash
import StageStore

/// Where records of builds are kept and found.
public protocol BuildHistory: Sendable {
    /// The last build of `subject`.
    func lastBuild(of subject: BuildSubject) throws(StoreError) -> BuildRecord?

    /// What was built, latest first.
    func builds() throws(StoreError) -> [BuildSubject]

    /// Keeps `build` as the last of its subject.
    func keep(_ build: BuildRecord) throws(StoreError)

    /// Where `build` went step for step as the last of its subject did, notes that, and its times; else false, and nothing is
    /// kept. Saves reading the last build.
    func repeats(_ build: BuildRecord) throws(StoreError) -> Bool
}

extension BuildHistory {
    /// The last build of all.
    public func lastBuild() throws(StoreError) -> BuildRecord? {
        guard let subject = try builds().first else { return nil }
        return try lastBuild(of: subject)
    }

    public func repeats(_ build: BuildRecord) throws(StoreError) -> Bool { false }
}

extension Store: BuildHistory {
    public func builds() throws(StoreError) -> [BuildSubject] { latestFirst(try all(.builds).map(\.value)) }
}

extension MemoryStore: BuildHistory {
    public func builds() throws(StoreError) -> [BuildSubject] { latestFirst(all(.builds).map(\.value)) }
}

extension BuildHistory where Self: TableStore & ContentSink & NoteStore {
    public func lastBuild(of subject: BuildSubject) throws(StoreError) -> BuildRecord? {
        guard let value = try get(.builds, subject.name.bytes), let entry = BuildEntry(value).map(latest),
            let times = entry.times
        else { return nil }
        // What was pruned, or written by another version, explains nothing any more.
        guard try size(of: entry.record) != nil else { return nil }
        return BuildRecord(content: try read(entry.record), times: times)
    }

    public func keep(_ build: BuildRecord) throws(StoreError) {
        let content = build.content()
        if try repeats(build, content) { return }
        let entry = BuildEntry(record: try put(content), times: build.times, subject: build.subject)
        set(.builds, build.subject.name.bytes, entry.encoded())
    }

    public func repeats(_ build: BuildRecord) throws(StoreError) -> Bool { try repeats(build, build.content()) }

    private func repeats(_ build: BuildRecord, _ content: [UInt8]) throws(StoreError) -> Bool {
        guard let value = try get(.builds, build.subject.name.bytes), let entry = BuildEntry(value),
            entry.times != nil, entry.record == Digest.of(content), try size(of: entry.record) != nil
        else { return false }
        return setNote(build.subject.name, BuildNote(record: entry.record, times: build.times).encoded())
    }

    /// `entry` with the times of the last build that was like it.
    public func latest(_ entry: BuildEntry) -> BuildEntry {
        guard let note = note(entry.subject.name).flatMap(BuildNote.init), note.record == entry.record,
            note.times.started > entry.started
        else { return entry }
        return BuildEntry(record: entry.record, times: note.times, subject: entry.subject)
    }

    /// Removes the notes of builds whose records are not kept any more.
    public func removeNotes() throws(StoreError) {
        let kept = Set(try builds().map(\.name))
        for name in notes() where !kept.contains(name) { _ = setNote(name, nil) }
    }

    func latestFirst(_ values: [[UInt8]]) -> [BuildSubject] {
        values.compactMap { BuildEntry($0).map(latest) }.sorted { $0.started > $1.started }.map(\.subject)
    }
}

/// The value of a subject in the table of builds.
public struct BuildEntry: Sendable, Hashable {
    /// The content that holds the record.
    public var record: Digest
    public var started: Timestamp
    public var subject: BuildSubject
    /// Nil in entries of version 1, whose records had the times in them.
    let times: BuildTimes?

    private static let version: UInt8 = 2

    init(record: Digest, times: BuildTimes, subject: BuildSubject) {
        self.record = record
        self.times = times
        self.subject = subject
        started = times.started
    }

    /// Reads a value of the table; nil when it is none.
    public init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let version = reader.u8(), let record = reader.digest() else { return nil }
        switch version {
        case 1:
            guard let started = reader.time() else { return nil }
            (self.started, times) = (started, nil)
        case Self.version:
            guard let read = reader.times() else { return nil }
            (started, times) = (read.started, read)
        default: return nil
        }
        guard let file = reader.string(), let context = reader.string(), reader.isAtEnd else { return nil }
        self.record = record
        subject = BuildSubject(file: file, context: context)
    }

    func encoded() -> [UInt8] {
        var out = ByteWriter()
        out.u8(Self.version)
        out.digest(record)
        out.times(times ?? BuildTimes(started: started, seconds: 0, sources: []))
        out.string(subject.file)
        out.string(subject.context)
        return out.bytes
    }
}

/// What is noted of a build that went as the last one did.
private struct BuildNote {
    var record: Digest
    var times: BuildTimes

    init(record: Digest, times: BuildTimes) {
        self.record = record
        self.times = times
    }

    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let record = reader.digest(), let times = reader.times(), reader.isAtEnd else { return nil }
        self.init(record: record, times: times)
    }

    func encoded() -> [UInt8] {
        var out = ByteWriter()
        out.digest(record)
        out.times(times)
        return out.bytes
    }
}
