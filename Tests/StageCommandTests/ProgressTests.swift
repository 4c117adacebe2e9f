// The readers of a build's events, against golden text.

import StageEngine
import StageGraph
import StageHash
import StageRun
import Testing

@testable import stagerun

/// A two-stage build as events: a miss with output in two pieces, hits, a stage left out, an early cut-off.
enum SampleBuild {
    static let steps: [StepDescription] = [
        step(0, "", "load context", 0, 0),
        step(1, "builder", "FROM golang:1.22", 1, 3, line: 1),
        step(2, "builder", "COPY . .", 2, 3, line: 3),
        step(3, "builder", "RUN go build -o server .", 3, 3, line: 4),
        step(4, "stage-1", "COPY --from=builder /app/server .", 2, 2, line: 7),
    ]

    static func step(
        _ id: Int, _ stage: String, _ title: String, _ number: Int, _ total: Int, line: Int? = nil
    ) -> StepDescription {
        StepDescription(
            Step(
                id: StepID(id), operation: .context(""), inputs: [], stage: stage, title: title, number: number,
                total: total,
                source: line.map { SourceRange(file: "Dockerfile", firstLine: $0, lastLine: $0) }))
    }

    static let events: [(Double, BuildEvent)] = [
        (0.00, .image(name: "golang:1.22", message: "looking up", bytes: 0, total: 0, done: false)),
        (0.10, .image(name: "golang:1.22", message: "pulling", bytes: 1_000_000, total: 4_000_000, done: false)),
        (0.50, .image(name: "golang:1.22", message: "pulling", bytes: 2_000_000, total: 4_000_000, done: false)),
        (1.50, .image(name: "golang:1.22", message: "pulling", bytes: 4_000_000, total: 4_000_000, done: true)),
        (
            1.50,
            .warning(
                message: "FROM and as differ in case",
                source: SourceRange(file: "Dockerfile", firstLine: 1, lastLine: 1))
        ),
        (1.50, .planned(steps: steps, target: "stage-1", platform: "linux/amd64")),
        (1.50, .stageNotNeeded(stage: "test", instructions: 4)),
        (1.60, .stepFinished(step: 0, state: .hit, at: 1.6, seconds: 0, reason: .recorded(at: .epoch, seconds: 1))),
        (1.60, .stepFinished(step: 1, state: .hit, at: 1.6, seconds: 0, reason: .recorded(at: .epoch, seconds: 1))),
        (1.60, .stepStarted(step: 2, at: 1.6)),
        (
            1.70,
            .stepFinished(
                step: 2, state: .ranSameOutcome, at: 1.7, seconds: 0.1, reason: .differs(fields: ["source content"]))
        ),
        (1.70, .stepStarted(step: 3, at: 1.7)),
        (2.11, .stepOutput(step: 3, stream: .output, text: "go: down")),
        (2.20, .stepOutput(step: 3, stream: .output, text: "loading x\ngo: \u{1B}[2Jdone\n\u{1B}]0;title\u{7}last")),
        (4.00, .stepFinished(step: 3, state: .ran, at: 4, seconds: 2.3, reason: .differs(fields: ["input"]))),
        (4.00, .stepStarted(step: 4, at: 4)),
        (4.00, .stepFinished(step: 4, state: .ran, at: 4, seconds: 0.004, reason: .differs(fields: ["input"]))),
        (4.10, .exporting(message: "writing the archive", at: 4.1, seconds: 0, done: false)),
        (4.30, .exporting(message: "writing the archive", at: 4.3, seconds: 0.2, done: true)),
        (4.30, .finished(image: "sha256:" + String(repeating: "ab", count: 32), names: ["app:1"], at: 4.3)),
    ]
}

@Suite struct PlainProgressTests {
    @Test func aWholeBuild() {
        var plain = PlainProgress(sanitizes: false)
        let text = SampleBuild.events.map { plain.text(for: $0.1, at: $0.0) }.joined()
        #expect(
            text == """
                #1 [image] golang:1.22
                #1 looking up
                #1 pulling 1MB / 4MB
                #1 pulling 4MB / 4MB
                #1 DONE 1.5s

                #0 WARNING: Dockerfile:1: FROM and as differ in case

                #0 building stage-1 for linux/amd64, 4 steps

                #0 stage test is not needed (4 instructions)

                #2 [internal] load context
                #2 CACHED

                #3 [builder 1/3] FROM golang:1.22
                #3 CACHED

                #4 [builder 2/3] COPY . .
                #4 DONE 0.1s (same outcome as an earlier run)

                #5 [builder 3/3] RUN go build -o server .
                #5 0.500 go: downloading x
                #5 0.500 go: \u{1B}[2Jdone
                #5 2.300 \u{1B}]0;title\u{7}last
                #5 DONE 2.3s

                #6 [stage-1 2/2] COPY --from=builder /app/server .
                #6 DONE 0.0s

                #7 exporting to image
                #7 writing the archive
                #7 writing the archive 0.2s done
                #7 image sha256:\(String(repeating: "ab", count: 32))
                #7 naming to app:1
                #7 DONE 0.2s


                """)
    }

    @Test func stepsAtOnceAreToldApart() {
        var plain = PlainProgress(sanitizes: false)
        let events: [(Double, BuildEvent)] = [
            (0, .planned(steps: SampleBuild.steps, target: "", platform: "linux/amd64")),
            (0, .stepStarted(step: 2, at: 0)), (0, .stepStarted(step: 3, at: 0)),
            (1, .stepOutput(step: 2, stream: .output, text: "a\n")),
            (2, .stepOutput(step: 3, stream: .output, text: "b\n")),
            (3, .stepOutput(step: 2, stream: .error, text: "c")),
            (4, .stepFinished(step: 3, state: .cancelled, at: 4, seconds: 4, reason: .stopped)),
            (5, .stepFinished(step: 2, state: .failed, at: 5, seconds: 5, reason: .failed(message: "exit status 1"))),
        ]
        let text = events.map { plain.text(for: $0.1, at: $0.0) }.joined()
        #expect(
            text == """
                #0 building for linux/amd64, 4 steps

                #1 [builder 2/3] COPY . .

                #2 [builder 3/3] RUN go build -o server .
                #1 1.000 a
                #2 2.000 b
                #2 CANCELED

                #1 5.000 c
                #1 ERROR: exit status 1


                """)
    }

    @Test func nothingOfALogIsLost() {
        var plain = PlainProgress(sanitizes: false)
        _ = plain.text(for: .planned(steps: SampleBuild.steps, target: "", platform: "p"), at: 0)
        _ = plain.text(for: .stepStarted(step: 3, at: 0), at: 0)
        let long = String(repeating: "0123456789é", count: 30_000)
        var text = ""
        var rest = Substring(long)
        while !rest.isEmpty {
            text += plain.text(for: .stepOutput(step: 3, stream: .output, text: String(rest.prefix(7777))), at: 0)
            rest = rest.dropFirst(7777)
        }
        text += plain.text(for: .stepFinished(step: 3, state: .ran, at: 0, seconds: 0, reason: .firstRun), at: 0)
        let lines = text.split(separator: "\n").filter { $0.hasPrefix("#1 0.000 ") }
        #expect(lines.count == 6)
        #expect(lines.map { $0.dropFirst("#1 0.000 ".count) }.joined() == long)
    }

    @Test func aTerminalIsNotSteered() {
        var plain = PlainProgress(sanitizes: true)
        let text = SampleBuild.events.map { plain.text(for: $0.1, at: $0.0) }.joined()
        #expect(!text.contains("\u{1B}"))
        #expect(text.contains("#5 0.500 go: done\n#5 2.300 last\n"))
    }
}

@Suite struct LiveViewTests {
    /// The frames after each event up to `until`, settled lines gathered.
    private func view(until: Double, height: Int = 24) -> Frame {
        var model = BuildModel()
        var view = LiveView(subject: "Building app:1")
        for (time, event) in SampleBuild.events where time <= until {
            model.apply(event, at: time)
            view.apply(event, model: model, at: time)
        }
        return view.frame(model: model, at: until, height: height)
    }

    private func text(_ lines: [StyledLine], width: Int = 71) -> String {
        lines.map { $0.text(width: width, colours: false) }.joined(separator: "\n")
    }

    @Test func whileAnImageIsFetched() {
        #expect(
            text(view(until: 0.5).live) == """
                ⠴ [image] golang:1.22 pulling                          2MB / 4MB  0.5s
                  Building app:1                                                  0.5s
                """)
    }

    @Test func whileAStepRuns() {
        let frame = view(until: 2.5)
        #expect(
            text(frame.settled) == """
                ✓ [image] golang:1.22                                        4MB  1.5s
                ! Dockerfile:1: FROM and as differ in case
                ○ [test] not needed                                            4 steps
                · [builder 1/3] FROM golang:1.22                                cached
                = [builder 2/3] COPY . .                            same outcome  0.1s
                """)
        #expect(
            text(frame.live) == """
                ⠴ [builder 3/3] RUN go build -o server .                          0.8s
                  │ go: downloading x
                  │ go: done
                  │ last
                  Building app:1  2/4 steps · 1 cached                            2.5s
                """)
    }

    @Test func theEnd() {
        let frame = view(until: 5)
        #expect(frame.live.isEmpty)
        #expect(
            text(Array(frame.settled.suffix(3))) == """
                ✓ [builder 3/3] RUN go build -o server .                          2.3s
                ✓ [stage-1 2/2] COPY --from=builder /app/server .                 0.0s
                ✓ writing the archive                                             0.2s
                """)
    }

    @Test(arguments: 1...12)
    func theLivePartFitsTheTerminal(height: Int) {
        var model = BuildModel()
        var view = LiveView(subject: "x")
        let steps = (0..<9).map { SampleBuild.step($0, "s", "RUN \($0)", $0 + 1, 9) }
        var events: [BuildEvent] = [.planned(steps: steps, target: "s", platform: "p")]
        for step in 0..<9 {
            events.append(.stepStarted(step: step, at: 0))
            events.append(.stepOutput(step: step, stream: .error, text: "1\n2\n3\n4\n5\n6\n7\n8\n"))
        }
        for event in events {
            model.apply(event, at: 0)
            view.apply(event, model: model, at: 0)
        }
        let live = view.frame(model: model, at: 1, height: height).live
        #expect(live.count <= max(2, height - 1))
        #expect(text(live).contains("9 at once"))
    }
}

@Suite struct LiveScreenTests {
    private func frame(_ settled: [String], _ live: [String]) -> Frame {
        Frame(settled: settled.map { StyledLine([($0, .plain)]) }, live: live.map { StyledLine([($0, .plain)]) })
    }

    @Test func framesReplaceEachOther() {
        var screen = LiveScreen(colours: false)
        #expect(screen.paint(frame([], []), width: 20) == "")
        #expect(
            screen.paint(frame(["a"], ["b", "c"]), width: 20)
                == "\u{1B}[?2026h\u{1B}[?25l\ra\u{1B}[K\nb\u{1B}[K\nc\u{1B}[K\n\u{1B}[J\u{1B}[?2026l")
        #expect(
            screen.paint(frame(["d"], ["e"]), width: 20)
                == "\u{1B}[?2026h\r\u{1B}[2Ad\u{1B}[K\ne\u{1B}[K\n\u{1B}[J\u{1B}[?2026l")
        #expect(screen.close() == "\r\u{1B}[1A\u{1B}[J\u{1B}[?25h")
        #expect(screen.close() == "")
    }

    @Test func aTerminalThatGotNarrowerHasWrapped() {
        var screen = LiveScreen(colours: false)
        _ = screen.paint(frame([], ["0123456789", "01"]), width: 20)
        #expect(screen.paint(frame([], ["x"]), width: 4).contains("\u{1B}[4A"))
    }
}

@Suite struct LogTailTests {
    @Test func theNewestLinesAreKept() {
        var log = LogTail()
        for number in 0..<1000 { log.append("line \(number)\n", stream: .output) }
        #expect(log.last(3) == ["line 997", "line 998", "line 999"])
        #expect(log.last(1000).count == LogTail.capacity)
        log.append("unfinished", stream: .error)
        #expect(log.last(2) == ["line 999", "unfinished"])
    }

    @Test func carriageReturnsAndTabs() {
        var log = LogTail()
        log.append("10%\r50%\r100%\r\na\tb\rc", stream: .output)
        #expect(log.last(9) == ["100%", "c"])
        log.append("\nab\tc\n", stream: .output)
        #expect(log.last(1) == ["ab      c"])
    }

    @Test func aLineWithoutEndDoesNotGrow() {
        var log = LogTail()
        for _ in 0..<100 { log.append(String(repeating: "x", count: 1000), stream: .output) }
        #expect(log.last(1)[0].count == LogTail.longestLine + 1)
    }
}

@Suite struct FailureTextTests {
    private let source = Array(
        "FROM golang:1.22\nWORKDIR /app\nCOPY . .\nRUN go build -o server .\nCMD [\"x\"]\r\n".utf8)
    private let step = Step(
        id: StepID(3), operation: .scratch, inputs: [], stage: "builder", title: "RUN go build -o server .", number: 3,
        total: 3, source: SourceRange(file: "Dockerfile", firstLine: 4, lastLine: 4))

    @Test func aFailedCommandShowsItsPlaceAndTheEndOfItsLog() {
        let log = ["./main.go:3:\tundefined: \u{1B}[2Jfoo"]
        let error = StageRunError.build(.commandFailed(step: step, exit: .exited(2), logTail: log), source: source)
        #expect(
            failureText(error, colours: false) == """
                error: RUN go build -o server . failed: exit status 2

                Dockerfile:4
                  2 | WORKDIR /app
                  3 | COPY . .
                > 4 | RUN go build -o server .
                  5 | CMD ["x"]
                  6 | 

                Last lines of its log:
                  ./main.go:3:    undefined: foo

                """)
    }

    @Test func aStepThatCouldNotBeDoneGivesAdvice() {
        let error = StageRunError.build(
            .stepFailed(step: step, message: "no\u{1B}]0;x\u{7} namespaces", advice: "run as root"), source: [])
        #expect(failureText(error, colours: false) == "error: RUN go build -o server .: no namespaces\nrun as root\n")
        #expect(failureText(.failed("a", advice: "b"), colours: true) == "\u{1B}[31merror:\u{1B}[0m a\nb\n")
    }

    @Test func aPlaceOutsideTheFileShowsNothing() {
        let range = SourceRange(file: "Dockerfile", firstLine: 9, lastLine: 9)
        #expect(excerpt(of: ["a"], around: range, colours: false) == "")
    }
}

@Suite struct SummaryTests {
    @Test func twoLines() {
        var summary = BuildSummary(
            image: Digest.of("x"), names: ["app:1"], size: 12_345_678, seconds: 4.12, cached: 9, ran: 3, sameOutcome: 0,
            stagesNotNeeded: 2)
        #expect(
            summary.text(colours: false) == """
                Built 2d711642b726 as app:1 (12.3MB) in 4.1s
                12 steps: 9 cached, 3 ran; 2 stages not needed

                """)
        summary.target = "web"
        var further = summary
        (further.target, further.names) = ("job", [])
        #expect(
            summary.text(colours: false, further: [further]) == """
                Built web: 2d711642b726 as app:1 (12.3MB) in 4.1s
                Built job: 2d711642b726 (12.3MB) in 4.1s
                12 steps: 9 cached, 3 ran; 2 stages not needed

                """)
    }
}
