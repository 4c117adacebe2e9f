// The rules of `docker build --check`: what each finds, what it says, and where; and what asks for silence.

import StageGraph
import Testing

@testable import StageDockerfile

/// A Dockerfile that is looked at with images that are made up.
struct CheckBench {
    var options = LoweringOptions(
        platform: Platform(os: "linux", architecture: "amd64"),
        buildPlatform: Platform(os: "linux", architecture: "amd64"))
    /// By name; others are empty and of the platform that is asked for.
    var images: [String: BaseImage] = [:]
    var knowsImages = true

    func examine(_ text: String) -> Examination {
        var known: [String: BaseImage] = [:]
        while true {
            let found = Examination.of(Array(text.utf8), file: "D", options: options, images: known)
            let missing = found.needs.filter { known[$0.key] == nil }
            if missing.isEmpty { return found }
            for request in missing {
                known[request.key] =
                    knowsImages
                    ? images[request.name] ?? BaseImage(settings: ImageSettings(), platform: request.platform)
                    : .unknown(platform: request.platform)
            }
        }
    }

    /// `LINE RULE: MESSAGE` for each finding, then `error: MESSAGE`.
    func findings(_ text: String) -> [String] {
        let found = examine(text)
        return found.warnings.map { warning in
            let lines = warning.lines
            let place = lines.map { $0.firstLine == $0.lastLine ? "\($0.firstLine)" : "\($0.firstLine)-\($0.lastLine)" }
            return "\(place ?? "-") \(warning.rule): \(warning.message)"
        } + (found.error.map { ["error: \($0.message)"] } ?? [])
    }
}

@Suite struct CheckTests {
    private static let multiple =
        "instructions should not be used in the same stage because only the last one will be used"

    @Test(arguments: [
        ("FROM scratch AS BadName", ["1 StageNameCasing: Stage name 'BadName' should be lowercase"]),
        ("FROM scratch as base", ["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"]),
        (
            "from scratch AS base\nfrom scratch as base2",
            ["1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"]
        ),
        (
            "FROM scratch\nCOPY a \\\n\n.\nCOPY a \\\n.",
            ["4 NoEmptyContinuation: Empty continuation line"]
        ),
        (
            "From scratch as base\nFROM scratch AS base2",
            ["1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase)"]
        ),
        (
            "FROM scratch\ncopy a /foo\nCOPY a /bar",
            ["2 ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase)"]
        ),
        (
            "from scratch\nCOPY a /foo\ncopy a /bar",
            ["2 ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase)"]
        ),
        ("from scratch\ncopy a /foo", []),
        (
            "FROM scratch AS b\nFROM scratch AS b",
            ["2 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique"]
        ),
        (
            "FROM scratch AS scratch\nFROM scratch AS context",
            [
                "1 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
                "2 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
            ]
        ),
        (
            "FROM scratch\nMAINTAINER me@example.org",
            ["2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"]
        ),
        (
            "FROM scratch\nCMD echo hi",
            [
                "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals"
            ]
        ),
        ("FROM scratch\nSHELL [\"/bin/x\"]\nENTRYPOINT echo hi", []),
        (
            "FROM scratch\nWORKDIR app\nWORKDIR more",
            ["2 WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes"]
        ),
        ("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR more", []),
        (
            "FROM scratch\nENV a b\nLABEL c d e",
            [
                "2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
                "3 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
            ]
        ),
        (
            "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK NONE",
            [
                "2 MultipleInstructionsDisallowed: Multiple CMD \(multiple)",
                "4 MultipleInstructionsDisallowed: Multiple HEALTHCHECK \(multiple)",
            ]
        ),
        ("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]", []),
        (
            "FROM scratch\nEXPOSE 80/TcP 81/udp",
            ["2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"]
        ),
        (
            "FROM scratch\nEXPOSE 127.0.0.1:80:80",
            [
                "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'"
            ]
        ),
    ])
    func formOfInstructions(text: String, expected: [String]) {
        #expect(CheckBench().findings(text) == expected)
    }

    @Test(arguments: [
        ("ARG base=scratch\nFROM $base", []),
        (
            "ARG bas=scratch\nFROM $base",
            [
                "2 InvalidDefaultArgInFrom: Default value for ARG $base results in empty or invalid base image name",
                "2 UndefinedArgInFrom: FROM argument 'base' is not declared (did you mean bas?)",
                "error: base name `$base` is empty after expansion",
            ]
        ),
        (
            "FROM --platform=$BULIDPLATFORM scratch",
            [
                "1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
                "error: empty platform value from expression $BULIDPLATFORM",
            ]
        ),
        (
            "ARG TAG\nFROM busybox:${TAG}",
            [
                "2 InvalidDefaultArgInFrom: Default value for ARG busybox:${TAG} results in empty or invalid base image name",
                "error: invalid image name `busybox:`: its tag is empty",
            ]
        ),
        (
            "FROM --platform=$TARGETPLATFORM scratch",
            [
                "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
            ]
        ),
        (
            "FROM --platform=${TARGETPLATFORM:-linux/arm64} scratch",
            [
                "1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM:-linux/arm64} in FROM is redundant as this is the default behavior"
            ]
        ),
        (
            "FROM --platform=$TARGETPLATFORM$empty scratch\n",
            [
                "1 UndefinedArgInFrom: FROM argument 'empty' is not declared"
            ]
        ),
        (
            "FROM --platform=linux/amd64 scratch AS build",
            ["1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\""]
        ),
        ("FROM --platform=linux/amd64 scratch AS build_amd64", []),
        ("FROM --platform=linux/amd64 scratch AS linux", []),
    ])
    func basesAndPlatforms(text: String, expected: [String]) {
        #expect(CheckBench().findings(text) == expected)
    }

    @Test(arguments: [
        (
            "FROM scratch\nLABEL a=$nope",
            ["2 UndefinedVar: Usage of undefined variable '$nope'"]
        ),
        (
            "FROM scratch\nENV DIR_BINARIES=/\nCOPY a ${DIR_BINARYS}",
            ["3 UndefinedVar: Usage of undefined variable '$DIR_BINARYS' (did you mean $DIR_BINARIES?)"]
        ),
        (
            "FROM scratch\nENV PATH=$PAHT:/tmp",
            ["2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)"]
        ),
        ("ARG global=1\nFROM scratch\nLABEL a=$global", ["3 UndefinedVar: Usage of undefined variable '$global'"]),
        ("FROM scratch\nARG v\nLABEL a=$v", []),
        ("FROM scratch\nARG v=1\nFROM scratch\nLABEL a=$v", ["4 UndefinedVar: Usage of undefined variable '$v'"]),
        ("FROM scratch\nCOPY <<E /x\n$gone\nE", ["2-4 UndefinedVar: Usage of undefined variable '$gone'"]),
        (
            "FROM scratch\nRUN echo $shell\nLABEL a=${set:-x} b='$no'",
            ["3 UndefinedVar: Usage of undefined variable '$set'"]
        ),
        (
            "FROM scratch\nARG SECRET_MESSAGE=x GITHUB_TOKEN\nENV apikey=1 MY_KEYS=2 public_key=3",
            [
                "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"SECRET_MESSAGE\")",
                "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"GITHUB_TOKEN\")",
                "3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"apikey\")",
            ]
        ),
        ("FROM scratch\nENV TOKEN_FILE=/x KEY_VERSION=1 tokenizer=2", []),
    ])
    func variables(text: String, expected: [String]) {
        #expect(CheckBench().findings(text) == expected)
    }

    @Test func theBaseImageCounts() {
        var bench = CheckBench()
        var settings = ImageSettings()
        settings.environment = ["GOPATH=/go"]
        settings.shell = ["/bin/bash", "-c"]
        bench.images["golang"] = BaseImage(settings: settings, platform: bench.options.platform)
        #expect(bench.findings("FROM golang\nENV X=$GOPATH/x\nCMD x") == [])
        #expect(
            bench.findings("FROM golang\nENV X=$GOPAHT/x") == [
                "2 UndefinedVar: Usage of undefined variable '$GOPAHT' (did you mean $GOPATH?)"
            ])
        bench.images["golang"] = BaseImage(
            settings: settings, platform: Platform(os: "linux", architecture: "arm64"))
        #expect(
            bench.findings("FROM golang") == [
                "1 InvalidBaseImagePlatform: Base image golang was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build"
            ])
        // Nothing is said about what an image sets that nobody knows, nor in stages that stand on it.
        bench.knowsImages = false
        #expect(bench.findings("FROM golang AS a\nENV X=$GOPATH/x\nFROM a\nENV Y=$Z") == [])
    }

    @Test func ignoredFiles() {
        var bench = CheckBench()
        bench.options.isIgnored = { ["secret.txt", "/abs", "."].contains($0) }
        #expect(
            bench.findings(
                "FROM scratch\nCOPY secret.txt ./b /x/\nADD ./secret.txt /x\nCOPY --from=busybox secret.txt /\nCOPY . /"
            )
                == [
                    "2 CopyIgnoredFile: Attempting to Copy file \"secret.txt\" that is excluded by .dockerignore",
                    "3 CopyIgnoredFile: Attempting to Add file \"secret.txt\" that is excluded by .dockerignore",
                    "5 CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore",
                ])
    }

    @Test(arguments: [
        ("# check=skip=all\nFROM scratch AS Bad\nCMD x", []),
        ("# check=skip=JSONArgsRecommended,StageNameCasing\nFROM scratch AS Bad\nCMD x", []),
        // What stands behind a blank is not read, and a line that is indented says nothing of checks.
        (
            "# check=skip=MaintainerDeprecated, StageNameCasing\nFROM scratch AS Bad\nMAINTAINER x",
            ["2 StageNameCasing: Stage name 'Bad' should be lowercase"]
        ),
        ("  # check=skip=all\nFROM scratch AS Bad", ["2 StageNameCasing: Stage name 'Bad' should be lowercase"]),
        ("# check=skip=ALL\nFROM scratch AS Bad", ["2 StageNameCasing: Stage name 'Bad' should be lowercase"]),
        ("# check=skip=all;skip=Other\nFROM scratch AS Bad", []),
        ("# check = skip = all\nFROM scratch", ["error: invalid check option `skip`"]),
        ("FROM scratch\nEXPOSE $nope", []),
        (
            "FROM scratch\nENV A=${U?}",
            [
                "2 UndefinedVar: Usage of undefined variable '$U'", "error: U: is not allowed to be unset",
            ]
        ),
        (
            "FROM scratch\nENV A=${U:=x}",
            [
                "2 UndefinedVar: Usage of undefined variable '$U'",
                "error: unsupported modifier (:=) in substitution",
            ]
        ),
        (
            "FROM $U\nFROM --platform=$P scratch",
            [
                "1 InvalidDefaultArgInFrom: Default value for ARG $U results in empty or invalid base image name",
                "1 UndefinedArgInFrom: FROM argument 'U' is not declared",
                "error: base name `$U` is empty after expansion",
            ]
        ),
        (
            "# check=skip=StageNameCasing;error=true\nFROM scratch AS Bad\nWORKDIR x",
            [
                "3 WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes"
            ]
        ),
        (
            "FROM scratch\n# check=skip=JSONArgsRecommended\nCMD x\nENTRYPOINT x",
            [
                "4 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals"
            ]
        ),
        (
            "# hello\n# check=skip=StageNameCasing\nFROM scratch AS Bad\nFROM scratch AS Worse",
            [
                "4 StageNameCasing: Stage name 'Worse' should be lowercase"
            ]
        ),
        ("FROM scratch\n# check = it out, it=works\nCMD [\"x\"]", []),
        (
            "# check=experimental=InvalidDefinitionDescription\n# nonsense\nARG X=1\n# base is a base\nFROM scratch AS base",
            ["3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# X <description>`"]
        ),
        ("# nonsense\nARG X=1\nFROM scratch", []),
        (
            "ARG X=1\n# nonsense\n# check=experimental=all\n# more\nFROM scratch AS y",
            ["5 InvalidDefinitionDescription: Comment for FROM should follow the format: `# y <description>`"]
        ),
        (
            "# check=experimental=all\n# nonsense\nARG X Y\nFROM scratch",
            [
                "3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`"
            ]
        ),
        ("# check=skp=all\nFROM scratch", ["error: invalid check option `skp`"]),
        ("# check=error=maybe\nFROM scratch", ["error: check option `error` is true or false, not `maybe`"]),
    ])
    func requests(text: String, expected: [String]) {
        #expect(CheckBench().findings(text) == expected)
    }

    @Test func theBuildArgumentTakesTheDirectivesPlace() {
        var bench = CheckBench()
        let text = "# check=skip=all;error=true\nFROM scratch\nCMD x"
        #expect(bench.examine(text).failsOnWarnings)
        bench.options.buildArguments["BUILDKIT_DOCKERFILE_CHECK"] = "skip=StageNameCasing"
        let found = bench.examine(text)
        #expect(!found.failsOnWarnings)
        #expect(found.violatedRules == ["JSONArgsRecommended"])
    }

    @Test func theTargetOrAllStages() {
        let text = "FROM scratch AS a\nCMD x\nFROM scratch AS b\nWORKDIR x"
        var bench = CheckBench()
        #expect(bench.examine(text).violatedRules == ["JSONArgsRecommended", "WorkdirRelativePath"])
        bench.options.target = "a"
        #expect(bench.examine(text).violatedRules == ["JSONArgsRecommended"])
        bench.options.target = "c"
        #expect(bench.examine(text).error?.message == "target stage `c` could not be found")
    }

    @Test func findingsUpToTheError() {
        #expect(
            CheckBench().findings("FROM scratch AS A\nWORKDIR x\nEXPOSE nope") == [
                "1 StageNameCasing: Stage name 'A' should be lowercase",
                "2 WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes",
                "error: invalid port `nope` in EXPOSE",
            ])
        #expect(
            CheckBench().findings("# check=skip=MaintainerDeprecated\nFROM scratch AS A\nMAINTAINER x\nNOPE") == [
                "2 StageNameCasing: Stage name 'A' should be lowercase", "error: unknown instruction: NOPE",
            ])
    }

    @Test func thereAreTwentyTwo() {
        #expect(CheckRule.docker.count == 22)
        #expect(Set(CheckRule.all.map(\.name)).count == CheckRule.all.count)
        for rule in CheckRule.all { #expect(!rule.summary.isEmpty && !rule.help.isEmpty && !rule.message.isEmpty) }
        #expect(
            CheckRule.jsonArgsRecommended.page == "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/")
        #expect(
            CheckRule.secretsUsedInArgOrEnv.page
                == "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/")
    }
}

@Suite struct OutlineTests {
    private let text = """
        # version of the program
        # VERSION is what is built
        ARG VERSION=1
        ARG TAG=v$VERSION
        ARG UNUSED
        # base has the tools
        FROM scratch AS base
        ARG VERSION
        # MODE how it is built
        ARG MODE=fast EXTRA
        RUN --mount=type=cache,target=/c true
        FROM busybox:$TAG AS tools
        ARG LEVEL=$VERSION
        FROM base
        COPY --from=tools /x /x
        ARG MODE=slow
        """

    private func outline(_ text: String, target: String? = nil, arguments: [String: String] = [:]) throws -> Outline {
        var bench = CheckBench()
        bench.options.target = target
        bench.options.buildArguments = arguments
        return try #require(bench.examine(text).outline)
    }

    private func golden(_ outline: Outline) -> [String] {
        outline.arguments.map { "\($0.range.firstLine) \($0.name)=\($0.value ?? "-") \($0.description)" }
            + outline.secrets.map { "secret \($0.name)\($0.isRequired ? " required" : "")" }
            + outline.agents.map { "ssh \($0.name)\($0.isRequired ? " required" : "")" }
    }

    @Test func whatATargetTakes() throws {
        #expect(
            try golden(outline(text, target: "base", arguments: ["EXTRA": "x"])) == [
                "3 VERSION=1 is what is built", "10 EXTRA=x ", "10 MODE=fast how it is built",
            ])
        #expect(try outline(text, target: "base").description == "has the tools")
        #expect(
            try golden(outline(text, target: "tools")) == ["3 VERSION=1 is what is built", "4 TAG=v1 ", "13 LEVEL= "])
        // The nearest of a name; the global ones come along with the stages that use them.
        #expect(
            try golden(outline(text)) == [
                "3 VERSION=1 is what is built", "4 TAG=v1 ", "10 EXTRA=- ", "13 LEVEL= ", "16 MODE=slow ",
            ])
    }

    @Test func targets() throws {
        let targets = try Dockerfile.parse(text).targets
        #expect(targets.map(\.name) == ["base", "tools", ""])
        #expect(targets.map(\.isDefault) == [false, false, true])
        #expect(targets[0].description == "has the tools")
        #expect(targets[1].base == "busybox:$TAG")
    }
}
