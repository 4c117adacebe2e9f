// What `du` found, for people and as JSON. Lines fit 80 columns.

import StageHash
import StageRun

struct UsageText {
    let usage: StoreUsage
    /// Seconds since 1970.
    let now: Int64

    /// As many of each kind as a person reads.
    private static let shown = 10

    func page(verbose: Bool) -> String {
        let limit = verbose ? Int.max : Self.shown
        var text = kinds
        text += section(
            "IMAGES", ["SIZE", "EXCLUSIVE"], limit,
            usage.images.map { image in
                (
                    [sizeText(image.bytes), sizeText(image.exclusive)],
                    image.names.isEmpty ? image.id.short : image.names.joined(separator: ", ")
                )
            })
        text += section(
            "STEPS", ["SIZE", "EXCLUSIVE", "TOOK"], limit,
            usage.steps.map { step in
                ([sizeText(step.bytes), sizeText(step.exclusive), durationText(step.seconds)], step.label)
            })
        text += section("CACHE MOUNTS", ["SIZE", "LAST USED"], limit, usage.caches.map(row))
        if verbose {
            text += section("CONTEXTS", ["SIZE", "LAST USED"], limit, usage.contexts.map(row))
            text += section("WORKSPACES", ["SIZE", "MADE"], limit, usage.workspaces.map(row))
        }
        return text
    }

    /// Each byte once, so that the lines add up.
    private var kinds: String {
        var rows = usage.kinds.map { kind in
            [kind.name, kind.count > 0 ? String(kind.count) : "", sizeText(kind.bytes)]
        }
        rows.append(["total", "", sizeText(usage.total)])
        return tableText(header: ["KIND", "COUNT", "SIZE"], rows: rows)
    }

    private func row(_ place: StoreUsage.Place) -> ([String], String) {
        ([sizeText(place.bytes), ageText(seconds: now - place.lastUsed)], place.label.isEmpty ? place.id : place.label)
    }

    private func section(
        _ header: String, _ columns: [String], _ limit: Int, _ rows: [(values: [String], name: String)]
    ) -> String {
        if rows.isEmpty { return "" }
        let text = fittedTable(header: columns + [header], rows: rows.prefix(limit).map { $0.values + [$0.name] })
        let rest = rows.count - min(limit, rows.count)
        return "\n" + text + (rest > 0 ? "and \(rest) more (-v shows all)\n" : "")
    }

    // MARK: JSON

    var document: JSONText {
        .members([
            "Total": number(usage.total),
            "Kinds": .array(
                usage.kinds.map { kind in
                    .members([
                        "Kind": .string(kind.name), "Count": .number(Int64(kind.count)), "Bytes": number(kind.bytes),
                    ])
                }),
            "Images": .array(
                usage.images.map { image in
                    .members([
                        "Id": .string(image.id.description), "Names": .strings(image.names),
                        "Bytes": number(image.bytes), "Shared": number(image.bytes - image.exclusive),
                        "Exclusive": number(image.exclusive),
                    ])
                }),
            "Steps": .array(
                usage.steps.map { step in
                    .members([
                        "Id": .string(step.key.hex), "Stage": .string(step.stage), "Title": .string(step.title),
                        "Bytes": number(step.bytes), "Shared": number(step.bytes - step.exclusive),
                        "Exclusive": number(step.exclusive),
                        "Milliseconds": .number(Int64(step.seconds * 1000)),
                        "LastUsed": .string(calendarText(seconds: step.lastUsed)),
                    ])
                }),
            "CacheMounts": .array(usage.caches.map(place)), "Contexts": .array(usage.contexts.map(place)),
            "Workspaces": .array(usage.workspaces.map(place)),
        ])
    }

    private func number(_ bytes: UInt64) -> JSONText { .number(Int64(clamping: bytes)) }

    private func place(_ place: StoreUsage.Place) -> JSONText {
        .members([
            "Id": .string(place.id), "Label": .string(place.label), "Bytes": number(place.bytes),
            "LastUsed": .string(calendarText(seconds: place.lastUsed)),
        ])
    }
}

/// A table whose last column is cut so that a line fits 80 columns.
func fittedTable(header: [String], rows: [[String]]) -> String {
    let plain = rows.map { $0.map { singleLine($0) } }
    let last = header.count - 1
    let before = (0..<last).reduce(0) { sum, column in
        sum + max(10, (([header] + plain).map { $0[column].columns }.max() ?? 0) + 3)
    }
    return tableText(
        header: header,
        rows: plain.map { row in Array(row.dropLast()) + [shortened(row[last], to: max(10, 80 - before))] })
}

/// `text`, cut with an ellipsis where it takes more columns.
private func shortened(_ text: String, to width: Int) -> String {
    // A line leaves the last column of its terminal free.
    StyledLine([(text, .plain)]).text(width: width + 1, colours: false)
}
