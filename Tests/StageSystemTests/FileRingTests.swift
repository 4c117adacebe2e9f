// Files read in batches: each has its own outcome, and none stays open.

import Glibc
import StageSystem
import Testing

@Suite("Files in batches")
struct FileRingTests {
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: FileRings.batch * 1024, alignment: 64)

    private func directory() throws -> String {
        var template = Array("/tmp/file-ring-XXXXXX".utf8CString)
        return String(cString: try #require(mkdtemp(&template)))
    }

    private func openDescriptors() -> Int {
        (0..<1024).reduce(0) { $0 + (fcntl(CInt($1), F_GETFD) >= 0 ? 1 : 0) }
    }

    @Test func eachFileHasItsOwnOutcome() throws {
        defer { buffer.deallocate() }
        let path = try directory()
        defer { try? removeTree(path) }
        let directory = try OwnedFD.open(path, O_RDONLY | O_DIRECTORY)
        for (name, size) in [("small", 5), ("full", 1024), ("more", 1025), ("empty", 0)] {
            let file = try OwnedFD.open(path + "/" + name, O_WRONLY | O_CREAT)
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
            try bytes.withUnsafeBytes { try writeAll(file.raw, $0) }
        }
        symlink("small", path + "/link")
        mkdir(path + "/directory", 0o755)
        mkfifo(path + "/fifo", 0o600)
        let rings = FileRings()
        let names = ["small", "gone", "full", "link", "more", "directory", "empty", "fifo"].map { FileName($0) }
        let before = openDescriptors()
        for _ in 0..<100 {
            let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
            let sizes = rings.read(directory.raw, flags, names, into: buffer) { results in
                #expect(results.descriptors[1] == -ENOENT && results.descriptors[3] == -ELOOP)
                #expect(results.descriptors.filter { $0 >= 0 }.count == 6)
                return results.sizes
            }
            guard let sizes else {
                print("SKIPPED: this kernel gives no io_uring; plain calls read the files")
                return
            }
            #expect(sizes[0] == 5 && sizes[2] == 1024 && sizes[4] == 1024 && sizes[6] == 0)
            #expect(sizes[5] == -EISDIR)
            #expect(buffer[4] == 4 && buffer[2 * 1024 + 1023] == 255 && buffer[4 * 1024] == 0)
        }
        // The ring itself is one more.
        #expect(openDescriptors() <= before + 1)
    }

    @Test func manyThreadsHaveRingsOfTheirOwn() async throws {
        defer { buffer.deallocate() }
        let path = try directory()
        defer { try? removeTree(path) }
        let names = (0..<FileRings.batch).map { FileName("file-\($0)") }
        for name in names {
            let file = try OwnedFD.open(path + "/" + name.description, O_WRONLY | O_CREAT)
            let bytes = Array(name.bytes)
            try bytes.withUnsafeBytes { try writeAll(file.raw, $0) }
        }
        let rings = FileRings()
        let wrong = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    guard let directory = try? OwnedFD.open(path, O_RDONLY | O_DIRECTORY) else { return 1 }
                    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: FileRings.batch * 256, alignment: 64)
                    defer { buffer.deallocate() }
                    var wrong = 0
                    for _ in 0..<200 {
                        rings.read(directory.raw, O_RDONLY, names, into: buffer) { results in
                            for (place, name) in names.enumerated() {
                                let size = Int(results.sizes[place])
                                let start = place * 256
                                if size != name.bytes.count || !buffer[start..<(start + size)].elementsEqual(name.bytes)
                                {
                                    wrong += 1
                                }
                            }
                        }
                    }
                    return wrong
                }
            }
            return await group.reduce(0, +)
        }
        #expect(wrong == 0)
    }
}
