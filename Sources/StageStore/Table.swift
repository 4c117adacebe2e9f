// The tables of the index.

/// The tables of the index. Keys and values are bytes; each table's owner defines them.
public enum Table: String, CaseIterable, Sendable {
    /// Content digest -> where it is stored.
    case contents
    /// Step key -> step record.
    case records
    /// (input identity, result identity) -> the step key that first led there.
    case outcomes
    /// (object, object) -> diff ID and size of the layer between two trees.
    case layers
    /// Canonical reference -> image ID.
    case tags
    /// Image ID -> stored image.
    case images
    /// What was built (Dockerfile and context) -> the record of its last build.
    case builds
    /// Small facts about the store itself.
    case facts
    /// Step key -> the day a record was last used on.
    case uses
    /// Content digest -> the generation it was given up in, and where it is stored.
    case condemned
    /// Digest of a file's content that reads as a directory object, whose parts nobody vouches for.
    case lookalikes

    /// Its place in `allCases`: what is found by it is found sooner than by the name.
    var place: Int {
        switch self {
        case .contents: 0
        case .records: 1
        case .outcomes: 2
        case .layers: 3
        case .tags: 4
        case .images: 5
        case .builds: 6
        case .facts: 7
        case .uses: 8
        case .condemned: 9
        case .lookalikes: 10
        }
    }

    public static func == (a: Table, b: Table) -> Bool { a.place == b.place }

    public func hash(into hasher: inout Hasher) { hasher.combine(place) }
}
