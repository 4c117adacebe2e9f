// How stages hang together: which stage or image a name means, and which stage is the target.

import StageGraph

/// What a `FROM` or `--from` names.
enum SourceReference: Hashable {
    case stage(Int)
    case scratch
    case image(String)
    /// A named context of files.
    case context(String)
}

struct StageLayout {
    let stages: [Stage]
    /// What the `--from` and `from=` of each stage name, as it is written.
    let sourceNames: [[Word]]
    /// Every stage of a name, in order.
    private let byName: [String: [Int]]
    private let contexts: [String: NamedContext]

    init(_ dockerfile: Dockerfile, contexts: [String: NamedContext] = [:]) {
        self.contexts = contexts
        // A stage whose name is a context's is that context: what it would do is not looked at.
        let stages = dockerfile.stages.map { stage in
            guard let name = stage.name, contexts[name] != nil else { return stage }
            var replaced = stage
            replaced.instructions = []
            return replaced
        }
        self.stages = stages
        sourceNames = stages.map { Self.sourceNames(of: $0.instructions) }
        var byName: [String: [Int]] = [:]
        for stage in dockerfile.stages { if let name = stage.name { byName[name, default: []].append(stage.index) } }
        self.byName = byName
    }

    /// What the `--from` and `from=` of the instructions name.
    static func sourceNames(of instructions: [ParsedInstruction]) -> [Word] {
        var names: [Word] = []
        for instruction in instructions {
            switch instruction.command {
            case .copy, .run: names += instruction.command.sourceNames
            default: break
            }
        }
        return names
    }

    /// What a context of that name stands for; nil when there is none.
    private func context(_ name: String) -> SourceReference? {
        if contexts.isEmpty { return nil }
        let key = NamedContext.name(of: name)
        switch contexts[key] {
        case nil: return nil
        case .scratch: return .scratch
        case .image(let image): return .image(image)
        case .files: return .context(key)
        }
    }

    /// The context that a stage is replaced by.
    func replacement(of stage: Int) -> SourceReference? { stages[stage].name.flatMap { context($0) } }

    private var names: [String] { stages.compactMap(\.name) }

    /// The stage to build.
    func target(_ name: String?) throws(DockerfileError) -> Int {
        guard let name, !name.isEmpty else { return stages.count - 1 }
        if let index = byName[name.lowercased()]?.last { return index }
        let list =
            names.isEmpty ? "no stage has a name" : "the stages are \(names.map { "`\($0)`" }.joined(separator: ", "))"
        let hint = [Spelling.hint(name, among: names), list].compactMap { $0 }.joined(separator: " ")
        throw DockerfileError("target stage `\(name)` could not be found", hint: hint)
    }

    /// What a base name means in the stage `index`: a stage before it, `scratch`, or an image.
    func base(_ name: String, in index: Int, at range: SourceRange) throws(DockerfileError) -> SourceReference {
        // Names are in lower case, so one with capitals finds no stage here, as in docker.
        if let stage = byName[name]?.last(where: { $0 < index }) { return .stage(stage) }
        if let context = context(name) { return context }
        if name == "scratch" { return .scratch }
        if let fault = ImageName.fault(name) {
            let folded = byName[name.lowercased()]?.last { $0 < index }
            let hint =
                folded.map { "stage names are lower case here: write `\(stages[$0].title)`" }
                ?? Spelling.hint(name, among: stages[..<index].compactMap(\.name))
            throw DockerfileError("invalid image name `\(name)`: \(fault)", at: range, hint: hint)
        }
        return .image(name)
    }

    /// What `--from` means in the stage `index`: a stage before it by number or name, or an image.
    func source(_ name: String, in index: Int, at range: SourceRange) throws(DockerfileError) -> SourceReference {
        if let number = Int(name) {
            guard stages.indices.contains(number) else {
                throw DockerfileError(
                    "invalid stage index \(number)", at: range,
                    hint: "the file has \(stages.count) stages, counted from 0")
            }
            guard number < index else { throw tooLate(number, index, range) }
            return .stage(number)
        }
        // Of several stages with one name the last in the file is meant, wherever this one stands.
        if let stage = byName[name.lowercased()]?.last {
            guard stage < index else { throw tooLate(stage, index, range) }
            return .stage(stage)
        }
        if let context = context(name) { return context }
        if name == "scratch" { return .scratch }
        if let fault = ImageName.fault(name) {
            throw DockerfileError(
                "invalid image name `\(name)`: \(fault)", at: range,
                hint: Spelling.hint(name, among: stages[..<index].compactMap(\.name)))
        }
        return .image(name)
    }

    /// Refuses what no stage could mean by `--from`, wherever it stands.
    func validate(source name: String, at range: SourceRange) throws(DockerfileError) {
        _ = try byName[name.lowercased()] == nil ? source(name, in: stages.count, at: range) : nil
    }

    /// A stage that another names, and where it does.
    struct Dependency {
        var stage: Int
        var range: SourceRange
    }

    /// The stages that the `--from` of a stage name, as far as they are written without variables.
    func dependencies(of index: Int) -> [Dependency] {
        sourceNames[index].compactMap { from in
            stage(named: from.text).map { Dependency(stage: $0, range: from.range) }
        }
    }

    private func stage(named name: String) -> Int? {
        Int(name).flatMap { stages.indices.contains($0) ? $0 : nil } ?? byName[name.lowercased()]?.last
    }

    /// A hint for an image that could not be found, when a stage is named almost like it.
    func hint(forImage name: String) -> String? { Spelling.hint(name, among: names) }

    func tooLate(_ stage: Int, _ index: Int, _ range: SourceRange) -> DockerfileError {
        if stage == index {
            return DockerfileError(
                "stage `\(stages[index].title)` cannot copy from itself", at: range,
                hint: "copy within a stage with RUN cp")
        }
        if let cycle = cycle(from: stage, to: index) {
            let names = ([index] + cycle).map { "`\(stages[$0].title)`" }.joined(separator: " -> ")
            return DockerfileError(
                "circular dependency between stages: \(names)", at: range,
                hint: "move what both need into a stage before them")
        }
        return DockerfileError(
            "cannot copy from stage `\(stages[stage].title)`: it is defined after stage `\(stages[index].title)`",
            at: range,
            hint: "move its FROM (line \(stages[stage].range.firstLine)) above line \(stages[index].range.firstLine)")
    }

    /// The way from one stage to another along what they name, both included, as far as it is written without variables.
    private func cycle(from start: Int, to goal: Int) -> [Int]? {
        var cameFrom: [Int: Int] = [start: start]
        var queue = [start]
        var next = 0
        while next < queue.count {
            let stage = queue[next]
            next += 1
            if stage == goal {
                var way = [goal]
                while let last = way.last, last != start, let before = cameFrom[last] { way.append(before) }
                return way.reversed()
            }
            for neighbour in writtenReferences(of: stage) where cameFrom[neighbour] == nil {
                cameFrom[neighbour] = stage
                queue.append(neighbour)
            }
        }
        return nil
    }

    private func writtenReferences(of index: Int) -> [Int] {
        var names: [String] = [stages[index].from.base.text]
        names += sourceNames[index].map(\.text)
        return names.compactMap(stage(named:))
    }
}
