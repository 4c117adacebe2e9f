// Naming a step of a recorded build as a person sees it: by its stage, its number, its line or its text.

import StageGraph

/// Why a name leads to no step.
public enum StepSelectionError: Error, Sendable, Hashable, CustomStringConvertible {
    case noSuchStep(String, near: String?, known: [String])
    /// Only one was wanted; these are meant.
    case ambiguous(String, [String])

    public var description: String {
        switch self {
        case .noSuchStep(let name, let near, let known):
            "no step or stage \(name) in the last build\n"
                + (near.map { "did you mean `\($0)`?" } ?? "it has \(Self.list(known))")
        case .ambiguous(let name, let steps):
            "\(name) means \(steps.count) steps: \(Self.list(steps))"
        }
    }

    private static func list(_ names: [String]) -> String {
        let shown = names.prefix(12).joined(separator: ", ")
        return names.count > 12 ? shown + " and \(names.count - 12) more" : shown
    }
}

extension BuildRecord {
    /// The steps that `text` means: `builder/4` (as `[builder 4/6]` shows it), `4` where only one stage has such a step,
    /// `builder` for all steps of a stage, `Dockerfile:7` or `:7` for an instruction by a line of it, else the steps with
    /// that text in their instruction.
    public func select(_ text: String) throws(StepSelectionError) -> [Int] {
        let numbered = steps.indices.filter { steps[$0].description.number > 0 }
        let rules: [(BuildRecord.Step) -> Bool] = [
            { $0.tag == text || "\($0.tag)/\($0.description.total)" == text },
            { $0.description.stage.lowercased() == text.lowercased() },
            { step in Int(text).map { step.description.number == $0 } ?? false },
            { $0.stands(at: text) },
            { $0.description.title.utf8.elementsEqual(text.utf8) },
            { $0.description.title.lowercased().contains(text.lowercased()) },
        ]
        for rule in rules {
            let found = numbered.filter { rule(steps[$0]) }
            if !found.isEmpty { return found }
        }
        let names = numbered.map { steps[$0].tag }
        var stages: [String] = []
        for step in steps where !step.description.stage.isEmpty && stages.last != step.description.stage {
            stages.append(step.description.stage)
        }
        throw .noSuchStep(
            text, near: Spelling.closest(text, among: stages) ?? Spelling.closest(text, among: names),
            known: stages + names)
    }

    /// The one step that `text` means.
    public func selectOne(_ text: String) throws(StepSelectionError) -> Int {
        let found = try select(text)
        if found.count > 1 { throw .ambiguous(text, found.map { steps[$0].tag }) }
        return found[0]
    }
}

extension BuildRecord.Step {
    /// `builder/4`.
    public var tag: String { "\(description.stage)/\(description.number)" }

    /// Whether `text` is `FILE:LINE` or `:LINE` of its instruction.
    fileprivate func stands(at text: String) -> Bool {
        guard let colon = text.lastIndex(of: ":"), let line = Int(text[text.index(after: colon)...]),
            let source = description.source, (source.firstLine...max(source.firstLine, source.lastLine)).contains(line)
        else { return false }
        let file = text[..<colon]
        return file.isEmpty || source.file == file || source.file.hasSuffix("/" + file)
    }
}
