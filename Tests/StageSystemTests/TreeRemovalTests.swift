// Removing what hostile commands leave: any depth, any mode, any name, and never what links lead to.

import Glibc
import StageSystem
import Testing

@Suite struct TreeRemovalTests {
    let base: String

    init() throws {
        var template = Array("/tmp/stage-removal-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        base = template.withUnsafeBufferPointer { String(cString: $0.baseAddress.unsafelyUnwrapped) }
    }

    /// Directories inside each other, with a file in each hundredth.
    private func nest(_ depth: Int, under path: String) throws {
        try retrying("mkdir", path) { mkdir(path, 0o755) }
        var here = try OwnedFD.open(path, O_RDONLY | O_DIRECTORY)
        for level in 0..<depth {
            let parent = here.raw
            try retrying("mkdir") { mkdirat(parent, "d", 0o755) }
            if level % 100 == 0 { _ = try OwnedFD.open("file", O_WRONLY | O_CREAT, at: parent) }
            here = try OwnedFD.open("d", O_RDONLY | O_DIRECTORY, at: parent)
        }
    }

    /// More levels than a process may have open files, and than a stack has frames.
    @Test func deepTrees() throws {
        try nest(30_000, under: base + "/deep")
        // The names that a removal gives to what it moves may be there already.
        for name in [".removed-1", ".removed-2"] {
            try retrying("mkdir") { mkdir(base + "/deep/" + name, 0o755) }
            try retrying("mkdir") { mkdir(base + "/deep/" + name + "/x", 0o755) }
        }
        _ = try OwnedFD.open(base + "/deep/.removed-3", O_WRONLY | O_CREAT)
        try removeTree(base + "/deep")
        #expect(access(base + "/deep", F_OK) != 0)
        try removeTree(base)
        #expect(access(base, F_OK) != 0)
    }

    @Test func modesLinksAndNames() throws {
        let outside = base + "/outside"
        try retrying("mkdir") { mkdir(outside, 0o755) }
        _ = try OwnedFD.open(outside + "/kept", O_WRONLY | O_CREAT)
        let tree = base + "/tree"
        try nest(3, under: tree)
        try retrying("symlink") { symlink(outside, tree + "/link") }
        try retrying("mkdir") { mkdir(tree + "/line\nbreak", 0o755) }
        try retrying("mkdir") { mkdir(tree + "/line\nbreak/x", 0o000) }
        try retrying("chmod") { chmod(tree + "/d", 0o000) }
        try FileName(bytes: [0xFF, 0xFE]).withCString { name throws(SystemError) in
            let fd = try OwnedFD.open(tree, O_RDONLY | O_DIRECTORY)
            try retrying("mkdir") { mkdirat(fd.raw, name, 0o755) }
        }
        try removeTree(tree)
        #expect(access(tree, F_OK) != 0)
        #expect(access(outside + "/kept", F_OK) == 0)
        // What is not there is no error, and a link goes without what it leads to.
        try removeTree(tree)
        try retrying("symlink") { symlink(outside, base + "/link") }
        try removeTree(base + "/link")
        #expect(access(outside + "/kept", F_OK) == 0)
        try removeTree(base)
    }
}
