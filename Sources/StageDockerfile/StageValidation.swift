// What BuildKit looks at in every stage of a file before it builds one: a mistake here is refused even where the target
// does not need the stage.

extension LoweringRound {
    /// Looks at the base, the platform and the written `--from` of every stage.
    ///
    /// - Throws: the first mistake, bases and platforms first.
    func validateStages() throws(DockerfileError) {
        for stage in layout.stages { _ = try base(of: stage) }
        for stage in layout.stages {
            for instruction in stage.instructions {
                for from in instruction.command.sourceNames where !from.text.utf8.contains(UInt8(ascii: "$")) {
                    let name = try StageLowering.sourceName(from, scope, Variables())
                    try layout.validate(source: name, at: from.range)
                }
            }
        }
        try layout.validateOrder()
    }
}

extension StageLayout {
    /// Refuses stages that copy from one another, or one from itself.
    fileprivate func validateOrder() throws(DockerfileError) {
        // Depth first without recursion: a file can have ten thousand stages.
        var isDone = Array(repeating: false, count: stages.count)
        var isOpen = isDone
        for start in stages.indices where !isDone[start] {
            var path: [(stage: Int, rest: ArraySlice<Dependency>)] = [(start, dependencies(of: start)[...])]
            isOpen[start] = true
            while let last = path.indices.last {
                guard let next = path[last].rest.popFirst() else {
                    isOpen[path[last].stage] = false
                    isDone[path[last].stage] = true
                    path.removeLast()
                    continue
                }
                if isOpen[next.stage] { throw tooLate(next.stage, path[last].stage, next.range) }
                if isDone[next.stage] { continue }
                isOpen[next.stage] = true
                path.append((next.stage, dependencies(of: next.stage)[...]))
            }
        }
    }
}
