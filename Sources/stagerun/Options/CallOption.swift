// `--call`: what is told of a Dockerfile instead of building it, with docker's spellings.

/// `--call=check,format=json`.
struct CallOption: Sendable, Hashable {
    enum Method: String, CaseIterable {
        case check, outline, targets
    }

    var method: Method
    var isJSON = false
    /// The exit status is 0 whatever a check finds.
    var ignoresStatus = false

    /// Nil when a build is asked for.
    init?(_ text: String?, check: Bool) throws(UsageError) {
        guard let text, !text.isEmpty else {
            guard check else { return nil }
            method = .check
            return
        }
        var name: String?
        for field in try commaSeparatedFields(text) {
            let pair = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            switch (pair[0], pair.count == 2 ? pair[1] : nil) {
            case ("format", "json"): isJSON = true
            case ("format", "text"), ("format", ""): isJSON = false
            case ("format", let format):
                throw UsageError("--call: the format is json or text, not \(format ?? "nothing")")
            case ("ignorestatus", let value):
                guard let flag = value.map(booleanValue) ?? true else {
                    throw UsageError("--call: ignorestatus is true or false")
                }
                ignoresStatus = flag
            case (let word, nil) where name == nil: name = word
            default: throw UsageError("--call=\(text): \(field) is not understood")
            }
        }
        if name == "build", !check { return nil }
        // `lint` is what docker called it first.
        guard let method = name == "lint" ? .check : Method(rawValue: name ?? "") else {
            throw UsageError("--call=\(text): the method is build, check, outline or targets")
        }
        if check, method != .check { throw UsageError("--check and --call=\(text) ask for different things") }
        self.method = method
    }
}
