// The checks that need a stage's state: what its variables, its shell and its earlier instructions are at each instruction.

import StageGraph

extension StageLowering {
    mutating func adviseUndefined(_ names: [String], at range: SourceRange) {
        for name in names where state.argumentPlaces[name] == nil && !GlobalScope.unexported.contains(name) {
            let meant = spelling.suggestion(name, among: state.variables.orderedNames, prefix: "$")
            warn(.undefinedVar, name, meant, at: range)
        }
    }

    /// Of `CMD`, `ENTRYPOINT` and `HEALTHCHECK` only the last counts; an earlier one is where the finding stands.
    mutating func once() {
        let instruction = current
        if let earlier = state.seenOnce[instruction.name] {
            warnings.add(
                .multipleInstructionsDisallowed, [instruction.keyword.text], at: earlier, lines: earlier,
                comments: instruction.comments)
        }
        state.seenOnce[instruction.name] = instruction.range
    }

    mutating func adviseJSON(_ line: CommandLine) {
        guard line.usesShell, (state.settings.shell ?? []).isEmpty else { return }
        warn(.jsonArgsRecommended, current.keyword.text)
    }

    mutating func adviseLegacy(_ pair: KeyValue) {
        if pair.isLegacy { warn(.legacyKeyValueFormat, current.keyword.text, current.keyword.text) }
    }

    mutating func adviseSecret(_ keyword: String, _ name: String, _ range: SourceRange) {
        let secret: Set<Substring> = [
            "apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token",
        ]
        let words = Set(name.lowercased().split(separator: "_"))
        guard !words.isDisjoint(with: secret), words.isDisjoint(with: ["public", "file", "version"]) else { return }
        warn(.secretsUsedInArgOrEnv, keyword, GoText.quoted(name), at: range)
    }

    mutating func adviseIgnored(_ path: String, _ copy: CopyCommand, _ range: SourceRange) {
        guard let isIgnored = scope.options.isIgnored else { return }
        let cleaned = path.utf8.first == UInt8(ascii: "/") ? BuildPath.cleaned(path) : BuildPath.source(path)
        guard isIgnored(cleaned) else { return }
        warn(.copyIgnoredFile, copy.isAdd ? "Add" : "Copy", GoText.quoted(cleaned), at: range)
    }
}
