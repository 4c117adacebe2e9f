// What BuildKit looks at in every stage of a file before it builds one: a mistake here is refused even where the target
// does not need the stage.

extension LoweringRound {
    /// Looks at the base, the platform and the written `--from` of every stage.
    ///
    /// - Throws: the first mistake, bases and platforms first.
    func validateStages() throws(DockerfileError) {
        for stage in layout.stages { _ = try base(of: stage) }
        for stage in layout.stages {
            for from in layout.sourceNames[stage.index] where !from.text.utf8.contains(UInt8(ascii: "$")) {
                let name = try StageLowering.sourceName(from, scope, Variables())
                try layout.validate(source: name, at: from.range)
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
            var path = [OpenStage(stage: start, rest: dependencies(of: start)[...])]
            isOpen[start] = true
            while let last = path.indices.last {
                guard let next = path[last].rest.popFirst() else {
                    isOpen[path[last].stage] = false
                    isDone[path[last].stage] = true
                    path.removeLast()
                    continue
                }
                path[last].followed = next
                if isOpen[next.stage] { throw circle(path.drop { $0.stage != next.stage }, closedBy: next) }
                if isDone[next.stage] { continue }
                isOpen[next.stage] = true
                path.append(OpenStage(stage: next.stage, rest: dependencies(of: next.stage)[...]))
            }
        }
    }

    /// The error at the first line of the circle that names a stage further down: without that line there was none.
    private func circle(_ stages: ArraySlice<OpenStage>, closedBy last: Dependency) -> DockerfileError {
        var wrong = (from: stages.last?.stage ?? last.stage, to: last)
        var line = Int.max
        for stage in stages {
            guard let next = stage.followed, next.stage >= stage.stage, next.range.firstLine < line else { continue }
            wrong = (stage.stage, next)
            line = next.range.firstLine
        }
        return tooLate(wrong.to.stage, wrong.from, wrong.to.range)
    }
}

/// A stage that is being looked at, and what is left of what it names.
private struct OpenStage {
    var stage: Int
    var rest: ArraySlice<StageLayout.Dependency>
    /// What was looked at last: in a path, what leads to the next.
    var followed: StageLayout.Dependency?
}
