// The executor of graphs that run no commands.

import StageEngine

struct NoCommands: Executor {
    func execute(
        _ request: ExecRequest, output: @escaping @Sendable (LogStream, [UInt8]) -> Void
    ) async throws(ExecutorError) -> ExecOutcome { throw ExecutorError("there are no commands here") }
}
