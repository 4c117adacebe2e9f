// What a step writes: handed on as it comes, kept whole in the store, its last lines at hand for a failure.

import StageGraph
import StageHash
import StageStore
import Synchronization

/// Collects the output of one step. Called from the executor's threads.
final class StepLog: Sendable {
    private static let tailLines = 20
    private static let tailBytes = 64 * 1024

    private struct State {
        var ingest: (any ContentIngest)?
        var failure: StoreError?
        var tail: [UInt8] = []
        var size = 0
        var decoders: [LogStream: UTF8Stream] = [:]
    }

    private let state: Mutex<State>
    private let step: StepID
    private let events: EventSequence

    init(of step: StepID, _ events: EventSequence) {
        state = Mutex(State())
        self.step = step
        self.events = events
    }

    private func emit(_ stream: LogStream, _ text: String) {
        let id = step.index
        events.emit { _ in .stepOutput(step: id, stream: stream, text: text) }
    }

    /// Takes what came on one stream.
    func append(_ stream: LogStream, _ bytes: [UInt8], store: any TreeStore) {
        state.withLock { state in
            state.size += bytes.count
            state.tail.append(contentsOf: bytes)
            if state.tail.count > 2 * Self.tailBytes { state.tail.removeFirst(state.tail.count - Self.tailBytes) }
            keep(bytes, &state, store)
            let text = state.decoders[stream, default: UTF8Stream()].decode(bytes)
            if !text.isEmpty { emit(stream, text) }
        }
    }

    private func keep(_ bytes: [UInt8], _ state: inout sending State, _ store: any TreeStore) {
        guard state.failure == nil else { return }
        do throws(StoreError) {
            if state.ingest == nil { state.ingest = try store.ingest() }
            let result: Result<Void, StoreError> = bytes.withUnsafeBytes { buffer in
                do throws(StoreError) { return .success(try state.ingest?.update(buffer) ?? ()) } catch {
                    return .failure(error)
                }
            }
            try result.get()
        } catch { state.failure = error }
    }

    /// Keeps the whole log; nil when nothing was written.
    func finish() throws(StoreError) -> Digest? {
        let result: Result<Digest?, StoreError> = state.withLock { state in
            for (stream, decoder) in state.decoders {
                let rest = decoder.rest
                if !rest.isEmpty { emit(stream, rest) }
            }
            state.decoders = [:]
            if let failure = state.failure { return .failure(failure) }
            guard var ingest = state.ingest.take() else { return .success(nil) }
            do throws(StoreError) { return .success(try ingest.finish().digest) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// The last lines.
    var tail: [String] {
        state.withLock { state in
            let lines = String(decoding: state.tail, as: UTF8.self).split(
                separator: "\n" as Character, omittingEmptySubsequences: false)
            return lines.map(String.init).dropLast(lines.last == "" ? 1 : 0).suffix(Self.tailLines)
        }
    }
}

/// Decodes UTF-8 that may be cut anywhere between pieces.
public struct UTF8Stream: Sendable {
    private var pending: [UInt8] = []

    public init() {}

    /// The text of what is whole so far.
    public mutating func decode(_ bytes: [UInt8]) -> String {
        pending.append(contentsOf: bytes)
        // At most three bytes at the end can be the beginning of a longer scalar.
        var cut = pending.count
        for back in 1...3 where back <= pending.count {
            let byte = pending[pending.count - back]
            let needed = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1
            if needed > back { cut = pending.count - back }
            if byte & 0xC0 != 0x80 { break }
        }
        let text = String(decoding: pending[..<cut], as: UTF8.self)
        pending.removeFirst(cut)
        return text
    }

    /// What was cut off at the end.
    public var rest: String { String(decoding: pending, as: UTF8.self) }
}
