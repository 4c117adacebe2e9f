// Trying again: when, how often, how long apart. Specs/registry.md, "Retries".

extension Transport {
    /// Runs `body` until it succeeds, fails for good, or has had its tries.
    func retrying<Value: Sendable>(_ body: () async throws(Failure) -> Value) async throws(Failure) -> Value {
        var tries = 0
        while true {
            do throws(Failure) {
                return try await body()
            } catch {
                tries += 1
                guard error.kind == .passing, tries < configuration.retries.attempts else { throw error }
                try await pause(after: error, tries: tries)
            }
        }
    }

    /// Waits before the try that follows `tries` failed ones, or fails when the registry asks for more patience than
    /// is allowed.
    func pause(after failure: Failure, tries: Int) async throws(Failure) {
        let retries = configuration.retries
        var delay = retries.delay * (1 << min(max(tries, 1) - 1, 16))
        delay = min(delay, retries.longestDelay) * Double.random(in: 0.8...1.2)
        if let asked = failure.retryAfter {
            if asked > retries.longestDelay { throw failure }
            delay = asked
        }
        do {
            try await Task.sleep(for: delay)
        } catch {
            throw Failure(.cancelled)
        }
    }
}
