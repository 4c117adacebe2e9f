// What `stagerun context` and `stagerun debug` say, through the binary.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Context {
        private func document(_ outcome: Outcome) throws -> [String: Any] {
            try expectSuccess(outcome)
            return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
        }

        private func paths(_ document: [String: Any], _ key: String) -> [String] {
            (document[key] as? [[String: Any]] ?? []).compactMap { $0["path"] as? String }
        }

        @Test func theReportSaysWhatEntersAndWhatDoesNot() async throws {
            let context = try scratchDirectory(
                "report",
                [
                    "Dockerfile": "FROM scratch\nCOPY src /src\nCOPY .env /\n", "src/a.txt": "four", "src/b.txt": "b",
                    ".env": "SECRET=1\n", "unused/large": String(repeating: "x", count: 5000), "notes.md": "n",
                    "deps/x": "x", ".dockerignore": "# comment\n*.md\ndeps\n",
                ])
            let first = try document(try await Lab.stagerun("context", "--json", context))
            #expect(first["files"] as? Int == 3 && first["bytes"] as? Int == 14)
            #expect(paths(first, "ignored") == ["deps", "notes.md"])
            #expect((first["ignored"] as? [[String: Any]])?.compactMap { $0["line"] as? Int } == [3, 2])
            #expect(paths(first, "unused").first == "unused")
            #expect(paths(first, "warnings") == [".env"])
            #expect(first["changes"] is NSNull)

            try expectSuccess(try await Lab.stagerun("build", "-q", context))
            #expect(
                try document(try await Lab.stagerun("context", "--json", context))["changes"] as? [[String: String]]
                    == [])
            // Another Dockerfile takes other parts: it was not built before, so nothing is said to have changed.
            try "FROM scratch\nCOPY unused /\n"
                .write(toFile: context + "/Other", atomically: false, encoding: .utf8)
            let other = try document(
                try await Lab.stagerun("context", "--json", "-f", context + "/Other", context))
            #expect(other["changes"] is NSNull && other["files"] as? Int == 1)
            unlink(context + "/Other")
            try "new".write(toFile: context + "/src/new.txt", atomically: false, encoding: .utf8)
            try "five5".write(toFile: context + "/src/a.txt", atomically: false, encoding: .utf8)
            unlink(context + "/src/b.txt")
            let second = try document(try await Lab.stagerun("context", "--json", context))
            #expect(
                (second["changes"] as? [[String: String]])?.map { "\($0["change"] ?? "") \($0["path"] ?? "")" }.sorted()
                    == ["added src/new.txt", "changed src/a.txt", "removed src/b.txt"])

            let page = try await Lab.stagerun("context", context)
            try expectSuccess(page)
            #expect(page.output.contains("3 files, "))
            #expect(page.output.contains("line 3  deps/ (not opened)"))
            #expect(page.output.contains("  added  src/new.txt"))
            #expect(!page.output.contains("\u{1B}"))
        }

        /// 10 MB of patterns are read and obeyed, the last line too; a larger file is refused, and a bad line is named.
        @Test func aHugeIgnoreFileCounts() async throws {
            var patterns = (0..<420_000).map { "generated/**/part-\($0)" }.joined(separator: "\n")
            patterns += "\nsrc/*.o\n"
            #expect(patterns.utf8.count > 10_000_000)
            let context = try scratchDirectory(
                "patterns",
                [
                    "Dockerfile": "FROM scratch\nCOPY . /\n", "src/a.c": "c", "src/a.o": "o",
                    "generated/x/part-419999": "p", "generated/x/part-420000": "p", ".dockerignore": patterns,
                ])
            let report = try document(try await Lab.stagerun("context", "--json", context))
            #expect(Set(paths(report, "ignored")) == ["src/a.o", "generated/x/part-419999"])
            #expect(report["files"] as? Int == 4)

            try (patterns + "a[\n").write(toFile: context + "/.dockerignore", atomically: false, encoding: .utf8)
            let bad = try await Lab.stagerun("context", context)
            #expect(bad.status == 1 && bad.errors.contains("420002"))

            let larger = String(repeating: patterns, count: 2)
            try larger.write(toFile: context + "/.dockerignore", atomically: false, encoding: .utf8)
            let refused = try await Lab.stagerun("context", context)
            #expect(refused.status == 1 && refused.errors.contains("larger than 16 MiB"))
        }

        @Test func aContextThatIsNoneSaysSo() async throws {
            let missing = try await Lab.stagerun("context", "/no/such/context")
            #expect(missing.status == 1 && missing.errors.contains("/no/such/context"))
            let bad = try scratchDirectory(
                "bad-ignore", ["Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "a\n\n[\n"])
            let refused = try await Lab.stagerun("context", bad)
            #expect(refused.status == 1 && refused.errors.contains(".dockerignore:3"))
        }

        /// The answer of `stagerun debug` to a request on standard input.
        private func debug(_ kind: String, _ request: String) async throws -> Outcome {
            let place = try scratchDirectory("debug", ["request": request])
            return try await command("sh", "-c", "exec \"$0\" debug \(kind) < \(place)/request", Lab.binary)
        }

        @Test func theDebugInterfaceAnswersInJSON() async throws {
            let parsed = try await debug(
                "parse", "FROM a AS b\nRUN --mount=type=cache,target=/x <<-'E' c\n\thi\nE\nENV a=b\n")
            try expectSuccess(parsed)
            #expect(
                parsed.output
                    == #"{"instructions":[{"cmd":"from","flags":[],"args":["a","AS","b"],"json":false,"lines":[1,1],"#
                    + #""heredocs":[]},{"cmd":"run","flags":["--mount=type=cache,target=/x"],"args":["<<-'E' c"],"#
                    + #""json":false,"lines":[2,4],"heredocs":[{"name":"E","content":"\thi\n","expand":false,"chomp":true,"#
                    + #""fd":0}]},{"cmd":"env","flags":[],"args":["a","b","="],"json":false,"lines":[5,5],"heredocs":[]}]}"#
                    + "\n")
            let expanded = try await debug("expand", #"{"word": "${a:-x} $b", "env": {"a": "1"}}"#)
            #expect(expanded.output == #"{"value":"1 ","matched":["a"],"unmatched":["b"]}"# + "\n")
            let words = try await debug("expand", #"{"word": "$a 'c d'", "env": {"a": "1 2"}, "split": true}"#)
            #expect(words.output == #"{"words":["1","2","c d"]}"# + "\n")
            let ignored = try await debug("ignore", #"{"patterns": ["*", "!a"], "path": "a"}"#)
            #expect(ignored.output == #"{"ignored":false}"# + "\n")
            let patterns = try await debug("ignore", ##"{"content": "# c\n /a/../b \n! /c\n"}"##)
            #expect(patterns.output == #"{"patterns":["b","!c"]}"# + "\n")
        }

        @Test func theDebugInterfaceRefuses() async throws {
            for (kind, request) in [
                ("parse", ""), ("check", "FROM a\nRUNX b\n"), ("expand", #"{"word": "${a"}"#), ("expand", "[]"),
                ("ignore", #"{"patterns": ["["], "path": "a"}"#),
            ] {
                let outcome = try await debug(kind, request)
                #expect((1...125).contains(outcome.status), "\(kind) \(request)")
                #expect(outcome.output.isEmpty && !outcome.errors.isEmpty)
            }
            #expect(try await debug("check", "FROM a\nRUN b\n").status == 0)
        }
    }
}
