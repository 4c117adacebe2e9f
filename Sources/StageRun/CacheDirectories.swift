// What lies beside the packs: caches of commands, checked-out trees, directories of running commands.

import Glibc
import StageHash
import StageRunner
import StageStore
import StageSystem

/// A directory that can go, and what it takes.
struct StoredPlace: Sendable {
    enum Kind: Sendable { case cache, workspace }

    var kind: Kind
    /// Relative to the root directory.
    var path: String
    /// For people: a cache's ID and owner, a workspace's name.
    var label: String
    var bytes: UInt64
    /// Seconds since 1970.
    var lastUsed: Int64

    /// The last part of the path.
    var name: String { path.split(separator: "/").last.map(String.init) ?? path }
}

extension StoredPlace {
    /// All cache mounts.
    static func caches(in root: String, _ usage: inout DiskUsage) throws(SystemError) -> [StoredPlace] {
        try directories("caches", in: root).map { entry throws(SystemError) in
            let path = "caches/\(entry.name)"
            var place = StoredPlace(
                kind: .cache, path: path, label: entry.name, bytes: try usage.bytes(at: "\(root)/\(path)"),
                lastUsed: entry.changed)
            for suffix in CacheUse.sidecars { place.bytes += try usage.bytes(at: "\(root)/\(path)\(suffix)") }
            if let use = CacheUse.use(of: "\(root)/\(path)") {
                (place.label, place.lastUsed) = (use.label, use.time)
            }
            return place
        }
    }

    /// All checked-out trees, of earlier boots too.
    static func workspaces(in root: String, _ usage: inout DiskUsage) throws(SystemError) -> [StoredPlace] {
        try workspaceDirectories(in: root).map { path, entry throws(SystemError) in
            StoredPlace(
                kind: .workspace, path: path, label: entry.name, bytes: try usage.bytes(at: "\(root)/\(path)"),
                lastUsed: entry.made)
        }
    }

    /// The same without a look inside; paths are relative to the root.
    static func workspaceDirectories(in root: String) throws(SystemError) -> [(path: String, entry: Listed)] {
        var found: [(String, Listed)] = []
        for boot in try directories("workspaces", in: root) {
            let path = "workspaces/\(boot.name)"
            for entry in try directories(path, in: root) { found.append(("\(path)/\(entry.name)", entry)) }
        }
        return found
    }

    /// A directory, by name.
    struct Listed {
        var name: String
        /// Seconds since 1970.
        var changed: Int64
        var made: Int64
    }

    /// The directories in ROOT/`path`; none when that is not there.
    static func directories(_ path: String, in root: String) throws(SystemError) -> [Listed] {
        let directory: OwnedFD
        do throws(SystemError) { directory = try OwnedFD.open("\(root)/\(path)", O_RDONLY | O_DIRECTORY) } catch {
            if error.errno == ENOENT { return [] }
            throw error
        }
        let entries: [DirectoryEntry]
        do throws(SystemError) { entries = try readEntries(directory.raw, path) } catch {
            // Removed since it was opened.
            if error.errno == ENOENT { return [] }
            throw error
        }
        var found: [Listed] = []
        for entry in entries {
            guard let info = try? statEntry(directory.raw, entry.name), FileType(mode: info.mode) == .directory
            else { continue }
            found.append(
                Listed(name: entry.name.description, changed: info.mtime_sec, made: info.ctime_sec))
        }
        return found.sorted { $0.name < $1.name }
    }
}
