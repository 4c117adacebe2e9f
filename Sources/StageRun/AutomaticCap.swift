// The cap that holds by itself: looked at after a build, and cheap when there is nothing to do.

import Glibc
import StageHash
import StageRunner
import StageStore
import StageSystem

extension StageRoot {
    /// Takes what is worth least when the directory has grown over `cap` bytes, down to nine tenths of it, so that not
    /// every build has to. Also removes what earlier collections gave up and no process needs any more.
    ///
    /// Where nothing was committed, made or used since it was measured last, that measure counts. Else packs, index and contexts
    /// are measured by one look at each of their directories; workspaces and cache mounts once after each change. While
    /// another process collects, nothing is done.
    ///
    /// - Returns: what was taken; nil when nothing was.
    public func keepUnder(_ cap: UInt64) async throws(StageRunError) -> PruneReport? {
        try await commit()
        let (store, path) = (store, path)
        return try await blocking { () throws(StageRunError) in
            guard let right = try storing({ () throws(StoreError) in try store.collectorLease() }) else { return nil }
            defer { withExtendedLifetime(right) {} }
            if try storing({ () throws(StoreError) in try store.hasGivenUp() }) {
                _ = try storing { () throws(StoreError) in
                    try store.sweep(deadShare: Pruning.deadShare, always: false, under: right)
                }
            }
            var sizes = KnownSizes(root: path)
            let revision = try storing { () throws(StoreError) in try store.revision() }
            let size = try onDisk { () throws(SystemError) in try sizes.size(revision) }
            if size <= cap || size < sizes.floor + cap / 20 { return nil }
            var request = PruneRequest()
            request.keepStorage = cap / 10 * 9
            let report = try Pruning(store: store, path: path, request: request, right: right).run()
            // Where named images alone are too much, trying again helps nothing until there is something more.
            sizes.floor = report.after > cap ? report.after : 0
            let after = try storing { () throws(StoreError) in try store.revision() }
            try onDisk { () throws(SystemError) in _ = try sizes.measure(after) }
            return report.items.isEmpty && report.freed == 0 ? nil : report
        }
    }
}

/// The size of the directory as it was measured last, and the sizes of what changes seldom and takes long to measure:
/// ROOT/usage.
struct KnownSizes {
    private struct Known: Equatable {
        var bytes: UInt64
        /// When the directory was made, in seconds, or used last, in nanoseconds.
        var stamp: Int64
    }

    private let root: String
    /// The size that a prune could not bring under the cap; 0 when none failed.
    var floor: UInt64 = 0
    private var total: (bytes: UInt64, stamp: String)?
    private var written: [UInt8] = []

    private var file: String { root + "/usage" }

    init(root: String) {
        self.root = root
        guard let text = try? readFile(root + "/usage", limit: 16 << 20) else { return }
        written = text
        // The first two lines alone: where nothing changed, the others are not looked at.
        for line in text.split(separator: UInt8(ascii: "\n"), maxSplits: 2).prefix(2) {
            let words = String(decoding: line, as: UTF8.self).split(separator: " ")
            guard let bytes = words.first.flatMap({ UInt64($0) }) else { continue }
            if words.count == 1 { floor = bytes }
            if words.count == 2 { total = (bytes, String(words[1])) }
        }
    }

    /// The sizes of places by path, as they were written.
    private func known() -> [String: Known] {
        var known: [String: Known] = [:]
        for line in String(decoding: written, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 2)
            guard words.count == 3, let bytes = UInt64(words[0]), let stamp = Int64(words[1]) else { continue }
            known[String(words[2])] = Known(bytes: bytes, stamp: stamp)
        }
        return known
    }

    /// The bytes that the directory takes, but for running commands: measured, unless nothing changed since it last was.
    ///
    /// - Parameter revision: that of the index.
    mutating func size(_ revision: Int) throws(SystemError) -> UInt64 {
        if let total, total.stamp == (try stamp(revision)) { return total.bytes }
        return try measure(revision)
    }

    /// The bytes that the directory takes, but for running commands.
    mutating func measure(_ revision: Int) throws(SystemError) -> UInt64 {
        // Before the sizes: what changes meanwhile is measured again.
        let stamp = try stamp(revision)
        let known = known()
        var total: UInt64 = 0
        var found: [String: Known] = [:]
        for (path, stamp) in try places() {
            var place = known[path] ?? Known(bytes: 0, stamp: stamp - 1)
            if place.stamp != stamp {
                var usage = DiskUsage()
                place = Known(bytes: try usage.bytes(at: root + "/" + path), stamp: stamp)
            }
            found[path] = place
            total += place.bytes
        }
        var usage = DiskUsage()
        for directory in ["packs", "index", "contexts"] { total += try usage.bytes(at: root + "/" + directory) }
        self.total = (total, stamp)
        try write(found)
        return total
    }

    /// Differs after whatever changes a size. Packs and index grow by commits alone, and what is no commit makes a file, or
    /// uses a cache mount.
    private func stamp(_ revision: Int) throws(SystemError) -> String {
        var facts = "\(revision)"
        var directories = ["packs", "contexts", "workspaces", "caches"]
        directories += try StoredPlace.directories("workspaces", in: root).map { "workspaces/\($0.name)" }
        for directory in directories {
            guard let info = try? statEntry(AT_FDCWD, FileName("\(root)/\(directory)")) else { continue }
            facts += " \(directory) \(info.mtime_sec) \(info.mtime_nsec)"
        }
        for cache in try StoredPlace.directories("caches", in: root) {
            facts += " \(cache.name) \(CacheUse.stamp(of: "\(root)/caches/\(cache.name)") ?? cache.changed)"
        }
        return Digest.of(Array(facts.utf8)).hex
    }

    /// Workspaces never change; a cache mount does when a command has used it.
    private func places() throws(SystemError) -> [(path: String, stamp: Int64)] {
        var places = try StoredPlace.workspaceDirectories(in: root).map { ($0.path, $0.entry.made) }
        for entry in try StoredPlace.directories("caches", in: root) {
            let path = "caches/\(entry.name)"
            places.append((path, CacheUse.stamp(of: "\(root)/\(path)") ?? entry.changed))
        }
        return places
    }

    private mutating func write(_ known: [String: Known]) throws(SystemError) {
        var text = "\(floor)\n"
        if let total { text += "\(total.bytes) \(total.stamp)\n" }
        for (path, place) in known.sorted(by: { $0.key < $1.key }) { text += "\(place.bytes) \(place.stamp) \(path)\n" }
        let bytes = Array(text.utf8)
        if bytes == written { return }
        try replaceFile(file, bytes)
        written = bytes
    }
}
