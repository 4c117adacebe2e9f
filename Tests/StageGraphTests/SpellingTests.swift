// "Did you mean": which candidate a slip of the finger is close enough to.

import StageGraph
import Testing

@Suite struct SpellingTests {
    @Test func slipsOfTheFinger() {
        let names = ["build", "images", "inspect", "rmi"]
        #expect(Spelling.closest("biuld", among: names) == "build")
        #expect(Spelling.closest("image", among: names) == "images")
        #expect(Spelling.closest("inspct", among: names) == "inspect")
        #expect(Spelling.closest("deploy", among: names) == nil)
        #expect(Spelling.closest("", among: names) == nil)
    }
}
