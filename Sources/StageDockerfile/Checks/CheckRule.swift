// A build check: its name, what it says and why. The rules themselves are in DockerRules.swift and OwnRules.swift.

import StageGraph

/// One rule that a Dockerfile is checked against.
public struct CheckRule: Sendable, Hashable {
    public enum Origin: String, Sendable, Hashable {
        /// `docker build --check` has the same rule, by the same name and with the same messages.
        case docker
        /// Ours: its name starts with `stagerun/`.
        case stagerun
    }

    /// As `# check=skip=` takes it.
    public let name: String
    /// One sentence without a full stop: what the rule wants.
    public let summary: String
    /// Why, and what to do about it.
    public let help: String
    public let origin: Origin
    /// Silent unless `# check=experimental=` names it.
    public let isExperimental: Bool
    /// `{}` stands for each argument in turn.
    let message: String

    init(
        _ name: String, _ summary: String, help: String, origin: Origin, message: String, isExperimental: Bool = false
    ) {
        self.name = name
        self.summary = summary
        self.help = help
        self.origin = origin
        self.message = message
        self.isExperimental = isExperimental
    }

    /// Every rule: docker's in docker's order, then ours.
    public static let all = docker + own

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    /// The rule of a name; nil when there is none.
    public static func named(_ name: String) -> CheckRule? { byName[name] }

    /// Docker's page about the rule; nil for one of ours.
    public var page: String? {
        guard origin == .docker else { return nil }
        let letters = Array(name)
        var path = ""
        for (index, letter) in letters.enumerated() {
            // A word starts at a capital after a small letter, or at the last one of a run of capitals.
            let startsWord =
                index > 0 && letter.isUppercase
                && (letters[index - 1].isLowercase || (index + 1 < letters.count && letters[index + 1].isLowercase))
            path += (startsWord ? "-" : "") + letter.lowercased()
        }
        return "https://docs.docker.com/go/dockerfile/rule/\(path)/"
    }

    func text(_ arguments: [String]) -> String {
        var parts = message.split(separator: "{}", omittingEmptySubsequences: false).makeIterator()
        var text = String(parts.next() ?? "")
        for argument in arguments { text += argument + (parts.next() ?? "") }
        return text
    }
}

extension [DockerfileWarning] {
    /// Adds a finding about `instruction`, unless the comment above that instruction says to skip the rule.
    ///
    /// - Parameter word: the part of the instruction that is meant; nil is all of it.
    mutating func add(
        _ rule: CheckRule, _ arguments: String..., at word: SourceRange? = nil, in instruction: Instruction
    ) {
        add(rule, arguments, at: word ?? instruction.range, lines: instruction.range, comments: instruction.comments)
    }

    mutating func add(
        _ rule: CheckRule, _ arguments: [String], at word: SourceRange, lines: SourceRange, comments: [String]
    ) {
        let here = CheckOptions(comments: comments)
        if let here, here.skips(rule) { return }
        var warning = DockerfileWarning(rule: rule.name, rule.text(arguments), at: word)
        warning.lines = lines
        warning.isAskedFor = here?.enables(rule) ?? false
        append(warning)
    }
}

/// What a misspelt variable may have been meant to be, by docker's measure: at most two letters away, case counted.
struct VariableSpelling {
    /// Comparisons that are left: with as many undefined variables as defined ones their product would be endless work.
    private var allowance = 200_000

    /// As a suggestion in a message: ` (did you mean X?)`, or nothing.
    mutating func suggestion(_ name: String, among names: [String], prefix: String = "") -> String {
        closest(name, among: names).map { " (did you mean \(prefix)\($0)?)" } ?? ""
    }

    private mutating func closest(_ name: String, among names: [String]) -> String? {
        let wanted = Array(name.utf8)
        guard !wanted.isEmpty, wanted.count <= 128, allowance >= names.count else { return nil }
        allowance -= names.count
        var best: (name: String, distance: Int) = ("", 3)
        for candidate in names {
            let letters = candidate.utf8
            guard !letters.isEmpty, abs(letters.count - wanted.count) < best.distance else { continue }
            let distance = Spelling.distance(wanted, Array(letters))
            if distance == 0 { return nil }
            if distance < best.distance { best = (candidate, distance) }
        }
        return best.name.isEmpty ? nil : best.name
    }
}
