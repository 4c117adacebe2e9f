// Tables as docker prints them: columns at least ten wide, three blanks between.

/// The rows under their header; the last column is not padded.
func tableText(header: [String], rows: [[String]]) -> String {
    let lines = [header] + rows
    let widths = header.indices.map { column in
        max(10, (lines.map { column < $0.count ? $0[column].columns : 0 }.max() ?? 0) + 3)
    }
    return lines.map { cells in
        var line = ""
        for (column, cell) in cells.enumerated() {
            line += cell
            if column < cells.count - 1 {
                line += String(repeating: " ", count: widths[column] - cell.columns)
            }
        }
        return line + "\n"
    }.joined()
}
