// Which checks count: `# check=skip=RuleA,RuleB;error=true;experimental=all`, for a file or for one instruction.

import StageGraph

/// What a `check` directive, a comment of that form above an instruction, or `BUILDKIT_DOCKERFILE_CHECK` asks for.
public struct CheckOptions: Sendable, Hashable {
    public var skipsAll = false
    public var skipped: Set<String> = []
    /// Warnings of docker's rules fail the build.
    public var isError = false
    public var experimentalAll = false
    public var experimental: Set<String> = []

    public init() {}

    /// - Parameter range: where the text is written; nil when it comes from a build argument.
    public init(_ text: String, at range: SourceRange? = nil) throws(DockerfileError) {
        if Blank.trimmed(text).isEmpty { return }
        // Docker reads three options and no more.
        for part in text.split(separator: ";", maxSplits: 2, omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let key = Blank.trimmed(String(pair[0]))
            guard pair.count == 2 else {
                throw DockerfileError(
                    "invalid check option `\(part)`", at: range, hint: "write `skip=RuleName` or `error=true`")
            }
            let value = Blank.trimmed(String(pair[1]))
            let isAll = value == "all"
            let names = Set(value.split(separator: ",").map { Blank.trimmed(String($0)) })
            switch key {
            case "skip": if isAll { skipsAll = true } else { skipped = names }
            case "experimental": if isAll { experimentalAll = true } else { experimental = names }
            case "error":
                guard let flag = FlagValue.boolean(value) else {
                    throw DockerfileError("check option `error` is true or false, not `\(value)`", at: range)
                }
                isError = flag
            default:
                throw DockerfileError(
                    "invalid check option `\(key)`", at: range,
                    hint: Spelling.hint(key, among: ["skip", "error", "experimental"]))
            }
        }
    }

    /// What the comments above an instruction ask for; nil when they ask for nothing. A comment that only looks like a
    /// request is a comment.
    init?(comments: [String]) {
        var merged: CheckOptions?
        for comment in comments {
            guard let (key, value) = Directives.pair(comment), key == "check",
                let options = try? CheckOptions(value)
            else { continue }
            var sum = merged ?? CheckOptions()
            sum.skipsAll = sum.skipsAll || options.skipsAll
            sum.skipped.formUnion(options.skipped)
            sum.experimentalAll = sum.experimentalAll || options.experimentalAll
            sum.experimental.formUnion(options.experimental)
            merged = sum
        }
        guard let merged else { return nil }
        self = merged
    }

    /// Experimental rules are silent until they are asked for; so there is nothing to skip about them.
    func skips(_ rule: CheckRule) -> Bool {
        !rule.isExperimental && (skipsAll || skipped.contains(rule.name))
    }

    func enables(_ rule: CheckRule) -> Bool {
        rule.isExperimental && (experimentalAll || experimental.contains(rule.name))
    }

    /// Whether a finding is told.
    public func keeps(_ warning: DockerfileWarning) -> Bool {
        guard let rule = warning.check else { return true }
        return rule.isExperimental ? enables(rule) || warning.isAskedFor : !skips(rule)
    }

    /// Names that no rule has: a misspelt one would skip nothing and say nothing.
    public var unknownNames: [String] {
        skipped.union(experimental).filter { !$0.isEmpty && CheckRule.named($0) == nil }.sorted()
    }
}
