// `type=local`: a tree as real files. The destination may hold anything, links to elsewhere included: every name is
// opened in the descriptor of its directory, no link is ever followed, and directories of others are never removed.
//
// One thread walks the tree and makes all but the plain files, which go to a crew in batches (CheckoutFiles.swift).

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// Writes a tree into a directory of the filesystem.
public struct Checkout {
    /// What could not be made as the tree has it, without privilege.
    public struct Outcome: Sendable, Hashable {
        /// Device nodes left out: only root makes them.
        public internal(set) var skippedDevices: [TreePath] = []
    }

    private let store: any DirectorySource & ContentSource
    private let setsOwners: Bool

    /// - Parameter setsOwners: whether owners are set and devices made, which takes root.
    public init(store: any DirectorySource & ContentSource, setsOwners: Bool) {
        self.store = store
        self.setsOwners = setsOwners
    }

    /// Puts all of `tree` into `directory`, which is made when it is missing (its parent has to be there). Files that are
    /// there and not in the tree stay.
    @discardableResult
    public func write(_ tree: TreeRef, to directory: String) throws(ImageError) -> Outcome {
        if mkdir(directory, 0o755) != 0, errno != EEXIST { throw .system(.last("mkdir", directory)) }
        let root = try calling { () throws(SystemError) in
            try OwnedFD.open(directory, O_RDONLY | O_DIRECTORY).take()
        }
        var session = CheckoutSession(store: store, setsOwners: setsOwners, root: SharedFile(owning: root))
        // The destination itself is the person's own: its owner and mode stay.
        let top = FilledDirectory(session.root, TreePath(), nil, session.files)
        try session.crew.finishing { () throws(ImageError) in try session.entries(of: tree, in: top) }
        return session.outcome
    }
}

private struct CheckoutSession {
    let store: any DirectorySource & ContentSource
    let files: CheckoutFiles
    let root: SharedFile
    let crew = CheckoutCrew()
    var outcome = Checkout.Outcome()
    private var setsOwners: Bool { files.setsOwners }
    private var firstOfGroup: [UInt64: (path: TreePath, node: Node)] = [:]

    init(store: any DirectorySource & ContentSource, setsOwners: Bool, root: SharedFile) {
        self.store = store
        self.files = CheckoutFiles(store: store, setsOwners: setsOwners)
        self.root = root
    }

    mutating func entries(of tree: TreeRef, in directory: FilledDirectory) throws(ImageError) {
        if directory.path.components.count > TreePath.depthLimit { throw .store(.tooDeep(directory.path)) }
        let object = try storing { () throws(StoreError) in try store.directory(tree.object) }
        var plain: [PlainFile] = []
        for item in object.items {
            switch item.entry {
            case .node(let node):
                if node.linkGroup == 0, let file = node.file {
                    plain.append(PlainFile(name: item.name, digest: file.digest, attributes: node.attributes))
                    if plain.count == CheckoutFiles.batch { try crew.put(&plain, into: directory) }
                } else {
                    try place(node, item.name, in: directory.file.fd, at: directory.path.appending(item.name))
                }
            case .directory(let ref): try place(ref, item.name, in: directory)
            }
        }
        try crew.put(&plain, into: directory)
        try directory.finishPart()
    }

    private mutating func place(
        _ tree: TreeRef, _ name: FileName, in parent: FilledDirectory
    ) throws(ImageError) {
        let (directory, path) = (parent.file.fd, parent.path.appending(name))
        var made = name.withCString { mkdirat(directory, $0, 0o700) } == 0
        if !made, errno == EEXIST, name.withCString({ unlinkat(directory, $0, 0) }) == 0 {
            // Something that is no directory was in the way: a link to one, for instance.
            made = name.withCString { mkdirat(directory, $0, 0o700) } == 0
        }
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let fd = name.withCString { openat(directory, $0, flags) }
        guard fd >= 0 else { throw .system(.last("open", path.description)) }
        let file = SharedFile(owning: fd)
        let attributes = try storing { () throws(StoreError) in try store.directory(tree.object).attributes }
        try entries(of: tree, in: FilledDirectory(file, path, attributes, files))
    }

    private mutating func place(
        _ node: Node, _ name: FileName, in directory: CInt, at path: TreePath
    ) throws(ImageError) {
        try files.makeRoom(name, in: directory, path)
        if node.linkGroup != 0 {
            if let first = firstOfGroup[node.linkGroup], first.node.isOneFile(with: node) {
                return try link(first.path, name, in: directory, path)
            }
            firstOfGroup[node.linkGroup] = (path, node)
        }
        switch node.content {
        case .file(let digest, _):
            let file = PlainFile(name: name, digest: digest, attributes: node.attributes)
            try files.write([file], into: directory, path.parent)
        case .symlink(let target):
            let result = FileName(bytes: target).withCString { target in
                name.withCString { symlinkat(target, directory, $0) }
            }
            try files.check(result, "symlink", path)
            try setOnName(node.attributes, name, in: directory, path)
        case .fifo:
            try files.check(name.withCString { mkfifoat(directory, $0, 0o600) }, "mkfifo", path)
            try setOnName(node.attributes, name, in: directory, path)
        case .characterDevice(let major, let minor):
            try device(S_IFCHR, major, minor, node.attributes, name, in: directory, path)
        case .blockDevice(let major, let minor):
            try device(S_IFBLK, major, minor, node.attributes, name, in: directory, path)
        }
    }

    private func link(_ first: TreePath, _ name: FileName, in directory: CInt, _ path: TreePath) throws(ImageError) {
        guard let last = first.last else { return }
        var parent = root.fd
        var owner: SharedFile?
        if !first.parent.isRoot {
            let bytes = FileName(bytes: first.parent.relativeBytes)
            let resolve = UInt64(CLINUX_RESOLVE_BENEATH | CLINUX_RESOLVE_NO_SYMLINKS)
            let flags = UInt64(O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            parent = bytes.withCString { clinux_openat2(root.fd, $0, flags, 0, resolve) }
            guard parent >= 0 else { throw .system(.last("open", first.description)) }
            owner = SharedFile(owning: parent)
        }
        let result = last.withCString { old in name.withCString { linkat(parent, old, directory, $0, 0) } }
        withExtendedLifetime(owner) {}
        try files.check(result, "link", path)
    }

    private mutating func device(
        _ type: mode_t, _ major: UInt32, _ minor: UInt32, _ attributes: Attributes, _ name: FileName,
        in directory: CInt,
        _ path: TreePath
    ) throws(ImageError) {
        guard setsOwners else {
            outcome.skippedDevices.append(path)
            return
        }
        let number = dev_t(clinux_makedev(major, minor))
        if name.withCString({ mknodat(directory, $0, type | 0o600, number) }) != 0 {
            guard errno == EPERM else { throw .system(.last("mknod", path.description)) }
            outcome.skippedDevices.append(path)
            return
        }
        try setOnName(attributes, name, in: directory, path)
    }

    // MARK: Attributes

    /// Owner, mode and times of what is not opened: links, fifos, devices.
    private func setOnName(
        _ attributes: Attributes, _ name: FileName, in directory: CInt, _ path: TreePath
    ) throws(ImageError) {
        if setsOwners {
            let result = name.withCString {
                fchownat(directory, $0, attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW)
            }
            try files.check(result, "chown", path)
        }
        // A link has no mode; what was just made here under a name of ours is no link unless it is one of the tree's.
        let isLink = name.withCString { pointer in
            var target: CChar = 0
            return readlinkat(directory, pointer, &target, 1) >= 0
        }
        if !isLink {
            try files.check(name.withCString { fchmodat(directory, $0, mode_t(attributes.mode), 0) }, "chmod", path)
        }
        var times = CheckoutFiles.times(attributes)
        try files.check(name.withCString { utimensat(directory, $0, &times, AT_SYMLINK_NOFOLLOW) }, "utimens", path)
    }
}
