// What is checked of a Dockerfile as a whole, before any stage is lowered: names and cases of all stages, and what each
// FROM makes of the global arguments, whether a target needs the stage or not.

import StageGraph

extension Dockerfile {
    /// Reserved and duplicate names of stages, and instructions in another case than most.
    func fileWarnings() -> [DockerfileWarning] {
        var warnings: [DockerfileWarning] = []
        var seen: Set<String> = []
        for stage in stages {
            guard let name = stage.from.name else { continue }
            if ["context", "scratch"].contains(name.text) {
                warnings.add(
                    .reservedStageName, GoText.quoted(name.text), at: name.range, in: stage.fromInstruction)
            }
            if !seen.insert(name.text).inserted {
                warnings.add(
                    .duplicateStageName, GoText.quoted(name.text), at: name.range, in: stage.fromInstruction)
            }
        }
        warnIfCasesDiffer(&warnings)
        return warnings
    }

    private func warnIfCasesDiffer(_ warnings: inout [DockerfileWarning]) {
        var lower = 0
        var upper = 0
        func count(_ keyword: String, _ name: String) {
            if keyword == name { lower += 1 } else if keyword.utf8.allSatisfy(isUpper) { upper += 1 }
        }
        for stage in stages {
            count(stage.fromInstruction.keyword.text, stage.fromInstruction.name)
            // By index: an instruction is large to copy.
            for index in stage.instructions.indices {
                count(stage.instructions[index].syntax.keyword.text, stage.instructions[index].syntax.name)
            }
        }
        let isLower = lower > upper
        func fits(_ keyword: String, _ name: String) -> Bool {
            isLower ? keyword == name : keyword.utf8.allSatisfy(isUpper)
        }
        func warn(_ instruction: Instruction) {
            warnings.add(
                .consistentInstructionCasing, instruction.keyword.text, isLower ? "lowercase" : "uppercase",
                at: instruction.keyword.range, in: instruction)
        }
        for stage in stages {
            if !fits(stage.fromInstruction.keyword.text, stage.fromInstruction.name) { warn(stage.fromInstruction) }
            for index in stage.instructions.indices
            where !fits(stage.instructions[index].syntax.keyword.text, stage.instructions[index].syntax.name) {
                warn(stage.instructions[index].syntax)
            }
        }
    }

    private func isUpper(_ byte: UInt8) -> Bool { !(0x61...0x7A).contains(byte) }
}

/// The checks of every `FROM`.
struct FromChecks {
    let dockerfile: Dockerfile
    let scope: GlobalScope
    private(set) var warnings: [DockerfileWarning] = []
    private var spelling = VariableSpelling()
    private var declared: [String] = []
    private var isDeclared: Set<String> = []

    init(_ dockerfile: Dockerfile, _ scope: GlobalScope) {
        self.dockerfile = dockerfile
        self.scope = scope
        checkDefaults()
        declared = scope.declaredNames(dockerfile)
        isDeclared = Set(declared)
        // With the first that cannot be built docker stops.
        for stage in dockerfile.stages { guard check(stage) else { break } }
    }

    /// Whether the file builds when nobody gives a build argument.
    private mutating func checkDefaults() {
        var options = scope.options
        options.buildArguments = [:]
        guard let defaults = try? GlobalScope(dockerfile, options) else { return }
        for stage in dockerfile.stages {
            guard let name = try? scope.expansion.expand(stage.from.base.text, defaults.variables).value else { return }
            if name.isEmpty || ImageName.fault(name) != nil {
                warnings.add(
                    .invalidDefaultArgInFrom, stage.from.base.text, at: stage.from.base.range,
                    in: stage.fromInstruction)
            }
        }
    }

    private mutating func check(_ stage: Stage) -> Bool {
        warnOfUndeclared(in: stage.from.base, stage)
        let name = try? scope.expansion.expand(stage.from.base.text, scope.variables).value
        guard name ?? "" != "" else { return false }
        guard let platform = stage.from.platform, !platform.text.isEmpty else { return true }
        warnOfUndeclared(in: platform, stage)
        guard let result = try? scope.expansion.expand(platform.text, scope.variables) else { return false }
        check(platform, result, stage)
        return Platform(specifier: result.value, buildsOn: scope.options.buildPlatform) != nil
    }

    private mutating func check(_ platform: Word, _ result: Expansion.Result, _ stage: Stage) {
        if result.matched == ["TARGETPLATFORM"], result.unmatched.isEmpty,
            result.value == scope.variables.value(of: "TARGETPLATFORM")
        {
            warnings.add(.redundantTargetPlatform, platform.text, at: platform.range, in: stage.fromInstruction)
        }
        guard result.matched.isEmpty, result.unmatched.isEmpty,
            let parsed = Platform(specifier: result.value, buildsOn: scope.options.buildPlatform)
        else { return }
        let name = stage.name ?? ""
        if !name.contains(parsed.os), !name.contains(parsed.architecture) {
            warnings.add(
                .fromPlatformFlagConstDisallowed, GoText.quoted(result.value), at: platform.range,
                in: stage.fromInstruction)
        }
    }

    private mutating func warnOfUndeclared(in word: Word, _ stage: Stage) {
        guard let result = try? scope.expansion.expand(word.text, scope.variables) else { return }
        for name in result.unmatched where !isDeclared.contains(name) {
            warnings.add(
                .undefinedArgInFrom, name, spelling.suggestion(name, among: declared), at: word.range,
                in: stage.fromInstruction)
        }
    }
}

extension GlobalScope {
    /// Every name that `FROM` may use, with a value or without.
    func declaredNames(_ dockerfile: Dockerfile) -> [String] {
        var names = dockerfile.globalArguments.flatMap { instruction -> [String] in
            guard case .argument(let declarations) = instruction.command else { return [] }
            return declarations.map(\.name)
        }
        names += variables.orderedNames
        return names
    }
}
