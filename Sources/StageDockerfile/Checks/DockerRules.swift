// The rules of `docker build --check`, by docker's names, descriptions and messages. Where each is applied is found by its
// name here: `CommandParser` (reading), `FileChecks` (the file as a whole), `StageLowering` (stage by stage).

extension CheckRule {
    private init(
        docker name: String, _ summary: String, message: String, isExperimental: Bool = false, help: String
    ) {
        self.init(
            name, summary, help: help, origin: .docker, message: message, isExperimental: isExperimental)
    }

    static let docker: [CheckRule] = [
        .stageNameCasing, .fromAsCasing, .noEmptyContinuation, .consistentInstructionCasing, .duplicateStageName,
        .reservedStageName, .jsonArgsRecommended, .maintainerDeprecated, .undefinedArgInFrom, .workdirRelativePath,
        .undefinedVar, .multipleInstructionsDisallowed, .legacyKeyValueFormat, .invalidBaseImagePlatform,
        .redundantTargetPlatform, .secretsUsedInArgOrEnv, .invalidDefaultArgInFrom, .fromPlatformFlagConstDisallowed,
        .copyIgnoredFile, .invalidDefinitionDescription, .exposeProtoCasing, .exposeInvalidFormat,
    ]

    static let stageNameCasing = CheckRule(
        docker: "StageNameCasing", "Stage names should be lowercase",
        message: "Stage name '{}' should be lowercase",
        help: "Names of stages are folded to lower case; written so, they look the same wherever they are used.")

    static let fromAsCasing = CheckRule(
        docker: "FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword",
        message: "'{}' and '{}' keywords' casing do not match",
        help: "Write FROM ... AS, or from ... as.")

    static let noEmptyContinuation = CheckRule(
        docker: "NoEmptyContinuation", "Empty continuation lines will become errors in a future release",
        message: "Empty continuation line",
        help: "An empty line inside a continued instruction is skipped today; take it out, or put a comment there.")

    static let consistentInstructionCasing = CheckRule(
        docker: "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
        message: "Command '{}' should match the case of the command majority ({})",
        help: "Instructions are read in any case; one case throughout is easier to read.")

    static let duplicateStageName = CheckRule(
        docker: "DuplicateStageName", "Stage names should be unique",
        message: "Duplicate stage name {}, stage names should be unique",
        help: "A name means the last stage before its use that has it; rename one of the two.")

    static let reservedStageName = CheckRule(
        docker: "ReservedStageName", "Reserved words should not be used as stage names",
        message: "Stage name should not use the same name as reserved stage {}",
        help: "scratch and context mean something else in FROM and --from.")

    static let jsonArgsRecommended = CheckRule(
        docker: "JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        message: "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
        help: "In the shell form the shell gets the signals, and the program may never be told to stop.")

    static let maintainerDeprecated = CheckRule(
        docker: "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        message: "Maintainer instruction is deprecated in favor of using label",
        help: "Write LABEL org.opencontainers.image.authors=\"...\".")

    static let undefinedArgInFrom = CheckRule(
        docker: "UndefinedArgInFrom", "FROM command must use declared ARGs",
        message: "FROM argument '{}' is not declared{}",
        help: "Only an ARG before the first FROM can be used in FROM.")

    static let workdirRelativePath = CheckRule(
        docker: "WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base "
            + "image changes",
        message: "Relative workdir {} can have unexpected results if the base image changes",
        help: "Where it leads depends on the base image; start with an absolute path.")

    static let undefinedVar = CheckRule(
        docker: "UndefinedVar", "Variables should be defined before their use",
        message: "Usage of undefined variable '${}'{}",
        help: "The variable is not set here; declare it with ARG or ENV above this line.")

    static let multipleInstructionsDisallowed = CheckRule(
        docker: "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
        message: "Multiple {} instructions should not be used in the same stage because only the last one will be used",
        help: "The earlier ones have no effect.")

    static let legacyKeyValueFormat = CheckRule(
        docker: "LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used",
        message: "\"{} key=value\" should be used instead of legacy \"{} key value\" format",
        help: "The old form takes the rest of the line as one value.")

    static let invalidBaseImagePlatform = CheckRule(
        docker: "InvalidBaseImagePlatform", "Base image platform does not match expected target platform",
        message: "Base image {} was pulled with platform {}, expected {} for current build",
        help: "Programs of another platform do not run; take an image that has this platform, or say --platform.")

    static let redundantTargetPlatform = CheckRule(
        docker: "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        message: "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
        help: "Leave --platform out.")

    static let secretsUsedInArgOrEnv = CheckRule(
        docker: "SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands",
        message: "Do not use ARG or ENV instructions for sensitive data ({} {})",
        help: "Their values stay in the image's config and history; use RUN --mount=type=secret.")

    static let invalidDefaultArgInFrom = CheckRule(
        docker: "InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
        message: "Default value for ARG {} results in empty or invalid base image name",
        help: "Give the ARG a default, so that the file builds without --build-arg.")

    static let fromPlatformFlagConstDisallowed = CheckRule(
        docker: "FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value",
        message: "FROM --platform flag should not use constant value {}",
        help: "A constant makes the stage the same for every target; use $BUILDPLATFORM, or name the stage after it.")

    static let copyIgnoredFile = CheckRule(
        docker: "CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore",
        message: "Attempting to {} file {} that is excluded by .dockerignore",
        help: "The file does not enter the build; change the ignore file or the instruction.")

    static let invalidDefinitionDescription = CheckRule(
        docker: "InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not "
            + "intended to be a description comment, add an empty line or comment between the instruction and the comment.",
        message: "Comment for {} should follow the format: `# {} <description>`", isExperimental: true,
        help: "--call=outline and --call=targets show these comments.")

    static let exposeProtoCasing = CheckRule(
        docker: "ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase",
        message: "Defined protocol '{}' in EXPOSE instruction should be lowercase",
        help: "Write tcp, udp or sctp.")

    static let exposeInvalidFormat = CheckRule(
        docker: "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future "
            + "release",
        message: "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
        help: "EXPOSE names ports of the container; the host's are chosen when it is run.")
}
