// The cap that holds by itself: looked at after a build, and cheap when there is nothing to do.

import Glibc
import StageRunner
import StageStore
import StageSystem

extension StageRoot {
    /// Takes what is worth least when the directory has grown over `cap` bytes, down to nine tenths of it, so that not
    /// every build has to. Also removes what earlier collections gave up and no process needs any more.
    ///
    /// Packs, index and contexts are measured each time, by one look at each of their directories; workspaces and cache
    /// mounts once after each change. While another process collects, nothing is done.
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
            let size = try onDisk { () throws(SystemError) in try sizes.measure() }
            if size <= cap || size < sizes.floor + cap / 20 { return nil }
            var request = PruneRequest()
            request.keepStorage = cap / 10 * 9
            let report = try Pruning(store: store, path: path, request: request, right: right).run()
            // Where named images alone are too much, trying again helps nothing until there is something more.
            sizes.floor = report.after > cap ? report.after : 0
            try onDisk { () throws(SystemError) in _ = try sizes.measure() }
            return report.items.isEmpty && report.freed == 0 ? nil : report
        }
    }
}

/// The sizes of what changes seldom and takes long to measure: ROOT/usage.
struct KnownSizes {
    private struct Known: Equatable {
        var bytes: UInt64
        /// When the directory was made, in seconds, or used last, in nanoseconds.
        var stamp: Int64
    }

    private let root: String
    private var known: [String: Known] = [:]
    /// The size that a prune could not bring under the cap; 0 when none failed.
    var floor: UInt64 = 0
    private var written: [UInt8] = []

    private var file: String { root + "/usage" }

    init(root: String) {
        self.root = root
        guard let text = try? readFile(root + "/usage", limit: 16 << 20) else { return }
        written = text
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 2)
            guard let bytes = words.first.flatMap({ UInt64($0) }) else { continue }
            if words.count == 1 { floor = bytes }
            if words.count == 3, let stamp = Int64(words[1]) {
                known[String(words[2])] = Known(bytes: bytes, stamp: stamp)
            }
        }
    }

    /// The bytes that the directory takes, but for running commands.
    mutating func measure() throws(SystemError) -> UInt64 {
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
        known = found
        var usage = DiskUsage()
        for directory in ["packs", "index", "contexts"] { total += try usage.bytes(at: root + "/" + directory) }
        try write()
        return total
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

    private mutating func write() throws(SystemError) {
        var text = "\(floor)\n"
        for (path, place) in known.sorted(by: { $0.key < $1.key }) { text += "\(place.bytes) \(place.stamp) \(path)\n" }
        let bytes = Array(text.utf8)
        if bytes == written { return }
        try replaceFile(file, bytes)
        written = bytes
    }
}
