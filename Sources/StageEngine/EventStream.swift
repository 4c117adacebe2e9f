// Events as an AsyncSequence, for programs that would rather iterate than be called.

/// The events of one build, in order and without a loss: they wait here until they are taken.
///
///     let events = EventStream()
///     async let outcomes = builder.build(graph) { events.send($0) }
///     for await event in events { ... }
public struct EventStream: AsyncSequence, Sendable {
    public typealias Element = BuildEvent

    private let stream: AsyncStream<BuildEvent>
    private let continuation: AsyncStream<BuildEvent>.Continuation

    public init() {
        (stream, continuation) = AsyncStream.makeStream(of: BuildEvent.self, bufferingPolicy: .unbounded)
    }

    /// Takes one event: what a builder's `observe` is given. Never blocks.
    public func send(_ event: BuildEvent) { continuation.yield(event) }

    /// No more will come: the loop over them ends once it has seen all.
    public func finish() { continuation.finish() }

    public func makeAsyncIterator() -> AsyncStream<BuildEvent>.AsyncIterator { stream.makeAsyncIterator() }
}
