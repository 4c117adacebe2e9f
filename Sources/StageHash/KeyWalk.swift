// The walk that made a key, as it is kept: the encoding, which is text only when somebody reads it. Specs/cache-key.md.

/// All that a key was made of.
public struct KeyWalk: Sendable, Hashable {
    private enum Form: Hashable {
        case encoding(ArraySlice<UInt8>)
        case text(String)
    }

    private let form: Form

    /// - Parameter encoding: `KeyEncoder.bytes`, or where they stand in something larger.
    public init(encoding: ArraySlice<UInt8>) { form = .encoding(encoding) }

    /// - Parameter text: as `KeyEncoder.text` gives it; of walks whose encoding was not kept.
    public init(text: String) { form = .text(text) }

    /// A line a field, as `KeyEncoder.text` gives it.
    public var text: String {
        switch form {
        case .encoding(let bytes): KeyEncoder.text(of: Array(bytes))
        case .text(let text): text
        }
    }

    /// The encoding; nil when only the text was kept.
    public var encoding: ArraySlice<UInt8>? {
        if case .encoding(let bytes) = form { return bytes }
        return nil
    }
}
