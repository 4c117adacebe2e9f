// Anything may come in: no crash, no hang, time and memory in proportion.

import StageGraph
import Testing

@testable import StageDockerfile

/// A small generator with a seed, so that a failure can be repeated.
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite struct RobustnessTests {
    private static let corpus = [
        "FROM a AS b\nWORKDIR /x\nCOPY a b ./\nRUN make \\\n  all\nFROM c\nCOPY --from=b /x /y\nCMD [\"/y\"]\n",
        "FROM a\nARG X=1\nENV Y=$X Z='q r'\nRUN <<EOF\nx\nEOF\nCOPY <<A <<B /d/\n$Y\nA\ny\nB\nEXPOSE 80\n",
        "# syntax=x\n# escape=`\nFROM a AS b\nRUN x `\n y\n",
        "ARG A=${B:-c}\nFROM --platform=$TARGETPLATFORM a:${A#x*} AS b\nENV a=\"b c\" d=e\\ f\nFROM b\nCOPY --from=b --chown=1:$a /x /y\n",
        "FROM a\nRUN --mount=type=cache,target=/x,id=\"a,b\" --network=none <<EOF cat\nx $y\nEOF\nCOPY <<-'A' <<B /d/\n\tx\n\tA\ny\nB\n",
        "FROM a\nCMD [\"a\", \"\\u00e9\", {\"x\": [1]}]\nHEALTHCHECK --interval=1m CMD [\"x\"]\nONBUILD COPY a b\nEXPOSE 1-9/udp $p\n",
        "FROM scratch\nENV p=/a/b/c q=${p##*/} r=${p%/*} s=${p//\\//-} t=${u:?no}\nLABEL a b\nVOLUME [\"/x\"]\nSTOPSIGNAL 9\nWORKDIR ../x\nUSER a:b\n",
    ]
    private static let fragments = [
        "$", "${", "}", "{", "\\", "`", "'", "\"", "<<", "<<EOF", "\n", "\r\n", "\\\n", "#", "[", "]", "\"]", ",", ":",
        "=",
        "--", "--from=", "--mount=", "\u{0}", "\u{FEFF}", "é", "\u{A0}", "FROM ", "ONBUILD ", "ARG ", "ENV ", "*", "?",
        "/",
        "${a:-", "${a//", "%%", "COPY ", "RUN ", " ", "\t", "0", "-", "@sha256:",
    ]

    private func mutate(_ bytes: inout [UInt8], _ random: inout Seeded) {
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let place = Int.random(in: 0...bytes.count, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes.insert(contentsOf: (Self.fragments.randomElement(using: &random) ?? "").utf8, at: place)
            case 1:
                if place < bytes.count {
                    bytes[place] = UInt8.random(
                        in: 0...(Int.random(in: 0...9, using: &random) == 0 ? 255 : 127), using: &random)
                }
            case 2:
                let end = min(bytes.count, place + Int.random(in: 1...12, using: &random))
                bytes.removeSubrange(place..<end)
            default:
                let end = min(bytes.count, place + Int.random(in: 1...20, using: &random))
                bytes.insert(contentsOf: Array(bytes[place..<end]), at: place)
            }
        }
    }

    @Test(arguments: 1...4)
    func mutatedFiles(seed: Int) throws {
        var random = Seeded(state: UInt64(seed))
        var graphs = 0
        for round in 0..<700 {
            var bytes = Array(Self.corpus[round % Self.corpus.count].utf8)
            mutate(&bytes, &random)
            do {
                let file = try Dockerfile.parse(bytes, file: "D")
                let lowering = Lowering(file, options: LoweringOptions())
                var known: [String: BaseImage] = [:]
                for _ in 0..<10 {
                    guard case .needs(let requests) = try lowering.lower(images: known) else {
                        graphs += 1
                        break
                    }
                    for request in requests {
                        known[request.key] = BaseImage(settings: ImageSettings(), platform: request.platform)
                    }
                }
            } catch let error as DockerfileError {
                // Every error says where, and can be shown.
                #expect(
                    error.range != nil || error.message.hasPrefix("target"), "seed \(seed) round \(round): \(error)")
                #expect(!error.rendered(source: bytes).isEmpty)
            }
        }
        // Mutations that break everything would test nothing.
        #expect(graphs > 30)
    }

    @Test func mutatedWords() {
        var random = Seeded(state: 7)
        var values = 0
        for _ in 0..<10_000 {
            var bytes = Array("a${b:-'c'}\"$d\"${e##*/}${f//x/y}\\z<< q".utf8)
            mutate(&bytes, &random)
            let word = String(decoding: bytes, as: UTF8.self)
            if (try? Expansion().expand(word, ["b": "1", "e": "/x/y", "f": "xax"])) != nil { values += 1 }
            _ = try? HeredocWord(word)
            _ = ImageName.fault(word)
            _ = FileMode.isValid(word)
            _ = GoText.quoted(word)
        }
        #expect(values > 1_000)
    }

    /// A file of `lines` lines of every common kind.
    private func ordinary(_ lines: Int) -> [UInt8] {
        var text = "FROM base\n"
        for index in 0..<(lines / 5) {
            text += "ENV VAR_\(index % 50)=value\nRUN echo $VAR_1 && make target\\\n  && echo \"$VAR_2\"\n"
            text += "COPY --chown=1:1 file\(index) dir/$VAR_3/\nLABEL l\(index)=x\n"
        }
        return Array(text.utf8)
    }

    private func time(_ bytes: [UInt8]) throws -> Duration {
        let clock = ContinuousClock()
        var best = Duration.seconds(1_000)
        for _ in 0..<2 {
            best = min(
                best,
                try clock.measure {
                    let file = try Dockerfile.parse(bytes, file: "D")
                    let images = ["base": BaseImage(settings: ImageSettings(), platform: .host)]
                    guard case .graph = try Lowering(file, options: LoweringOptions()).lower(images: images) else {
                        Issue.record("no graph")
                        return
                    }
                })
        }
        return best
    }

    @Test func timeIsLinear() throws {
        let short = try time(ordinary(1_000))
        let long = try time(ordinary(20_000))
        print("1,000 lines: \(short), 20,000 lines: \(long)")
        // Linear is 20 times as long, quadratic 400; the room is for other work on the machine.
        #expect(long < short * 150)
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
