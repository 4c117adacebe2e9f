// Steps on a small image, by the executor.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageRunner
import StageStore
import StageSystem

/// A tree of busybox and a few files.
func busyboxImage(_ store: any TreeStore, files: Int = 0) throws -> TreeRef {
    let busybox = try readFile("/bin/busybox")
    let program = Node(
        attributes: Attributes(mode: 0o755), content: .file(try store.put(busybox), size: UInt64(busybox.count)))
    var editor = TreeEditor(nil, store: store)
    let parents = Attributes(mode: 0o755)
    try editor.put(.node(program), at: "/bin/busybox", parents: parents)
    for name in ["sh", "true", "cat", "echo", "id", "mkdir", "rm", "stat", "ls", "cp"] {
        let link = Node(attributes: Attributes(mode: 0o777), content: .symlink(Array("busybox".utf8)))
        try editor.put(.node(link), at: TreePath("/bin/" + name), parents: parents)
    }
    for name in ["a", "b"] {
        let file = Node(
            attributes: Attributes(mode: 0o640, uid: 33, gid: 44),
            content: .file(try store.put(Array(name.utf8)), size: 1))
        try editor.put(.node(file), at: TreePath("/data/" + name), parents: parents)
    }
    for index in 0..<files {
        let bytes = Array(String(repeating: "line \(index)\n", count: 400).utf8)
        let file = Node(
            attributes: Attributes(mode: 0o644), content: .file(try store.put(bytes), size: UInt64(bytes.count)))
        try editor.put(.node(file), at: TreePath("/files/d\(index / 50)/f\(index)"), parents: parents)
    }
    return try editor.commit()
}

private func request(_ shell: String, _ chain: [TreeRef], user: String = "") -> ExecRequest {
    let run = Run(arguments: ["/bin/sh", "-ec", shell], environment: ["PATH=/bin"], user: user)
    return ExecRequest(key: StepKey(Digest.of(shell)), run: run, chain: chain)
}

/// Runs two steps and prints what they say and what changed.
func runSteps(root: String) async {
    do {
        let store = MemoryStore()
        let image = try busyboxImage(store)
        let executor = try NamespaceExecutor(root: root, store: store)
        let first = try await executor.execute(
            request(
                "echo $(id -u) $(id -g); cat /data/a > /dev/null; rm /data/a; mkdir /new; echo made by root > /new/f; cat /new/f; printf 'a\\n'",
                [image])
        ) { say(String(decoding: $1, as: UTF8.self)) }
        say("\(first.exit)\n")
        guard let tree = first.tree else { return }
        try store.difference(from: image, to: tree) { change in
            switch change {
            case .directory(let path, _, let existed): if !existed { say("+\(path)/\n") }
            case .node(let path, let node): say("+\(path) \(node.attributes.uid):\(node.attributes.gid)\n")
            case .removed(let path): say("-\(path)\n")
            }
        }
        _ = try await executor.execute(request("echo then: $(cat /new/f)", [image, tree])) {
            say(String(decoding: $1, as: UTF8.self))
        }
        try await makeUnreadable(executor, store, image, root)
        do {
            _ = try await executor.execute(request("true", [image], user: "1000")) { _, _ in }
            say("another user works: true\n")
        } catch {
            say("refused: \(error.advice ?? error.message)\n")
        }
    } catch {
        say("failed: \(error)\n")
    }
}

/// What root of the sandbox makes unreadable is captured all the same, and checked out again by another executor.
private func makeUnreadable(
    _ executor: NamespaceExecutor, _ store: MemoryStore, _ image: TreeRef, _ root: String
) async throws {
    let shell = "echo secret > /f; mkdir /d; echo inner > /d/f; chmod 000 /f /d/f /d"
    guard let tree = try await executor.execute(request(shell, [image]), output: { _, _ in }).tree else { return }
    guard case .node(let file)? = try store.entry(at: "/f", in: tree),
        case .directory(let ref)? = try store.entry(at: "/d", in: tree)
    else { return }
    let mode = try store.directory(ref.object).attributes.mode
    say("unreadable file \(file.attributes.mode), directory \(mode): ")
    let fresh = try NamespaceExecutor(root: root + "/fresh", store: store)
    _ = try await fresh.execute(request("echo $(cat /f /d/f)", [tree])) { say(String(decoding: $1, as: UTF8.self)) }
}

/// Prints the modes of mount points that had to be made for an image without them.
func showMountPoints(root: String) async {
    do {
        let store = MemoryStore()
        var editor = TreeEditor(try busyboxImage(store), store: store)
        try editor.remove("/etc")
        let image = try editor.commit()
        let executor = try NamespaceExecutor(root: root, store: store)
        let outcome = try await executor.execute(request("echo $(stat -c %a /etc /etc/hosts)", [image])) {
            say(String(decoding: $1, as: UTF8.self))
        }
        if outcome.exit != .exited(0) { say("\(outcome.exit)\n") }
    } catch {
        say("failed: \(error)\n")
    }
}

/// Runs steps, failing and cancelled ones too, and prints what this process holds more than after the first of them.
func countLeaks(root: String) async {
    func descriptors() throws -> Int {
        let fd = try OwnedFD.open("/proc/self/fd", O_RDONLY | O_DIRECTORY)
        // Timers belong to the concurrency runtime, which opens one when it likes and keeps it.
        return try readEntries(fd.raw).filter { entry in
            (try? readLink(fd.raw, entry.name)) != Array("anon_inode:[timerfd]".utf8)
        }.count
    }
    do {
        let store = MemoryStore()
        let image = try busyboxImage(store)
        let executor = try NamespaceExecutor(root: root, store: store)
        // Under the root only: other tests mount and unmount meanwhile.
        func mounts() throws -> [Substring] {
            String(decoding: try readFile("/proc/self/mountinfo"), as: UTF8.self).split(separator: "\n")
                .filter { $0.contains(root) }
        }
        let mountsBefore = try mounts()
        _ = try await executor.execute(request("true", [image])) { _, _ in }
        // The first sleep opens a timer for good.
        try await Task.sleep(for: .milliseconds(1))
        let before = try descriptors()
        for index in 0..<10 {
            _ = try await executor.execute(request("echo \(index) > /n", [image])) { _, _ in }
            _ = try await executor.execute(request("exit 1", [image])) { _, _ in }
            _ = try? await executor.execute(request("true", [image], user: "nobody-here")) { _, _ in }
            let bare = try store.put(DirectoryObject(attributes: Attributes(mode: 0o755)))
            _ = try? await executor.execute(request("true", [bare])) { _, _ in }
            let task = Task { try await executor.execute(request("cat /dev/zero > /dev/null", [image])) { _, _ in } }
            try await Task.sleep(for: .milliseconds(5))
            task.cancel()
            _ = await task.result
        }
        let after = try descriptors()
        let runs = try OwnedFD.open(root + "/runs", O_RDONLY | O_DIRECTORY)
        let sameMounts = try mounts() == mountsBefore
        say("descriptors \(after - before), runs \(try readEntries(runs.raw).count), mounts the same \(sameMounts)\n")
    } catch {
        say("failed: \(error)\n")
    }
}

/// Prints how long the executor's work takes, with a store on disk.
func measure(root: String, store path: String) async {
    do {
        let store = try Store(path: path)
        let image = try busyboxImage(store, files: 10_000)
        try store.commit()
        let executor = try NamespaceExecutor(root: root, store: store)
        let clock = ContinuousClock()
        func time(_ title: String, _ count: Int, _ body: (Int) async throws -> Void) async throws {
            var times: [Duration] = []
            for index in 0..<count { times.append(try await clock.measure { try await body(index) }) }
            times.sort()
            say("\(title): median \(times[count / 2]), best \(times[0]), worst \(times[count - 1])\n")
        }
        try await time("first RUN: check out 10,000 files", 1) { _ in
            _ = try await executor.execute(request("true", [image])) { _, _ in }
        }
        try await time("RUN true", 200) { _ in _ = try await executor.execute(request("true", [image])) { _, _ in } }
        var chain = [image]
        try await time("RUN echo, on a growing chain of 50", 50) { index in
            let outcome = try await executor.execute(request("echo \(index) > /n\(index)", chain)) { _, _ in }
            if let tree = outcome.tree { chain.append(tree) }
        }
        try await time("RUN true on a chain of 51", 200) { _ in
            _ = try await executor.execute(request("true", chain)) { _, _ in }
        }
        try await time("RUN cp -r of 10,000 files, captured", 1) { _ in
            _ = try await executor.execute(request("cp -r /files /copy", [image])) { _, _ in }
        }
    } catch {
        say("failed: \(error)\n")
    }
}
