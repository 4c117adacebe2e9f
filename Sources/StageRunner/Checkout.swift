// Writes a checkout plan to disk: directories first, then their entries by several workers, then hard links.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// Who runs this, as far as files on disk are concerned.
struct Privileges: Sendable, Hashable {
    /// Without it owners, devices and trusted attributes cannot be set, and everything on disk is the caller's own.
    var isRoot: Bool

    var opaqueAttribute: String { isRoot ? "trusted.overlay.opaque" : "user.overlay.opaque" }
}

/// Writes one plan into one directory that nobody else touches meanwhile.
struct Checkout: Sendable {
    let plan: CheckoutPlan
    let contents: any ContentSource
    let privileges: Privileges

    /// One name of a file that has several.
    private struct Link: Sendable {
        var job: Int
        var name: FileName
        var node: Node
    }

    /// Fills the empty directory `target`, with `workers` tasks on the caller's executor.
    func write(into target: String, workers: Int) async throws(StoreError) {
        let root = try system { () throws(SystemError) in
            SharedDescriptor(try OwnedFD.open(target, O_RDONLY | O_DIRECTORY))
        }
        try system { () throws(SystemError) in try makeDirectories(root.fd.raw) }
        let links = SharedWork(count: plan.jobs.count, found: [Link]())
        try await links.run(workers: workers) { index throws(StoreError) in
            let linked = try run(plan.jobs[index], root.fd.raw)
            if !linked.isEmpty { links.add { $0 += linked.map { Link(job: index, name: $0.name, node: $0.node) } } }
        }
        try makeLinks(root.fd.raw, links.found)
        try system { () throws(SystemError) in try closeDirectories(root.fd.raw) }
    }

    /// Without privileges, directories that their owner may not enter stay open until everything is in them.
    private func staysOpen(_ job: CheckoutPlan.Job) -> Bool {
        !privileges.isRoot && job.attributes.mode & 0o700 != 0o700
    }

    private func closeDirectories(_ root: CInt) throws(SystemError) {
        for job in plan.jobs.reversed() where staysOpen(job) {
            let path = job.path.count > 1 ? job.path : [0x2E, 0]
            try retrying("chmod", text(job.path)) { fchmodat(root, path, mode_t(job.attributes.mode), 0) }
        }
    }

    private func makeDirectories(_ root: CInt) throws(SystemError) {
        for job in plan.jobs where job.path.count > 1 {
            if mkdirat(root, job.path, 0o700) != 0 { throw .last("mkdir", text(job.path)) }
        }
    }

    /// Fills one directory; gives back what has hard links.
    private func run(_ job: CheckoutPlan.Job, _ root: CInt) throws(StoreError) -> [(name: FileName, node: Node)] {
        let directory = try open(job, root)
        var linked: [(name: FileName, node: Node)] = []
        for (name, node) in job.nodes {
            if node.linkGroup != 0 { linked.append((name, node)) } else { try write(node, name, directory.raw) }
        }
        try system { () throws(SystemError) in
            for name in job.whiteouts {
                // A character device 0:0 says "not here" to overlayfs.
                try name.withCString { pointer throws(SystemError) in
                    _ = try retrying("mknod", name.description) { mknodat(directory.raw, pointer, S_IFCHR | 0o600, 0) }
                }
            }
            if job.isOpaque {
                try retrying("setxattr", text(job.path)) {
                    clinux_setxattr(directory.raw, nil, privileges.opaqueAttribute, "y", 1)
                }
            }
            var attributes = job.attributes
            if staysOpen(job) { attributes.mode |= 0o700 }
            try finish(directory.raw, attributes)
        }
        return linked
    }

    private func open(_ job: CheckoutPlan.Job, _ root: CInt) throws(StoreError) -> OwnedFD {
        try system { () throws(SystemError) in
            let path = job.path.count > 1 ? job.path : [0x2E, 0]
            return OwnedFD(
                owning: try retrying("open", text(path)) {
                    openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                })
        }
    }

    /// Links need all first names to be there, whatever worker made them; their directories get their times back.
    private func makeLinks(_ root: CInt, _ links: [Link]) throws(StoreError) {
        var firsts: [UInt64: Link] = [:]
        for link in links.sorted(by: { ($0.job, $0.name) < ($1.job, $1.name) }) {
            let directory = try open(plan.jobs[link.job], root)
            if let first = firsts[link.node.linkGroup], first.node.isOneFile(with: link.node) {
                let source = try open(plan.jobs[first.job], root)
                try system { () throws(SystemError) in
                    try first.name.withCString { from throws(SystemError) in
                        try link.name.withCString { to throws(SystemError) in
                            _ = try retrying("link", link.name.description) {
                                linkat(source.raw, from, directory.raw, to, 0)
                            }
                        }
                    }
                }
            } else {
                firsts[link.node.linkGroup] = link
                try write(link.node, link.name, directory.raw)
            }
            try system { () throws(SystemError) in
                try setTime(directory.raw, nil, plan.jobs[link.job].attributes.time)
            }
        }
    }

    // MARK: Nodes

    private func write(_ node: Node, _ name: FileName, _ directory: CInt) throws(StoreError) {
        switch node.content {
        case .file(let digest, _):
            let raw = try system { () throws(SystemError) in
                try name.withCString { pointer throws(SystemError) in
                    try retrying("open", name.description) {
                        openat(directory, pointer, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
                    }
                }
            }
            let fd = OwnedFD(owning: raw)
            try contents.withContent(digest) { piece throws(StoreError) in
                do throws(SystemError) { try writeAll(raw, piece, name.description) } catch { throw .system(error) }
            }
            try system { () throws(SystemError) in try finish(fd.raw, node.attributes) }
        case .symlink(let target):
            let target = target.map { CChar(bitPattern: $0) } + [0]
            try make(name, directory, node) { symlinkat(target, directory, $0) }
        case .fifo:
            try make(name, directory, node) { mknodat(directory, $0, S_IFIFO | 0o600, 0) }
        case .characterDevice(let major, let minor):
            let device = dev_t(clinux_makedev(major, minor))
            try makeDevice(name, directory, node) { mknodat(directory, $0, S_IFCHR | 0o600, device) }
        case .blockDevice(let major, let minor):
            let device = dev_t(clinux_makedev(major, minor))
            try makeDevice(name, directory, node) { mknodat(directory, $0, S_IFBLK | 0o600, device) }
        }
    }

    private func makeDevice(
        _ name: FileName, _ directory: CInt, _ node: Node, _ call: (UnsafePointer<CChar>) -> CInt
    ) throws(StoreError) {
        // Nobody but root can make one; a workspace without it is still of use.
        if privileges.isRoot { try make(name, directory, node, call) }
    }

    private func make(
        _ name: FileName, _ directory: CInt, _ node: Node, _ call: (UnsafePointer<CChar>) -> CInt
    ) throws(StoreError) {
        let attributes = node.attributes
        let isSymlink = node.kind == .symlink
        try system { () throws(SystemError) in
            try name.withCString { pointer throws(SystemError) in
                try retrying("create", name.description) { call(pointer) }
                if privileges.isRoot {
                    try retrying("chown", name.description) {
                        fchownat(directory, pointer, attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW)
                    }
                }
                if !isSymlink {
                    try retrying("chmod", name.description) { fchmodat(directory, pointer, mode_t(attributes.mode), 0) }
                }
                for xattr in attributes.xattrs { try set(xattr, directory, pointer) }
                try setTime(directory, pointer, attributes.time)
            }
        }
    }

    /// Owner, attributes, mode and time of an open file or directory, in the order in which none undoes another.
    private func finish(_ fd: CInt, _ attributes: Attributes) throws(SystemError) {
        if privileges.isRoot { try retrying("chown") { fchown(fd, attributes.uid, attributes.gid) } }
        for xattr in attributes.xattrs { try set(xattr, fd, nil) }
        try retrying("chmod") { fchmod(fd, mode_t(attributes.mode)) }
        try setTime(fd, nil, attributes.time)
    }

    private func set(_ xattr: XAttr, _ fd: CInt, _ name: UnsafePointer<CChar>?) throws(SystemError) {
        // An image must not speak to overlayfs.
        if isOverlayAttribute(xattr.name) { return }
        let attribute = xattr.name.map { CChar(bitPattern: $0) } + [0]
        if clinux_setxattr(fd, name, attribute, xattr.value, xattr.value.count) == 0 { return }
        // What the filesystem or a lack of rights refuses is kept in the tree all the same.
        if errno == ENOTSUP || errno == EPERM || errno == EINVAL { return }
        throw .last("setxattr", String(decoding: xattr.name, as: UTF8.self))
    }

    private func setTime(_ fd: CInt, _ name: UnsafePointer<CChar>?, _ time: Timestamp) throws(SystemError) {
        let value = timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
        let times = [value, value]
        try retrying("utimensat") {
            if let name { return utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW) }
            return futimens(fd, times)
        }
    }

    private func text(_ path: [CChar]) -> String {
        String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// A descriptor that tasks share; closes with the last of them.
final class SharedDescriptor: Sendable {
    let fd: OwnedFD
    init(_ fd: consuming OwnedFD) { self.fd = fd }
}

/// Whether overlayfs would take the attribute for its own.
func isOverlayAttribute(_ name: [UInt8]) -> Bool {
    name.starts(with: Array("trusted.overlay.".utf8)) || name.starts(with: Array("user.overlay.".utf8))
}

/// Turns a failed system call into the store's error.
@discardableResult
func system<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(StoreError) -> R {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}
