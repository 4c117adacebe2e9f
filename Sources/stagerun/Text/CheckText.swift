// What a check found: for people with the word marked, and as docker prints it.

import FoundationEssentials
import StageDockerfile
import StageGraph
import StageRun

/// The findings as `stagerun check` shows them.
struct CheckText {
    let report: CheckReport
    let colours: Bool

    var page: String {
        var text = ""
        for warning in report.examination.warnings {
            text += finding(warning)
            text += "\n"
        }
        if let error = report.examination.error {
            text +=
                styled("error: ", .red, colours: colours) + displayable(error.rendered(source: report.source)) + "\n"
        }
        for name in report.unknownImages {
            text +=
                styled("note: ", .dim, colours: colours)
                + "\(singleLine(name)) is not in the store; what it sets was taken into no account (--pull asks its registry)\n"
        }
        return text + summary + "\n"
    }

    private func finding(_ warning: DockerfileWarning) -> String {
        var text = styled("warning: ", .yellow, colours: colours)
        text += displayable(warning.rendered(source: report.source))
        if let help = warning.check?.help { text += styled("  help: ", .dim, colours: colours) + help + "\n" }
        return text
    }

    private var summary: String {
        let warnings = report.examination.warnings
        let own = warnings.count { $0.check?.origin == .stagerun }
        var parts: [String] = []
        if report.examination.error != nil { parts.append("1 error") }
        if warnings.count > own { parts.append(counted(warnings.count - own, "warning")) }
        if own > 0 { parts.append(counted(own, "remark") + " of stagerun's own rules") }
        return singleLine(report.file) + ": " + (parts.isEmpty ? "no warnings" : parts.joined(separator: ", "))
    }
}

/// The findings as docker prints them.
struct CheckDocument {
    let report: CheckReport

    var warnings: [DockerfileWarning] { report.examination.warnings.filter { !$0.rule.isEmpty } }

    /// Docker's text, without the error.
    var text: String {
        if warnings.isEmpty {
            return report.examination.error == nil ? "Check complete, no warnings found.\n" : ""
        }
        let number = warnings.count == 1 ? "1 warning has" : "\(warnings.count) warnings have"
        var text = "Check complete, \(number) been found!\n"
        for warning in warnings {
            text += "\nWARNING: \(warning.rule)" + (warning.check?.page.map { " - " + $0 } ?? "") + "\n"
            text += displayable(warning.message) + "\n"
            if let range = warning.lines ?? warning.range { text += excerpt(range) }
        }
        return text
    }

    func text(of error: DockerfileError) -> String {
        var text = displayable(error.message) + (error.hint.map { " (\(displayable($0)))" } ?? "") + "\n"
        if let range = error.range { text += excerpt(range) }
        return text
    }

    /// The lines around a place, as docker frames them.
    private func excerpt(_ range: SourceRange) -> String {
        let lines = report.source.split(separator: 0x0A, omittingEmptySubsequences: false)
        guard range.firstLine >= 1, range.firstLine <= lines.count else { return "" }
        var start = range.firstLine
        var end = min(max(range.lastLine, start), lines.count)
        let wanted = start == end ? 4 : 2
        var padding = 0
        while padding < wanted {
            if start > 1 {
                start -= 1
                padding += 1
            }
            if end < lines.count {
                end += 1
                padding += 1
            }
            padding += 1
        }
        var text = "\(singleLine(report.file)):\(range.firstLine)\n--------------------\n"
        for number in start...end {
            let isMarked = (range.firstLine...max(range.firstLine, range.lastLine)).contains(number)
            let label = String(number)
            let pad = String(repeating: " ", count: max(0, 3 - label.count))
            let line = displayable(String(decoding: lines[number - 1], as: UTF8.self))
            text += " \(pad)\(label) | \(isMarked ? ">>>" : "   ") \(line)\n"
        }
        return text + "--------------------\n"
    }

    var json: JSONText {
        var members: [JSONText.Member] = [
            .init(key: "warnings", value: .array(warnings.map(Self.document))),
            .init(
                key: "sources",
                value: .array([
                    .members([
                        "filename": .string(report.file), "data": .string(Data(report.source).base64EncodedString()),
                        "language": .string("Dockerfile"),
                    ])
                ])),
        ]
        if let error = report.examination.error {
            var document: [JSONText.Member] = [.init(key: "message", value: .string(error.message))]
            if let range = error.range { document.append(.init(key: "location", value: range.location)) }
            members.append(.init(key: "buildError", value: .object(document)))
        } else if let violation = report.examination.violation {
            let error: JSONText = .members(["message": .string(violation), "location": .object([])])
            members.append(.init(key: "buildError", value: error))
        }
        return .object(members)
    }

    private static func document(_ warning: DockerfileWarning) -> JSONText {
        var members: [JSONText.Member] = [.init(key: "ruleName", value: .string(warning.rule))]
        if let rule = warning.check { members.append(.init(key: "description", value: .string(rule.summary))) }
        if let page = warning.check?.page { members.append(.init(key: "url", value: .string(page))) }
        members.append(.init(key: "detail", value: .string(warning.message)))
        if let range = warning.lines ?? warning.range {
            members.append(.init(key: "location", value: range.location))
        }
        return .object(members)
    }
}

extension SourceRange {
    /// As docker's documents have it: lines only.
    var location: JSONText {
        .members([
            "ranges": .array([
                .members([
                    "start": .members(["line": .number(Int64(firstLine))]),
                    "end": .members(["line": .number(Int64(max(firstLine, lastLine)))]),
                ])
            ])
        ])
    }
}
