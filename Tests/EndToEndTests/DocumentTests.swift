// What the README shows is what there is.

import Foundation
import Testing

@Suite struct Documents {
    @Test func theREADMEShowsTheEmbeddingExampleAsItIs() throws {
        let readme = try String(contentsOfFile: Lab.checkout + "/README.md", encoding: .utf8)
        let program = try String(contentsOfFile: Lab.example("embed/main.swift"), encoding: .utf8)
        let code = try #require(program.range(of: "import StageEngine"))
        #expect(readme.contains("```swift\n\(program[code.lowerBound...])```\n"))
    }

    /// Each path in backquotes that starts with a capital letter and has a slash is a file or folder of the checkout.
    @Test func theREADMENamesOnlyPathsThatExist() throws {
        let readme = try String(contentsOfFile: Lab.checkout + "/README.md", encoding: .utf8)
        let paths = readme.matches(of: /`((?:Examples|Specs|Benchmarks|Tests|\.ci)\/[^` ]*)`/).map { String($0.1) }
        #expect(paths.count > 5)
        for path in paths { #expect(access("\(Lab.checkout)/\(path)", F_OK) == 0, "\(path) is not there") }
    }
}
