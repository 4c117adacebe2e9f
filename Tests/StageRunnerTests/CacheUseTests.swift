// Cache mounts that several commands use and remove at once.

import Glibc
import StageSystem
import Testing

@testable import StageRunner

@Suite struct CacheUseTests {
    let scratch = Scratch()
    let path: String
    let storage: RunnerStorage

    init() {
        path = scratch.path + "/caches/one"
        storage = RunnerStorage(root: scratch.path)
        #expect(mkdir(scratch.path + "/caches", 0o700) == 0)
    }

    private func make() throws { try retrying("mkdir", path) { mkdir(path, 0o700) } }

    @Test func whatIsUsedStays() throws {
        do {
            let use = try CacheUse.hold(path, label: "one")
            try make()
            #expect(try !storage.removeCache("caches/one"))
            #expect(access(path, F_OK) == 0)
            withExtendedLifetime(use) {}
        }
        #expect(CacheUse.use(of: path)?.label == "one")
        #expect(try storage.removeCache("caches/one"))
        for name in [path] + CacheUse.sidecars.map({ path + $0 }) { #expect(access(name, F_OK) != 0, "\(name)") }
    }

    @Test func theLockOfACacheThatSomebodyElseRemovedCountsForNothing() throws {
        try make()
        let first = try OwnedFD.open(path, O_RDONLY | O_DIRECTORY)
        var use: CInt = -1
        let removed = try storage.removeCache("caches/one") { () throws(SystemError) in
            if use >= 0 { return }
            // Between its open and its lock: another removes the cache, a command makes and uses it anew.
            #expect(try storage.removeCache("caches/one"))
            use = try CacheUse.hold(path, label: "one").take()
            try retrying("mkdir", path) { mkdir(path, 0o700) }
        }
        defer { close(use) }
        #expect(!removed)
        #expect(access(path, F_OK) == 0 && access(path + ".use", F_OK) == 0)
        #expect(try statDescriptor(first.raw, path).nlink == 0)
    }
}
