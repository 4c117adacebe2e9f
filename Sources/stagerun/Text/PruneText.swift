// What `prune` removed or would remove, for people and as JSON.

import StageRun

struct PruneText {
    let report: PruneReport
    let isDryRun: Bool

    /// As many as a person reads.
    private static let shown = 20

    var page: String {
        var text = ""
        let rows = rows
        if !rows.isEmpty {
            text += fittedTable(
                header: ["TYPE", "ID", "SIZE", isDryRun ? "WOULD BE REMOVED" : "REMOVED"],
                rows: Array(rows.prefix(Self.shown)))
            if rows.count > Self.shown { text += "and \(rows.count - Self.shown) more (--json has them all)\n" }
            text += "\n"
        }
        if report.unreferenced > 0 { text += "Contents that nothing leads to: \(sizeText(report.unreferenced))\n" }
        text += "\(isDryRun ? "Would be freed" : "Freed"): \(sizeText(report.freed))"
        text += ", \(sizeText(report.after)) \(isDryRun ? "would be " : "")left\n"
        if report.awaiting > 0 {
            text += "\(sizeText(report.awaiting)) more when the builds end that are running now\n"
        }
        if let over = report.overCap {
            text +=
                "That is \(sizeText(over)) more than wanted: what is left belongs to images with names, or is in use.\n"
            text += "See `stagerun du`, and remove images with `stagerun rmi`.\n"
        }
        return text
    }

    /// The largest first. The names of workspaces say nothing to a person: they share a line.
    private var rows: [[String]] {
        var rows: [(bytes: UInt64, cells: [String])] = []
        var (trees, treeBytes): (Int, UInt64) = (0, 0)
        for item in report.items {
            if item.kind == .workspace {
                trees += 1
                treeBytes += item.bytes
                continue
            }
            let label = item.kind == .image ? "(without a name)" : item.label
            rows.append((item.bytes, [item.kind.rawValue, String(item.id.prefix(12)), sizeText(item.bytes), label]))
        }
        if trees > 0 {
            let label = counted(trees, "unpacked tree")
            rows.append((treeBytes, [PruneRequest.Kind.workspace.rawValue, "", sizeText(treeBytes), label]))
        }
        // Stable: what goes first stands first among equals.
        return rows.enumerated().sorted { a, b in
            (b.element.bytes, a.offset) < (a.element.bytes, b.offset)
        }.map(\.element.cells)
    }

    var document: JSONText {
        .members([
            "DryRun": .bool(isDryRun),
            "Items": .array(
                report.items.map { item in
                    .members([
                        "Type": .string(item.kind.rawValue), "Id": .string(item.id), "Label": .string(item.label),
                        "Bytes": .number(Int64(clamping: item.bytes)),
                    ])
                }),
            "Unreferenced": .number(Int64(clamping: report.unreferenced)),
            "Freed": .number(Int64(clamping: report.freed)), "Awaiting": .number(Int64(clamping: report.awaiting)),
            "Before": .number(Int64(clamping: report.before)), "After": .number(Int64(clamping: report.after)),
            "OverCap": report.overCap.map { .number(Int64(clamping: $0)) } ?? .null,
        ])
    }
}
