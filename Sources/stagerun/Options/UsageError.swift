// What the command line got wrong, in one sentence that says what to write instead.

/// A mistake in the command line.
struct UsageError: Error, Hashable, Sendable, CustomStringConvertible {
    let message: String

    init(_ message: String) { self.message = message }

    var description: String { message }
}
