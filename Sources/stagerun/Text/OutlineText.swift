// `--call=outline` and `--call=targets` as docker prints them.

import FoundationEssentials
import StageDockerfile
import StageRun

struct OutlineText {
    let outline: Outline
    let source: [UInt8]

    var tables: String {
        var text = ""
        if !outline.name.isEmpty || !outline.description.isEmpty {
            var rows = [["TARGET:", outline.name.isEmpty ? "(default)" : outline.name]]
            if !outline.description.isEmpty { rows.append(["DESCRIPTION:", outline.description]) }
            text += columns(rows) + "\n"
        }
        if !outline.arguments.isEmpty {
            text +=
                columns(
                    [["BUILD ARG", "VALUE", "DESCRIPTION"]]
                        + outline.arguments.map { [$0.name, $0.value ?? "", $0.description] }) + "\n"
        }
        for (title, needs) in [("SECRET", outline.secrets), ("SSH", outline.agents)] where !needs.isEmpty {
            text += columns([[title, "REQUIRED"]] + needs.map { [$0.name, $0.isRequired ? "true" : ""] }) + "\n"
        }
        return text
    }

    var json: JSONText {
        var members: [JSONText.Member] = []
        func add(_ key: String, _ value: String) {
            if !value.isEmpty { members.append(.init(key: key, value: .string(value))) }
        }
        add("name", outline.name)
        add("description", outline.description)
        if !outline.arguments.isEmpty {
            members.append(.init(key: "args", value: .array(outline.arguments.map(Self.document))))
        }
        for (key, needs) in [("secrets", outline.secrets), ("ssh", outline.agents)] where !needs.isEmpty {
            members.append(.init(key: key, value: .array(needs.map(Self.document))))
        }
        members.append(.init(key: "sources", value: .strings([Data(source).base64EncodedString()])))
        return .object(members)
    }

    private static func document(_ argument: Outline.Argument) -> JSONText {
        var members: [JSONText.Member] = [.init(key: "name", value: .string(argument.name))]
        if !argument.description.isEmpty {
            members.append(.init(key: "description", value: .string(argument.description)))
        }
        if let value = argument.value, !value.isEmpty { members.append(.init(key: "value", value: .string(value))) }
        members.append(.init(key: "location", value: argument.range.location))
        return .object(members)
    }

    private static func document(_ need: Outline.Need) -> JSONText {
        var members: [JSONText.Member] = [.init(key: "name", value: .string(need.name))]
        if need.isRequired { members.append(.init(key: "required", value: .bool(true))) }
        members.append(.init(key: "location", value: need.range.location))
        return .object(members)
    }
}

struct TargetsText {
    let targets: [Target]
    let source: [UInt8]

    var table: String {
        columns(
            [["TARGET", "DESCRIPTION"]]
                + targets.map {
                    [($0.name + ($0.isDefault ? " (default)" : "")).drop { $0 == " " }.description, $0.description]
                })
    }

    var json: JSONText {
        .members([
            "targets": .array(targets.map(Self.document)),
            "sources": .strings([Data(source).base64EncodedString()]),
        ])
    }

    private static func document(_ target: Target) -> JSONText {
        var members: [JSONText.Member] = []
        func add(_ key: String, _ value: String) {
            if !value.isEmpty { members.append(.init(key: key, value: .string(value))) }
        }
        add("name", target.name)
        if target.isDefault { members.append(.init(key: "default", value: .bool(true))) }
        add("description", target.description)
        add("base", target.base)
        add("platform", target.platform)
        members.append(.init(key: "location", value: target.range.location))
        return .object(members)
    }
}

/// Rows in columns that are as wide as their widest word, three blanks between; the last is not padded.
private func columns(_ rows: [[String]]) -> String {
    let rows = rows.map { $0.map(singleLine) }
    let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].columns }.max() ?? 0 }
    return rows.map { row in
        row.indices.map { column in
            column == row.count - 1
                ? row[column] : row[column] + String(repeating: " ", count: widths[column] - row[column].columns + 3)
        }.joined() + "\n"
    }.joined()
}
