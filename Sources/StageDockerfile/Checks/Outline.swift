// `--call=outline` and `--call=targets`: what a target takes from outside, and which targets there are.

import StageGraph

/// What the stages of a target take from whoever builds it.
public struct Outline: Sendable, Hashable {
    public struct Argument: Sendable, Hashable {
        public var name: String
        /// The value that it has in this build.
        public var value: String?
        /// From a comment above it that starts with its name.
        public var description: String
        public var range: SourceRange
    }

    /// A secret or an ssh agent.
    public struct Need: Sendable, Hashable {
        public var name: String
        public var isRequired: Bool
        public var range: SourceRange
    }

    /// Empty for a stage without one.
    public var name: String
    public var description: String
    /// In order of their lines.
    public var arguments: [Argument] = []
    public var secrets: [Need] = []
    public var agents: [Need] = []
}

/// A stage that can be asked for.
public struct Target: Sendable, Hashable {
    /// Empty for a stage without one.
    public var name: String
    public var description: String
    public var isDefault: Bool
    /// As written.
    public var base: String
    public var platform: String
    public var range: SourceRange
}

extension Dockerfile {
    public var targets: [Target] {
        stages.map {
            Target(
                name: $0.name ?? "", description: $0.description, isDefault: $0.index == stages.count - 1,
                base: $0.from.base.text, platform: $0.from.platform?.text ?? "", range: $0.range)
        }
    }
}

extension Stage {
    /// From a comment above the `FROM` that starts with the stage's name.
    var description: String { fromInstruction.description(of: name ?? "") }
}

extension Instruction {
    func description(of name: String) -> String {
        if name.isEmpty { return "" }
        return comments.first { $0.hasPrefix(name + " ") }.map { String($0.dropFirst(name.count + 1)) } ?? ""
    }
}

/// What one stage takes from outside, gathered while it is lowered.
struct StageInputs {
    var arguments: [Outline.Argument] = []
    /// Arguments whose values come from before the first `FROM`.
    var globals: Set<String> = []
    var secrets: [Outline.Need] = []
    var agents: [Outline.Need] = []
    /// The stages that its `--from` name.
    var stages: [Int] = []
}

extension StageLowering {
    mutating func outline(_ declaration: ArgumentDeclaration, _ value: String?) {
        let isGlobal =
            declaration.value == nil && scope.options.buildArguments[declaration.name] == nil
            && scope.variables.value(of: declaration.name) != nil
        state.inputs.globals.insert(declaration.name)
        if isGlobal { return }
        state.inputs.arguments.removeAll { $0.name == declaration.name }
        state.inputs.arguments.append(
            Outline.Argument(
                name: declaration.name, value: value, description: current.description(of: declaration.name),
                range: current.range))
    }

    mutating func outline(_ mounts: [Mount]) throws(DockerfileError) {
        for mount in mounts where mount.kind == .secret || mount.kind == .ssh {
            var place = try text("source", of: mount)
            if place == nil { place = try text("target", of: mount) }
            let fallback = mount.kind == .ssh ? "default" : String(place?.split(separator: "/").last ?? "")
            let need = Outline.Need(
                name: try text("id", of: mount) ?? fallback,
                isRequired: FlagValue.boolean(try text("required", of: mount) ?? "") ?? false, range: current.range)
            if mount.kind == .ssh {
                if !state.inputs.agents.contains(where: { $0.name == need.name }) { state.inputs.agents.append(need) }
            } else if !state.inputs.secrets.contains(where: { $0.name == need.name }) {
                state.inputs.secrets.append(need)
            }
        }
    }

    private func text(_ key: String, of mount: Mount) throws(DockerfileError) -> String? {
        guard let written = mount.options[key] else { return nil }
        do { return try scope.expansion.expand(written, state.variables).value } catch {
            throw DockerfileError(error.message, at: mount.range)
        }
    }
}

extension LoweringRound {
    /// What the target and all that it stands on and copies from take from outside, each name once, the nearest first.
    func outline(of target: Int) throws(DockerfileError) -> Outline {
        let stage = layout.stages[target]
        var outline = Outline(name: stage.name ?? "", description: stage.description)
        let globals = globalArguments()
        var seen: Set<String> = []
        var visited: Set<Int> = []
        var pending = [target]
        while let index = pending.popLast() {
            guard visited.insert(index).inserted, let state = states[index] else { continue }
            var arguments = state.inputs.arguments
            let names = state.inputs.globals.union(namesInFrom(of: layout.stages[index]))
            arguments += withDependencies(names, globals)
                .filter { name, _ in !arguments.contains { $0.name == name } }.map(\.value.argument)
            for argument in arguments where seen.insert(argument.name).inserted { outline.arguments.append(argument) }
            func add(_ needs: [Outline.Need], to list: inout [Outline.Need]) {
                for need in needs where !list.contains(where: { $0.name == need.name }) { list.append(need) }
            }
            add(state.inputs.secrets, to: &outline.secrets)
            add(state.inputs.agents, to: &outline.agents)
            pending += state.inputs.stages.sorted()
            if let parent = state.parent { pending.append(parent) }
        }
        outline.arguments.sort { ($0.range.firstLine, $0.name) < ($1.range.firstLine, $1.name) }
        outline.secrets.sort { ($0.range.firstLine, $0.name) < ($1.range.firstLine, $1.name) }
        outline.agents.sort { ($0.range.firstLine, $0.name) < ($1.range.firstLine, $1.name) }
        return outline
    }

    private typealias GlobalArgument = (argument: Outline.Argument, uses: [String])

    /// The `ARG`s before the first `FROM`, the last of a name, with the names that their defaults use.
    private func globalArguments() -> [String: GlobalArgument] {
        var found: [String: GlobalArgument] = [:]
        for instruction in dockerfile.globalArguments {
            guard case .argument(let declarations) = instruction.command else { continue }
            for declaration in declarations {
                var uses = found[declaration.name]?.uses ?? []
                if options.buildArguments[declaration.name] == nil, let value = declaration.value,
                    let result = try? scope.expansion.expand(value, scope.variables)
                {
                    uses = result.matched.contains(declaration.name) ? uses + result.matched : result.matched
                }
                let argument = Outline.Argument(
                    name: declaration.name, value: scope.variables.value(of: declaration.name),
                    description: instruction.syntax.description(of: declaration.name), range: instruction.range)
                found[declaration.name] = (argument, uses)
            }
        }
        return found
    }

    private func withDependencies(
        _ names: Set<String>, _ globals: [String: GlobalArgument]
    ) -> [String: GlobalArgument] {
        var found: [String: GlobalArgument] = [:]
        var pending = Array(names)
        while let name = pending.popLast() {
            guard found[name] == nil, let global = globals[name] else { continue }
            found[name] = global
            pending += global.uses
        }
        return found
    }

    private func namesInFrom(of stage: Stage) -> [String] {
        [stage.from.base, stage.from.platform].flatMap { word -> [String] in
            guard let word else { return [] }
            return (try? scope.expansion.expand(word.text, scope.variables).matched) ?? []
        }
    }
}
