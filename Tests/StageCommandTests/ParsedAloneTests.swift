// A command line read as one subcommand's comes to the same as one that is read by the tree of all commands.

import ArgumentParser
import Testing

@testable import stagerun

@Suite struct ParsedAloneTests {
    @Test(arguments: [
        ["build", "."], ["build", "-t", "a:1", "--build-arg", "X=1", "--no-cache", "-o", "out", "--", "dir"],
        ["build", "--progress=plain", "-ta:1", "-f", "D", "--target", "x", "."], ["images"], ["images", "--json"],
        ["run", "--rm", "-e", "A=b", "image", "ls", "-l"], ["tag", "a", "b"], ["debug", "parse"], ["du"],
        ["explain", "--json"], ["prune", "-f", "--all"],
    ])
    func theSameCommand(arguments: [String]) throws {
        let alone = try #require(Main.parsedAlone(arguments))
        let whole = try Stagerun.parseAsRoot(arguments)
        #expect(type(of: alone) == type(of: whole))
        #expect(String(reflecting: alone) == String(reflecting: whole))
    }

    @Test func valuesArrive() throws {
        let build = try #require(Main.parsedAlone(["build", "-t", "a:1", "--no-cache", "dir"]) as? BuildCommand)
        #expect(build.tags == ["a:1"])
        #expect(build.noCache)
        #expect(build.sources.context == "dir")
    }

    @Test(arguments: [
        [], ["--help"], ["--version"], ["bild", "."], ["build", "--help"], ["build", "--version"],
        ["build", "--nope", "."],
        ["build", "--generate-completion-script", "bash"], ["--generate-completion-script", "bash"], ["help", "build"],
        ["debug"], ["build", "--jobs", "many", "."],
    ])
    func whatIsNoCommandIsLeftToTheTree(arguments: [String]) {
        #expect(Main.parsedAlone(arguments) == nil)
    }
}
