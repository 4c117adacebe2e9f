// Keeps the values of secrets out of a command's output: what is shown is also stored, for as long as its record.

import StageEngine
import Synchronization

/// Hands output on with every secret in it replaced by `***`. A value may come in pieces, cut anywhere.
final class SecretMask: Sendable {
    /// Shorter values are words that any output has.
    private static let shortest = 4

    private let patterns: [[UInt8]]
    private let output: @Sendable (LogStream, [UInt8]) -> Void
    private let pending = Mutex<[LogStream: [UInt8]]>([:])

    /// The lines of a value count each for itself: a key file is rarely printed as a whole.
    init(_ secrets: [SecretValue], _ output: @escaping @Sendable (LogStream, [UInt8]) -> Void) {
        var patterns: Set<[UInt8]> = []
        for secret in secrets {
            for line in secret.bytes.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }) {
                if line.count >= Self.shortest { patterns.insert(Array(line)) }
            }
        }
        // The longest first: one value may begin with another.
        self.patterns = patterns.sorted { $0.count > $1.count }
        self.output = output
    }

    func pass(_ stream: LogStream, _ bytes: [UInt8]) {
        if patterns.isEmpty { return output(stream, bytes) }
        let ready = pending.withLock { pending in
            var text = pending[stream, default: []] + bytes
            let masked = take(&text, isEnd: false)
            pending[stream] = text
            return masked
        }
        if !ready.isEmpty { output(stream, ready) }
    }

    /// Hands on what was held back.
    func finish() {
        let rest = pending.withLock { pending in
            defer { pending = [:] }
            return pending.map { stream, bytes in
                var text = bytes
                return (stream, take(&text, isEnd: true))
            }
        }
        for (stream, bytes) in rest where !bytes.isEmpty { output(stream, bytes) }
    }

    /// Takes from `text` all that cannot be the beginning of a value any more.
    private func take(_ text: inout [UInt8], isEnd: Bool) -> [UInt8] {
        var result: [UInt8] = []
        var index = 0
        scanning: while index < text.count {
            for pattern in patterns where pattern[0] == text[index] {
                let rest = text[index...]
                if rest.starts(with: pattern) {
                    result += Array("***".utf8)
                    index += pattern.count
                    continue scanning
                }
                if !isEnd, rest.count < pattern.count, pattern.starts(with: rest) { break scanning }
            }
            result.append(text[index])
            index += 1
        }
        text.removeFirst(index)
        return result
    }
}
