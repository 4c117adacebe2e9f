// A directory while it is scanned: what is known of it, and what still has to come in before it can be stored.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem
import Synchronization

/// A directory's descriptor, shared by the parts of its work; closes with the last of them.
final class DirectoryDescriptor: Sendable {
    let fd: OwnedFD
    init(_ fd: consuming OwnedFD) { self.fd = fd }
}

/// An entry that was looked at anew.
struct FoundEntry: Sendable {
    /// Its number in the directory's listing.
    let number: UInt32
    let item: DirectoryObject.Item
    /// What the index will compare with; nil keeps the entry out of the index, and so do directories.
    var signature: StatSignature?
    var isTrusted = false
    var fingerprint: Fingerprint?
    /// A directory that the index vouched for, and nobody else yet.
    var isReused = false
}

/// An entry that the index has as it is.
struct KnownEntry: Sendable {
    let number: UInt32
    /// Its position in the directory's record.
    let position: UInt32
}

/// What one part of a directory came to.
struct DirectoryFindings: Sendable {
    var found: [FoundEntry] = []
    /// Unchanged, and in the tree.
    var unchanged: [KnownEntry] = []
    /// In the index and in the directory, but not taken this time: kept for a scan that takes them.
    var spared: [KnownEntry] = []

    mutating func absorb(_ other: DirectoryFindings) {
        if found.isEmpty { found = other.found } else { found += other.found }
        if unchanged.isEmpty { unchanged = other.unchanged } else { unchanged += other.unchanged }
        spared += other.spared
    }
}

/// One directory of the context.
final class ScannedDirectory: Sendable {
    let parent: ScannedDirectory?
    /// Its name in the parent; the root's is not used.
    let name: FileName
    /// Its number in the parent's listing.
    let number: UInt32
    let depth: Int
    let attributes: Attributes
    let device: UInt64
    let inode: UInt64
    let reach: Selection.Reach
    /// The last ignore pattern that matched it or a directory above.
    let pattern: Int?
    /// False for a directory that is there for the sake of what is in it: without that it vanishes.
    let isKept: Bool
    /// What the index has of it.
    let record: DirectoryRecord?

    private struct State {
        var findings = DirectoryFindings()
        /// Parts of its own listing, and subdirectories, that are not in yet.
        var pending = 1
    }

    private let state = Mutex(State())

    init(
        parent: ScannedDirectory?, name: FileName, number: UInt32 = 0, attributes: Attributes, device: UInt64,
        inode: UInt64, reach: Selection.Reach, pattern: Int?, isKept: Bool, record: DirectoryRecord?
    ) {
        self.parent = parent
        self.name = name
        self.number = number
        self.attributes = attributes
        self.device = device
        self.inode = inode
        self.reach = reach
        self.pattern = pattern
        self.isKept = isKept
        self.record = record
        depth = (parent?.depth ?? -1) + 1
    }

    /// The names from the context's root down to this directory.
    var names: [[UInt8]] {
        var names: [[UInt8]] = []
        var here = self
        while let parent = here.parent {
            names.append(here.name.bytes)
            here = parent
        }
        names.reverse()
        return names
    }

    /// Relative to the context's root; empty for the root.
    var path: [UInt8] { Array(names.joined(separator: [0x2F])) }

    /// Says that so many more parts or subdirectories will come in.
    func expect(_ count: Int) { state.withLock { $0.pending += count } }

    /// Takes in what one part came to; gives what the directory came to when that was the last one.
    func finish(_ findings: DirectoryFindings) -> DirectoryFindings? {
        state.withLock { state in
            state.findings.absorb(findings)
            state.pending -= 1
            if state.pending > 0 { return nil }
            var all = DirectoryFindings()
            swap(&all, &state.findings)
            return all
        }
    }
}

/// Opens directories beneath a root, whatever their depth, never through a symlink.
struct DirectoryOpener: Sendable {
    let root: DirectoryDescriptor

    private static let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    /// The kernel takes paths below 4,096 bytes.
    private static let longest = 4000

    func open(_ names: [[UInt8]]) throws(SystemError) -> OwnedFD {
        var here = try root.fd.duplicate()
        var index = 0
        while index < names.count {
            var path: [UInt8] = []
            while index < names.count, path.isEmpty || path.count + names[index].count < Self.longest {
                if !path.isEmpty { path.append(0x2F) }
                path.append(contentsOf: names[index])
                index += 1
            }
            let base = here.raw
            here = try Self.open(path, at: base)
        }
        return here
    }

    private static func open(_ path: [UInt8], at base: CInt) throws(SystemError) -> OwnedFD {
        let pathZ = path.map { CChar(bitPattern: $0) } + [0]
        let resolve = UInt64(
            CLINUX_RESOLVE_BENEATH | CLINUX_RESOLVE_NO_SYMLINKS | CLINUX_RESOLVE_NO_MAGICLINKS)
        for _ in 0..<64 {
            let fd = clinux_openat2(base, pathZ, UInt64(flags), 0, resolve)
            if fd >= 0 { return OwnedFD(owning: fd) }
            // EAGAIN: a rename elsewhere made the kernel unsure that the path stays beneath.
            if errno == EAGAIN || errno == EINTR { continue }
            if errno == ENOSYS || errno == EPERM { break }
            throw .last("open", String(decoding: path, as: UTF8.self))
        }
        return try stepwise(path, at: base)
    }

    /// For kernels and sandboxes without openat2.
    private static func stepwise(_ path: [UInt8], at base: CInt) throws(SystemError) -> OwnedFD {
        var here = OwnedFD(owning: try retrying("dup") { fcntl(base, F_DUPFD_CLOEXEC, 0) })
        for part in path.split(separator: 0x2F) {
            let name = FileName(bytes: part)
            let raw = here.raw
            let fd = try name.withCString { pointer throws(SystemError) in
                try retrying("open", name.description) { openat(raw, pointer, flags) }
            }
            here = OwnedFD(owning: fd)
        }
        return here
    }
}
