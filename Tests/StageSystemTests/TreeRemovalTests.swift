// removeTree: all of it, whatever it is like, and nothing else.

import Foundation
import StageSystem
import Testing

final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/stage-system-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? removeTree(path) }

    func exists(_ name: String) -> Bool {
        var info = stat()
        return lstat("\(path)/\(name)", &info) == 0
    }
}

@Suite struct TreeRemovalTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func makeChain(_ name: String, depth: Int) throws {
        var here = try OwnedFD.open(scratch.path, O_RDONLY | O_DIRECTORY)
        for level in 0..<depth {
            let next = level == 0 ? name : "d"
            try retrying("mkdir") { mkdirat(here.raw, next, 0o755) }
            here = try OwnedFD.open(next, O_RDONLY | O_DIRECTORY, at: here.raw)
            if level % 100 == 0 { _ = try OwnedFD.open("file", O_RDWR | O_CREAT, at: here.raw) }
        }
    }

    @Test func deeperThanDescriptors() throws {
        try makeChain("deep", depth: 5000)
        let (status, output) = try shell("ulimit -n 40; exec \(probe) remove \(scratch.path)/deep")
        #expect(status == 0, "\(output)")
        #expect(!scratch.exists("deep"))
    }

    @Test func wideAndDeep() throws {
        for branch in 0..<20 {
            try makeChain("branch\(branch)", depth: 40)
            #expect(rename("\(scratch.path)/branch\(branch)", "\(scratch.path)/b\(branch)") == 0)
        }
        try removeTree(scratch.path)
        #expect(access(scratch.path, F_OK) != 0)
    }

    @Test func namesThatAreNotText() throws {
        let base = FileName(bytes: [0xFF, 0xFE, 0x20])
        #expect(mkdir("\(scratch.path)/t", 0o755) == 0)
        let top = try OwnedFD.open(scratch.path + "/t", O_RDONLY | O_DIRECTORY)
        try base.withCString { name throws(SystemError) in _ = try retrying("mkdir") { mkdirat(top.raw, name, 0o755) } }
        let inner = base.withCString { openat(top.raw, $0, O_RDONLY | O_DIRECTORY) }
        let fd = OwnedFD(owning: inner)
        for name in [[0xC3], [0x0A], Array(repeating: 0x80, count: 255)] as [[UInt8]] {
            let directory = FileName(bytes: name).withCString { mkdirat(fd.raw, $0, 0o700) }
            #expect(directory == 0)
            let file = FileName(bytes: name + (name.count < 255 ? [0x2D] : []))
            if name.count < 255 {
                let made = file.withCString { openat(fd.raw, $0, O_RDWR | O_CREAT, 0o600) }
                #expect(made >= 0)
                close(made)
            }
        }
        try removeTree(base, at: top.raw)
        #expect(try readEntries(top.raw).isEmpty)
    }

    @Test func symlinksAreRemovedNotFollowed() throws {
        #expect(mkdir("\(scratch.path)/kept", 0o755) == 0)
        try writeFile("\(scratch.path)/kept/file", [1])
        #expect(mkdir("\(scratch.path)/gone", 0o755) == 0)
        #expect(symlink("../kept", "\(scratch.path)/gone/link") == 0)
        #expect(symlink("\(scratch.path)/kept/file", "\(scratch.path)/gone/file") == 0)
        #expect(symlink("nowhere", "\(scratch.path)/gone/dangling") == 0)
        #expect(symlink("kept", "\(scratch.path)/top") == 0)
        try removeTree(scratch.path + "/gone")
        try removeTree(scratch.path + "/top")
        #expect(!scratch.exists("gone") && !scratch.exists("top"))
        #expect(try readFile("\(scratch.path)/kept/file") == [1])
    }

    @Test func whatIsNoDirectoryOrNotThere() throws {
        try writeFile("\(scratch.path)/file", [1])
        try removeTree(scratch.path + "/file")
        try removeTree(scratch.path + "/file")
        try removeTree(scratch.path + "/none/at/all")
        #expect(mkfifo("\(scratch.path)/fifo", 0o600) == 0)
        let directory = try OwnedFD.open(scratch.path, O_RDONLY)
        try removeTree("fifo" as FileName, at: directory.raw)
        #expect(!scratch.exists("fifo") && !scratch.exists("file"))
        #expect(throws: SystemError.self) { try removeTree("/proc/self/cmdline") }
    }

    /// As a user whom permissions bind.
    @Test func directoriesWithoutPermissions() throws {
        let owner = getuid() == 0 ? "setpriv --reuid=65534 --regid=65534 --clear-groups " : ""
        #expect(chmod(scratch.path, 0o777) == 0)
        let copy = scratch.path + "/probe"
        let (status, output) = try shell(
            """
            set -e; cp \(probe) \(copy); chmod 755 \(copy); cd \(scratch.path)
            \(owner)sh -c 'mkdir -p t/a/b/c t/x; touch t/a/b/c/f t/x/f; chmod 0 t/a/b/c t/a/b t/x t/a; chmod 100 t'
            \(owner)\(copy) remove t
            """)
        #expect(status == 0, "\(output)")
        #expect(!scratch.exists("t"))
    }

    /// What is mounted inside is not part of the tree.
    @Test(.enabled(if: getuid() == 0, "mounting needs root"), arguments: ["-t tmpfs tmpfs", "--bind OTHER"])
    func mountsAreNotEntered(mount: String) throws {
        let tree = scratch.path + "/tree"
        #expect(mkdir(tree, 0o755) == 0 && mkdir(tree + "/m", 0o755) == 0 && mkdir(scratch.path + "/o", 0o755) == 0)
        let options = mount.replacingOccurrences(of: "OTHER", with: scratch.path + "/o")
        let (status, output) = try shell("mount \(options) \(tree)/m && echo x > \(tree)/m/file")
        #expect(status == 0, "\(output)")
        #expect(throws: SystemError("open", "m", errno: EXDEV)) { try removeTree(tree) }
        #expect(try readFile(tree + "/m/file") == Array("x\n".utf8))
        #expect(try shell("umount \(tree)/m").status == 0)
        try removeTree(tree)
    }
}

/// Tests/StoreProbe, which removes a tree in a process of its own.
private var probe: String {
    get throws {
        let own = try String(decoding: readLink(AT_FDCWD, "/proc/self/exe"), as: UTF8.self)
        let beside = own.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/StoreProbe"
        if FileManager.default.isExecutableFile(atPath: beside) { return beside }
        return Bundle(for: Scratch.self).bundleURL.deletingLastPathComponent().path + "/StoreProbe"
    }
}

private func shell(_ command: String) throws -> (status: Int32, output: String) {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", command]
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
}
