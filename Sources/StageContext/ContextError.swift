// What can go wrong with a context, and what is worth telling about it.

import Glibc
import StageStore
import StageSystem

/// Why a context could not be read whole. A tree is never silently incomplete: what is missing is an error.
public enum ContextError: Error, Hashable, Sendable, CustomStringConvertible {
    /// There is nothing at the context's path.
    case missing(path: String)
    /// The context's path leads to something that is not a directory.
    case notDirectory(path: String)
    /// Something in the context could not be read.
    case unreadable(path: String, SystemError)
    /// A file kept changing while it was read.
    case unstable(path: String)
    /// A name that a tree cannot hold: more than 255 bytes.
    case nameTooLong(path: String)
    /// More directories inside each other than a tree is read to.
    case tooDeep(path: String, limit: Int)
    case store(StoreError)
    /// The task was cancelled.
    case cancelled

    public var description: String {
        switch self {
        case .missing(let path):
            "the build context \(path) does not exist: give the directory that COPY and ADD take files from"
        case .notDirectory(let path):
            "the build context \(path) is not a directory: give the directory that COPY and ADD take files from"
        case .unreadable(let path, let error) where error.errno == EACCES || error.errno == EPERM:
            "\(path): \(error.reason) (\(error.operation)): make it readable, or name it in .dockerignore if the build "
                + "does not need it"
        case .unreadable(let path, let error):
            "\(path): \(error.reason) (\(error.operation)): repair or remove it, or name it in .dockerignore if the build "
                + "does not need it"
        case .unstable(let path):
            "\(path) kept changing while it was read: stop what writes to it and build again, or name it in .dockerignore"
        case .nameTooLong(let path):
            "\(path): a name of more than 255 bytes cannot go into an image: rename it, or name it in .dockerignore"
        case .tooDeep(let path, let limit):
            "\(path): more than \(limit) directories inside each other: name it in .dockerignore"
        case .store(let error):
            error.description
        case .cancelled:
            "reading the build context was cancelled"
        }
    }
}

/// Something about a context that a person should know. Paths are relative to its root.
public enum ContextEvent: Hashable, Sendable, CustomStringConvertible {
    /// A socket: it is in the tree as an empty file.
    case socketBecameFile(path: String)
    /// Something that was listed and gone before it was read: it is not in the tree.
    case vanished(path: String)
    /// The directory of the store itself: it is not in the tree.
    case storeLeftOut(path: String)
    /// The stat index could not be written; the next scan reads the files again.
    case indexNotWritten(reason: String)

    public var description: String {
        switch self {
        case .socketBecameFile(let path): "\(path) is a socket: it is copied as an empty file"
        case .vanished(let path): "\(path) went away while the context was read"
        case .storeLeftOut(let path):
            "\(path) holds the state of stagerun: it is left out of the context; name it in .dockerignore"
        case .indexNotWritten(let reason): "the context's index was not written (the next build reads more): \(reason)"
        }
    }
}
