// Build records as bytes: the times apart from all else, so that builds that went the same way have one content.
// Specs/scheduler.md lists the fields; another version is none at all.

import StageGraph
import StageHash
import StageStore

extension BuildRecord {
    private static let version: UInt8 = 2

    var times: BuildTimes {
        BuildTimes(
            started: started, seconds: seconds, sources: steps.lazy.filter { $0.key == nil }.map(\.seconds))
    }

    /// All but the times.
    func content() -> [UInt8] {
        var out = ByteWriter()
        out.bytes.reserveCapacity(1024 + 384 * steps.count)
        out.u8(Self.version)
        out.string(subject.file)
        out.string(subject.context)
        out.string(target)
        out.string(platform)
        switch end {
        case .completed: out.u8(0)
        case .failed(let message):
            out.u8(1)
            out.string(message)
        case .cancelled: out.u8(2)
        }
        out.list(steps) { $0.step($1) }
        out.list(skippedStages) { out, stage in
            out.string(stage.name)
            out.u32(UInt32(clamping: stage.instructions))
            out.optional(stage.source) { $0.range($1) }
        }
        out.list(elsewhere) { $0.earlier($1) }
        return out.bytes
    }

    /// What the content of a record keeps besides itself: its logs, those of failed steps, too. One that another version wrote
    /// says nothing here.
    public static func links(_ content: [UInt8]) -> [Link] {
        let build = BuildRecord(content: content, times: nil)
        return (build?.steps ?? []).compactMap { $0.log.map { .content($0) } }
    }

    /// Reads what `content()` wrote; anything else is nil.
    ///
    /// - Parameter times: nil where they do not matter.
    init?(content bytes: [UInt8], times: BuildTimes?) {
        var reader = ByteReader(bytes)
        guard reader.u8() == Self.version, let file = reader.string(), let context = reader.string(),
            let target = reader.string(), let platform = reader.string(), let ended = reader.u8()
        else { return nil }
        let end: BuildEnd
        switch ended {
        case 0: end = .completed
        case 1:
            guard let message = reader.string() else { return nil }
            end = .failed(message)
        case 2: end = .cancelled
        default: return nil
        }
        guard var steps = reader.list({ $0.step() }),
            let skipped = reader.list({ reader -> SkippedStage? in
                guard let name = reader.string(), let count = reader.u32(), let source = reader.optional({ $0.range() })
                else { return nil }
                return SkippedStage(name: name, instructions: Int(count), source: source)
            }), let elsewhere = reader.list({ $0.earlier() }), reader.isAtEnd
        else { return nil }
        if let times {
            let sources = steps.indices.filter { steps[$0].key == nil }
            guard sources.count == times.sources.count else { return nil }
            for (index, seconds) in zip(sources, times.sources) { steps[index].seconds = seconds }
        }
        self.init(
            subject: BuildSubject(file: file, context: context), target: target, platform: platform,
            started: times?.started ?? .epoch, seconds: times?.seconds ?? 0, end: end, steps: steps,
            skippedStages: skipped,
            elsewhere: elsewhere)
    }
}

extension ByteWriter {
    mutating func times(_ times: BuildTimes) {
        time(times.started)
        u64(times.seconds.bitPattern)
        list(times.sources) { $0.u64($1.bitPattern) }
    }

    mutating func list<T>(_ items: [T], _ write: (inout ByteWriter, T) -> Void) {
        u32(UInt32(clamping: items.count))
        for item in items { write(&self, item) }
    }

    mutating func optional<T>(_ item: T?, _ write: (inout ByteWriter, T) -> Void) {
        u8(item == nil ? 0 : 1)
        if let item { write(&self, item) }
    }

    mutating func sources(_ sources: [StepSource]) {
        list(sources) { out, source in
            out.u32(UInt32(clamping: source.input))
            out.frame(source.path)
            out.entry(source.entry)
        }
    }

    fileprivate mutating func range(_ range: SourceRange) {
        string(range.file)
        for number in [range.firstLine, range.lastLine, range.firstColumn, range.lastColumn] {
            u32(UInt32(clamping: number))
        }
    }

    fileprivate mutating func step(_ step: BuildRecord.Step) {
        string(step.description.stage)
        string(step.description.title)
        u32(UInt32(clamping: step.description.id))
        u32(UInt32(clamping: step.description.number))
        u32(UInt32(clamping: step.description.total))
        optional(step.description.source) { $0.range($1) }
        string(step.description.kind)
        list(step.inputs) { $0.u32(UInt32(clamping: $1)) }
        optional(step.state) { $0.string($1.rawValue) }
        optional(step.reason) { $0.reason($1) }
        optional(step.key) { $0.digest($1.digest) }
        if step.key != nil { u64(step.seconds.bitPattern) }
        optional(step.result) { $0.tree($1) }
        optional(step.log) { $0.digest($1) }
        optional(step.origin) { $0.digest($1) }
        list(step.arguments) { $0.string($1) }
        optional(step.attempt) { out, attempt in
            out.string(attempt.keyText)
            out.sources(attempt.sources)
        }
        optional(step.earlier) { $0.earlier($1) }
    }

    fileprivate mutating func earlier(_ step: EarlierStep) {
        string(step.stage)
        string(step.title)
        string(step.kind)
        u32(UInt32(clamping: step.ordinal))
        digest(step.key.digest)
        optional(step.base) { $0.digest($1) }
        u64(step.seconds.bitPattern)
        u8(step.failed ? 1 : 0)
        optional(step.before) { $0.digest($1.digest) }
    }

    fileprivate mutating func reason(_ reason: StepReason) {
        switch reason {
        case .recorded(let at, let seconds):
            u8(0)
            time(at)
            u64(seconds.bitPattern)
        case .sharedWith(let step):
            u8(1)
            u32(UInt32(clamping: step))
        case .sharedWithAnotherBuild: u8(2)
        case .firstRun: u8(3)
        case .differs(let fields):
            u8(4)
            list(fields) { $0.string($1) }
        case .cacheOff: u8(5)
        case .failedBefore: u8(6)
        case .source: u8(7)
        case .stopped: u8(8)
        case .failed(let message):
            u8(9)
            string(message)
        }
    }
}

extension ByteReader {
    mutating func times() -> BuildTimes? {
        guard let started = time(), let seconds = double(), let sources = list({ $0.double() }) else { return nil }
        return BuildTimes(started: started, seconds: seconds, sources: sources)
    }

    mutating func list<T>(_ read: (inout ByteReader) -> T?) -> [T]? {
        guard let count = u32() else { return nil }
        var items: [T] = []
        for _ in 0..<count {
            guard let item = read(&self) else { return nil }
            items.append(item)
        }
        return items
    }

    /// Nil when the bytes are wrong; `.some(nil)` for what is not there.
    mutating func optional<T>(_ read: (inout ByteReader) -> T?) -> T?? {
        switch u8() {
        case 0: return .some(nil)
        case 1: return read(&self).map { .some($0) }
        default: return nil
        }
    }

    mutating func double() -> Double? { u64().map(Double.init(bitPattern:)) }

    mutating func int() -> Int? { u32().map(Int.init) }

    mutating func sources() -> [StepSource]? {
        list { reader in
            guard let input = reader.int(), let path = reader.frame(), let entry = reader.entry() else { return nil }
            return StepSource(input: input, path: Array(path), entry: entry)
        }
    }

    fileprivate mutating func range() -> SourceRange? {
        guard let file = string(), let firstLine = int(), let lastLine = int(), let firstColumn = int(),
            let lastColumn = int()
        else { return nil }
        return SourceRange(
            file: file, firstLine: firstLine, lastLine: lastLine, firstColumn: firstColumn, lastColumn: lastColumn)
    }

    fileprivate mutating func step() -> BuildRecord.Step? {
        guard let stage = string(), let title = string(), let id = int(), let number = int(), let total = int(),
            let source = optional({ $0.range() }), let kind = string(), let inputs = list({ $0.int() })
        else { return nil }
        let description = StepDescription(
            id: id, stage: stage, title: title, kind: kind, inputs: inputs, number: number, total: total, source: source
        )
        var step = BuildRecord.Step(description: description)
        guard let state = optional({ $0.string().flatMap(StepState.init(rawValue:)) }),
            let reason = optional({ $0.reason() }), let key = optional({ $0.digest().map(StepKey.init) }),
            let seconds = key == nil ? 0 : double(), let result = optional({ $0.tree() }),
            let log = optional({ $0.digest() }),
            let origin = optional({ $0.digest() }), let arguments = list({ $0.string() }),
            let attempt = optional({ reader -> StepAttempt? in
                guard let text = reader.string(), let sources = reader.sources() else { return nil }
                return StepAttempt(keyText: text, sources: sources)
            }), let earlier = optional({ $0.earlier() })
        else { return nil }
        (step.state, step.reason, step.key, step.seconds) = (state, reason, key, seconds)
        (step.result, step.log, step.origin, step.arguments) = (result, log, origin, arguments)
        (step.attempt, step.earlier) = (attempt, earlier)
        return step
    }

    fileprivate mutating func earlier() -> EarlierStep? {
        guard let stage = string(), let title = string(), let kind = string(), let ordinal = int(), let key = digest(),
            let base = optional({ $0.digest() }), let seconds = double(), let failed = u8(), failed <= 1,
            let before = optional({ $0.digest().map(StepKey.init) })
        else { return nil }
        return EarlierStep(
            stage: stage, title: title, kind: kind, ordinal: ordinal, key: StepKey(key), base: base,
            seconds: seconds, failed: failed == 1, before: before)
    }

    fileprivate mutating func reason() -> StepReason? {
        switch u8() {
        case 0:
            guard let at = time(), let seconds = double() else { return nil }
            return .recorded(at: at, seconds: seconds)
        case 1: return int().map { .sharedWith(step: $0) }
        case 2: return .sharedWithAnotherBuild
        case 3: return .firstRun
        case 4: return list { $0.string() }.map { .differs(fields: $0) }
        case 5: return .cacheOff
        case 6: return .failedBefore
        case 7: return .source
        case 8: return .stopped
        case 9: return string().map { .failed(message: $0) }
        default: return nil
        }
    }
}
