// The findings of a check as a SARIF 2.1.0 document, which code hosts and editors read.

import StageDockerfile
import StageGraph
import StageRun

struct SARIFText {
    let report: CheckReport

    /// A Dockerfile that cannot be built at all, among the rules.
    private static let errorID = "DockerfileError"

    var document: JSONText {
        .members([
            "$schema": .string("https://json.schemastore.org/sarif-2.1.0.json"), "version": .string("2.1.0"),
            "runs": .array([
                .members([
                    "tool": .members([
                        "driver": .members([
                            "name": .string("stagerun"), "version": .string(stagerunVersion),
                            "rules": .array(rules),
                        ])
                    ]),
                    "columnKind": .string("unicodeCodePoints"),
                    "results": .array(results),
                ])
            ]),
        ])
    }

    private var rules: [JSONText] {
        CheckRule.all.map { rule in
            var members: [JSONText.Member] = [
                .init(key: "id", value: .string(rule.name)),
                .init(key: "shortDescription", value: Self.message(rule.summary)),
                .init(key: "help", value: Self.message(rule.help)),
                .init(key: "defaultConfiguration", value: .members(["level": .string(Self.level(rule))])),
            ]
            if let page = rule.page { members.append(.init(key: "helpUri", value: .string(page))) }
            return .object(members)
        } + [
            .members([
                "id": .string(Self.errorID), "shortDescription": Self.message("The Dockerfile can be built"),
                "defaultConfiguration": .members(["level": .string("error")]),
            ])
        ]
    }

    private static func level(_ rule: CheckRule?) -> String { rule?.origin == .stagerun ? "note" : "warning" }

    private static func message(_ text: String) -> JSONText { .members(["text": .string(text)]) }

    private var results: [JSONText] {
        let places = Dictionary(uniqueKeysWithValues: CheckRule.all.enumerated().map { ($0.element.name, $0.offset) })
        var results = report.examination.warnings.compactMap { warning -> JSONText? in
            guard let index = places[warning.rule] else { return nil }
            return result(warning.rule, index, Self.level(warning.check), warning.message, warning.range)
        }
        if let error = report.examination.error {
            let text = error.message + (error.hint.map { " (\($0))" } ?? "")
            results.append(result(Self.errorID, CheckRule.all.count, "error", text, error.range))
        }
        return results
    }

    private func result(
        _ id: String, _ index: Int, _ level: String, _ text: String, _ range: SourceRange?
    ) -> JSONText {
        var place: [JSONText.Member] = [
            .init(key: "artifactLocation", value: .members(["uri": .string(Self.address(report.file))]))
        ]
        if let range { place.append(.init(key: "region", value: region(range))) }
        return .members([
            "ruleId": .string(id), "ruleIndex": .number(Int64(index)), "level": .string(level),
            "message": Self.message(text),
            "locations": .array([.members(["physicalLocation": .object(place)])]),
        ])
    }

    /// Columns count code points here, and bytes in the file; the end is one past the last.
    private func region(_ range: SourceRange) -> JSONText {
        let last = max(range.firstLine, range.lastLine)
        return .members([
            "startLine": .number(Int64(range.firstLine)),
            "startColumn": .number(Int64(column(range.firstColumn - 1, range.firstLine) + 1)),
            "endLine": .number(Int64(last)),
            "endColumn": .number(Int64(column(max(range.lastColumn, 1), last) + 1)),
        ])
    }

    private func column(_ bytes: Int, _ line: Int) -> Int {
        let lines = report.source.split(separator: 0x0A, omittingEmptySubsequences: false)
        guard lines.indices.contains(line - 1) else { return bytes }
        return String(decoding: lines[line - 1].prefix(bytes), as: UTF8.self).unicodeScalars.count
    }

    /// A path as a relative reference: everything percent-encoded that a URI cannot hold.
    private static func address(_ path: String) -> String {
        let hex = Array("0123456789ABCDEF")
        var text = path.hasPrefix("/") ? "file://" : ""
        for byte in path.utf8 {
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || "-._~/".utf8.contains(byte)
            text += isPlain ? String(Unicode.Scalar(byte)) : "%\(hex[Int(byte >> 4)])\(hex[Int(byte & 15)])"
        }
        return text
    }
}
