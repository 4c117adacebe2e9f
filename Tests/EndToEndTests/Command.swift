// Runs programs as a person would: output kept in files, exit status, wall time, a deadline. Waiting blocks no thread.

import Foundation

/// How a program ended and what it wrote.
struct Outcome: Sendable, CustomStringConvertible {
    var command: String
    /// The exit status; 128 and the signal's number when a signal ended it, as shells say it.
    var status: Int32
    var output: String
    var errors: String
    var seconds: Double
    var timedOut: Bool

    var succeeded: Bool { status == 0 && !timedOut }
    /// Both streams, for asking whether something was said at all.
    var text: String { output + errors }

    var description: String {
        "\(command)\nstatus \(status)\(timedOut ? " (stopped at the deadline)" : "") after \(seconds) s\n"
            + "--- output\n\(output.suffix(4000))\n--- errors\n\(errors.suffix(4000))"
    }
}

/// The program could not be started.
struct SpawnFailure: Error, CustomStringConvertible {
    var command: String
    var code: Int32
    var description: String { "cannot start \(command): \(String(cString: strerror(code)))" }
}

/// A program that was started and not yet waited for; it leads its own process group.
final class RunningCommand: Sendable {
    let process: pid_t
    private let command: String
    private let streams: String
    private let start: ContinuousClock.Instant

    /// Starts `arguments[0]`, found on PATH, with standard input from /dev/null and the default signal actions.
    init(_ arguments: [String], directory: String? = nil, environment: [String: String] = [:]) throws {
        command = arguments.joined(separator: " ")
        streams = try scratchDirectory("command")
        start = .now

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, streams + "/output", O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, streams + "/errors", O_WRONLY | O_CREAT, 0o600)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigfillset(&defaults)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        var mask = sigset_t()
        sigemptyset(&mask)
        posix_spawnattr_setsigmask(&attributes, &mask)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        var child: pid_t = 0
        // `env` changes the directory and becomes the program, so the process stays the one that is known here.
        let words = directory.map { ["env", "--chdir=\($0)"] + arguments } ?? arguments
        let code = withCStrings(words) { argv in
            withCStrings(variables) { envp in posix_spawnp(&child, words[0], &actions, &attributes, argv, envp) }
        }
        guard code == 0 else { throw SpawnFailure(command: command, code: code) }
        process = child
    }

    /// What it wrote so far.
    var outputSoFar: String { contents("output") + contents("errors") }

    func send(_ signal: Int32) { kill(process, signal) }

    /// As a terminal does it: to the whole process group.
    func sendToGroup(_ signal: Int32) { kill(-process, signal) }

    /// Waits for its end; at the deadline the group is killed.
    func wait(atMost limit: Duration = .seconds(600)) async -> Outcome {
        var status: Int32 = 0
        var timedOut = false
        while waitpid(process, &status, WNOHANG) == 0 {
            if !timedOut, start.duration(to: .now) > limit {
                timedOut = true
                sendToGroup(SIGKILL)
            }
            try? await Task.sleep(for: .milliseconds(3), tolerance: .milliseconds(1))
        }
        let elapsed = start.duration(to: .now)
        let outcome = Outcome(
            command: command, status: status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + status & 0x7f,
            output: contents("output"), errors: contents("errors"), seconds: elapsed / .seconds(1), timedOut: timedOut)
        try? FileManager.default.removeItem(atPath: streams)
        return outcome
    }

    /// Waits until a server answers, lets `body` use it, and stops it after that.
    func serving<R>(_ answers: () async throws -> Bool, during body: () async throws -> R) async throws -> R {
        let result: Result<R, any Error>
        do {
            for _ in 0..<400 where try await !answers() { try await Task.sleep(for: .milliseconds(25)) }
            guard try await answers() else { throw LabFailure("\(command) does not answer: \(outputSoFar)") }
            result = .success(try await body())
        } catch { result = .failure(error) }
        sendToGroup(SIGKILL)
        _ = await wait()
        return try result.get()
    }

    private func contents(_ name: String) -> String {
        String(decoding: FileManager.default.contents(atPath: "\(streams)/\(name)") ?? Data(), as: UTF8.self)
    }
}

/// Runs a program to its end.
@discardableResult
func command(
    _ arguments: String..., directory: String? = nil, environment: [String: String] = [:],
    atMost limit: Duration = .seconds(600)
) async throws -> Outcome {
    try await RunningCommand(arguments, directory: directory, environment: environment).wait(atMost: limit)
}

private func withCStrings<R>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
    let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
    for (index, string) in strings.enumerated() { pointers[index] = strdup(string) }
    pointers[strings.count] = nil
    defer {
        for index in strings.indices { free(pointers[index]) }
        pointers.deallocate()
    }
    return body(pointers)
}
