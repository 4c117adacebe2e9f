// Titles of steps and paths inside images: the short ways give what the long ways give.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct TextTests {
    @Test(arguments: [
        ("RUN echo a", "RUN echo a"), ("run   echo a ", "RUN echo a"), ("COPY f/1 /1", "COPY f/1 /1"),
        ("RUN echo  a    b", "RUN echo a b"), ("RUN echo\ta", "RUN echo a"),
        ("RUN echo 'a  b'  c", "RUN echo 'a  b' c"),
        ("RUN echo \"a  b\"  c", "RUN echo \"a  b\" c"), ("RUN echo 'a b", "RUN echo 'a b"),
        ("RUN echo $x $y", "RUN echo 1 $y"), ("RUN echo \"$x\"", "RUN echo \"1\""),
        ("RUN echo a\\ b", "RUN echo a\\ b"),
        ("RUN a && \\\n    b", "RUN a && b"), ("RUN echo é  ü", "RUN echo é ü"), ("RUN a <b", "RUN a <b"),
    ])
    func titles(line: String, expected: String) throws {
        let file = try Dockerfile.parse("FROM scratch\n\(line)\n")
        var variables = Variables()
        variables.set("x", "1")
        let instruction = try #require(file.stages[0].instructions.first).syntax
        #expect(StepTitle.text(instruction, Expansion(escape: UInt8(ascii: "\\")), variables) == expected)
    }

    /// As it is defined, with nothing left out.
    private func cleaned(_ path: String, in directory: String) -> String {
        let whole = path.utf8.first == UInt8(ascii: "/") ? path : directory + "/" + path
        var parts: [Substring] = []
        for part in whole.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    @Test func pathsAreCleanedInEveryWay() {
        let alphabet: [String] = ["/", ".", "a", "é", "\u{301}", " "]
        var number = 0
        for length in 0...5 {
            for choice in 0..<Int(pow(6, length)) {
                var (rest, path) = (choice, "")
                for _ in 0..<length {
                    path += alphabet[rest % 6]
                    rest /= 6
                }
                for directory in ["/", "/x", "/x/"] {
                    #expect(BuildPath.cleaned(path, in: directory) == cleaned(path, in: directory), "\(path)")
                    number += 1
                }
            }
        }
        #expect(number == 3 * (1 + 6 + 36 + 216 + 1296 + 7776))
    }

    private func pow(_ base: Int, _ exponent: Int) -> Int { (0..<exponent).reduce(1) { value, _ in value * base } }
}
