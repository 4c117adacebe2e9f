// An operation of a kind that a host program brings: a name and the fields of its key. What carries it out is registered
// with the builder by the kind, and is given these fields and the results of the inputs, and nothing else; so whatever it
// depends on is in the key.

import StageHash

/// What a step of a host program's own kind does.
public struct OwnOperation: Sendable, Hashable {
    public enum Value: Sendable, Hashable {
        case string(String)
        case integer(Int64)
        case boolean(Bool)
        case digest(Digest)
        case list([String])
        case bytes([UInt8])
    }

    public struct Field: Sendable, Hashable {
        public var name: String
        public var value: Value

        public init(_ name: String, _ value: Value) {
            self.name = name
            self.value = value
        }
    }

    /// The name of the kind, such as `sum`; part of the key.
    public var kind: String
    /// In the order in which the key has them. A name may occur more than once.
    public var fields: [Field]

    public init(kind: String, fields: [Field] = []) {
        self.kind = kind
        self.fields = fields
    }

    /// The value of the first field of that name.
    public subscript(name: String) -> Value? { fields.first { $0.name == name }?.value }
}

extension Operation {
    /// What kind of step it is, for people and records: `run`, `copy`, `context`, or the name of an own kind.
    public var kind: String {
        switch self {
        case .scratch: "scratch"
        case .image: "image"
        case .context: "context"
        case .remote: "fetch"
        case .merge: "merge"
        case .makeDirectory: "workdir"
        case .copy(let copy): copy.unpacksArchives ? "add" : "copy"
        case .run: "run"
        case .own(let own): own.kind
        }
    }
}
