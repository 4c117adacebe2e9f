// Descriptors, whole reads and writes, atomic files, names and paths.

import Foundation
import StageSystem
import Testing

@Suite struct FileTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func isOpen(_ fd: CInt) -> Bool { fcntl(fd, F_GETFD) >= 0 }

    /// The file that `fd` leads to: another test may reuse a number at once.
    private func leads(_ fd: CInt, to path: String) -> Bool {
        (try? readLink(AT_FDCWD, FileName("/proc/self/fd/\(fd)"))) == Array(path.utf8)
    }

    @Test func aDescriptorClosesWithItsOwner() throws {
        let path = scratch.path + "/file"
        let number: CInt
        do {
            let fd = try OwnedFD.open(path, O_RDWR | O_CREAT)
            number = fd.raw
            #expect(leads(number, to: path))
            #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
            let second = try fd.duplicate()
            #expect(second.raw != number && leads(second.raw, to: path))
            #expect(fcntl(second.raw, F_GETFD) & FD_CLOEXEC != 0)
        }
        #expect(!leads(number, to: path))
        let taken = try OwnedFD.open(path, O_RDONLY).take()
        #expect(leads(taken, to: path))
        close(taken)
        #expect(throws: SystemError("open", path + "/x", errno: ENOTDIR)) {
            _ = try OwnedFD.open(path + "/x", O_RDONLY)
        }
    }

    @Test func pipesAndShortReads() throws {
        let ends = try OwnedFD.pipe()
        let input = OwnedFD(owning: ends.read)
        let output = OwnedFD(owning: ends.write)
        for piece in ["ab", "cd", "e"] { try Array(piece.utf8).withUnsafeBytes { try writeAll(output.raw, $0) } }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 5, alignment: 1)
        defer { buffer.deallocate() }
        #expect(try readFull(input.raw, buffer) == 5)
        #expect(String(decoding: buffer, as: UTF8.self) == "abcde")
    }

    @Test func aDirectoryIsPublishedWhereNothingIsYet() throws {
        let (first, second) = (scratch.path + "/first", scratch.path + "/second")
        let place = scratch.path + "/place"
        for path in [first, second] { #expect(mkdir(path, 0o755) == 0) }
        #expect(try publishDirectory(first, at: place))
        let opened = try OwnedFD.open(place, O_RDONLY | O_DIRECTORY)
        // rename(2) would replace the empty directory; who holds it could make nothing in it any more.
        #expect(try !publishDirectory(second, at: place))
        #expect(!scratch.exists("first") && scratch.exists("second"))
        _ = try OwnedFD.open("file", O_WRONLY | O_CREAT, at: opened.raw)
        #expect(scratch.exists("place/file"))
        #expect(throws: SystemError("renameat2", place, errno: ENOENT)) { _ = try publishDirectory(first, at: place) }
    }

    @Test func limitsAndOffsets() throws {
        let path = scratch.path + "/file"
        let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0) }
        try writeFile(path, bytes)
        #expect(try readFile(path) == bytes)
        #expect(try readFile(path, limit: 200_000) == bytes)
        #expect(throws: SystemError("read", path, errno: EFBIG)) { _ = try readFile(path, limit: 199_999) }
        let fd = try OwnedFD.open(path, O_RDONLY)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 1)
        defer { buffer.deallocate() }
        #expect(try readFull(fd.raw, buffer, at: 199_950) == 50)
        #expect(Array(buffer[..<50]) == Array(bytes[199_950...]))
        #expect(try readFull(fd.raw, buffer, at: 300_000) == 0)
    }

    /// A reader sees one whole version or another.
    @Test func writtenFilesAreWhole() async throws {
        let path = scratch.path + "/file"
        let pool = BlockingPool(threads: 3)
        defer { pool.close() }
        func version(_ number: Int) -> [UInt8] { [UInt8](repeating: UInt8(number), count: 1000 + number * 700) }
        try writeFile(path, version(0))
        let expected = (0..<40).map(version)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<2 {
                group.addTask {
                    try await pool.run {
                        for number in stride(from: writer, to: 40, by: 2) { try writeFile(path, expected[number]) }
                    }
                }
            }
            group.addTask {
                try await pool.run {
                    for _ in 0..<300 {
                        let seen = try readFile(path)
                        #expect(seen == expected[Int(seen.first ?? 0)])
                    }
                }
            }
            try await group.waitForAll()
        }
        let directory = try OwnedFD.open(scratch.path, O_RDONLY)
        #expect(try readEntries(directory.raw).map(\.name) == ["file"], "no temporary file stays")
    }

    @Test func aFailedWriteLeavesTheOldFile() throws {
        #expect(mkdir(scratch.path + "/taken", 0o755) == 0)
        #expect(throws: SystemError.self) { try writeFile(scratch.path + "/taken", [1]) }
        #expect(throws: SystemError.self) { try writeFile(scratch.path + "/none/file", [1]) }
        let directory = try OwnedFD.open(scratch.path, O_RDONLY)
        #expect(try readEntries(directory.raw).map(\.name) == ["taken"])
    }

    @Test func manyEntries() throws {
        for number in 0..<3000 {
            close(open("\(scratch.path)/a-file-with-some-name-\(number)", O_CREAT | O_RDWR, 0o600))
        }
        let fd = try OwnedFD.open(scratch.path, O_RDONLY)
        #expect(Set(try readEntries(fd.raw).map(\.name)).count == 3000)
    }

    @Test(arguments: [
        ("", "/"), ("/", "/"), (".", "/"), ("..", "/"), ("../../a", "/a"), ("/a//b/./c/", "/a/b/c"),
        ("a/../../b", "/b"),
        ("a/b/..", "/a"), ("...", "/..."), ("..a/.b", "/..a/.b"), ("./.././/", "/"), ("a/./../a", "/a"),
    ])
    func pathsAreCleaned(raw: String, clean: String) {
        #expect(TreePath(raw).description == clean)
        #expect(TreePath(raw).components.allSatisfy { $0.isValid })
        #expect(TreePath(bytes: TreePath(raw).relativeBytes) == TreePath(raw))
    }

    @Test func pathParts() {
        let path: TreePath = "/a/b/c"
        #expect(path.parent == "/a/b" && path.last == "c" && TreePath().parent.isRoot && TreePath().last == nil)
        #expect(path.starts(with: "/a/b") && !path.starts(with: "/a/bb") && path.starts(with: "/"))
        #expect(path.appending(FileName("d")) == "/a/b/c/d" && TreePath().appending(path) == path)
        // By component, not by character: "a/b" is before "a-b", though "-" is before "/".
        #expect(["/a-b", "/a/b", "/a", "/b"].map { TreePath($0) }.sorted() == ["/a", "/a/b", "/a-b", "/b"])
    }

    @Test func names() {
        for good in ["a", "...", ".a", "\u{FF}", " ", "\n", String(repeating: "x", count: 255)] {
            #expect(FileName(good).isValid, "\(good)")
        }
        for bad in ["", ".", "..", "a/b", "/", "a\0", String(repeating: "x", count: 256)] {
            #expect(!FileName(bad).isValid, "\(bad)")
        }
        #expect(FileName(bytes: [0xFF]) > FileName(bytes: [0x7F]) && FileName("a") < FileName("aa"))
        FileName(bytes: [0x61, 0xFF]).withCString { pointer in
            #expect(strlen(pointer) == 2 && UInt8(bitPattern: pointer[1]) == 0xFF)
        }
    }
}
