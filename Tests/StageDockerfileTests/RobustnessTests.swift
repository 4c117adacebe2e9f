// Anything may come in: no crash, no hang, time and memory in proportion.

import StageGraph
import Testing

@testable import StageDockerfile

/// Counts the look-ups of expansion: work that would show if a file's end were slower than its start.
private final class CountingVariables: VariableSource {
    private(set) var count = 0

    func value(of name: String) -> String? {
        count += 1
        return count.isMultiple(of: 2) ? "x" : nil
    }
}

@Suite struct RobustnessTests {
    /// A file of `lines` lines of every common kind.
    private func ordinary(_ lines: Int) -> [UInt8] {
        var text = "FROM base\n"
        for index in 0..<(lines / 5) {
            text += "ENV VAR_\(index % 50)=value\nRUN echo $VAR_1 && make target\\\n  && echo \"$VAR_2\"\n"
            text += "COPY --chown=1:1 file\(index) dir/$VAR_3/\nLABEL l\(index)=x\n"
        }
        return Array(text.utf8)
    }

    /// Benchmarks measures the time; here what there is to do is counted.
    @Test func workIsInProportion() throws {
        func steps(_ lines: Int) throws -> (instructions: Int, steps: Int, history: Int) {
            let file = try Dockerfile.parse(ordinary(lines), file: "D")
            let graph = try Bench().graph(String(decoding: ordinary(lines), as: UTF8.self))
            return (file.instructions.count, graph.steps.count, graph.history.count)
        }
        let (short, long) = (try steps(1_000), try steps(20_000))
        #expect((long.instructions - 1) == 20 * (short.instructions - 1))
        #expect((long.steps - 2) == 20 * (short.steps - 2))
        #expect(long.history == 20 * short.history)

        func lookUps(_ count: Int) throws -> Int {
            let variables = CountingVariables()
            _ = try Expansion().expand(String(repeating: "${a:-$b} ", count: count), variables)
            return variables.count
        }
        #expect(try lookUps(10_000) == 10 * lookUps(1_000))
    }

    @Test func extremes() throws {
        var stages = "FROM a AS s0\n"
        for index in 1..<10_000 { stages += "FROM s\(index - 1) AS s\(index)\nENV X=\(index)\n" }
        let graph = try Bench().graph(stages)
        #expect(graph.history.count == 9_999)
        #expect(graph.config.environment.last == "X=9999")

        var wide = ""
        for index in 0..<3_000 { wide += "FROM a AS s\(index)\nCOPY x\(index) .\n" }
        wide += "FROM a\n"
        for index in 0..<3_000 { wide += "COPY --from=s\(index) / /\n" }
        #expect(try Bench().graph(wide).steps.count == 6_002)

        let body = String(repeating: "some text of a heredoc\n", count: 45_000)
        let heredoc = try Bench().graph("FROM scratch\nCOPY <<EOF /big\n\(body)EOF\n")
        guard case .copy(let copy) = heredoc.steps[1].operation, case .text(_, let content) = copy.sources[0] else {
            Issue.record("no heredoc")
            return
        }
        #expect(content.utf8.count == body.utf8.count)

        let blank = [UInt8](repeating: UInt8(ascii: "\n"), count: 10 << 20)
        #expect(throws: DockerfileError.self) { try Dockerfile.parse(blank, file: "D") }
    }

    @Test func growthIsRefused() {
        var text = "FROM scratch\nENV a=xxxxxxxxxxxxxxxx\n"
        for _ in 0..<40 { text += "ENV a=$a$a\n" }
        #expect(throws: DockerfileError.self) { try Bench().lower(text) }
        var many = "FROM scratch\nENV a=" + String(repeating: "x", count: 60_000) + "\n"
        for index in 0..<1_500 { many += "ENV b\(index)=$a\n" }
        #expect(throws: DockerfileError.self) { try Bench().lower(many) }
        // Each of these stages would run 700 triggers.
        var triggers = "FROM scratch AS t\n" + String(repeating: "ONBUILD ENV a=b\n", count: 700)
        for index in 0..<500 { triggers += "FROM t AS s\(index)\n" }
        triggers += "FROM scratch\n"
        for index in 0..<500 { triggers += "COPY --from=s\(index) / /\n" }
        #expect(throws: DockerfileError.self) { try Bench().lower(triggers) }
    }
}
