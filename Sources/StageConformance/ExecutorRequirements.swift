// What everything that runs commands does.

import StageEngine
import StageGraph
import StageHash
import StageStore
import StageSystem
import Synchronization

/// An executor that is to be proved, and how commands for it are written.
public struct ExecutorSubject: Sendable {
    public var executor: any Executor
    /// Where it reads trees and keeps them.
    public var store: any TreeStore
    /// A filesystem in which the commands work.
    public var base: TreeRef
    /// Puts a text into a new file directly beneath the root.
    public var write: @Sendable (_ path: String, _ text: String) -> [String]
    /// Writes a line to standard output.
    public var say: @Sendable (_ line: String) -> [String]
    /// Ends with a status, not 0.
    public var fail: @Sendable (_ status: Int32) -> [String]
    /// Changes nothing.
    public var nothing: [String]
    /// Does not end by itself.
    public var endless: [String]

    public init(
        executor: any Executor, store: any TreeStore, base: TreeRef,
        write: @escaping @Sendable (_ path: String, _ text: String) -> [String],
        say: @escaping @Sendable (_ line: String) -> [String],
        fail: @escaping @Sendable (_ status: Int32) -> [String], nothing: [String], endless: [String]
    ) {
        self.executor = executor
        self.store = store
        self.base = base
        self.write = write
        self.say = say
        self.fail = fail
        self.nothing = nothing
        self.endless = endless
    }

    /// With a filesystem that has `/bin/sh`, `true` and `sleep`.
    public init(shell executor: any Executor, store: any TreeStore, base: TreeRef) {
        @Sendable func shell(_ script: String) -> [String] { ["/bin/sh", "-c", script] }
        self.init(
            executor: executor, store: store, base: base, write: { shell("printf %s '\($1)' > \($0)") },
            say: { shell("echo '\($0)'") }, fail: { shell("exit \($0)") }, nothing: shell("true"),
            endless: shell("while true; do sleep 1; done"))
    }
}

/// For anything that is an `Executor`.
public enum ExecutorRequirements {
    public static let all: [Requirement<ExecutorSubject>] = [
        Requirement("what a command writes is in the tree it leaves", leavesWhatWasWritten),
        Requirement("what a command does not touch stays as it is", keepsTheRest),
        Requirement("a command that changes nothing leaves the filesystem it found", leavesNothing),
        Requirement("the same command leaves the same filesystem", isReproducible),
        Requirement("a command sees what the commands before it left", goesOn),
        Requirement("a command that fails says how, and leaves no tree", fails),
        Requirement("what a command says comes whole and in order", tellsOutput),
        Requirement("cancelling the task ends a command that does not end by itself", isCancelled),
        Requirement("commands that run at once do not see each other", separates),
    ]

    /// What a command came to.
    private struct Ran: Sendable {
        var exit: ExitStatus
        var tree: TreeRef?
        var output: String
    }

    private final class Output: Sendable {
        let bytes = Mutex<[UInt8]>([])
    }

    private static func run(
        _ arguments: [String], in subject: ExecutorSubject, chain: [TreeRef]? = nil
    ) async throws -> Ran {
        let output = Output()
        // Every step has a key of its own; a random one cannot meet that of a check before.
        let key = StepKey(Digest.of("\(arguments) \(UInt64.random(in: .min ... .max))"))
        let request = ExecRequest(
            key: key, run: Run(arguments: arguments, environment: ["PATH=/bin:/usr/bin"]),
            chain: chain ?? [subject.base])
        let outcome = try await subject.executor.execute(request) { _, bytes in
            output.bytes.withLock { $0 += bytes }
        }
        let text = output.bytes.withLock { String(decoding: $0, as: UTF8.self) }
        return Ran(exit: outcome.exit, tree: outcome.tree, output: text)
    }

    /// The tree of a command that has to succeed.
    private static func tree(
        _ arguments: [String], in subject: ExecutorSubject, chain: [TreeRef]? = nil
    ) async throws -> TreeRef {
        let ran = try await run(arguments, in: subject, chain: chain)
        guard ran.exit.isSuccess, let tree = ran.tree else {
            throw Mismatch(reason: "\(arguments) ended with \(ran.exit), and said: \(ran.output)")
        }
        return tree
    }

    private static func text(at path: TreePath, in tree: TreeRef, _ store: any TreeStore) throws -> String? {
        guard case .node(let node)? = try store.entry(at: path, in: tree), let file = node.file else { return nil }
        return String(decoding: try store.read(file.digest), as: UTF8.self)
    }

    private static func leavesWhatWasWritten(_ subject: ExecutorSubject) async throws {
        for words in ["one", "", String(repeating: "long ", count: 5000)] {
            let tree = try await tree(subject.write("/written", words), in: subject)
            try expectEqual(try text(at: "/written", in: tree, subject.store), words, "the text of the new file")
        }
    }

    private static func keepsTheRest(_ subject: ExecutorSubject) async throws {
        let (store, base) = (subject.store, subject.base)
        let tree = try await tree(subject.write("/written", "x"), in: subject)
        var changed: [TreePath] = []
        try store.walk(base) { path, before throws(StoreError) in
            let after = try store.entry(at: path, in: tree)
            if after?.sameIdentity(as: before) != true { changed.append(path) }
        }
        try expectEqual(changed, [], "what is no longer what it was")
        var added: [TreePath] = []
        try store.walk(tree) { path, _ throws(StoreError) in
            if try store.entry(at: path, in: base) == nil { added.append(path) }
        }
        try expectEqual(added, ["/written"], "what is new")
    }

    private static func leavesNothing(_ subject: ExecutorSubject) async throws {
        let tree = try await tree(subject.nothing, in: subject)
        try expectEqual(tree.identity, subject.base.identity, "the filesystem after a command that changes nothing")
    }

    private static func isReproducible(_ subject: ExecutorSubject) async throws {
        let first = try await tree(subject.write("/written", "x"), in: subject)
        let second = try await tree(subject.write("/written", "x"), in: subject)
        try expectEqual(second.identity, first.identity, "the filesystem at the second time")
        let other = try await tree(subject.write("/written", "y"), in: subject)
        try expect(other.identity != first.identity, "two texts make one filesystem")
    }

    private static func goesOn(_ subject: ExecutorSubject) async throws {
        let first = try await tree(subject.write("/first", "1"), in: subject)
        let second = try await tree(subject.write("/second", "2"), in: subject, chain: [subject.base, first])
        try expectEqual(try text(at: "/first", in: second, subject.store), "1", "what the command before wrote")
        try expectEqual(try text(at: "/second", in: second, subject.store), "2", "what the last command wrote")
        let again = try await tree(subject.nothing, in: subject, chain: [subject.base, first, second])
        try expectEqual(again.identity, second.identity, "the filesystem after a command that changes nothing")
    }

    private static func fails(_ subject: ExecutorSubject) async throws {
        for status: Int32 in [1, 42, 255] {
            let ran = try await run(subject.fail(status), in: subject)
            try expectEqual(ran.exit, .exited(status), "how the command ended")
            try expect(ran.tree == nil, "a command that failed left a tree")
        }
    }

    private static func tellsOutput(_ subject: ExecutorSubject) async throws {
        for line in ["said", "caf\u{E9} \u{1F980}", String(repeating: "0123456789", count: 2000)] {
            let ran = try await run(subject.say(line), in: subject)
            try expectEqual(ran.output, line + "\n", "what was said")
        }
    }

    private static func isCancelled(_ subject: ExecutorSubject) async throws {
        final class End: Sendable { let ran = Mutex<Ran??>(nil) }
        let end = End()
        let task = Task {
            let ran = try? await run(subject.endless, in: subject)
            end.ran.withLock { $0 = .some(ran) }
        }
        try await Task.sleep(for: .milliseconds(300))
        try expect(end.ran.withLock { $0 == nil }, "it ended by itself")
        task.cancel()
        for _ in 0..<600 {
            if let ran = end.ran.withLock({ $0 }) {
                return try expect(ran?.tree == nil, "a command that was cancelled left a tree")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw Mismatch(reason: "it still runs 30 s after it was cancelled")
    }

    private static func separates(_ subject: ExecutorSubject) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<6 {
                group.addTask {
                    let tree = try await tree(subject.write("/file\(number)", "\(number)"), in: subject)
                    for other in 0..<6 {
                        let found = try text(at: TreePath("/file\(other)"), in: tree, subject.store)
                        try expectEqual(
                            found, other == number ? "\(number)" : nil, "file \(other) of command \(number)")
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
