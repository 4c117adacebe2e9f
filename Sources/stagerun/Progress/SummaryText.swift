// The end of a build that worked, in two lines.

import StageHash

/// What a build came to.
struct BuildSummary: Sendable, Hashable {
    /// Which of several targets it is; nil of a build of one.
    var target: String?
    var image: Digest
    var names: [String]
    var size: UInt64
    var seconds: Double
    var cached: Int
    var ran: Int
    var sameOutcome: Int
    var stagesNotNeeded: Int

    /// `Built 3f2a… as app:1 (12.3MB) in 4.1s` and `12 steps: 9 cached, 3 ran; 2 stages not needed`; with several targets a
    /// line for each, in the order that they were asked for in.
    func text(colours: Bool, further: [BuildSummary] = []) -> String {
        ([self] + further).map { $0.image(colours: colours) }.joined() + steps(colours: colours)
    }

    /// Of one of several targets `Built web: 3f2a… (12.3MB) in 4.1s`.
    private func image(colours: Bool) -> String {
        let named =
            names.isEmpty ? "" : " as " + names.map { styled($0, .bold, colours: colours) }.joined(separator: ", ")
        let which = target.map { singleLine($0) + ": " } ?? ""
        return "Built \(which)\(styled(image.short, .bold, colours: colours))\(named) (\(sizeText(size))) "
            + "in \(durationText(seconds))\n"
    }

    private func steps(colours: Bool) -> String {
        var parts: [String] = []
        if cached > 0 { parts.append("\(cached) cached") }
        if ran > 0 { parts.append("\(ran) ran") }
        if sameOutcome > 0 { parts.append("\(sameOutcome) ran with the same outcome") }
        var second = counted(cached + ran + sameOutcome, "step")
        if !parts.isEmpty { second += ": " + parts.joined(separator: ", ") }
        if stagesNotNeeded > 0 { second += "; \(counted(stagesNotNeeded, "stage")) not needed" }
        return styled(second, .dim, colours: colours) + "\n"
    }
}
