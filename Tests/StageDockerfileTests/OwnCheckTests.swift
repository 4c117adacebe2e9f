// The rules that docker does not have: what they find, and what they leave alone.

import StageGraph
import Testing

@testable import StageDockerfile

@Suite struct OwnCheckTests {
    private func findings(_ text: String, _ context: ContextFacts? = nil) throws -> [String] {
        OwnChecks.findings(in: try Dockerfile.parse(text), options: LoweringOptions(), context: context).map {
            "\($0.lines?.firstLine ?? 0) \($0.rule.dropFirst("stagerun/".count)): \($0.message)"
        }
    }

    private static let install = "runs again whenever any file of the context changes"

    @Test(arguments: [
        ("FROM a:1 AS b\nFROM c:1\nCOPY --from=b / /x", ["3 CopyWholeStage: All files of b are copied"]),
        ("FROM a:1\nCOPY --from=busybox:1 / /x", ["2 CopyWholeStage: All files of busybox:1 are copied"]),
        ("FROM a:1 AS b\nFROM scratch\nCOPY --from=b / /", []),
        ("FROM a:1 AS b\nFROM c:1\nCOPY --from=b /out /x", []),
        (
            "FROM a:1 AS b\nWORKDIR /src\nCOPY . .\nRUN make\nFROM c:1\nCOPY --from=b /src /app",
            ["6 CopySourceTree: /src of b holds the build context, which is copied with it"]
        ),
        (
            "FROM a:1 AS b\nWORKDIR /src\nCOPY . .\nFROM b AS d\nFROM c:1\nCOPY --from=d /src/ /app",
            [
                "6 CopySourceTree: /src of d holds the build context, which is copied with it"
            ]
        ),
        ("FROM a:1 AS b\nWORKDIR /src\nCOPY . .\nFROM c:1\nCOPY --from=b /src/out /app", []),
        ("FROM node:20\nCOPY . .\nRUN npm ci", ["3 CopyBeforeInstall: `npm ci` \(install)"]),
        (
            "FROM node:20\nADD ./ /app\nRUN cd app && pip --no-cache install -r r.txt",
            [
                "3 CopyBeforeInstall: `pip install` \(install)"
            ]
        ),
        ("FROM node:20\nCOPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm run build", []),
        ("FROM node:20\nCOPY . .\nRUN pip install .", []),
        ("FROM node:20\nCOPY . .\nFROM node:20\nRUN npm ci", []),
        (
            "FROM a\nFROM b:latest AS c\nFROM c\nFROM d@sha256:\(String(repeating: "a", count: 64))\nFROM x:1/e:2",
            [
                "1 UnpinnedBase: Base image a has no tag: what it means changes over time",
                "2 UnpinnedBase: Base image b:latest has the tag latest: what it means changes over time",
            ]
        ),
        ("ARG V=1\nFROM a:$V", []),
        (
            "FROM localhost:5000/a",
            [
                "1 UnpinnedBase: Base image localhost:5000/a has no tag: what it means changes over time"
            ]
        ),
        ("# check=skip=stagerun/UnpinnedBase\nFROM a", []),
        ("# check=skip=stagerun/UnpinnedBase\nFROM a\nFROM b", []),
        (
            "# x\n\n# check=skip=all\nFROM a\nFROM b",
            [
                "5 UnpinnedBase: Base image b has no tag: what it means changes over time"
            ]
        ),
    ])
    func finds(text: String, expected: [String]) throws {
        #expect(try findings(text) == expected)
    }

    @Test func theContext() throws {
        let bare = ContextFacts(hasIgnoreFile: false, secrets: ["conf/id_rsa", ".env"])
        #expect(
            try findings("FROM a:1\nCOPY . /x", bare) == [
                "2 MissingIgnoreFile: The whole context is copied, and there is no .dockerignore",
                "2 SecretCopied: conf/id_rsa looks like a secret, and is copied",
                "2 SecretCopied: .env looks like a secret, and is copied",
            ])
        #expect(
            try findings("FROM a:1\nCOPY b conf/ /x\nCOPY --exclude=.env . /y\nCOPY --from=b:1 . /", bare) == [
                "2 SecretCopied: conf/id_rsa looks like a secret, and is copied",
                "3 MissingIgnoreFile: The whole context is copied, and there is no .dockerignore",
                "4 CopyWholeStage: All files of b:1 are copied",
            ])
        #expect(try findings("FROM a:1\nCOPY . /x", ContextFacts(hasIgnoreFile: true, secrets: [])).isEmpty)
        #expect(try findings("FROM a:1\nCOPY . /x").isEmpty)
        #expect(try Dockerfile.parse("FROM a\nCOPY ./b $c /x\nADD https://x/y z/ /x").contextSources == ["b", "z"])
    }
}
