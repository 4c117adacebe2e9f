// The report of `stagerun context`, for people and as JSON.

import StageContext
import StageRun

/// One report, rendered. A section is there only when it has content.
struct ContextText {
    let report: BuildContextReport
    let colours: Bool

    /// Lines of a section; what is beyond is counted.
    private static let limit = 10

    var page: String {
        let context = report.context
        var text = styled(counted(context.files, "file"), .bold, colours: colours)
        text += ", \(sizeText(context.bytes)) would enter the build\n"
        text += section("Largest files", context.largestFiles.map { [sizeText($0.bytes), Self.name($0)] })
        text += section("Largest directories", context.largestDirectories.map(Self.row))
        let file = singleLine(context.ignoreFile ?? "")
        text += section(
            "Ignored by \(file)",
            context.ignored.map {
                let name = Self.name($0.path.description)
                return ["line \($0.line)", $0.isDirectory ? name + "/ (not opened)" : name]
            })
        text += section("Used by no instruction", context.unused.map(Self.row))
        if let changes = report.changes {
            text += changes.isEmpty ? "\nNothing changed since the last build\n" : ""
            text += section("Changed since the last build", changes.map { [Self.word($0), Self.name(Self.path($0))] })
        }
        text += warnings
        return text
    }

    private func section(_ title: String, _ rows: [[String]]) -> String {
        if rows.isEmpty { return "" }
        let shown = rows.prefix(Self.limit)
        let width = shown.map { $0[0].columns }.max() ?? 0
        var text = "\n" + styled(title, .bold, colours: colours) + "\n"
        for row in shown {
            text += "  " + String(repeating: " ", count: width - row[0].columns) + row[0] + "  " + row[1] + "\n"
        }
        if rows.count > shown.count { text += "  and \(rows.count - shown.count) more\n" }
        return text
    }

    private var warnings: String {
        var text = ""
        for warning in report.context.warnings.prefix(Self.limit) {
            let (fact, advice) = explained(warning)
            text += styled("warning: ", .yellow, colours: colours) + "\(fact)\n         \(advice)\n"
        }
        let more = report.context.warnings.count - Self.limit
        if more > 0 { text += "and \(counted(more, "more warning"))\n" }
        return text.isEmpty ? "" : "\n" + text
    }

    private func explained(_ warning: ContextWarning) -> (fact: String, advice: String) {
        let name = Self.name(warning.path.description)
        let line = IgnoreRules.line(leavingOut: warning.path)
        let advice = "add the line \(line) to \(singleLine(report.context.ignoreFile ?? ".dockerignore"))"
        switch warning.kind {
        case .repository: return ("\(name) is a repository's history", advice)
        case .dependencies: return ("\(name) holds installed packages, which the build should install itself", advice)
        case .privateKey: return ("\(name) looks like a private key", advice)
        case .environment: return ("\(name) often holds secrets", advice)
        case .largeFile: return ("\(name) is very large", advice + " if the build does not need it")
        case .noIgnoreFile:
            return (
                "the context has no ignore file", "make .dockerignore, with a line such as .git for what to leave out"
            )
        }
    }

    private static func row(_ item: ContextItem) -> [String] {
        [sizeText(item.bytes), item.isDirectory ? "\(name(item))  (\(counted(item.files, "file")))" : name(item)]
    }

    private static func name(_ item: ContextItem) -> String {
        name(item.path.description) + (item.isDirectory ? "/" : "")
    }

    /// As the ignore file would name it, and safe to show.
    private static func name(_ path: String) -> String { singleLine(String(path.dropFirst())) }

    private static func word(_ change: BuildContextReport.Change) -> String {
        switch change {
        case .added: "added"
        case .changed: "changed"
        case .removed: "removed"
        }
    }

    private static func path(_ change: BuildContextReport.Change) -> String {
        switch change {
        case .added(let path), .changed(let path), .removed(let path): path.description
        }
    }

    // MARK: JSON

    var document: JSONText {
        let context = report.context
        return .members([
            "files": .number(Int64(context.files)), "bytes": .number(Int64(clamping: context.bytes)),
            "largestFiles": .array(context.largestFiles.map(Self.document)),
            "largestDirectories": .array(context.largestDirectories.map(Self.document)),
            "ignoreFile": .optional(context.ignoreFile),
            "ignored": .array(
                context.ignored.map {
                    .members([
                        "path": .string(String($0.path.description.dropFirst())), "directory": .bool($0.isDirectory),
                        "line": .number(Int64($0.line)),
                    ])
                }),
            "unused": .array(context.unused.map(Self.document)),
            "changes": report.changes.map { changes in
                .array(
                    changes.map {
                        .members([
                            "change": .string(Self.word($0)), "path": .string(String(Self.path($0).dropFirst())),
                        ])
                    })
            } ?? .null,
            "warnings": .array(
                context.warnings.map {
                    .members([
                        "kind": .string($0.kind.rawValue), "path": .string(String($0.path.description.dropFirst())),
                        "advice": .string(explained($0).advice),
                    ])
                }),
        ])
    }

    private static func document(_ item: ContextItem) -> JSONText {
        .members([
            "path": .string(String(item.path.description.dropFirst())), "directory": .bool(item.isDirectory),
            "files": .number(Int64(item.files)), "bytes": .number(Int64(clamping: item.bytes)),
        ])
    }
}
