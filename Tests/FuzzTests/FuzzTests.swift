// Anything may come in: no crash, no hang, and every refusal says where. One second a target; CI gives each a minute.

import Foundation
import StageConformance
import StageGraph
import Testing

@testable import StageContext
@testable import StageDockerfile
@testable import StageEngine

/// One reader of foreign text.
struct FuzzTarget: Sendable, CustomTestStringConvertible {
    var name: String
    var corpus: Corpus
    /// True when the input was taken; throws `Broken` when what came out of it is wrong.
    var take: @Sendable (_ bytes: [UInt8]) throws -> Bool

    var testDescription: String { name }
}

/// A promise that an input has broken.
struct Broken: Error { var promise: String }

private func require(_ holds: Bool, _ promise: @autoclosure () -> String) throws {
    if !holds { throw Broken(promise: promise()) }
}

@Suite struct Fuzzing {
    @Test(.timeLimit(.minutes(60)), arguments: targets)
    func nothingBreaks(_ target: FuzzTarget) throws {
        print("fuzzing \(target.name): STAGERUN_FUZZ_SEED=\(FuzzRun.seed) STAGERUN_FUZZ_SECONDS=\(FuzzRun.seconds)")
        var random = SeededGenerator(seed: FuzzRun.seed)
        let end = ContinuousClock.now + .seconds(FuzzRun.seconds)
        var round = 0
        var taken = 0
        // A fixed number first, so that a slow machine tests the same; then to the end of the time.
        while round < 300 || ContinuousClock.now < end {
            let input = target.corpus.input(round, &random)
            do { if try target.take(input) { taken += 1 } } catch let broken as Broken {
                Issue.record(
                    "\(broken.promise) in round \(round) of seed \(FuzzRun.seed): \(String(decoding: input, as: UTF8.self))"
                )
                if round > 100_000 { return }
            }
            round += 1
        }
        // Mutations that break everything would test nothing.
        #expect(taken * 100 > round, "\(taken) of \(round) inputs were taken")
    }

    static let targets = [
        dockerfile, checks, words, heredocs, jsonForms, mounts, ports, imageNames, modes, ignoreRules, durations,
    ]

    // MARK: The Dockerfile

    private static let files = Corpus(
        inputs: [
            "FROM a AS b\nWORKDIR /x\nCOPY a b ./\nRUN make \\\n  all\nFROM c\nCOPY --from=b /x /y\nCMD [\"/y\"]\n",
            "FROM a\nARG X=1\nENV Y=$X Z='q r'\nRUN <<EOF\nx\nEOF\nCOPY <<A <<B /d/\n$Y\nA\ny\nB\nEXPOSE 80\n",
            "# syntax=x\n# escape=`\n# check=skip=all;error=true\nFROM a AS b\nRUN x `\n y\n",
            "ARG A=${B:-c}\nFROM --platform=$TARGETPLATFORM a:${A#x*} AS b\nENV a=\"b c\" d=e\\ f\nFROM b\nCOPY --from=b --chown=1:$a /x /y\n",
            "FROM a\nRUN --mount=type=cache,target=/x,id=\"a,b\" --network=none <<EOF cat\nx $y\nEOF\nCOPY <<-'A' <<B /d/\n\tx\n\tA\ny\nB\n",
            "FROM a\nCMD [\"a\", \"\\u00e9\", {\"x\": [1]}]\nHEALTHCHECK --interval=1m CMD [\"x\"]\nONBUILD COPY a b\nEXPOSE 1-9/udp $p\n",
            "FROM scratch\nENV p=/a/b/c q=${p##*/} r=${p%/*} s=${p//\\//-} t=${u:?no}\nLABEL a b\nVOLUME [\"/x\"]\nSTOPSIGNAL 9\nWORKDIR ../x\nUSER a:b\n",
        ],
        fragments: [
            "$", "${", "}", "{", "\\", "`", "'", "\"", "<<", "<<EOF", "\n", "\r\n", "\\\n", "#", "[", "]", "\"]", ",",
            ":", "=", "--", "--from=", "--mount=", "\u{0}", "\u{FEFF}", "é", "\u{A0}", "FROM ", "ONBUILD ", "ARG ",
            "ENV ", "*", "?", "/", "${a:-", "${a//", "%%", "COPY ", "RUN ", " ", "\t", "0", "-", "@sha256:",
            "# check=skip=", "MAINTAINER ", "HEALTHCHECK NONE", "SHELL [\"a\"]\n", "-1/tcp", "--parents",
        ])

    private static let dockerfile = FuzzTarget(name: "Dockerfile to graph", corpus: files) { bytes in
        do throws(DockerfileError) {
            let file = try Dockerfile.parse(bytes, file: "D")
            let lowering = Lowering(file, options: LoweringOptions())
            var known: [String: BaseImage] = [:]
            for _ in 0..<10 {
                guard case .needs(let requests) = try lowering.lower(images: known) else { return true }
                for request in requests {
                    known[request.key] = BaseImage(settings: ImageSettings(), platform: request.platform)
                }
            }
            return false
        } catch {
            try require(error.range != nil || error.message.hasPrefix("target"), "an error without a place: \(error)")
            try require(!error.rendered(source: bytes).isEmpty, "an error that cannot be shown")
            return false
        }
    }

    private static let checks = FuzzTarget(name: "checks", corpus: files) { bytes in
        var known: [String: BaseImage] = [:]
        var found = Examination.of(bytes, file: "D", options: LoweringOptions(), images: known)
        for _ in 0..<10 where !found.needs.isEmpty {
            for request in found.needs { known[request.key] = .unknown(platform: request.platform) }
            found = Examination.of(bytes, file: "D", options: LoweringOptions(), images: known)
        }
        var last = 0
        for warning in found.warnings {
            let line = (warning.lines ?? warning.range)?.firstLine ?? 0
            try require(line >= last, "findings that are out of order")
            last = line
            try require(!warning.rendered(source: bytes).isEmpty, "a finding that cannot be shown")
        }
        if let file = try? Dockerfile.parse(bytes, file: "D") {
            let facts = ContextFacts(hasIgnoreFile: false, secrets: [".env", "a/id_rsa"])
            _ = OwnChecks.findings(in: file, options: LoweringOptions(), context: facts)
        }
        return found.error == nil
    }

    // MARK: Words

    private static let words = FuzzTarget(
        name: "expansion",
        corpus: Corpus(
            inputs: [
                "a${b:-'c'}\"$d\"${e##*/}${f//x/y}\\z<< q", "${a%%*x?\\*}${b/$c/\\/}${d:+${e:?no}}",
                "'a b' \"c $d\" \\$e",
            ],
            fragments: [
                "$", "${", "}", ":-", "//", "/", "##", "%", "*", "?", "\\", "'", "\"", "$$", "$0", "é", "\u{FEFF}",
            ])
    ) { bytes in
        let word = String(decoding: bytes, as: UTF8.self)
        var raw = Expansion()
        (raw.keepsQuotes, raw.keepsEscapes, raw.keepsUnset) = (true, true, true)
        _ = try? raw.expand(word, [:] as [String: String])
        guard let result = try? Expansion().expand(word, ["b": "1", "e": "/x/y", "f": "xax", "d": "$0 x"]) else {
            return false
        }
        try require(Set(result.matched).isDisjoint(with: result.unmatched), "a name that is set and not set")
        return true
    }

    private static let heredocs = FuzzTarget(
        name: "heredoc words",
        corpus: Corpus(
            inputs: ["<<EOF", "3<<-'E F'", "RUN a <<A b <<\"B\" 2<<- C"],
            fragments: ["<<", "<", "-", "'", "\"", "\\", "$x", " ", "9", "\t", "99999999999999999999"])
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        _ = HeredocWord.all(in: text)
        guard let word = (try? HeredocWord(text)) ?? nil else { return false }
        return !word.name.isEmpty
    }

    private static let jsonForms = FuzzTarget(
        name: "JSON forms",
        corpus: Corpus(
            inputs: ["[\"a\", \"b\\u00e9\\n\"]", "[1, -2.5e3, true, null, {\"a\": [[]]}]", "[ ]"],
            fragments: [
                "[", "]", "{", "}", "\"", "\\", "\\u", "\\ud83d\\ude00", ",", ":", "1e999", "tru", "\u{1}", " ",
            ])
    ) { bytes in
        var reader = JSONArrayReader(bytes: bytes, range: 0..<bytes.count)
        let ours = reader.read()
        // Foundation takes and refuses the same, but for text that is no UTF-8, which no Dockerfile's line can hold.
        guard String(validating: bytes, as: UTF8.self) != nil, !bytes.contains(0) else { return ours != nil }
        guard bytes.first == UInt8(ascii: "[") else { return ours != nil }
        if let ours, let theirs = try? JSONDecoder().decode([String].self, from: Data(bytes)) {
            let texts = ours.map(\.text)
            try require(texts.allSatisfy { $0 != nil } && texts == theirs, "other strings than Foundation's")
        }
        return ours != nil
    }

    private static let mounts = FuzzTarget(
        name: "mounts and devices",
        corpus: Corpus(
            inputs: [
                "type=bind,from=a,source=/b,target=/c,rw",
                "type=cache,id=\"a,b\",sharing=locked,mode=0755,uid=1,target=x",
                "type=secret,id=x,required=false,env=Y", "type=tmpfs,size=1.5g,dst=/t",
                "vendor.com/class=name,required",
            ],
            fragments: [
                ",", "=", "\"", "type=", "ssh", "$x", "mode=", "size=99999999999g", "readonly", "TARGET=/", "\"\"",
            ])
    ) { bytes in
        let word = Word(
            String(decoding: bytes, as: UTF8.self), at: SourceRange(file: "D", firstLine: 1, lastLine: 1))
        let device = try? Device(word)
        try require(device?.isQualified != true || device?.name.contains("/") == true, "a device of no class")
        let isDevice = device != nil
        return (try? Mount(word)) != nil || isDevice
    }

    private static let ports = FuzzTarget(
        name: "ports",
        corpus: Corpus(
            inputs: ["80", "8000-8010/udp", "127.0.0.1:80:80/tcp", "[::1]:1-2:3-4", "65535/SCTP"],
            fragments: ["-", ":", "/", "0", "65536", "[", "]", "::", ".", "TCP", "+", "٣"])
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        let place = SourceRange(file: "D", firstLine: 1, lastLine: 1)
        guard let ports = (try? PortSpecification(text, at: place))?.ports else { return false }
        try require(!ports.isEmpty && ports.count <= 65_536, "\(ports.count) ports")
        return true
    }

    private static let imageNames = FuzzTarget(
        name: "image names",
        corpus: Corpus(
            inputs: [
                "alpine:3.19", "registry.example:5000/a/b-c__d:tag@sha256:\(String(repeating: "a", count: 64))",
                "localhost/x", "[::1]:5000/x",
            ],
            fragments: ["/", ":", "@", "sha256:", ".", "-", "__", "A", "é", "[", "]", "0000"])
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        if let reference = try? ImageReference(text) {
            // What can be read is written so that it means the same.
            let again = try? ImageReference(reference.canonical)
            try require(again?.canonical == reference.canonical, "\(reference.canonical) is read otherwise")
        }
        return ImageName.fault(text) == nil
    }

    private static let modes = FuzzTarget(
        name: "modes",
        corpus: Corpus(
            inputs: ["0755", "u=rwX,go=rX", "+x", "a-w,u+s,g=u", "7777"],
            fragments: ["u", "g", "o", "a", "+", "-", "=", "r", "w", "x", "X", "s", "t", ",", "8", "0"])
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        let isValid = FileMode.isValid(text)
        // What lowering lets through, the step that carries it out has to take.
        try require(
            !isValid || FileModeChange(text) != nil, "`\(text)` is let through and cannot be carried out")
        return isValid
    }

    private static let durations = FuzzTarget(
        name: "durations",
        corpus: Corpus(
            inputs: ["1h30m", "1.5s", "-3ms", "0", "100us", "2562047h47m16.854775807s"],
            fragments: ["h", "m", "s", "µs", ".", "-", "+", "9", "0", "e"])
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        guard let value = GoText.duration(text) else { return false }
        _ = GoText.text(nanoseconds: value)
        return true
    }

    private static let ignoreRules = FuzzTarget(
        name: "ignore rules",
        corpus: Corpus(
            inputs: ["*.o\n!a/b.o\n**/x\n# c\n/abs/**", "a[b-d]e\n[^x]*\n\\!z\n**foo\nfoo**", "!docs\n docs/ \n../x"],
            fragments: ["*", "**", "?", "[", "]", "^", "-", "\\", "!", "/", "\n", "#", "..", " ", "é", "\u{FEFF}"])
    ) { bytes in
        guard let rules = try? IgnoreRules(text: bytes, file: "f") else { return false }
        for path in ["a", "a/b.o", "docs/x/y", "é", "foo/bar", "x"] {
            let isIgnored = rules.isIgnored(Array(path.utf8), isDirectory: false)
            try require(!isIgnored || rules.decidingLine(Array(path.utf8)) != nil, "ignored by no line")
        }
        return true
    }
}
