// What `verify` found, for people and as JSON.

import StageRun

struct VerificationText {
    let report: VerificationReport

    /// As many problems as a person reads.
    private static let shown = 20

    var page: String {
        var lines: [String] = []
        for problem in report.problems.prefix(Self.shown) {
            lines.append("damaged: \(problem.subject): \(problem.reason)")
        }
        if report.problems.count > Self.shown {
            lines.append("and \(report.problems.count - Self.shown) more (--json has them all)")
        }
        if report.wasRepaired {
            lines += list("Dropped, to be made again when it is needed:", report.dropped)
        } else {
            lines += list("Affected:", report.affected)
        }
        lines += list("Left as it is:", report.remaining)
        let read =
            "\(counted(report.contents, "content")), \(sizeText(report.bytes)) in packs, "
            + "\(counted(report.steps, "step")), \(counted(report.images, "image"))"
        if report.problems.isEmpty {
            lines.append("Read \(read): all is well.")
        } else if !report.wasRepaired {
            lines.append("Read \(read): \(counted(report.problems.count, "problem")). See `stagerun verify --repair`.")
        } else if report.remaining.isEmpty {
            lines.append("Read \(read): \(counted(report.problems.count, "problem")), repaired.")
        } else {
            lines.append("Read \(read): \(counted(report.problems.count, "problem")), not all repaired.")
        }
        return lines.map { displayable($0) + "\n" }.joined()
    }

    private func list(_ header: String, _ items: [String]) -> [String] {
        var counts: [String: Int] = [:]
        for item in items { counts[item, default: 0] += 1 }
        var lines: [String] = []
        for item in items {
            guard let count = counts.removeValue(forKey: item) else { continue }
            lines.append("  " + item + (count > 1 ? " (\(count) times)" : ""))
        }
        return lines.isEmpty ? [] : [header] + lines
    }

    var document: JSONText {
        .members([
            "Sound": .bool(report.isSound), "Repaired": .bool(report.wasRepaired),
            "Contents": .number(Int64(report.contents)), "PackBytes": .number(Int64(clamping: report.bytes)),
            "Steps": .number(Int64(report.steps)), "Images": .number(Int64(report.images)),
            "Problems": .array(
                report.problems.map { problem in
                    .members([
                        "Subject": .string(problem.subject), "Reason": .string(problem.reason),
                        "Affects": .strings(problem.affects),
                    ])
                }),
            "Affected": .strings(report.affected), "Dropped": .strings(report.dropped),
            "Remaining": .strings(report.remaining),
        ])
    }
}
