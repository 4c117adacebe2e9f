// A server inside a container that `stagerun run` started, asked over HTTP.

import Foundation
import Testing

/// Starts `image`, asks it for `paths` and stops it as a person does; the answers come back in order.
func answers(of image: String, paths: [String]) async throws -> [String] {
    let port = try freePort()
    let server = try Lab.start(["run", "--rm", "-e", "PORT=\(port)", image])
    var answers: [String] = []
    do {
        for path in paths { answers.append(try await get("http://127.0.0.1:\(port)\(path)", from: server)) }
    } catch {
        server.sendToGroup(SIGKILL)
        _ = await server.wait()
        throw error
    }
    server.send(SIGTERM)
    let outcome = await server.wait(atMost: .seconds(5))
    #expect(!outcome.timedOut, "SIGTERM does not reach the server: \(outcome)")
    return answers
}

private func get(_ url: String, from server: RunningCommand) async throws -> String {
    for _ in 0..<200 {
        let answer = try await command("curl", "--silent", "--show-error", "--max-time", "5", url)
        if answer.succeeded { return answer.output }
        try await Task.sleep(for: .milliseconds(50))
    }
    throw LabFailure("no answer from \(url); the server wrote: \(server.outputSoFar)")
}
