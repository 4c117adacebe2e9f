// Sizes, times, widths, filters, tables and JSON: golden values.

import Testing

@testable import stagerun

@Suite struct QuantityTests {
    @Test(
        arguments: [
            (0, "0B"), (1, "1B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (9_995, "10kB"),
            (12_345_678, "12.3MB"),
            (99_950_000, "100MB"), (999_499, "999kB"), (999_600, "1MB"), (1_200_000_000, "1.2GB"),
            (UInt64.max, "18.4EB"),
        ] as [(UInt64, String)])
    func sizes(bytes: UInt64, text: String) { #expect(sizeText(bytes) == text) }

    @Test(
        arguments: [
            (0, "0.0s"), (0.04, "0.0s"), (2.34, "2.3s"), (59.94, "59.9s"), (59.96, "1m 00s"), (65, "1m 05s"),
            (3599.6, "1h 00m"), (7380, "2h 03m"), (-1, "0.0s"),
        ] as [(Double, String)])
    func durations(seconds: Double, text: String) { #expect(durationText(seconds) == text) }

    @Test(
        arguments: [
            (-5, "Less than a second ago"), (0, "Less than a second ago"), (1, "1 second ago"), (59, "59 seconds ago"),
            (60, "About a minute ago"), (119, "About a minute ago"), (120, "2 minutes ago"),
            (3600, "About an hour ago"),
            (5399, "About an hour ago"), (5400, "2 hours ago"), (47 * 3600, "47 hours ago"), (48 * 3600, "2 days ago"),
            (14 * 86400, "2 weeks ago"), (60 * 86400, "2 months ago"), (800 * 86400, "2 years ago"),
        ] as [(Int64, String)])
    func ages(seconds: Int64, text: String) { #expect(ageText(seconds: seconds) == text) }

    @Test func fixedPointHoldsEverything() {
        #expect(fixedPoint(0.412, digits: 3) == "0.412")
        #expect(fixedPoint(-0.05, digits: 1) == "-0.1")
        #expect(fixedPoint(.nan, digits: 1) == "0.0")
        #expect(fixedPoint(.infinity, digits: 0) == "9000000000000000000")
        #expect(fixedPoint(1.999, digits: 2) == "2.00")
    }

    @Test(
        arguments: [
            (0, 0, "1970-01-01T00:00:00Z"), (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_714_564_800, 120_000_000, "2024-05-01T12:00:00.12Z"), (-1, 0, "1969-12-31T23:59:59Z"),
            (4_107_542_399, 999_999_999, "2100-02-28T23:59:59.999999999Z"),
        ] as [(Int64, UInt32, String)])
    func calendar(seconds: Int64, nanoseconds: UInt32, text: String) {
        #expect(calendarText(seconds: seconds, nanoseconds: nanoseconds) == text)
    }
}

@Suite struct ControlFilterTests {
    @Test(arguments: [
        ("plain\n", "plain\n"), ("\u{1B}[31mred\u{1B}[0m", "red"), ("\u{1B}]0;title\u{7}x", "x"),
        ("\u{1B}]0;title\u{1B}\\x", "x"), ("\u{1B}[2J\u{1B}[Hx", "x"), ("a\u{8}b\u{7}c\u{0}", "abc"),
        ("\u{9B}31mx", "x"), ("\u{9D}0;t\u{9C}x", "x"), ("\u{1B}(Bx", "x"), ("\u{1B}Px\u{1B}\\y", "y"),
        ("\u{202E}evil", "evil"), ("tab\tkept\r\n", "tab\tkept\r\n"), ("\u{1B}]0;never closed\nnext", "\nnext"),
        ("\u{1B}[\u{1B}[1mx", "x"), ("\u{1B}\u{1B}[1mx", "x"), ("é漢🙂", "é漢🙂"),
    ])
    func sequencesAreTakenOut(text: String, expected: String) {
        var filter = ControlFilter()
        #expect(filter.filter(text) == expected)
    }

    @Test func aSequenceMayBeCutAnywhere() {
        let text = "a\u{1B}[38;5;1mb\u{1B}]8;;http://x\u{1B}\\c\u{1B}(0d"
        var filter = ControlFilter()
        #expect(text.unicodeScalars.map { filter.filter(String($0)) }.joined() == "abcd")
    }

    @Test func linesForPeople() {
        #expect(singleLine("RUN <<EOF\n  a\u{1B}[1m\n\tb\nEOF") == "RUN <<EOF a b EOF")
        #expect(displayable("a\r\nb\rc\u{1B}[2J\n") == "a\nbc\n")
    }
}

@Suite struct StyledLineTests {
    @Test(arguments: [("abc", 3), ("漢字", 4), ("e\u{301}", 1), ("🙂", 2), ("☀\u{FE0F}", 2), ("\u{7}", 0), ("✓⠋·", 3)])
    func widths(text: String, columns: Int) { #expect(text.columns == columns) }

    @Test func linesAreCutByColumns() {
        let line = StyledLine([("ab", .cyan), ("漢字漢字", .plain)])
        #expect(line.text(width: 80, colours: false) == "ab漢字漢字")
        #expect(line.text(width: 9, colours: false) == "ab漢字…")
        #expect(line.text(width: 8, colours: false) == "ab漢字…")
        #expect(line.text(width: 7, colours: false) == "ab漢…")
        #expect(line.text(width: 9, colours: true) == "\u{1B}[36mab\u{1B}[0m漢字…")
        #expect(line.text(width: 1, colours: false) == "…")
    }

    @Test(arguments: [12, 20, 40, 101, 300])
    func aLineNeverFillsTheTerminal(width: Int) {
        let line = StyledLine([("✓ ", .green), (String(repeating: "x漢", count: 200), .plain)], right: [("2.3s", .dim)])
        let text = line.text(width: width, colours: false)
        #expect(text.columns < width)
        if width >= 20 { #expect(text.hasSuffix("2.3s")) }
    }
}

@Suite struct TableTests {
    @Test func asDockerPrintsThem() {
        let text = tableText(
            header: ["REPOSITORY", "TAG", "SIZE"],
            rows: [["app", "latest", "12.3MB"], ["example.com/long/name", "1", "5B"]])
        #expect(
            text == """
                REPOSITORY              TAG       SIZE
                app                     latest    12.3MB
                example.com/long/name   1         5B

                """)
    }
}

@Suite struct JSONTextTests {
    private let value = JSONText.members([
        "Id": "x".json, "None": .array([]), "Size": .number(5), "Flags": .array([.bool(true), .null]),
        "Text": .string("\"\\\n\u{1B}é"),
    ])

    @Test func compact() {
        #expect(value.compact == #"{"Id":"x","None":[],"Size":5,"Flags":[true,null],"Text":"\"\\\n\u001bé"}"#)
    }

    @Test func pretty() {
        #expect(
            JSONText.array([.members(["a": .number(1), "b": .object([])])]).pretty == """
                [
                    {
                        "a": 1,
                        "b": {}
                    }
                ]

                """)
    }
}

extension String {
    fileprivate var json: JSONText { .string(self) }
}
