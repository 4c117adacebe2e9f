// `stagerun check`, `build --check`, `--call` and `# check=` as a person meets them: what is printed, and the exit status.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Checks {
        private func context(_ dockerfile: String, _ files: [String: String] = [:]) throws -> String {
            try scratchDirectory("check", files.merging(["Dockerfile": dockerfile]) { $1 })
        }

        @Test func theExitStatusTellsWhetherARuleIsBroken() async throws {
            let clean = try context("FROM scratch\nCOPY a /\nCMD [\"/a\"]\n", ["a": "", ".dockerignore": "x\n"])
            let broken = try context("FROM scratch\nCOPY a /\nCMD /a\n", ["a": "", ".dockerignore": "x\n"])
            for (place, status) in [(clean, 0), (broken, 1)] {
                #expect(try await Lab.stagerun("check", place).status == status)
                #expect(try await Lab.stagerun("check", "--sarif", place).status == status)
                #expect(try await Lab.stagerun("build", "--check", place).status == status)
                #expect(try await Lab.stagerun("build", "--call=check,ignorestatus", place).status == 0)
            }
            let shown = try await Lab.stagerun("check", directory: broken)
            #expect(shown.output.contains("  3 | CMD /a\n    | ^^^^^^\n"))
            #expect(shown.output.hasSuffix("Dockerfile: 1 warning\n"))
            let docker = try await Lab.stagerun("build", "--call=check,format=json", broken)
            let document = try #require(
                try JSONSerialization.jsonObject(with: Data(docker.output.utf8)) as? [String: Any])
            let warnings = try #require(document["warnings"] as? [[String: Any]])
            #expect(warnings.map { $0["ruleName"] as? String } == ["JSONArgsRecommended"])
        }

        @Test func aCheckMakesNoStore() async throws {
            let place = try context("FROM busybox:none\nENV A=$B\n")
            let root = place + "/store"
            let outcome = try await Lab.stagerun("check", "--root", root, place)
            #expect(outcome.output.contains("busybox:none is not in the store"))
            #expect(!FileManager.default.fileExists(atPath: root))
        }

        @Test func errorsFailTheBuildAfterTheWarnings() async throws {
            let place = try context("# check=error=true\nFROM scratch\nCOPY a a\nENV b=$c\nMAINTAINER me\n", ["a": ""])
            let outcome = try await Lab.stagerun("build", "--progress=plain", place)
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains("Dockerfile:4: UndefinedVar: Usage of undefined variable '$c'"))
            #expect(outcome.errors.contains("lint violation found for rules: MaintainerDeprecated, UndefinedVar"))
            let quiet = try await Lab.stagerun(
                "build", "--progress=plain", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", place)
            #expect(quiet.status == 0)
            #expect(!quiet.errors.contains("UndefinedVar"))
            // Who made errors of them is named.
            #expect(outcome.errors.contains("the check directive of the Dockerfile makes warnings errors"))
            let asked = try await Lab.stagerun(
                "build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true;skip=UndefinedVar", place)
            #expect(asked.errors.contains("lint violation found for rules: MaintainerDeprecated\n"), "\(asked)")
            #expect(asked.errors.contains("the build argument BUILDKIT_DOCKERFILE_CHECK makes warnings errors"))
        }

        @Test func anErrorIsToldWithWhatWasFoundBefore() async throws {
            let place = try context("FROM scratch AS A\nEXPOSE x\n")
            let docker = try await Lab.stagerun("build", "--check", place)
            #expect(docker.status == 1)
            #expect(docker.output.contains("WARNING: StageNameCasing"))
            #expect(docker.errors.contains("invalid port `x` in EXPOSE"))
            #expect(docker.errors.contains("   2 | >>> EXPOSE x"))
        }

        @Test func aCheckTakesWhatABuildTakes() async throws {
            let place = try context(
                "ARG B=x\nFROM unheard-of AS one\nCOPY --from=files f /f\nFROM $B AS two\nENV a=$b\n",
                [".dockerignore": "x\n"])
            let without = try await Lab.stagerun("check", "--target", "one", place)
            #expect(without.output.contains("unheard-of is not in the store"), "\(without)")
            let with = try await Lab.stagerun(
                "check", "--target", "one", "--build-context", "unheard-of=docker-image://scratch", "--build-context",
                "files=\(place)", place)
            #expect(with.status == 0 && !with.output.contains("not in the store"), "\(with)")
            let both = try await Lab.stagerun(
                "check", "--target", "one", "--target", "two", "--build-arg", "B=scratch", "--build-context",
                "unheard-of=docker-image://scratch", "--build-context", "files=\(place)", place)
            #expect(both.status == 1 && both.output.contains("UndefinedVar"), "\(both)")
            let wrong = try await Lab.stagerun("check", "--build-context", "base", place)
            #expect(wrong.status == 125 && wrong.errors.contains("NAME=SOURCE"), "\(wrong)")
            // No time of a source is asked for.
            let epoch = try await Lab.stagerun(
                "check", "--target", "one", "--build-context", "unheard-of=docker-image://scratch", place,
                environment: ["SOURCE_DATE_EPOCH": "context"])
            #expect(epoch.status == 0, "\(epoch)")
        }

        @Test func ignoredSources() async throws {
            let place = try context("FROM scratch\nCOPY a b /\n", ["a": "", "b": "", ".dockerignore": "b\n"])
            let outcome = try await Lab.stagerun("check", place)
            #expect(outcome.status == 1)
            #expect(outcome.output.contains("CopyIgnoredFile: Attempting to Copy file \"b\""))
            // What an exception could take in again is not spoken about.
            let other = try context("FROM scratch\nCOPY b /\n", ["b": "", ".dockerignore": "b\n!b\n"])
            #expect(try await Lab.stagerun("check", other).status == 0)
        }

        @Test func ourOwnRulesCountWhenAsked() async throws {
            let place = try context("FROM busybox\nCOPY . /x\n", [".env": "A=b"])
            let outcome = try await Lab.stagerun("check", place)
            #expect(outcome.status == 0)
            for rule in ["UnpinnedBase", "MissingIgnoreFile", "SecretCopied"] {
                #expect(outcome.output.contains("stagerun/\(rule): "), "\(outcome)")
            }
            #expect(outcome.output.hasSuffix("Dockerfile: 3 remarks of stagerun's own rules\n"))
            #expect(try await Lab.stagerun("check", "--strict", place).status == 1)
        }

        @Test func callsTellInsteadOfBuilding() async throws {
            let place = try context(
                "# V of it\nARG V=1\n# a first\nFROM scratch AS a\nARG V\nFROM scratch\nCOPY --from=a / /\n")
            let targets = try await Lab.stagerun("build", "--call", "targets", place)
            #expect(targets.output == "TARGET      DESCRIPTION\na           first\n(default)   \n")
            let outline = try await Lab.stagerun("build", "--call=outline", place)
            #expect(outline.output == "BUILD ARG   VALUE   DESCRIPTION\nV           1       of it\n\n")
            #expect(try await Lab.stagerun("build", "--call=nothing", place).status == 125)
        }
    }
}
