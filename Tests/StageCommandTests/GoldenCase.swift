// Golden cases: what a person sees, kept in Tests/Cases. With RECORD_CASES=1 in the environment the files are written anew,
// and the run fails, so that nobody records by accident and calls it a pass.

import Foundation
import Testing

/// Compares `text` with the file `name` in Tests/Cases.
func expectCase(_ name: String, _ text: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Cases/\(name)")
    if ProcessInfo.processInfo.environment["RECORD_CASES"] == "1" {
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
        Issue.record("recorded Tests/Cases/\(name)", sourceLocation: sourceLocation)
        return
    }
    let expected = String(decoding: try Data(contentsOf: file), as: UTF8.self)
    #expect(text == expected, "Tests/Cases/\(name)", sourceLocation: sourceLocation)
}
