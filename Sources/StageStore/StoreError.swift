// What can go wrong with the store, as facts.

import StageHash
import StageSystem

/// An error of the store.
public enum StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The filesystem said no.
    case system(SystemError)
    /// The embedded database said no.
    case database(operation: String, reason: String)
    /// Something stored does not read back as it was written.
    case corrupt(String)
    /// A content or directory that should be here is not.
    case missing(Digest)
    /// A directory with a name that no filesystem takes: empty, `.`, `..`, over 255 bytes, or with `/` or NUL in it.
    case invalidName(FileName)
    /// Directories lie deeper inside each other than `TreePath.depthLimit`; the path of one that is too deep.
    case tooDeep(TreePath)
    /// What is wanted needs the store at `path` for itself.
    case inUse(path: String)
    /// The store at `path` has a format that this version does not know.
    case unknownFormat(path: String, found: String)
    /// The store at `path` says that one has to know a feature that this version does not know.
    case unknownFeature(path: String, feature: String)

    public var description: String {
        switch self {
        case .system(let error) where error.errno == 28:
            "the store's disk is full (\(error.operation) \(error.subject)): free some space and build again; nothing is lost"
        case .system(let error) where error.errno == 13 && error.subject.hasSuffix("/lock.mdb"):
            "\(error.subject) may not be written to (\(error.reason)): it is another user's; name a directory of your own with --root"
        case .system(let error):
            "store: \(error)"
        case .database(let operation, let reason):
            "store index: \(operation): \(reason)"
        case .corrupt(let what):
            "the store is damaged: \(what); see `stagerun verify`, which can repair it"
        case .missing(let digest):
            "the store lacks \(digest), which something in it names"
        case .invalidName(let name):
            "a file cannot have the name \"\(name)\" (\(name.bytes.count) bytes; 1 to 255 without / and NUL, not . or ..)"
        case .tooDeep(let path):
            "more than \(TreePath.depthLimit) directories lie inside each other, beginning with \(Self.beginning(path)): move or remove the deepest"
        case .inUse(let path):
            "other programs use the store at \(path), whose index is damaged: let them end, and repair it then"
        case .unknownFormat(let path, let found):
            "\(path) is a store of format \(found), which this version does not know: use a newer stagerun, or another --root"
        case .unknownFeature(let path, let feature):
            "\(path) is a store with the feature \(feature), which this version does not know: use a newer stagerun, or another --root"
        }
    }

    private static func beginning(_ path: TreePath) -> String {
        TreePath(Array(path.components.prefix(4))).description + "/…"
    }
}
