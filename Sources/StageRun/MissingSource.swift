// A COPY or ADD of something that the context does not have. The steps see a context narrowed to what the Dockerfile names,
// so what lies beside a missing file is looked up on the disk, once, when the build has failed.

import StageContext
import StageEngine
import StageGraph
import StageSystem

extension BuildFlow {
    /// `failure`, with the reason when it is that a source is not in the context.
    func explained(_ failure: BuildError, dockerfile: String) -> BuildError {
        guard case .stepFailed(let step, _, _) = failure, case .copy(let copy) = step.operation, copy.resetsOwner else {
            return failure
        }
        let rules: IgnoreRules
        do throws(IgnoreError) {
            let file = try IgnoreRules.ignoreFile(context: request.contextPath, dockerfile: dockerfile)
            rules =
                try file.map { file throws(IgnoreError) in try IgnoreRules(text: file.text, file: file.path) } ?? .none
        } catch { return failure }
        for case .path(_, let pattern) in copy.sources where !pattern.utf8.contains(where: "*?[\\".utf8.contains) {
            switch AbsentPath(TreePath(pattern), context: request.contextPath, rules: rules) {
            case nil: continue
            case .ignored(let file, let line)?:
                return .stepFailed(
                    step: step, message: "\(pattern) is left out of the build context",
                    advice: "line \(line) of \(file) excludes it")
            case .missing(let name, let directory, let names)?:
                return missing(pattern, name, directory, names, step)
            }
        }
        return failure
    }

    private func missing(
        _ pattern: String, _ name: FileName, _ directory: TreePath, _ names: [FileName], _ step: Step
    ) -> BuildError {
        let place = directory.isRoot ? request.contextPath : request.contextPath + directory.description
        var advice: String?
        if let near = Spelling.closest(name.description, among: names.map(\.description)) {
            let path = directory.appending(FileName(bytes: near.utf8))
            advice = "did you mean `\(path.description.dropFirst())`?"
        } else if names.isEmpty, directory.isRoot {
            advice = "the context is empty: is \(request.contextPath) the right directory?"
        }
        return .stepFailed(
            step: step, message: "\(pattern) is not in the build context: there is no \(name) in \(place)",
            advice: advice)
    }
}
