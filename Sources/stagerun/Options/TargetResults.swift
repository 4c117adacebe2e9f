// What becomes of each target: `{target}` in -t, -o and --iidfile stands for its name.

import StageGraph

struct TargetResults {
    let targets: [String]
    let tags: [String]
    let outputs: [String]
    let idFile: String?

    private static let mark = "{target}"

    /// Several images cannot have one name or one place.
    func check() throws(UsageError) {
        guard targets.count > 1 else { return }
        let options = [("-t", tags), ("-o", outputs), ("--iidfile", idFile.map { [$0] } ?? [])]
        for (option, texts) in options {
            for text in texts where !text.contains(Self.mark) {
                throw UsageError("\(option) \(text): with several targets, put {target} where each one's name belongs")
            }
        }
    }

    /// `text` for one target. A stage's name fits into image names and file names as it is.
    private func filled(_ text: String, _ target: String?) throws(UsageError) -> String {
        guard text.contains(Self.mark) else { return text }
        guard let target else { throw UsageError("\(text): {target} needs --target") }
        let parts = text.split(separator: Self.mark, omittingEmptySubsequences: false)
        return parts.joined(separator: target.lowercased())
    }

    func names(of target: String?) throws(UsageError) -> [ImageReference] {
        var names: [ImageReference] = []
        for text in tags {
            let name = try imageReference(try filled(text, target))
            if name.digest != nil { throw UsageError("-t \(text): a name to give cannot have a digest") }
            if !names.contains(name) { names.append(name) }
        }
        return names
    }

    func outputs(of target: String?) throws(UsageError) -> [String] {
        var result: [String] = []
        for text in outputs { result.append(try filled(text, target)) }
        return result
    }

    /// One for each target, the main one first; none without the option.
    var idFiles: [String] {
        guard let idFile else { return [] }
        let names: [String?] = targets.isEmpty ? [nil] : targets
        return names.compactMap { try? filled(idFile, $0) }
    }
}
