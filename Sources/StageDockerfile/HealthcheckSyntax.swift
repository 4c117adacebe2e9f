// `HEALTHCHECK`: its test and its durations.

import StageGraph

enum HealthcheckSyntax {
    static func parse(_ instruction: Instruction) throws(DockerfileError) -> Healthcheck {
        guard let kind = instruction.arguments.first else {
            throw DockerfileError("HEALTHCHECK requires at least one argument", at: instruction.range)
        }
        let rest = instruction.arguments.dropFirst().map(\.text)
        switch kind.text.uppercased() {
        case "NONE":
            guard rest.isEmpty else {
                throw DockerfileError("HEALTHCHECK NONE takes no arguments", at: instruction.arguments[1].range)
            }
            return Healthcheck(test: ["NONE"])
        case "CMD":
            let flags = try FlagValues(
                instruction,
                [
                    "interval": .text, "timeout": .text, "start-period": .text, "start-interval": .text,
                    "retries": .text,
                ])
            guard !rest.isEmpty else {
                throw DockerfileError("missing command after HEALTHCHECK CMD", at: instruction.range)
            }
            var check = Healthcheck(test: [instruction.isJSON ? "CMD" : "CMD-SHELL"] + rest)
            check.interval = try duration(flags.text("interval"))
            check.timeout = try duration(flags.text("timeout"))
            check.startPeriod = try duration(flags.text("start-period"))
            check.startInterval = try duration(flags.text("start-interval"))
            check.retries = try retries(flags.text("retries"))
            return check
        default:
            throw DockerfileError(
                "unknown type `\(kind.text)` in HEALTHCHECK", at: kind.range, hint: "write HEALTHCHECK CMD COMMAND")
        }
    }

    private static func duration(_ word: Word?) throws(DockerfileError) -> Int64? {
        guard let word, !word.text.isEmpty else { return nil }
        guard let value = GoText.duration(word.text) else {
            throw DockerfileError(
                "invalid duration `\(word.text)`", at: word.range, hint: "write a number and a unit: 30s, 1m30s, 500ms")
        }
        if value == 0 { return nil }
        guard value >= 1_000_000 else {
            throw DockerfileError("duration `\(word.text)` is less than 1ms", at: word.range)
        }
        return value
    }

    private static func retries(_ word: Word?) throws(DockerfileError) -> Int? {
        guard let word, !word.text.isEmpty else { return nil }
        guard let value = Int32(word.text) else {
            throw DockerfileError("--retries is a number, not `\(word.text)`", at: word.range)
        }
        guard value >= 0 else { throw DockerfileError("--retries cannot be negative (\(value))", at: word.range) }
        return value == 0 ? nil : Int(value)
    }
}
